//! A shard driven from memory, whose messages are counted turn by turn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{SLICE_MAX, SLICE_MIN, TURN_STEPS};
use crate::config::{Compression, Config};
use crate::conn::{Deflater, Message};
use crate::handler::{Handler, Serve, WebSocket};
use crate::handshake::UpgradeRequest;
use crate::hub::Hub;
use crate::outcome::{Accept, CloseReason, Reject};
use crate::shard::Shard;
use crate::shard::machine::{Action, Machine, Next, ReadInterest};
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;

/// What happened to a connection, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Said {
    Message(Vec<u8>),
    Closed(CloseReason),
}

type Log = Rc<RefCell<BTreeMap<u32, Vec<Said>>>>;

/// Echoes, and keeps a record; `hold` in a message has the reading held.
struct Recorder {
    log: Log,
    opened: u32,
}

impl Handler for Recorder {
    type Data = u32;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<u32>, Reject> {
        self.opened += 1;
        Ok(Accept::new(self.opened - 1))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, u32>, message: Message<'_>) {
        let payload = message.payload().to_vec();
        if payload == b"hold" {
            ws.hold_reading(true);
        }
        let _ = ws.send(message);
        self.log.borrow_mut().entry(*ws.data()).or_default().push(Said::Message(payload));
    }

    fn on_close(&mut self, data: u32, reason: CloseReason) {
        self.log.borrow_mut().entry(data).or_default().push(Said::Closed(reason));
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

struct Rig {
    shard: Shard<Serve<Recorder>>,
    sends: SendBatch,
    now: Instant,
    ids: Vec<ConnectionId>,
    log: Log,
    /// How connections want to receive since they were asked to say so anew.
    wants: BTreeMap<u32, ReadInterest>,
    gone: Vec<ConnectionId>,
}

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let log = Log::default();
        let handler = Recorder { log: Rc::clone(&log), opened: 0 };
        let hub = Arc::new(Hub::new(1, 16).expect("a waker"));
        let settings = Arc::new(Config::default().with(change));
        let now = Instant::now();
        let shard = Shard::new(Serve(handler), settings, hub, 0, now);
        let (sends, ids, wants, gone) = Default::default();
        Self { shard, sends, now, ids, log, wants, gone }
    }

    fn connect(&mut self) -> u32 {
        let id = self.shard.accepted(0, &mut self.sends, self.now).expect("room");
        self.ids.push(id);
        let n = u32::try_from(self.ids.len() - 1).expect("a few");
        self.receive(n, REQUEST);
        n
    }

    fn id(&self, n: u32) -> ConnectionId {
        self.ids[n as usize]
    }

    fn receive(&mut self, n: u32, bytes: &[u8]) -> ReadInterest {
        let (id, mut bytes) = (self.id(n), bytes.to_vec());
        self.shard.received(id, &mut bytes, &Lease::NOWHERE, &mut self.sends, self.now)
    }

    /// A turn of the loop, whose sends all go through.
    fn turn(&mut self) -> Next {
        let next = self.shard.run(&mut self.sends, self.now);
        self.sends.took_lease();
        self.sends.clear();
        self.shard.settled();
        while let Some(action) = self.shard.poll_action() {
            match action {
                Action::Receive(id) => {
                    let n = self.ids.iter().position(|one| *one == id).expect("one of ours");
                    let want = self.shard.want(id);
                    self.wants.insert(u32::try_from(n).expect("a few"), want);
                }
                Action::Shutdown(id) => self.shard.hung_up(id, None, &mut self.sends, self.now),
                Action::Close(id) => {
                    self.gone.push(id);
                    self.shard.released(id);
                }
                _ => {}
            }
        }
        next
    }

    /// How many messages a connection has been heard to say.
    fn count(&self, n: u32) -> usize {
        self.log.borrow().get(&n).map_or(0, Vec::len)
    }

