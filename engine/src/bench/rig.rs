//! A server's shard with sockets of memory, driven step by step: for fuzzing.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::handler::{Handler, Serve};
use crate::hub::{Hub, Publisher, Remote};
use crate::metrics::Snapshot;
use crate::shard::Shard;
use crate::shard::machine::{Action, Look, Machine as _, ReadInterest};
use crate::shard::send::Transmit;
use crate::shard::send_batch::{Entry, Lease, Segment, SendBatch, Source};
use crate::shard::table::ConnectionId;

/// Most bytes of one read.
const READ: usize = 4096;
/// A drain and the end of every connection take no more turns than this.
const TURNS_MAX: usize = 10_000;

/// One peer's socket.
#[derive(Debug)]
struct Socket {
    id: ConnectionId,
    want: ReadInterest,
    /// What the peer sent and the shard has not read.
    unread: Vec<u8>,
    /// The peer sends no more behind that.
    ended: bool,
    /// So many bytes more does the peer take.
    room: usize,
    /// What blocked.
    sending: Option<Transmit>,
    /// What the peer has taken.
    taken: Vec<u8>,
}

/// A shard and the peers of its connections. Time passes when it is told to.
pub struct Rig<H: Handler> {
    shard: Shard<Serve<H>>,
    hub: Arc<Hub>,
    sends: SendBatch,
    now: Instant,
    /// Peers by the order of their coming; those whose connection has ended keep what they took.
    sockets: Vec<Socket>,
    /// How many of them the shard has let go of.
    released: Vec<bool>,
    /// What receive buffers hold until the turn is sent.
    buffer: Vec<u8>,
    exited: bool,
}

impl<H: Handler> fmt::Debug for Rig<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rig").field("sockets", &self.sockets).finish_non_exhaustive()
    }
}

impl<H: Handler> Rig<H> {
    /// A shard without connections.
    ///
    /// # Errors
    ///
    /// The kernel has no waker left.
    pub fn new(handler: H, config: Config) -> std::io::Result<Self> {
        let now = Instant::now();
        let hub = Arc::new(Hub::new(1, config.mailbox_entries)?);
        let shard = Shard::new(Serve(handler), Arc::new(config), Arc::clone(&hub), 0, now);
        Ok(Self {
            shard,
            hub,
            sends: SendBatch::default(),
            now,
            sockets: Vec::new(),
            released: Vec::new(),
            buffer: Vec::new(),
            exited: false,
        })
    }

