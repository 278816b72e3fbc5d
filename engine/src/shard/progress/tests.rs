//! A shard on a clock that is set by hand, with sockets that say what a test wants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Watch;
use crate::config::Config;
use crate::conn::Message;
use crate::handler::{Handler, Serve, WebSocket};
use crate::handshake::{ServerPolicy, UpgradeRequest};
use crate::hub::Hub;
use crate::outcome::{Accept, CloseReason, Reject};
use crate::shard::Shard;
use crate::shard::machine::{Action, Look, Machine as _, ReadInterest};
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;
use crate::shard::wheel::TICK;
use crate::wire::Opcode;

const IDLE: Duration = Duration::from_secs(8);
const PING: Duration = Duration::from_secs(3);
const CLOSE: Duration = Duration::from_secs(4);

/// Does what it is told.
struct Told;

impl Handler for Told {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        match message {
            Message::Text("hold") => ws.hold_reading(true),
            Message::Text("close") => ws.close(),
            Message::Text("end") => ws.end(),
            message => ws.send(message).expect("room"),
        }
    }
}

/// One connection, and what its socket holds.
struct Rig {
    shard: Shard<Serve<Told>>,
    sends: SendBatch,
    now: Instant,
    id: ConnectionId,
    untaken: u32,
    unread: u32,
    /// Its peer takes nothing more.
    stuck: bool,
    looks: u32,
    /// What a layer below adds to each send, and has added.
    record: u32,
    added: u32,
    /// What was done but looks, in order.
    done: Vec<Action>,
    /// What was sent since it was last asked.
    sent: Vec<u8>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let settings = Config::new().with(|config| {
            config.policy = ServerPolicy::new();
            config.idle_timeout = IDLE;
            config.ping_interval = PING;
            config.close_timeout = CLOSE;
        });
        let settings = settings.with(change);
        let hub = Hub::new(1, 8).expect("a waker");
        let now = Instant::now();
        let mut shard = Shard::new(Serve(Told), Arc::new(settings), Arc::new(hub), 0, now);
        let mut sends = SendBatch::default();
        shard.turn_began(now);
        let id = shard.accepted(0, &mut sends, now).expect("room");
        let (untaken, unread, looks, stuck) = (0, 0, 0, false);
        let (record, added, done, sent) = (0, 0, Vec::new(), Vec::new());
        let mut rig = Self {
            shard,
            sends,
            now,
            id,
            untaken,
            unread,
            stuck,
            looks,
            record,
            added,
            done,
            sent,
        };
        let request = "GET / HTTP/1.1\r\nHost: example.com\r\nUpgrade: websocket\r\n\
                       Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                       Sec-WebSocket-Version: 13\r\n\r\n";
        rig.hears(request.as_bytes());
        rig.settle();
        assert!(rig.sent.starts_with(b"HTTP/1.1 101 "));
        rig.sent.clear();
        rig
    }

    fn hears(&mut self, bytes: &[u8]) -> ReadInterest {
        let mut input = bytes.to_vec();
        let lease = Lease::NOWHERE;
        let want = self.shard.received(self.id, &mut input, &lease, &mut self.sends, self.now);
        self.sends.took_lease();
        want
    }

    /// A frame of its peer, with a masking key of zeros.
    fn hears_frame(&mut self, first: u8, payload: &[u8]) -> ReadInterest {
        let head = [first, 0x80 | u8::try_from(payload.len()).expect("a short one"), 0, 0, 0, 0];
        self.hears(&[&head, payload].concat())
    }

    /// The application sends so many bytes of payload, without having heard anything.
    fn says(&mut self, len: usize) {
        self.shard.send_mail(self.id, Opcode::Binary, &vec![7; len], &mut self.sends);
        self.settle();
    }

    fn handed(&mut self) -> u32 {
        self.shard.table.find(self.id).map_or(0, |slot| slot.side.send.handed())
    }

    fn settle(&mut self) {
        for entry in self.sends.entries() {
            self.added += self.record;
            self.untaken += if self.stuck { entry.bytes + self.record } else { 0 };
            for segment in self.sends.segments(entry) {
                self.sent.extend(self.sends.resolve(segment).unwrap_or_default());
            }
        }
        self.sends.clear();
        self.shard.settled();
    }

    /// One turn of the loop after so long a sleep.
    fn turn(&mut self, slept: Duration) {
        self.now += slept;
        self.shard.turn_began(self.now);
        self.finish_turn();
    }

    fn finish_turn(&mut self) {
        loop {
            while let Some(action) = self.shard.poll_action() {
                match action {
                    Action::Look(id) => {
                        self.looks += 1;
                        let given = self.shard.given(id, &self.sends) + self.added;
                        let look = Look { given, untaken: self.untaken, unread: self.unread };
                        self.shard.looked(id, look, &mut self.sends, self.now);
                    }
                    Action::Receive(_) => {}
                    other => self.done.push(other),
                }
            }
            let next = self.shard.run(&mut self.sends, self.now);
            self.settle();
            if !next.busy {
                return;
            }
        }
    }

    /// Lets the loop wake as it asks, for so long; says how often it did.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.turn(TICK.min(end - self.now));
        }
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.shard.snapshot().closed[reason.index()]
    }

    /// It is known what its peer has taken so far.
    fn looked_at_once(&mut self) {
        self.pass(IDLE + 4 * TICK);
        self.hears_frame(0x8A, b"");
        (self.looks, self.sent) = (0, Vec::new());
        assert!(!self.is_ended());
    }

    fn is_ended(&self) -> bool {
        !self.done.is_empty()
    }

    /// Output blocks: so many bytes of it the kernel would not take.
    fn blocks(&mut self, bytes: usize) {
        self.hears_frame(0x82, b"x");
        self.settle();
        self.shard.blocked(self.id, bytes, bytes);
    }
}

