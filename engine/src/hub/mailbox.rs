//! One shard's mailbox: how much may wait in it, who waits for room, and how its owner is woken.
//!
//! Everything that threads share is in three small types, each a protocol of its own:
//!
//! - [`Alarm`]: whoever leaves something says so, and its owner does not fall asleep over it.
//! - [`Room`]: a place is taken before something is put there, so that whoever writes to several
//!   boxes takes a place in each first, and gives them all back if one is full.
//! - [`ShardSet`]: who waits for room. A sender enters itself and then tries once more; the owner makes
//!   room and then looks who is entered. One of them sees the other.
//!
//! `engine/model` compiles this file with other atomics and tries every order in which threads may
//! come, and every value that they may see.

use super::sync::{ArrayQueue, AtomicBool, AtomicU64, Ordering, SegQueue, fence};
use super::{Command, MAILBOX_BYTES, PublishCommand};
use crate::sys::waker::Waker;

/// Tells one thread that there is something to look at.
#[derive(Debug, Default)]
struct Alarm {
    called: AtomicBool,
    asleep: AtomicBool,
}

impl Alarm {
    /// There is something to look at; what was left before this call is seen by who answers. Says
    /// whether the sleeper has to be woken.
    fn call(&self) -> bool {
        if self.called.swap(true, Ordering::AcqRel) {
            // Whoever called first wakes it, and it does not sleep before it has answered.
            return false;
        }
        // Either we see that it sleeps, or it sees the call before it does.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// Whether there was a call since the last answer.
    fn answer(&self) -> bool {
        self.called.load(Ordering::Relaxed) && self.called.swap(false, Ordering::AcqRel)
    }

    fn is_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    /// Announces that its owner is about to sleep; `false` when it was called and must not.
    fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if !self.is_called() {
            return true;
        }
        self.awake();
        false
    }

    fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}

/// Bytes of commands, as they are counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weight(u64);

impl Weight {
    pub(crate) fn of(bytes: usize) -> Self {
        // A box that holds more than its limit takes nothing more, so the sum has room.
        Self(u64::try_from(bytes).unwrap_or(u64::MAX).min(BYTES / 2))
    }
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// What came of asking for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reservation {
    Made,
    /// There is none now.
    Full,
    /// The shard has ended: it has no subscribers any more.
    Gone,
}

/// How much waits, in one word: two flags, 22 bits of entries, 40 bits of bytes.
#[derive(Debug)]
struct Room {
    held: AtomicU64,
    entries: u64,
}

const ENTRY: u64 = 1 << 40;
const BYTES: u64 = ENTRY - 1;
/// Other threads get no place any more: the server drains.
const REFUSES: u64 = 1 << 62;
const GONE: u64 = 1 << 63;
const ENTRIES: u64 = REFUSES - ENTRY;

impl Room {
    fn new(entries: usize) -> Self {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX).clamp(1, ENTRIES / ENTRY / 2);
        Self { held: AtomicU64::new(0), entries }
    }

    /// Takes a place; `barred` by what is set of these flags.
    fn take(&self, weight: Weight, barred: u64) -> Reservation {
        let mut held = self.held.load(Ordering::Acquire);
        loop {
            if held & barred != 0 {
                return Reservation::Full;
            }
            if held & GONE != 0 {
                return Reservation::Gone;
            }
            let waiting = held & BYTES;
            if (held & ENTRIES) / ENTRY >= self.entries
                || waiting > 0 && waiting + weight.0 > MAILBOX_BYTES
            {
                return Reservation::Full;
            }
            let more = held + ENTRY + weight.0;
            match self.held.compare_exchange_weak(held, more, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Reservation::Made,
                Err(now) => held = now,
            }
        }
    }

    fn give_back(&self, commands: Weight, places: u64) {
        self.held.fetch_sub(places * ENTRY + commands.0, Ordering::AcqRel);
    }

    fn set(&self, flag: u64) {
        self.held.fetch_or(flag, Ordering::AcqRel);
    }

    fn is(&self, flag: u64) -> bool {
        self.held.load(Ordering::Acquire) & flag != 0
    }
}

/// A set of shards.
#[derive(Debug)]
pub(crate) struct ShardSet(Box<[AtomicU64]>);

impl ShardSet {
    /// An empty set for so many shards.
    pub(crate) fn new(shards: usize) -> Self {
        Self(std::iter::repeat_with(AtomicU64::default).take(shards.div_ceil(64)).collect())
    }

    pub(crate) fn insert(&self, shard: usize) {
        if let Some(word) = self.0.get(shard / 64) {
            word.fetch_or(1 << (shard % 64), Ordering::SeqCst);
        }
    }