    /// Publishes as another thread does.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { hub: Arc::clone(&self.hub) }
    }

    /// What another thread keeps of a peer's connection.
    #[must_use]
    pub fn remote(&self, peer: usize) -> Option<Remote> {
        let id = self.sockets.get(peer)?.id;
        Some(Remote { mailbox: Arc::clone(self.hub.mailboxes.first()?), id })
    }

    /// A peer connects; its number, if it is let in.
    pub fn connect(&mut self) -> Option<usize> {
        if self.exited {
            return None;
        }
        let id = self.shard.accepted(0, &mut self.sends, self.now)?;
        self.sockets.push(Socket {
            id,
            want: ReadInterest::Small,
            unread: Vec::new(),
            ended: false,
            room: usize::MAX,
            sending: None,
            taken: Vec::new(),
        });
        self.released.push(false);
        Some(self.sockets.len() - 1)
    }

    /// How many peers there have been.
    #[must_use]
    pub const fn peers(&self) -> usize {
        self.sockets.len()
    }

    /// What a peer has got so far.
    #[must_use]
    pub fn taken(&self, peer: usize) -> &[u8] {
        self.sockets.get(peer).map_or(&[], |socket| &socket.taken)
    }

    /// A peer sends bytes; they are read when the shard wants them.
    pub fn send(&mut self, peer: usize, bytes: &[u8]) {
        if self.is_up(peer) && !self.sockets[peer].ended {
            self.sockets[peer].unread.extend_from_slice(bytes);
            self.pump(peer);
        }
    }

    /// A peer sends no more.
    pub fn end(&mut self, peer: usize) {
        if self.is_up(peer) && !self.sockets[peer].ended {
            self.sockets[peer].ended = true;
            self.pump(peer);
        }
    }

    /// A peer's connection breaks.
    pub fn reset(&mut self, peer: usize) {
        if self.is_up(peer) {
            let socket = &mut self.sockets[peer];
            (socket.ended, socket.sending) = (true, None);
            socket.unread.clear();
            socket.want = ReadInterest::Nothing;
            self.shard.hung_up(socket.id, Some(libc::ECONNRESET), &mut self.sends, self.now);
        }
    }

    /// A peer takes so many bytes more, and no more than that.
    pub fn take(&mut self, peer: usize, bytes: usize) {
        if self.is_up(peer) {
            self.sockets[peer].room = bytes;
            self.send_more(peer);
        }
    }

    /// Tells the shard to drain.
    pub fn drain(&self, patience: Duration) {
        self.hub.drain(self.now + patience);
    }

    /// Time passes, and the shard has its turn. Whether there is more for it to do at once.
    pub fn turn(&mut self, passed: Duration) -> bool {
        if self.exited {
            return false;
        }
        self.now += passed;
        self.shard.turn_began(self.now);
        let next = self.shard.run(&mut self.sends, self.now);
        self.flush();
        self.act();
        next.busy && !self.exited
    }

    /// Lets the shard drain, every peer take all that it is sent and then leave, and time pass. Says what
    /// the shard counts then.
    ///
    /// # Panics
    ///
    /// The shard does not come to an end.
    pub fn finish(&mut self) -> Snapshot {
        self.drain(Duration::from_secs(1));
        for _ in 0..TURNS_MAX {
            for peer in 0..self.sockets.len() {
                self.take(peer, usize::MAX);
            }
            self.turn(Duration::from_millis(100));
            if self.exited {
                // What a turn keeps of its memory is for the next one.
                self.sends = SendBatch::default();
                return self.shard.snapshot();
            }
        }
        panic!("a drain of {TURNS_MAX} turns: {self:?}");
    }

    fn is_up(&self, peer: usize) -> bool {
        !self.exited && self.released.get(peer) == Some(&false)
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        // The last one: slots are used again.
        let peer = self.sockets.iter().rposition(|socket| socket.id == id)?;
        self.is_up(peer).then_some(peer)
    }

    /// Reads what a peer has sent, as far as the shard wants it.
    fn pump(&mut self, peer: usize) {
        while self.is_up(peer) && self.sockets[peer].want != ReadInterest::Nothing {
            let socket = &mut self.sockets[peer];
            let id = socket.id;
            if socket.unread.is_empty() {
                if std::mem::take(&mut socket.ended) {
                    socket.want = ReadInterest::Nothing;
                    self.shard.hung_up(id, None, &mut self.sends, self.now);
                }
                return;
            }
            if socket.want == ReadInterest::Direct
                && let Some((mut memory, wanted)) = self.shard.take_direct(id)
            {
                let spare = memory.spare(wanted);
                let n = spare.len().min(socket.unread.len());
                spare[..n].copy_from_slice(&socket.unread[..n]);
                socket.unread.drain(..n);
                socket.want = self.shard.received_direct(id, memory, n, &mut self.sends, self.now);
                continue;
            }
            let start = self.buffer.len();
            let n = socket.unread.len().min(READ);
            self.buffer.extend(socket.unread.drain(..n));
            let lease = Lease::new(u32::try_from(start).expect("a turn is small"));
            let input = &mut self.buffer[start..];
            socket.want = self.shard.received(id, input, &lease, &mut self.sends, self.now);
            if !self.sends.took_lease() {
                self.buffer.truncate(start);
            }
        }
    }

    /// Sends the turn and settles it.
    fn flush(&mut self) {
        self.shard.seal(&mut self.sends);
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let Some(peer) = self.find(entry.id) else { continue };
            self.send_entry(peer, &entry);
        }
        self.sends.clear();
        self.buffer.clear();
        self.shard.settled();
    }

    fn send_entry(&mut self, peer: usize, entry: &Entry) {
        let socket = &mut self.sockets[peer];
        assert!(socket.sending.is_none(), "what is new waits behind what blocked");
        let sent = socket.room.min(entry.bytes as usize);
        let mut left = sent;
        for segment in self.sends.segments(entry) {
            let bytes = resolve(&self.sends, segment, &self.buffer);
            assert_eq!(bytes.len(), segment.len as usize, "a range of what is there");
            let n = bytes.len().min(left);
            socket.taken.extend_from_slice(&bytes[..n]);
            left -= n;
        }
        if socket.room != usize::MAX {
            socket.room -= sent;
        }
        if sent == entry.bytes as usize {
            return;
        }
        let buffer = &self.buffer;
        let rest = self.sends.take_rest(entry, sent, |lease, start, end, out| {
            let base = lease.0 as usize;
            out.extend_from_slice(&buffer[base + start..base + end]);
        });
        assert_eq!(rest.bytes(), entry.bytes as usize - sent);
        self.shard.blocked(entry.id, rest.bytes(), rest.footprint());
        self.sockets[peer].sending = Some(rest);
    }

    /// A peer takes more of what blocked.
    fn send_more(&mut self, peer: usize) {
        while self.is_up(peer) {
            let socket = &mut self.sockets[peer];
            let id = socket.id;
            let Some(rest) = &mut socket.sending else { return };
            let n = rest.bytes().min(socket.room);
            if n == 0 {
                return;
            }
            let mut left = n;
            for piece in rest.pieces() {
                let part = piece.len().min(left);
                socket.taken.extend_from_slice(&piece[..part]);
                left -= part;
            }
            rest.advance(n);
            if socket.room != usize::MAX {
                socket.room -= n;
            }
            if rest.bytes() > 0 {
                self.shard.took(id, n);
            } else {
                socket.sending = None;
                let next = self.shard.sent(id, &mut self.sends, self.now);
                self.sockets[peer].sending = next;
            }
            self.ask(peer);
        }
    }

    /// Asks how a connection wants to receive now, and receives.
    fn ask(&mut self, peer: usize) {
        if self.is_up(peer) {
            self.sockets[peer].want = self.shard.want(self.sockets[peer].id);
            self.pump(peer);
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.shard.poll_action() {
            match action {
                Action::Receive(id) | Action::Shutdown(id) => {
                    if let Some(peer) = self.find(id) {
                        self.ask(peer);
                    }
                }
                Action::Look(id) => {
                    let given = self.shard.given(id, &self.sends);
                    let unread = self.find(id).map_or(0, |peer| self.sockets[peer].unread.len());
                    let unread = u32::try_from(unread).unwrap_or(u32::MAX);
                    let look = Look { given, untaken: 0, unread };
                    self.shard.looked(id, look, &mut self.sends, self.now);
                }
                Action::Close(id) => {
                    if let Some(peer) = self.find(id) {
                        self.released[peer] = true;
                        self.sockets[peer].sending = None;
                    }
                    self.shard.released(id);
                }
                Action::Exit => self.exited = true,
                Action::Connect { .. } | Action::StopAccepting | Action::Tidy => {}
            }
        }
    }
}

/// The bytes of a segment.
fn resolve<'b>(sends: &'b SendBatch, segment: Segment, buffer: &'b [u8]) -> &'b [u8] {
    let Source::Lent(lease) = segment.source else {
        return sends.resolve(segment).unwrap_or_default();
    };
    let start = lease.0 as usize + segment.start as usize;
    &buffer[start..start + segment.len as usize]
}
