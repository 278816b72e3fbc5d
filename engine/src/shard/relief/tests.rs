//! A shard driven from memory, by a driver that counts on its peers for nothing.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::config::{Compression, Config};
use crate::conn::{Message, Reassembly};
use crate::handler::{Handler, Serve, WebSocket};
use crate::handshake::UpgradeRequest;
use crate::hub::Hub;
use crate::outcome::{Accept, CloseReason, Reject};
use crate::shard::Shard;
use crate::shard::machine::{Action, Machine, ReadInterest};
use crate::shard::send::Transmit;
use crate::shard::send_batch::{Lease, SendBatch};
use crate::shard::table::ConnectionId;

/// Echoes what is binary and publishes what is text.
#[derive(Debug)]
struct Both {
    closed: Rc<RefCell<Vec<(u32, CloseReason)>>>,
    opened: u32,
}

impl Handler for Both {
    type Data = u32;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<u32>, Reject> {
        self.opened += 1;
        Ok(Accept::new(self.opened - 1))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, u32>) {
        if let Some(topic) = ws.topic("all") {
            ws.subscribe(topic);
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, u32>, message: Message<'_>) {
        match message {
            Message::Text(_) => {
                if let Some(topic) = ws.topic("all") {
                    let _ = ws.publish(topic, message);
                }
            }
            Message::Binary(_) => {
                let _ = ws.send(message);
            }
        }
    }

    fn on_close(&mut self, data: u32, reason: CloseReason) {
        self.closed.borrow_mut().push((data, reason));
    }
}

/// What a driver has of a connection.
#[derive(Default)]
struct Socket {
    /// The peer does not read.
    stuck: bool,
    sending: Option<Transmit>,
    /// A message's memory is out, and the end waits for it.
    out: bool,
    closing: bool,
}

struct Rig {
    shard: Shard<Serve<Both>>,
    sends: SendBatch,
    now: Instant,
    sockets: BTreeMap<u32, (ConnectionId, Socket)>,
    closed: Rc<RefCell<Vec<(u32, CloseReason)>>>,
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";

/// A frame of a client, with `len` bytes announced; of them so many are there.
fn frame(first: u8, len: usize, there: usize) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | 127];
    frame.extend_from_slice(&(len as u64).to_be_bytes());
    if let Ok(short) = u16::try_from(len) {
        frame.truncate(1);
        if short < 126 {
            frame.push(0x80 | u8::try_from(short).expect("it is short"));
        } else {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&short.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.resize(frame.len() + there.min(len), b'x');
    frame
}

const TEXT: u8 = 0x81;
const BINARY: u8 = 0x82;

impl Rig {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let closed = Rc::default();
        let handler = Both { closed: Rc::clone(&closed), opened: 0 };
        let hub = Arc::new(Hub::new(1, 16).expect("a waker"));
        let settings = Arc::new(Config::default().with(change));
        let now = Instant::now();
        let shard = Shard::new(Serve(handler), settings, hub, 0, now);
        let mut rig =
            Self { shard, sends: SendBatch::default(), now, sockets: BTreeMap::new(), closed };
        rig.turn();
        rig
    }

    fn connect(&mut self) -> u32 {
        let id = self.shard.accepted(0, &mut self.sends, self.now).expect("room");
        let n = u32::try_from(self.sockets.len()).expect("a few");
        let n = self.sockets.keys().last().map_or(n, |last| last + 1);
        self.sockets.insert(n, (id, Socket::default()));
        self.receive(n, REQUEST);
        n
    }

    fn receive(&mut self, n: u32, bytes: &[u8]) -> ReadInterest {
        let Some((id, _)) = self.sockets.get(&n) else { return ReadInterest::Nothing };
        let mut bytes = bytes.to_vec();
        self.shard.received(*id, &mut bytes, &Lease::NOWHERE, &mut self.sends, self.now)
    }

    /// As a driver with `ReadInterest::Direct` does: the memory is out for a while.
    fn receive_direct(&mut self, n: u32, bytes: usize) {
        let Some((id, memory, room)) = self.take_direct(n) else { return };
        self.turn();
        self.return_direct(n, id, memory, bytes.min(room));
    }

    fn take_direct(&mut self, n: u32) -> Option<(ConnectionId, Box<Reassembly>, usize)> {
        let (id, socket) = self.sockets.get_mut(&n)?;
        let (mut memory, remaining) = self.shard.take_direct(*id)?;
        let room = memory.spare(remaining).len();
        socket.out = true;
        Some((*id, memory, room))
    }

    fn return_direct(&mut self, n: u32, id: ConnectionId, memory: Box<Reassembly>, bytes: usize) {
        self.shard.received_direct(id, memory, bytes, &mut self.sends, self.now);
        let Some((_, socket)) = self.sockets.get_mut(&n) else { return };
        socket.out = false;
        if socket.closing {
            self.sockets.remove(&n);
            self.shard.released(id);
        }
    }

    /// Sends the turn and has the shard do what is due.
    fn turn(&mut self) {
        self.shard.run(&mut self.sends, self.now);
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let Some((id, socket)) =
                self.sockets.values_mut().find(|(id, socket)| *id == entry.id && socket.stuck)
            else {
                continue;
            };
            let sent = entry.bytes as usize / 3;
            let rest = self.sends.take_rest(&entry, sent, |_, start, end, out| {
                out.resize(out.len() + end - start, 0);
            });
            self.shard.blocked(*id, rest.bytes(), rest.footprint());
            assert!(socket.sending.replace(rest).is_none(), "one send at a time");
        }
        self.sends.took_lease();
        self.sends.clear();
        self.shard.settled();
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.shard.poll_action() {
            match action {
                Action::Close(id) => {
                    let found = self.sockets.iter_mut().find(|(_, (of, _))| *of == id);
                    let Some((n, (_, socket))) = found else { continue };
                    if socket.out {
                        socket.closing = true;
                        continue;
                    }
                    let n = *n;
                    self.sockets.remove(&n);
                    self.shard.released(id);
                }
                Action::Shutdown(id) => self.shard.hung_up(id, None, &mut self.sends, self.now),
                _ => {}
            }
        }
    }