fn is_shutdown(action: &Action) -> bool {
    matches!(action, Action::Shutdown(_))
}

#[test]
fn silence_ends_a_connection_after_a_look_and_with_a_word() {
    let mut rig = Rig::new(|config| config.ping_interval = Duration::ZERO);
    rig.looked_at_once();
    rig.pass(IDLE - 2 * TICK);
    assert!(!rig.is_ended() && rig.looks == 0);
    rig.pass(4 * TICK);
    assert_eq!((rig.looks, rig.closed(CloseReason::Idle)), (1, 1));
    assert!(rig.sent.ends_with(b"silent for too long"));
    assert!(is_shutdown(&rig.done[0]), "{:?}", rig.done);
    // It is read and dropped what comes, and that keeps nothing alive.
    for _ in 0..20 {
        rig.hears(b"and so on");
        rig.pass(CLOSE / 10);
    }
    assert!(matches!(rig.done[..], [Action::Shutdown(_), Action::Close(_), ..]), "{:?}", rig.done);
}

#[test]
fn pings_that_its_kernel_takes_are_no_sign_of_life() {
    let mut rig = Rig::new(|_| ());
    rig.looked_at_once();
    rig.pass(IDLE + 4 * TICK);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
    assert!(rig.sent.starts_with(&[0x89, 0, 0x89, 0]), "{:?}", rig.sent);
}

#[test]
fn what_was_taken_since_the_last_look_may_have_been_taken_just_now() {
    for ping in [Duration::ZERO, PING] {
        let mut rig = Rig::new(|config| config.ping_interval = ping);
        rig.looked_at_once();
        // All of it goes to the kernel at once, and from there in its time.
        rig.hears_frame(0x81, b"an answer");
        rig.pass(IDLE + 4 * TICK);
        assert!(!rig.is_ended());
        rig.pass(IDLE);
        assert_eq!(rig.closed(CloseReason::Idle), 1);
    }
}

#[test]
fn what_is_sent_in_between_ends_silence_a_quarter_of_the_timeout_later_at_most() {
    for eighths in 1..8 {
        let mut rig = Rig::new(|config| config.ping_interval = Duration::ZERO);
        rig.looked_at_once();
        rig.pass(IDLE * eighths / 8);
        // All of it goes to the peer's kernel, which may be all that is left of it.
        rig.says(100);
        rig.pass(IDLE - 2 * TICK);
        assert!(!rig.is_ended(), "it has taken something");
        rig.pass(IDLE / 4 + 5 * TICK);
        assert_eq!(rig.closed(CloseReason::Idle), 1, "{eighths}");
        assert!(rig.looks <= 6, "{} looks", rig.looks);
    }
}

