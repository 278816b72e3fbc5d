//! What threads do with mailboxes, as `shard/mail.rs`, `hub.rs` and the drivers do it.

use loom::sync::Arc;
use loom::thread;

use crate::hub::sync::Ordering;
use crate::hub::{Command, Mailbox, PublishCommand, Reservation, Weight};

/// A model: its name, how often threads are interrupted in one order at most (without a limit there would
/// be too many orders), and what is done.
pub(crate) type Model = (&'static str, Option<usize>, fn());

pub(crate) const MODELS: &[Model] = &[
    ("two senders and a shard that sleeps", Some(3), commands),
    ("mail and an order for a shard that sleeps", Some(3), mail),
    ("places are taken by two at once", None, places),
    ("two shards wait for one place", Some(3), waiting),
    ("a place is given back while a shard waits", Some(3), given_back),
    ("a drain while another thread publishes", Some(3), drain),
    ("a shard ends while another waits for it", None, end),
];

/// Tries every order; says how many there were.
pub(crate) fn check(bound: Option<usize>, model: fn()) -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    let orders = std::sync::Arc::new(AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&orders);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = bound;
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    orders.load(Relaxed)
}

const ONE: u64 = 1;

/// A box for so many commands, in a server of three shards.
fn mailbox(entries: usize) -> Arc<Mailbox> {
    Arc::new(Mailbox::new(entries, 3).expect("a waker"))
}

fn weight() -> Weight {
    Weight::of(1)
}

/// Sleeps, if it may, as a driver does at the end of a turn.
fn sleep(own: &Mailbox) {
    if own.may_sleep() {
        own.waker().sleep();
    }
    own.awake();
}

/// What a shard does with its box in each turn, until it has so many commands.
fn receive(own: &Mailbox, others: &[Arc<Mailbox>], commands: usize) {
    let mut received = 0;
    loop {
        if own.answer() {
            received += take(own, others);
        }
        if received == commands {
            return;
        }
        sleep(own);
    }
}

/// Takes what is there, and calls those that wait for room. Says how many commands it was.
fn take(own: &Mailbox, others: &[Arc<Mailbox>]) -> usize {
    let (mut places, mut weights) = (0, Weight::default());
    while own.take_publish().is_some() {
        places += 1;
        weights += weight();
    }
    let call = |shard: usize| others[shard].call();
    if places > 0 {
        own.make_room(weights, places as u64).for_each(call);
    } else {
        own.waiting().for_each(call);
    }
    places
}

/// A shard's place in another's box, as `shard::mail::place`.
fn place(to: &Mailbox, own: usize) -> Reservation {
    let place = to.reserve(weight());
    if place != Reservation::Full {
        return place;
    }
    to.wait(own);
    let place = to.reserve(weight());
    if place != Reservation::Full {
        to.wait_no_more(own);
    }
    place
}

/// A shard sends a command, whatever it has to wait for. Says what came of it.
fn send(to: &Mailbox, own: &Mailbox, index: usize) -> Reservation {
    loop {
        match place(to, index) {
            Reservation::Full => {
                sleep(own);
                // Whatever it was called for, it tries again.
                own.answer();
            }
            place => {
                to.wait_no_more(index);
                if place == Reservation::Made {
                    to.post(PublishCommand(ONE));
                }
                return place;
            }
        }
    }
}

fn commands() {
    let own = mailbox(2);
    let senders = [(); 2].map(|()| {
        let to = Arc::clone(&own);
        thread::spawn(move || {
            assert_eq!(to.reserve(weight()), Reservation::Made);
            to.post(PublishCommand(ONE));
        })
    });
    receive(&own, &[], 2);
    senders.into_iter().for_each(|sender| sender.join().expect("it sends"));
    assert!(own.has_no_letters());
}