    pub(crate) fn remove(&self, shard: usize) {
        if let Some(word) = self.0.get(shard / 64) {
            word.fetch_and(!(1 << (shard % 64)), Ordering::SeqCst);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.iter().all(|word| word.load(Ordering::SeqCst) == 0)
    }

    /// The members, in order; each word is read when it is reached.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, word)| {
            let mut left = word.load(Ordering::SeqCst);
            std::iter::from_fn(move || {
                let bit = left.trailing_zeros();
                left &= left.wrapping_sub(1);
                (bit < u64::BITS).then_some(index * 64 + bit as usize)
            })
        })
    }
}

/// One shard's mailbox.
#[derive(Debug)]
pub struct Mailbox {
    /// Publications, in order for each sender.
    commands: SegQueue<PublishCommand>,
    room: Room,
    /// Shards that have commands for this box and found it full.
    waiting: ShardSet,
    /// What concerns one connection.
    mail: ArrayQueue<Command>,
    /// What concerns the shard: few, and never behind anything else.
    orders: SegQueue<Command>,
    alarm: Alarm,
    waker: Waker,
}

impl Mailbox {
    /// A box for so many commands and as many pieces of other mail, in a server of `shards`.
    pub(crate) fn new(entries: usize, shards: usize) -> std::io::Result<Self> {
        Ok(Self {
            commands: SegQueue::new(),
            room: Room::new(entries),
            waiting: ShardSet::new(shards),
            mail: ArrayQueue::new(entries.max(1)),
            orders: SegQueue::new(),
            alarm: Alarm::default(),
            waker: Waker::new()?,
        })
    }

    // ---- what senders do

    /// Takes a place for a command of this weight, for a shard: whoever is subscribed there has been
    /// promised it.
    pub(crate) fn reserve(&self, weight: Weight) -> Reservation {
        self.room.take(weight, 0)
    }

    /// Reserves room for another thread, which can be refused: it does not go before shards that
    /// wait, and gets nothing during a drain.
    pub(crate) fn reserve_politely(&self, weight: Weight) -> Reservation {
        if self.waiting.is_empty() { self.room.take(weight, REFUSES) } else { Reservation::Full }
    }

    /// Gives a place back in which nothing was put.
    pub(crate) fn cancel(&self, weight: Weight) {
        self.room.give_back(weight, 1);
        fence(Ordering::SeqCst);
        // Its owner may wait for the box to become empty, or has to tell others that there is room.
        self.call();
    }

    /// Puts a command in the place that was taken for it.
    pub(crate) fn post(&self, command: PublishCommand) {
        self.commands.push(command);
        self.call();
    }

    /// Leaves mail. Gives it back when too much waits.
    pub(crate) fn post_command(&self, mail: Command) -> Result<(), Command> {
        self.mail.push(mail)?;
        self.call();
        Ok(())
    }

    /// Leaves an order, for which there is always room.
    pub(crate) fn order(&self, mail: Command) {
        self.orders.push(mail);
        self.call();
    }

    /// A shard will be called when there is room again. It has to try once more after this.
    pub(crate) fn wait(&self, shard: usize) {
        self.waiting.insert(shard);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wait_no_more(&self, shard: usize) {
        self.waiting.remove(shard);
    }

    /// Has the shard look at what it waits for.
    pub(crate) fn call(&self) {
        if self.alarm.call() {
            self.waker.wake();
        }
    }

    /// Gives no place to other threads any more.
    pub(crate) fn refuse(&self) {
        self.room.set(REFUSES);
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.room.is(REFUSES)
    }

    /// Nobody reads what is in it any more.
    pub(crate) fn close(&self) {
        self.room.set(GONE);
        while self.commands.pop().is_some() {}
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.room.is(GONE)
    }

    // ---- what its owner does

    /// Whether there was a call since this was asked last; whoever is told so has to look at
    /// everything that he may have been called for.
    pub(crate) fn answer(&self) -> bool {
        self.alarm.answer()
    }

    pub(crate) fn take_publish(&self) -> Option<PublishCommand> {
        self.commands.pop()
    }

    pub(crate) fn take_command(&self) -> Option<Command> {
        self.mail.pop()
    }

    pub(crate) fn take_order(&self) -> Option<Command> {
        self.orders.pop()
    }

    /// The places of commands that have been dealt with are free again; those who wait for them have to
    /// be called.
    pub(crate) fn make_room(&self, commands: Weight, places: u64) -> impl Iterator<Item = usize> {
        self.room.give_back(commands, places);
        fence(Ordering::SeqCst);
        self.waiting.iter()
    }

    /// The shards that wait for room.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = usize> {
        self.waiting.iter()
    }

    /// Whether no command is in it, nor a place taken for one.
    pub(crate) fn has_no_letters(&self) -> bool {
        !self.room.is(ENTRIES)
    }

