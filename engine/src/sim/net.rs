//! The network, as Linux has it: for each direction of a connection what was sent and not taken, and what
//! was taken and not read.

use std::collections::VecDeque;

use super::Time;
use super::plan::Nuisances;

/// Bytes of a keep-alive ping: that a kernel takes one is no sign that its program lives.
const PING_MAX: usize = 6;

/// The bytes of the engine's pings, in both dialects; none of its messages is of these alone.
const PING: [u8; 3] = [0x89, 0x02, 0x00];

/// One direction of a connection: from the side of that number to the other one.
#[derive(Debug)]
pub(super) struct Half {
    /// In the sender's kernel.
    sent: VecDeque<u8>,
    send_room: usize,
    /// In the receiver's.
    arrived: VecDeque<u8>,
    receive_room: usize,
    /// The sender will send no more.
    fin: bool,
    /// And the receiver's kernel knows.
    fin_arrived: bool,
    /// No byte is on its way before.
    ready_at: Time,
    /// When the receiver's kernel last took something.
    pub(super) moved: Time,
    /// And of what had waited for room there: what it takes into an empty window, its program need not
    /// even be alive for.
    pub(super) taken: Time,
    waited: bool,
    /// When it last took anything but pings that had room at once.
    pub(super) spoken: Time,
}

impl Half {
    const fn new(send_room: usize, receive_room: usize) -> Self {
        Self {
            sent: VecDeque::new(),
            send_room,
            arrived: VecDeque::new(),
            receive_room,
            fin: false,
            fin_arrived: false,
            ready_at: 0,
            moved: 0,
            taken: 0,
            waited: false,
            spoken: 0,
        }
    }

    /// Whether the receiver's kernel would take something.
    fn is_movable(&self) -> bool {
        let bytes = !self.sent.is_empty() && self.arrived.len() < self.receive_room;
        bytes || self.sent.is_empty() && self.fin && !self.fin_arrived
    }
}

/// A connection of TCP. Side 0 is the one that accepted it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) halves: [Half; 2],
    /// Sides that have closed their socket.
    pub(super) closed: [bool; 2],
    /// Sides that were told of a reset.
    pub(super) reset: [bool; 2],
    latency: Time,
    /// The number of the connection that this belongs to.
    pub(super) key: usize,
}

/// What a read gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    Bytes(usize),
    End,
    Reset,
    /// The call would block.
    Nothing,
}

/// The peer is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Link {
    /// What has been sent by a side and not been taken; its end counts as one more.
    pub(super) fn untaken(&self, side: usize) -> usize {
        let half = &self.halves[side];
        half.sent.len() + usize::from(half.fin && !half.fin_arrived)
    }

    /// What a reset by this side would take back: what the other kernel has no room for. There is none once
    /// the other side's end was read: it can say nothing that a closed socket would answer.
    pub(super) fn beyond_window(&self, side: usize) -> usize {
        if self.halves[1 - side].fin_arrived && self.unread(side) == 0 {
            return 0;
        }
        let half = &self.halves[side];
        half.sent.len().saturating_sub(half.receive_room - half.arrived.len())
    }

    /// What a side has not read.
    pub(super) fn unread(&self, side: usize) -> usize {
        self.halves[1 - side].arrived.len()
    }

    pub(super) fn is_readable(&self, side: usize) -> bool {
        let half = &self.halves[1 - side];
        !half.arrived.is_empty() || half.fin_arrived || self.reset[side]
    }

    pub(super) fn room(&self, side: usize) -> usize {
        let half = &self.halves[side];
        half.send_room - half.sent.len()
    }

    pub(super) fn is_writable(&self, side: usize) -> bool {
        self.room(side) > 0 || self.reset[side]
    }

    /// Takes what there is room for.
    pub(super) fn write(&mut self, side: usize, bytes: &[u8], now: Time) -> Result<usize, Broken> {
        let half = &mut self.halves[side];
        if self.reset[side] || half.fin {
            return Err(Broken);
        }
        let taken = bytes.len().min(half.send_room - half.sent.len());
        if half.sent.is_empty() {
            half.ready_at = half.ready_at.max(now + self.latency);
        }
        half.sent.extend(&bytes[..taken]);
        Ok(taken)
    }

    /// Reads at most `out.len()` bytes.
    pub(super) fn read(&mut self, side: usize, out: &mut [u8], now: Time) -> Read {
        let latency = self.latency;
        let half = &mut self.halves[1 - side];
        let n = out.len().min(half.arrived.len());
        if n > 0 {
            if half.arrived.len() == half.receive_room {
                half.ready_at = half.ready_at.max(now + latency);
            }
            let (front, back) = half.arrived.as_slices();
            let first = n.min(front.len());
            out[..first].copy_from_slice(&front[..first]);
            out[first..n].copy_from_slice(&back[..n - first]);
            half.arrived.drain(..n);
            return Read::Bytes(n);
        }
        match () {
            () if self.reset[side] => Read::Reset,
            () if half.fin_arrived => Read::End,
            () => Read::Nothing,
        }
    }

    /// Sends no more from this side.
    pub(super) fn shut_down(&mut self, side: usize, now: Time) {
        let half = &mut self.halves[side];
        half.fin |= !self.reset[side];
        half.ready_at = half.ready_at.max(now);
    }

    /// Closes this side's socket: by a reset if something is unread, which takes back what the other
    /// kernel has not taken. Says whether it was one.
    pub(super) fn close(&mut self, side: usize, now: Time) -> bool {
        self.closed[side] = true;
        let unread = self.unread(side) > 0;
        if unread && !self.reset[side] {
            self.abort(side, now);
        } else {
            self.shut_down(side, now);
        }
        unread
    }

    /// Resets the connection from this side. What is on its way arrives before that.
    pub(super) fn abort(&mut self, side: usize, now: Time) {
        self.closed[side] = true;
        self.deliver(side, now);
        self.halves[side].sent.clear();
        self.halves[1 - side].arrived.clear();
        self.told_reset(1 - side);
    }

    /// What a side has sent and the other kernel has room for arrives.
    fn deliver(&mut self, side: usize, now: Time) {
        let half = &mut self.halves[side];
        let room = half.receive_room - half.arrived.len();
        let n = half.sent.len().min(room);
        if !self.reset[1 - side] && !self.closed[1 - side] && n > 0 {
            half.arrived.extend(half.sent.drain(..n));
            half.moved = now;
        }
    }

    fn told_reset(&mut self, side: usize) {
        self.reset[side] = true;
        self.halves[side].sent.clear();
    }

    /// Carries at most `max` bytes from this side to the other's kernel.
    fn carry(&mut self, side: usize, max: usize, now: Time) -> usize {
        let to = 1 - side;
        if self.reset[to] {
            let half = &mut self.halves[side];
            half.sent.clear();
            half.fin_arrived = half.fin;
            return 0;
        }
        let half = &mut self.halves[side];
        let room = half.receive_room - half.arrived.len();
        let n = half.sent.len().min(room).min(max);
        if self.closed[to] && n > 0 {
            // There is nobody any more. What that side has sent is under way and comes before its reset.
            half.sent.clear();
            self.deliver(to, now);
            self.told_reset(side);
            return n;
        }
        let spoken = half.sent.iter().take(n).any(|byte| !PING.contains(byte));
        if spoken || n > 0 && half.waited {
            half.spoken = now;
        }
        if n == half.sent.len() && half.arrived.is_empty() {
            std::mem::swap(&mut half.sent, &mut half.arrived);
        } else {
            half.arrived.extend(half.sent.drain(..n));
        }
        let ends = half.sent.is_empty() && half.fin && !half.fin_arrived;
        half.fin_arrived |= ends;
        if n > 0 || ends {
            half.moved = now;
        }
        if spoken || n > PING_MAX && half.waited {
            half.taken = now;
        }
        half.waited = !half.sent.is_empty() && half.arrived.len() == half.receive_room;
        n
    }
}