#[test]
fn to_take_a_few_bytes_now_and_then_is_progress() {
    for (secure, ping) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
        for (len, eighths) in [(0, 2), (1, 2), (4, 2), (4, 7), (40, 7)] {
            let interval = IDLE.checked_div(ping).unwrap_or_default();
            let mut rig = Rig::new(|config| config.ping_interval = interval);
            rig.shard.table.find(rig.id).expect("it is there").secure = secure;
            rig.record = if secure { 22 } else { 0 };
            rig.looked_at_once();
            for _ in 0..20 {
                rig.says(len);
                rig.pass(IDLE * eighths / 8);
                assert!(!rig.is_ended(), "{len} bytes, {secure}, {ping}");
            }
            rig.pass(IDLE * 5 / 4 + 5 * TICK);
            assert_eq!(rig.closed(CloseReason::Idle), 1, "{len} bytes, {secure}, {ping}");
        }
    }
}

#[test]
fn what_is_sent_in_between_and_not_taken_makes_nobody_alive() {
    for eighths in 1..8 {
        let mut rig = Rig::new(|config| config.ping_interval = Duration::ZERO);
        rig.looked_at_once();
        rig.pass(IDLE * eighths / 8);
        rig.stuck = true;
        rig.says(100);
        rig.pass(IDLE * (8 - eighths) / 8 + 5 * TICK);
        assert_eq!(rig.closed(CloseReason::Idle), 1, "{eighths}");
    }
}

#[test]
fn nobody_is_looked_at_before_the_deadline_to_whom_nothing_is_sent() {
    let mut rig = Rig::new(|_| ());
    rig.looked_at_once();
    for _ in 0..40 {
        // Each ping is answered.
        rig.pass(PING + 2 * TICK);
        rig.hears_frame(0x8A, b"");
    }
    assert_eq!(rig.looks, 0);
    let slot = rig.shard.table.find(rig.id).expect("it is there");
    assert!(slot.watch.is_none(), "one number says what is known of it");
}