fn mail() {
    let own = mailbox(2);
    let senders = [false, true].map(|orders| {
        let to = Arc::clone(&own);
        thread::spawn(move || match orders {
            false => to.post_command(Command(ONE)).expect("there is room"),
            true => to.order(Command(ONE)),
        })
    });
    let (mut mail, mut orders) = (0, 0);
    while mail + orders < 2 {
        if own.answer() {
            orders += usize::from(own.take_order().is_some());
            mail += usize::from(own.take_command().is_some());
        }
        if mail + orders < 2 {
            sleep(&own);
        }
    }
    senders.into_iter().for_each(|sender| sender.join().expect("it sends"));
    assert_eq!((mail, orders), (1, 1));
}

/// One place is left, for one of two; and for both when it is given back between.
fn places() {
    let own = mailbox(1);
    let holders = Arc::new(loom::sync::atomic::AtomicU64::new(0));
    let takers = [(); 2].map(|()| {
        let (to, holders) = (Arc::clone(&own), Arc::clone(&holders));
        thread::spawn(move || {
            let taken = to.reserve(weight()) == Reservation::Made;
            if taken {
                assert_eq!(holders.fetch_add(1, Ordering::Relaxed), 0, "two have one place");
                holders.fetch_sub(1, Ordering::Relaxed);
                to.cancel(weight());
            }
            taken
        })
    });
    let taken = takers.map(|taker| taker.join().expect("it takes"));
    assert!(taken.contains(&true) && own.has_no_letters());
}

fn waiting() {
    let boxes = [1, 1, 1].map(mailbox);
    let senders = [1, 2].map(|index| {
        let (to, own) = (Arc::clone(&boxes[0]), Arc::clone(&boxes[index]));
        thread::spawn(move || assert_eq!(send(&to, &own, index), Reservation::Made))
    });
    receive(&boxes[0], &boxes, 2);
    senders.into_iter().for_each(|sender| sender.join().expect("it sends"));
    assert!(boxes[0].has_no_letters() && boxes[0].waiting().count() == 0);
}

/// A publisher takes the only place and gives it back, for another box was full. A shard waits for it
/// meanwhile. The box's owner has just been called for something else.
fn given_back() {
    let boxes = [1, 1].map(mailbox);
    assert_eq!(boxes[0].reserve_politely(weight()), Reservation::Made);
    boxes[0].order(Command(ONE));
    let to = Arc::clone(&boxes[0]);
    let publisher = thread::spawn(move || to.cancel(weight()));
    let (to, own) = (Arc::clone(&boxes[0]), Arc::clone(&boxes[1]));
    let sender = thread::spawn(move || assert_eq!(send(&to, &own, 1), Reservation::Made));
    receive(&boxes[0], &boxes, 1);
    publisher.join().expect("it gives the place back");
    sender.join().expect("it sends");
    assert!(boxes[0].has_no_letters());
}

/// What a publisher was promised is taken before the shard is done; it is when nothing is promised.
fn drain() {
    let own = mailbox(2);
    let to = Arc::clone(&own);
    let publisher = thread::spawn(move || {
        let place = to.reserve_politely(weight());
        if place == Reservation::Made {
            to.post(PublishCommand(ONE));
        }
        place
    });
    let to = Arc::clone(&own);
    let server = thread::spawn(move || {
        to.refuse();
        to.order(Command(ONE));
    });
    let (mut received, mut drains) = (0, false);
    loop {
        if own.answer() {
            drains |= own.take_order().is_some();
            received += take(&own, &[]);
        }
        if drains && own.has_no_letters() {
            break;
        }
        sleep(&own);
    }
    server.join().expect("it drains");
    let promised = publisher.join().expect("it publishes") == Reservation::Made;
    assert_eq!(received, usize::from(promised));
}

/// As `Seat` is dropped. Its box was full for ever.
fn end() {
    let boxes = [1, 1].map(mailbox);
    assert_eq!(boxes[0].reserve(weight()), Reservation::Made);
    let (to, own) = (Arc::clone(&boxes[0]), Arc::clone(&boxes[1]));
    let sender = thread::spawn(move || assert_eq!(send(&to, &own, 1), Reservation::Gone));
    boxes[0].close();
    boxes[1].call();
    sender.join().expect("it gives up");
    assert!(boxes[0].is_closed());
}