    /// The peer reads everything that waits.
    fn read(&mut self, n: u32) {
        let Some((id, socket)) = self.sockets.get_mut(&n) else { return };
        let id = *id;
        socket.stuck = false;
        while let Some((_, socket)) = self.sockets.get_mut(&n)
            && socket.sending.take().is_some()
        {
            let next = self.shard.sent(id, &mut self.sends, self.now);
            if let Some((_, socket)) = self.sockets.get_mut(&n) {
                socket.sending = next;
            }
        }
    }

    fn stick(&mut self, n: u32) {
        if let Some((_, socket)) = self.sockets.get_mut(&n) {
            socket.stuck = true;
        }
    }

    fn hang_up(&mut self, n: u32) {
        if let Some((id, socket)) = self.sockets.get_mut(&n) {
            socket.sending = None;
            self.shard.hung_up(*id, Some(libc::ECONNRESET), &mut self.sends, self.now);
        }
    }

    fn held(&self) -> usize {
        self.shard.context.memory.held()
    }

    /// The connections that were ended for what they held.
    fn ended(&self) -> Vec<u32> {
        let closed = self.closed.borrow();
        closed.iter().filter(|one| one.1 == CloseReason::Memory).map(|one| one.0).collect()
    }

    /// Ends everything; what is held then is what is kept for reuse.
    fn end(mut self) {
        let all: Vec<_> = self.sockets.keys().copied().collect();
        for n in all {
            self.hang_up(n);
        }
        while self.shard.snapshot().open > 0 {
            self.turn();
        }
        for _ in 0..3 {
            self.now += Duration::from_secs(2);
            self.turn();
        }
        let ledger = self.shard.context.memory.clone();
        assert!(ledger.held() <= 600 << 10, "{} bytes are kept", ledger.held());
        let Self { mut sends, mut shard, .. } = self;
        sends.drop_spares();
        drop(sends);
        shard.context.deflate_pool.tidy();
        shard.context.deflate_pool.tidy();
        shard.count_others();
        assert_eq!(ledger.held(), 0, "something was taken and never given back");
    }
}