#[test]
fn pings_that_waited_for_a_peer_to_read_are_progress_when_it_takes_them() {
    let mut rig = Rig::new(|config| config.ping_interval = IDLE / 16);
    rig.looked_at_once();
    rig.stuck = true;
    rig.says(100);
    rig.pass(IDLE / 2);
    // It reads what it was told, and some time later the pings behind that.
    rig.untaken = 14;
    rig.pass(IDLE * 7 / 8);
    assert!(!rig.is_ended());
    (rig.untaken, rig.stuck) = (0, false);
    rig.pass(IDLE - 2 * TICK);
    assert!(!rig.is_ended());
    // The later ones are taken at once, by the kernel.
    rig.pass(IDLE / 2);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn pings_in_records_are_no_sign_of_life_either() {
    let mut rig = Rig::new(|config| config.ping_interval = IDLE / 4 + TICK);
    rig.shard.table.find(rig.id).expect("it is there").secure = true;
    rig.record = 22;
    rig.looked_at_once();
    rig.pass(IDLE + 4 * TICK);
    assert!(rig.sent.starts_with(&[0x89, 0, 0x89, 0]), "{:?}", rig.sent);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
    // What is said is one.
    let mut rig = Rig::new(|config| config.ping_interval = Duration::ZERO);
    rig.shard.table.find(rig.id).expect("it is there").secure = true;
    rig.record = 22;
    rig.looked_at_once();
    rig.pass(IDLE / 2);
    rig.says(40);
    rig.pass(IDLE - 2 * TICK);
    assert!(!rig.is_ended());
}

#[test]
fn a_few_bytes_are_known_to_have_been_taken_whenever_that_was() {
    let mut watch = Watch::new(1000);
    let mut compare = |sent: u32, pinged: bool, untaken| {
        let before = watch.handed.wrapping_add(sent);
        watch.giving = before;
        if pinged {
            watch.count_ping(before..before + 2);
        }
        let given = watch.giving;
        let behind = watch.pings_behind(given);
        watch.compare(Look { given, untaken, unread: 0 }, super::PING, behind)
    };
    assert!(!compare(0, false, 0));
    // Two bytes are on their way when it is looked at.
    assert!(!compare(2, false, 2));
    assert!(compare(0, false, 0));
    assert!(!compare(0, false, 0));
    // Two others were taken, and a ping is on its way behind them, and taken.
    assert!(compare(2, true, 2));
    assert!(!compare(0, false, 0));
    // They are on their way, with the ping behind them, and one after the other is taken.
    assert!(!compare(2, true, 4));
    assert!(compare(0, false, 2));
    assert!(!compare(0, false, 0));
    // Pings alone.
    assert!(!compare(0, true, 2));
    assert!(!compare(0, true, 4));
    assert!(!compare(0, false, 0));
}

#[test]
fn a_peer_may_take_gigabytes_between_two_looks() {
    let mut watch = Watch::new(1000);
    let mut given = 1000_u32;
    for bytes in [10, 3 << 30, 100, 4_000_000_000] {
        given = given.wrapping_add(bytes);
        watch.giving = given;
        assert!(watch.compare(Look { given, untaken: 0, unread: 0 }, super::PING, 0), "{bytes}");
        // The end of a stream counts as a byte.
        assert!(!watch.compare(Look { given, untaken: 1, unread: 0 }, super::PING, 0));
        assert!(!watch.compare(Look { given, untaken: 0, unread: 0 }, super::PING, 0));
    }
}

#[test]
fn one_that_takes_a_little_now_and_then_is_alive_even_where_nothing_blocked() {
    let mut rig = Rig::new(|_| ());
    (rig.untaken, rig.stuck) = (1_000_000, true);
    for _ in 0..10 {
        rig.pass(IDLE * 3 / 4);
        assert!(!rig.is_ended());
        rig.untaken -= 1000;
    }
    rig.pass(IDLE * 3 / 2);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn what_comes_is_progress_also_where_nobody_reads_it() {
    let mut rig = Rig::new(|_| ());
    rig.hears_frame(0x81, b"hold");
    rig.hears_frame(0x81, b"close");
    for _ in 0..10 {
        rig.unread += 10;
        rig.pass(CLOSE * 3 / 4);
        assert!(!rig.is_ended());
    }
    rig.pass(CLOSE * 3 / 2);
    assert_eq!(rig.closed(CloseReason::TimedOut), 1);
}

#[test]
fn what_was_read_in_the_tick_of_a_look_has_made_room() {
    let mut rig = Rig::new(|_| ());
    rig.hears_frame(0x81, b"hold");
    rig.hears_frame(0x81, b"close");
    rig.unread = 100;
    for _ in 0..10 {
        rig.hears_frame(0x8A, b"");
        let looks = rig.looks;
        while rig.looks == looks {
            rig.turn(TICK);
        }
        // Some of it is read at once, and the peer fills the room again a little later.
        rig.hears_frame(0x8A, b"");
        rig.unread = 0;
        rig.pass(CLOSE / 8);
        rig.unread = 100;
        rig.pass(CLOSE - CLOSE / 16);
        assert!(!rig.is_ended());
    }
    rig.pass(CLOSE / 2);
    assert_eq!(rig.closed(CloseReason::TimedOut), 1);
}

#[test]
fn what_waits_to_be_read_is_read_first() {
    let mut rig = Rig::new(|config| config.ping_interval = Duration::ZERO);
    rig.looked_at_once();
    rig.unread = 5;
    rig.pass(IDLE + 4 * TICK);
    assert!(!rig.is_ended() && rig.looks > 0);
    rig.unread = 0;
    rig.hears_frame(0x8A, b"there");
    rig.pass(IDLE - 4 * TICK);
    assert!(!rig.is_ended());
    rig.pass(8 * TICK);
    assert!(rig.is_ended());
}

#[test]
fn bytes_that_the_kernel_lets_go_of_are_progress() {
    let mut rig = Rig::new(|_| ());
    rig.blocks(100_000);
    rig.untaken = 1_000_000;
    // The whole send does not get an inch further in our own memory.
    for _ in 0..100 {
        rig.untaken -= 1000;
        rig.pass(IDLE / 8);
    }
    assert!(!rig.is_ended());
    assert!(rig.looks < 100, "{} looks", rig.looks);
    // And then it stops.
    rig.pass(IDLE * 3 / 2);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn parts_of_a_send_are_progress() {
    let mut rig = Rig::new(|_| ());
    rig.blocks(100_000);
    for _ in 0..40 {
        rig.shard.took(rig.id, 1000);
        // What the kernel took from us it holds now.
        rig.untaken += 1000;
        rig.pass(IDLE / 2);
        assert!(!rig.is_ended());
    }
}

#[test]
fn one_that_takes_nothing_is_found_even_where_nothing_blocked() {
    let mut rig = Rig::new(|_| ());
    // Its answer is not taken, nor are our pings.
    rig.stuck = true;
    rig.hears_frame(0x81, b"an answer");
    rig.pass(IDLE * 3 / 2);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn nobody_is_silent_who_is_not_listened_to() {
    let mut rig = Rig::new(|_| ());
    assert_eq!(rig.hears_frame(0x81, b"hold"), ReadInterest::Nothing);
    rig.unread = 100;
    rig.pass(10 * IDLE);
    assert!(!rig.is_ended());
    // But output that it takes nothing of ends it.
    rig.stuck = true;
    rig.pass(2 * IDLE + PING + 4 * TICK);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn the_time_to_close_runs_from_the_last_byte_that_was_taken() {
    for starts in [true, false] {
        let mut rig = Rig::new(|_| ());
        rig.blocks(1_000_000);
        if starts {
            rig.hears_frame(0x81, b"close");
        } else {
            rig.hears_frame(0x88, b"");
        }
        for _ in 0..10 {
            rig.pass(CLOSE * 3 / 4);
            assert!(!rig.is_ended(), "it takes what waits");
            rig.shard.took(rig.id, 10_000);
        }
        // All is given to the kernel, and the peer takes it from there.
        assert!(rig.shard.sent(rig.id, &mut rig.sends, rig.now).is_some(), "our Close");
        assert!(rig.shard.sent(rig.id, &mut rig.sends, rig.now).is_none());
        rig.untaken = 1_000_000;
        for _ in 0..10 {
            rig.untaken -= 10_000;
            rig.pass(CLOSE * 3 / 4);
            assert!(rig.done.iter().all(is_shutdown), "{:?}", rig.done);
        }
        rig.pass(CLOSE * 3 / 2);
        assert!(matches!(rig.done.last(), Some(Action::Close(_))), "{:?}", rig.done);
    }
}

#[test]
fn after_a_late_wake_everybody_is_asked_before_anybody_is_silent() {
    let mut rig = Rig::new(|_| ());
    rig.pass(TICK);
    rig.sent.clear();
    // Stopped for longer than anybody may be silent.
    rig.turn(2 * IDLE);
    assert!(!rig.is_ended());
    assert_eq!(rig.sent, [0x89, 0], "a ping");
    rig.pass(PING - 2 * TICK);
    rig.hears_frame(0x8A, b"");
    rig.pass(IDLE - 2 * TICK);
    assert!(!rig.is_ended());
    // Without an answer it is over when that time is.
    rig.turn(2 * IDLE);
    assert!(!rig.is_ended());
    rig.pass(PING + 4 * TICK);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

#[test]
fn tcp_is_closed_at_once_only_where_nothing_can_be_lost() {
    // Both Closes are through, and little was ever said.
    let mut rig = Rig::new(|_| ());
    rig.hears_frame(0x88, b"");
    rig.finish_turn();
    assert!(matches!(rig.done[..], [Action::Close(_)]), "{:?}", rig.done);
    // Much was said, which may be unread.
    let mut rig = Rig::new(|_| ());
    for _ in 0..400 {
        rig.hears_frame(0x82, &[7; 100]);
        rig.settle();
    }
    rig.hears_frame(0x88, b"");
    rig.finish_turn();
    assert!(matches!(rig.done[..], [Action::Shutdown(_)]), "{:?}", rig.done);
    // The application ends it, and the peer may be talking.
    let mut rig = Rig::new(|_| ());
    rig.hears_frame(0x81, b"end");
    rig.finish_turn();
    assert!(matches!(rig.done[..], [Action::Shutdown(_)]), "{:?}", rig.done);
}

#[test]
fn tcp_is_closed_at_once_behind_a_kibibyte_and_no_more() {
    for (more, at_once) in [(0, true), (1, false)] {
        let mut rig = Rig::new(|_| ());
        // A header of four bytes, and our Close of two.
        let len = 1024 - rig.handed() as usize - 6 + more;
        rig.says(len);
        rig.hears_frame(0x88, b"");
        rig.finish_turn();
        assert_eq!(rig.handed() as usize, 1024 + more);
        let closes = matches!(rig.done[..], [Action::Close(_)]);
        assert!(closes == at_once && closes != is_shutdown(&rig.done[0]), "{:?}", rig.done);
    }
}

#[test]
fn what_the_kernel_does_not_let_go_of_is_asked_for_again() {
    let mut rig = Rig::new(|_| ());
    rig.hears_frame(0x88, b"");
    rig.pass(5 * CLOSE);
    assert!(rig.done.len() >= 4 && rig.done.iter().all(|one| matches!(one, Action::Close(_))));
    rig.shard.released(rig.id);
    let asked = rig.done.len();
    rig.pass(5 * CLOSE);
    assert_eq!(rig.done.len(), asked);
}

#[test]
fn a_look_that_nobody_answers_holds_nothing_up() {
    let mut rig = Rig::new(|_| ());
    let until = rig.now + IDLE * 3 / 2;
    while rig.now < until {
        rig.now += TICK;
        rig.shard.turn_began(rig.now);
        while let Some(action) = rig.shard.poll_action() {
            rig.looks += u32::from(matches!(action, Action::Look(_)));
        }
        rig.shard.run(&mut rig.sends, rig.now);
        rig.settle();
    }
    assert!(rig.looks > 0);
    assert_eq!(rig.closed(CloseReason::Idle), 1);
}

/// Each fault of this part, put back, fails one of the tests above.
#[cfg(feature = "sim")]
#[test]
fn faults_that_are_put_back_are_found() {
    use crate::fault::{Fault, put_back};

    let cases: [(Fault, fn()); 7] = [
        (Fault::ProgressOnlyWhenAllLeft, parts_of_a_send_are_progress),
        (Fault::CloseTimeoutFromQueueing, the_time_to_close_runs_from_the_last_byte_that_was_taken),
        (
            Fault::SentIsSeenAtTheEnd,
            what_is_sent_in_between_ends_silence_a_quarter_of_the_timeout_later_at_most,
        ),
        (Fault::NoLookBeforeDeadline, what_waits_to_be_read_is_read_first),
        (Fault::SilenceWhileNotReading, nobody_is_silent_who_is_not_listened_to),
        (
            Fault::NoGraceAfterLateWake,
            after_a_late_wake_everybody_is_asked_before_anybody_is_silent,
        ),
        (Fault::ResetOnUnread, tcp_is_closed_at_once_only_where_nothing_can_be_lost),
    ];
    for (fault, test) in cases {
        let found = std::thread::spawn(move || {
            put_back(fault);
            test();
        });
        assert!(found.join().is_err(), "nobody sees {fault:?}");
    }
}

#[test]
fn late_wakes_keep_no_connection_that_ends_for_long() {
    let mut rig = Rig::new(|config| config.ping_interval = 100 * CLOSE);
    // Unmasked: that is an error, and we wait for its end of TCP.
    rig.hears(b"\x81\x01x");
    rig.turn(TICK);
    assert!(rig.shard.table.find(rig.id).is_some(), "its end is waited for");
    // The process was stopped, and whoever is connected may have spoken meanwhile.
    rig.turn(3 * CLOSE);
    assert!(!rig.done.contains(&Action::Close(rig.id)), "it has time to take what it was told");
    rig.pass(CLOSE * 3 / 2 + 4 * TICK);
    assert!(rig.done.contains(&Action::Close(rig.id)), "and no more than that: {:?}", rig.done);
}

#[test]
fn a_pause_is_counted_where_a_send_blocks() {
    let mut rig = Rig::new(|_| ());
    rig.blocks(1_000_000);
    assert_eq!(rig.shard.context.counters.read_pauses, 1, "nothing is read any more");
    rig.shard.took(rig.id, 10_000);
    assert_eq!(rig.shard.context.counters.read_pauses, 1, "it is the same pause");
}