    fn said(&self, n: u32) -> Vec<Said> {
        self.log.borrow().get(&n).cloned().unwrap_or_default()
    }

    fn held(&self) -> usize {
        self.shard.context.memory.held()
    }
}

/// A frame of a client, whose key is zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(len @ 0..126) => frame.push(0x80 | len),
        _ => {
            frame.push(0x80 | 126);
            let len = u16::try_from(payload.len()).expect("a short message");
            frame.extend_from_slice(&len.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;
const COMPRESSED: u8 = 0xC2;
const CLOSE: u8 = 0x88;

fn empty(count: usize) -> Vec<u8> {
    frame(BINARY, b"").repeat(count)
}

const MOST: usize = SLICE_MAX as usize;

#[test]
fn a_read_that_says_much_is_read_in_slices_in_order() {
    let mut rig = Rig::new(|_| ());
    let (one, other) = (rig.connect(), rig.connect());
    let count = 5 * MOST + 7;
    let said: Vec<_> = (0..count).map(|n| Said::Message(n.to_string().into_bytes())).collect();
    let bytes: Vec<u8> = (0..count).flat_map(|n| frame(TEXT, n.to_string().as_bytes())).collect();
    assert_eq!(rig.receive(one, &bytes), ReadInterest::Nothing, "it has enough");
    assert_eq!(rig.count(one), MOST);
    let mut before = MOST;
    for sends in 0.. {
        // A neighbour's turn comes whatever the other has left.
        rig.receive(other, &frame(TEXT, b"me"));
        assert_eq!(rig.count(other), sends + 1);
        if before == count {
            break;
        }
        // Not in the same turn as the first slice.
        let most = if sends == 0 { 0 } else { MOST };
        let next = rig.turn();
        let now = rig.count(one);
        assert!(now - before <= most, "{before} to {now} in turn {sends}");
        assert!(next.busy || now == count, "whoever has input left is served at once");
        before = now;
    }
    assert_eq!(rig.said(one), said);
    assert_eq!(rig.wants[&one], ReadInterest::SmallOnce, "in little memory, for a while");
    for n in 0..16 {
        assert_ne!(rig.receive(one, &empty(1)), ReadInterest::Nothing, "{n}");
    }
    assert_eq!(rig.receive(one, &empty(1)), ReadInterest::Small, "it behaves");
}

#[test]
fn many_small_reads_of_one_turn_are_one_slice() {
    let mut rig = Rig::new(|_| ());
    let one = rig.connect();
    for _ in 0..100 {
        rig.receive(one, &empty(60));
    }
    assert_eq!(rig.count(one), MOST);
    while rig.turn().busy {}
    assert_eq!(rig.count(one), 6000);
    assert_eq!(rig.shard.snapshot().counters.reads_deferred, 1, "the others stood behind it");
}

#[test]
fn the_more_want_much_the_less_each_gets() {
    let mut rig = Rig::new(|_| ());
    let all: Vec<_> = (0..300).map(|_| rig.connect()).collect();
    for n in &all {
        rig.receive(*n, &empty(3000));
    }
    rig.turn();
    let mut before: usize = all.iter().map(|n| rig.count(*n)).sum();
    for sends in 0..20 {
        rig.turn();
        let now: usize = all.iter().map(|n| rig.count(*n)).sum();
        let most = (TURN_STEPS + SLICE_MIN) as usize;
        assert!(now - before <= most, "{} messages in turn {sends}", now - before);
        before = now;
    }
    // Nobody is passed over.
    let counts: Vec<_> = all.iter().map(|n| rig.count(*n)).collect();
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(least >= Some(&(MOST + SLICE_MIN as usize)), "{counts:?}");
    assert!(most <= Some(&(MOST + 6 * SLICE_MIN as usize)), "{counts:?}");
    while rig.turn().busy {}
    assert!(all.iter().all(|n| rig.count(*n) == 3000));
}

#[test]
fn what_was_compressed_well_is_inflated_in_slices() {
    let mut rig = Rig::new(|config| config.compression = Some(Compression::default()));
    let (one, other) = (rig.connect(), rig.connect());
    let mut zeros = Vec::new();
    Deflater::new(15, 6).deflate(&vec![0; 1 << 20], &mut zeros);
    let bomb = frame(COMPRESSED, &zeros).repeat(3);
    rig.receive(one, &bomb);
    rig.turn();
    let mut turns = 0;
    while rig.count(one) < 3 {
        rig.receive(other, &frame(TEXT, b"me"));
        assert!(rig.turn().busy);
        turns += 1;
    }
    // Three mebibytes, in slices of 128 KiB; and what the answers took to compress.
    assert!((88..100).contains(&turns), "3 times 8 and twice 32: {turns}");
    assert_eq!(rig.count(other), turns);
    assert!(rig.said(one).iter().all(|said| *said == Said::Message(vec![0; 1 << 20])));
}

#[test]
fn the_end_of_a_peer_waits_for_what_it_said_before() {
    for error in [None, Some(libc::ECONNRESET)] {
        let mut rig = Rig::new(|_| ());
        let one = rig.connect();
        rig.receive(one, &empty(3 * MOST));
        let id = rig.id(one);
        rig.shard.hung_up(id, error, &mut rig.sends, rig.now);
        assert_eq!(rig.count(one), MOST);
        for _ in 0..10 {
            rig.turn();
        }
        let said = rig.said(one);
        let reason = error.map_or(CloseReason::HungUp, CloseReason::Transport);
        assert_eq!(said.len(), 3 * MOST + 1);
        assert_eq!(said.last(), Some(&Said::Closed(reason)));
        assert_eq!(rig.gone, [id]);
    }
}

#[test]
fn what_is_behind_a_close_or_a_failure_is_dropped() {
    for (last, frames) in [(CLOSE, 1), (0x83, 1)] {
        let mut rig = Rig::new(|_| ());
        let one = rig.connect();
        let bytes = [empty(2 * MOST), frame(last, b"").repeat(frames), empty(2 * MOST)].concat();
        rig.receive(one, &bytes);
        for _ in 0..10 {
            rig.turn();
        }
        let said = rig.said(one);
        assert_eq!(said.len(), 2 * MOST + 1, "{last:x}");
        assert!(matches!(said.last(), Some(Said::Closed(_))), "{last:x}");
        assert_eq!(rig.gone, [rig.id(one)]);
        assert_eq!(rig.shard.snapshot().open, 0);
    }
}

#[test]
fn input_waits_while_its_connection_is_not_read_from() {
    let mut rig = Rig::new(|_| ());
    let one = rig.connect();
    let bytes = [empty(MOST), frame(TEXT, b"hold"), empty(2 * MOST)].concat();
    rig.receive(one, &bytes);
    rig.turn();
    assert!(rig.turn().busy, "the slice with the message that says so");
    let held = rig.count(one);
    // What was in the same slice is delivered all the same.
    assert_eq!(held, 2 * MOST);
    for _ in 0..5 {
        assert!(!rig.turn().busy, "there is nothing to do");
        assert_eq!(rig.count(one), held);
    }
    let id = rig.id(one);
    let slot = rig.shard.table.find(id).expect("it is open");
    slot.side.hold = super::super::slot::Hold::default();
    rig.shard.unpark(id);
    for _ in 0..5 {
        rig.turn();
    }
    assert_eq!(rig.count(one), 3 * MOST + 1);
}

#[test]
fn input_that_waits_counts_as_memory_and_goes_with_its_connection() {
    let mut rig = Rig::new(|_| ());
    let one = rig.connect();
    rig.turn();
    let before = rig.held();
    let bytes = empty(10_000);
    rig.receive(one, &bytes);
    assert!(rig.held() - before >= bytes.len() - 6 * MOST, "{} bytes", rig.held() - before);
    let id = rig.id(one);
    rig.shard.finish(id, CloseReason::Ended, super::Ending::Now);
    for _ in 0..3 {
        rig.turn();
    }
    rig.now += Duration::from_secs(5);
    rig.turn();
    assert_eq!(rig.gone, [id]);
    assert!(rig.held() <= before + 4096, "{} bytes are kept", rig.held() - before);
}

#[test]
fn why_it_ended_is_what_it_said_last_and_not_the_end_behind_it() {
    for (last, error) in [(0x83, None), (0x83, Some(libc::ECONNRESET)), (CLOSE, None)] {
        let mut rig = Rig::new(|_| ());
        let one = rig.connect();
        rig.receive(one, &[empty(MOST + 10), frame(last, b"")].concat());
        let id = rig.id(one);
        rig.shard.hung_up(id, error, &mut rig.sends, rig.now);
        for _ in 0..5 {
            rig.turn();
        }
        let said = rig.said(one);
        let expected = |reason: &CloseReason| match reason {
            CloseReason::Protocol(_) => last != CLOSE,
            CloseReason::Clean(_) => last == CLOSE,
            _ => false,
        };
        assert!(
            matches!(said.last(), Some(Said::Closed(reason)) if expected(reason)),
            "{last:x} {error:?}: {:?}",
            said.last()
        );
        assert!(rig.gone.contains(&id));
    }
}

#[test]
fn those_that_are_not_read_from_are_not_in_line() {
    let mut rig = Rig::new(|_| ());
    let all: Vec<_> = (0..200).map(|_| rig.connect()).collect();
    let bytes = [empty(MOST - 1), frame(TEXT, b"hold"), empty(2 * MOST)].concat();
    for n in &all {
        rig.receive(*n, &bytes);
    }
    for _ in 0..300 {
        rig.turn();
    }
    assert!(rig.shard.round.queue.is_empty(), "nobody can go on");
    // Others have the whole turn.
    let other = rig.connect();
    rig.receive(other, &empty(3 * MOST));
    assert_eq!(rig.count(other), MOST);
    // Whoever ends gives back what it had left.
    let before = rig.held();
    for n in &all {
        let id = rig.id(*n);
        rig.shard.hung_up(id, Some(libc::ECONNRESET), &mut rig.sends, rig.now);
    }
    for _ in 0..300 {
        rig.turn();
    }
    assert!(rig.held() < before && rig.shard.snapshot().open == 1);
    assert!(all.iter().all(|n| rig.count(*n) == 3 * MOST + 1), "and what it said is delivered");
}

#[cfg(feature = "sim")]
#[test]
fn with_the_fault_back_one_read_takes_as_long_as_it_takes() {
    use crate::fault::{self, Fault};
    fault::put_back(Fault::NoSlices);
    let mut rig = Rig::new(|_| ());
    let one = rig.connect();
    rig.receive(one, &empty(5 * MOST));
    assert_eq!(rig.count(one), 5 * MOST);
    fault::put_back(Fault::None);
}

#[test]
fn steps_of_compression_add_up_to_no_overflow() {
    let mut rig = Rig::new(|config| config.compression = Some(Compression::default()));
    let n = rig.connect();
    rig.turn();
    let id = rig.id(n);
    let context = &mut rig.shard.context;
    context.spent = u32::MAX - 1;
    let slot = rig.shard.table.find(id).expect("it is there");
    let data = slot.data.as_mut().expect("it is open");
    let mut ws = WebSocket::new(id, data, &mut slot.side, &mut rig.sends, context);
    for _ in 0..2 {
        ws.send(Message::Binary(&[b'x'; 4096])).expect("room");
    }
    assert_eq!(rig.shard.context.spent, u32::MAX);
    assert!(rig.sends.bytes() < 4096, "it is compressed");
}