    /// Whether there is nothing to look at.
    pub(crate) fn is_empty(&self) -> bool {
        !self.alarm.is_called()
    }

    /// Announces that the shard is about to sleep; `false` when there is mail and it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.alarm.may_sleep()
    }

    /// The shard no longer sleeps.
    pub(crate) fn awake(&self) {
        self.alarm.awake();
    }

    pub(crate) const fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::{MAILBOX_BYTES, Mailbox, Reservation, Weight};
    use crate::hub::PublishCommand;

    fn command(from: usize) -> PublishCommand {
        PublishCommand::Flushed { from }
    }

    fn mailbox(entries: usize) -> Mailbox {
        Mailbox::new(entries, 100).expect("a waker")
    }

    #[test]
    fn a_box_holds_so_many_letters_and_so_many_bytes() {
        let small = Weight::of(10);
        let one = mailbox(2);
        assert_eq!([one.reserve(small), one.reserve(small)], [Reservation::Made; 2]);
        assert_eq!(one.reserve(small), Reservation::Full);
        one.cancel(small);
        assert_eq!(one.reserve_politely(small), Reservation::Made);
        assert_eq!(one.make_room(Weight::of(20), 2).count(), 0);
        assert!(one.has_no_letters());
        let (most, huge) = (Weight::of(16 << 20), Weight::of(usize::MAX));
        assert_eq!(MAILBOX_BYTES, 16 << 20);
        let one = mailbox(100);
        assert_eq!([one.reserve(huge), one.reserve(small)], [Reservation::Made, Reservation::Full]);
        one.cancel(huge);
        assert_eq!([one.reserve(small), one.reserve(most)], [Reservation::Made, Reservation::Full]);
        one.cancel(small);
        assert_eq!([one.reserve(most), one.reserve(Weight::of(0))], [Reservation::Made; 2]);
        assert!(!one.has_no_letters());
    }

    #[test]
    fn others_get_no_place_before_shards_that_wait_nor_during_a_drain() {
        let weight = Weight::of(1);
        let one = mailbox(1);
        assert_eq!(one.reserve_politely(weight), Reservation::Made);
        for shard in [99, 63, 64, 0] {
            one.wait(shard);
        }
        let waiting: Vec<_> = one.make_room(weight, 1).collect();
        assert_eq!(waiting, [0, 63, 64, 99]);
        assert_eq!(one.reserve_politely(weight), Reservation::Full);
        for shard in waiting {
            one.wait_no_more(shard);
        }
        assert_eq!(one.reserve_politely(weight), Reservation::Made);
        one.cancel(weight);
        one.refuse();
        assert_eq!(
            [one.reserve_politely(weight), one.reserve(weight)],
            [Reservation::Full, Reservation::Made]
        );
        one.close();
        assert_eq!(
            [one.reserve_politely(weight), one.reserve(weight)],
            [Reservation::Full, Reservation::Gone]
        );
    }

    #[test]
    fn a_call_is_answered_once_and_keeps_its_owner_awake() {
        let one = mailbox(1);
        assert!(one.may_sleep() && !one.answer());
        one.awake();
        one.call();
        one.call();
        assert!(!one.may_sleep() && !one.is_empty());
        assert!(one.answer() && !one.answer());
        assert!(one.may_sleep());
    }

    #[test]
    fn senders_that_wait_for_room_are_called_whatever_the_timing() {
        const SENDERS: usize = 3;
        const COMMANDS: usize = 2_000;
        let boxes: Arc<[Mailbox]> = (0..=SENDERS).map(|_| mailbox(2)).collect();
        let senders: Vec<_> = (1..=SENDERS)
            .map(|sender| {
                let boxes = Arc::clone(&boxes);
                thread::spawn(move || {
                    for _ in 0..COMMANDS {
                        while boxes[0].reserve(Weight::of(1)) != Reservation::Made {
                            boxes[0].wait(sender);
                            if boxes[0].reserve(Weight::of(1)) == Reservation::Made {
                                break;
                            }
                            // Whoever is not called stays here for ever.
                            while !boxes[sender].answer() {
                                thread::yield_now();
                            }
                        }
                        boxes[0].wait_no_more(sender);
                        boxes[0].post(command(sender));
                    }
                })
            })
            .collect();
        let mut received = 0;
        while received < SENDERS * COMMANDS {
            while !boxes[0].answer() {
                thread::yield_now();
            }
            while boxes[0].take_publish().is_some() {
                received += 1;
                boxes[0].make_room(Weight::of(1), 1).for_each(|sender| boxes[sender].call());
            }
        }
        for sender in senders {
            sender.join().expect("it was called");
        }
        assert!(boxes[0].has_no_letters());
    }
}