#[test]
fn the_largest_holders_go_first_and_small_ones_never() {
    let mut rig = Rig::new(|config| config.memory_budget = Some(1 << 20));
    let sizes = [900, 100_000, 2_000, 300_000, 0, 200_000, 50_000, 260_000];
    let all: Vec<_> = sizes.iter().map(|_| rig.connect()).collect();
    rig.turn();
    for (n, size) in all.iter().zip(sizes) {
        rig.receive(*n, &frame(BINARY, 1 << 20, size));
        rig.turn();
    }
    assert!(rig.ended().is_empty(), "{} bytes", rig.held());
    // One more makes it too much, and the largest of all goes.
    let last = rig.connect();
    rig.receive(last, &frame(BINARY, 1 << 20, 150_000));
    rig.turn();
    assert_eq!(rig.ended(), [3]);
    assert!(rig.held() <= (7 << 20) / 8, "{} bytes", rig.held());
    // The others go on.
    rig.receive(all[4], &frame(BINARY, 10, 10));
    rig.turn();
    assert_eq!(rig.sockets.len(), sizes.len());
    rig.end();
}

#[test]
fn memory_that_is_out_to_be_received_into_counts_for_its_connection() {
    let mut rig = Rig::new(|config| config.memory_budget = Some(1 << 20));
    let (large, other) = (rig.connect(), rig.connect());
    assert_eq!(rig.receive(large, &frame(BINARY, 1 << 20, 300_000)), ReadInterest::Direct);
    let (id, memory, _) = rig.take_direct(large).expect("it is in the middle of one");
    rig.receive(other, &frame(BINARY, 1 << 20, 250_000));
    let third = rig.connect();
    rig.receive(third, &frame(BINARY, 1 << 20, 250_000));
    rig.turn();
    assert_eq!(rig.ended(), [large]);
    // And it is not forgotten that it will come back: nobody else has to go meanwhile.
    rig.turn();
    assert_eq!(rig.ended(), [large]);
    rig.return_direct(large, id, memory, 1000);
    rig.turn();
    rig.end();
}

#[test]
fn who_does_not_read_goes_before_those_who_share_with_many() {
    let mut rig = Rig::new(|config| {
        config.memory_budget = Some(3 << 20);
        config.pause_reading_bytes = 4 << 20;
        config.max_outbound_bytes = 4 << 20;
    });
    // Ten that share one publication of a megabyte, and one that has its own echoes to read.
    let shared: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    let publisher = rig.connect();
    rig.turn();
    shared.iter().for_each(|n| rig.stick(*n));
    rig.receive(publisher, &frame(TEXT, 1 << 20, 1 << 20));
    rig.turn();
    rig.turn();
    let own = rig.connect();
    rig.turn();
    rig.stick(own);
    for _ in 0..4 {
        rig.receive(own, &frame(BINARY, 700_000, 700_000));
        rig.turn();
        rig.turn();
    }
    assert_eq!(rig.ended(), [own], "{} bytes", rig.held());
    rig.end();
}

#[test]
fn empty_publications_cost_what_they_take() {
    let mut rig = Rig::new(|config| config.memory_budget = Some(64 << 20));
    let subscribers: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    let publisher = rig.connect();
    rig.turn();
    subscribers.iter().for_each(|n| rig.stick(*n));
    rig.receive(publisher, &frame(TEXT, 1000, 1000));
    rig.turn();
    let before = rig.held();
    for _ in 0..10_000 {
        rig.receive(publisher, &frame(TEXT, 0, 0));
        rig.turn();
    }
    let each = (rig.held() - before) / (10 * 10_000);
    assert!(each <= 4, "{each} bytes for a frame of two");
    rig.end();
}