/// All connections, and who waits to be accepted.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) links: Vec<Link>,
    /// By server.
    pub(super) backlogs: Vec<VecDeque<usize>>,
    /// Servers that listen.
    pub(super) listening: Vec<bool>,
    rng: fastrand::Rng,
    nuisances: Nuisances,
}

impl Net {
    pub(super) fn new(servers: usize, nuisances: Nuisances, rng: fastrand::Rng) -> Self {
        Self {
            links: Vec::new(),
            backlogs: (0..servers).map(|_| VecDeque::new()).collect(),
            listening: vec![true; servers],
            rng,
            nuisances,
        }
    }

    /// Connects to a server, if it listens: with room for so many bytes in each kernel, towards the
    /// server and from it.
    pub(super) fn connect(&mut self, server: usize, rooms: [[usize; 2]; 2]) -> Option<usize> {
        if !self.listening[server] {
            return None;
        }
        let latency = if self.nuisances.has(Nuisances::LATENCY) && self.rng.bool() {
            self.rng.u64(1..60_000)
        } else {
            0
        };
        let [up, down] = rooms;
        let halves = [Half::new(down[0], down[1]), Half::new(up[0], up[1])];
        self.links.push(Link {
            halves,
            closed: [false; 2],
            reset: [false; 2],
            latency,
            key: usize::MAX,
        });
        let link = self.links.len() - 1;
        self.backlogs[server].push_back(link);
        Some(link)
    }

    /// A server listens no more: who waited is reset.
    pub(super) fn stop_listening(&mut self, server: usize, now: Time) {
        self.listening[server] = false;
        while let Some(link) = self.backlogs[server].pop_front() {
            self.links[link].abort(0, now);
        }
    }

    /// Carries what can be carried now. Says when there is more to carry.
    pub(super) fn carry(&mut self, now: Time) -> Option<Time> {
        let mut next = None::<Time>;
        let split = self.nuisances.has(Nuisances::SHORT_READS);
        for link in &mut self.links {
            for side in 0..2 {
                if !link.halves[side].is_movable() {
                    continue;
                }
                if link.halves[side].ready_at <= now {
                    let most = link.halves[side].sent.len().max(1);
                    let cut = split && self.rng.u8(..8) == 0;
                    link.carry(side, if cut { self.rng.usize(1..=most) } else { most }, now);
                    if cut {
                        link.halves[side].ready_at = now + link.latency + 1;
                    }
                }
                if link.halves[side].is_movable() {
                    let at = link.halves[side].ready_at.max(now + 1);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        next
    }
}