#[test]
fn publications_that_take_turns_count_their_authors() {
    let mut rig = Rig::new(|config| config.memory_budget = Some(32 << 20));
    let (one, other) = (rig.connect(), rig.connect());
    rig.turn();
    // Nothing leaves meanwhile.
    while rig.shard.snapshot().counters.publications_refused == 0 {
        for n in [one, other] {
            rig.receive(n, &frame(TEXT, 0, 0).repeat(100));
        }
        rig.shard.round.next();
        assert!(rig.held() <= 33 << 20, "{} bytes", rig.held());
    }
    rig.turn();
    rig.end();
}

#[test]
fn what_was_not_needed_for_a_while_is_given_back() {
    let mut rig = Rig::new(|config| config.memory_budget = Some(1 << 30));
    let all: Vec<_> = (0..200).map(|_| rig.connect()).collect();
    rig.turn();
    for n in &all {
        rig.receive(*n, &frame(BINARY, 200_000, 199_999));
    }
    for n in &all {
        rig.receive(*n, b"x");
    }
    rig.turn();
    assert!(rig.held() > 4 << 20, "spare memory is kept: {}", rig.held());
    // What is used in between stays.
    for _ in 0..5 {
        rig.now += Duration::from_millis(600);
        for n in &all[..20] {
            rig.receive(*n, &frame(BINARY, 200_000, 199_999));
        }
        for n in &all[..20] {
            rig.receive(*n, b"x");
        }
        rig.turn();
    }
    let used = rig.held();
    assert!(used > 3 << 20 && used < 6 << 20, "{used}");
    for n in all {
        rig.hang_up(n);
    }
    for _ in 0..4 {
        rig.now += Duration::from_secs(1);
        rig.turn();
    }
    assert!(rig.held() <= 600 << 10, "{}", rig.held());
    assert_eq!(rig.shard.tidying.at, None, "nothing wakes an idle shard");
    rig.end();
}

#[derive(Debug, Clone, Copy)]
struct Step {
    what: u8,
    who: u8,
    size: u32,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0_u8..12, 0_u8..8, 0_u32..200_000).prop_map(|(what, who, size)| Step {
        what,
        who,
        size: size >> (who % 4 * 4),
    });
    proptest::collection::vec(step, 0..150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: the budget holds, and everything is given back in the end.
    #[test]
    fn everything_comes_back(steps in steps(), budget in 1_usize..20) {
        let budget = budget << 18;
        let mut rig = Rig::new(|config| {
            config.memory_budget = Some(budget);
            config.max_outbound_bytes = 1 << 20;
            config.compression = Some(Compression::default());
        });
        for step in steps {
            let n = u32::from(step.who);
            let size = step.size as usize;
            let whole = size.max(1);
            match step.what {
                0 => { rig.connect(); }
                1 => { rig.receive(n, &frame(BINARY, whole, whole)); }
                2 => { rig.receive(n, &frame(BINARY, whole + 300_000, size)); }
                3 => { rig.receive(n, &frame(0x02, size, size)); }
                4 => { rig.receive(n, &vec![b'x'; size]); }
                5 => { rig.receive(n, &frame(TEXT, size, size)); }
                6 => rig.receive_direct(n, size),
                7 => rig.stick(n),
                8 => rig.read(n),
                9 => rig.hang_up(n),
                10 => rig.now += Duration::from_millis(u64::from(step.size) / 50),
                _ => { rig.receive(n, &frame(0x89, size % 126, 125)); }
            }
            rig.turn();
            // No more is taken before it is looked at again than one step and its answers take.
            prop_assert!(rig.held() <= budget + (2 << 20), "{} of {budget}", rig.held());
        }
        rig.end();
    }
}
