//! What the kernel does by itself between two rounds, and receiving.

use super::{Armed, Completion, Conn, Driver};
use crate::shard::machine::{Machine as _, ReadInterest};
use crate::shard::send_batch::Lease;
use crate::shard::table::ConnectionId;
use crate::sim::Time;
use crate::sim::net::{Net, Read};
use crate::sim::plan::Nuisances;

/// Bytes of a receive buffer, small and large, as a world of this size has them.
const SMALL: usize = 1024;
const LARGE: usize = 8192;
const DIRECT: u64 = 16 << 10;

impl Driver {
    /// Whether the kernel can do something for a connection.
    pub(super) fn has_work(conn: &Conn, net: &Net, now: Time) -> bool {
        if conn.closing {
            return conn.stuck.is_none_or(|until| until <= now);
        }
        if conn.shutdowns > 0 || conn.connecting.is_some_and(|(at, _)| at <= now) {
            return true;
        }
        let Some(link) = conn.link.map(|link| &net.links[link]) else { return false };
        let receives = match conn.armed {
            _ if conn.done => false,
            Armed::No => false,
            Armed::As(_) => !conn.blind && link.is_readable(conn.side),
            Armed::Cancelling(_) => true,
        };
        receives || conn.sending.is_some() && !conn.sent && link.is_writable(conn.side)
    }

    /// Lets the kernel do what it can, in any order, and some of it later.
    pub(super) fn run_kernel(&mut self, net: &mut Net, now: Time) {
        let mut places: Vec<_> = (0..self.conns.len()).collect();
        if places.len() > 1 {
            self.rng.shuffle(&mut places);
        }
        let mut released = Vec::new();
        for at in places {
            if !Self::has_work(&self.conns[at], net, now) || self.chance(Nuisances::LATE, 3) {
                continue;
            }
            let id = self.conns[at].id;
            if self.conns[at].closing {
                self.conns[at].shutdowns = 0;
                released.push(id);
                continue;
            }
            self.run_connect(at, net, now);
            self.run_receive(at, net, now);
            self.run_send(at, net, now);
            let conn = &mut self.conns[at];
            if conn.shutdowns > 0 {
                conn.shutdowns -= 1;
                if let Some(link) = conn.link {
                    net.links[link].shut_down(conn.side, now);
                }
                self.completions.push_back(Completion::ShutDown(id));
            }
        }
        for id in released {
            if let Some(at) = self.place(id) {
                self.release(at, net, now);
            }
        }
    }

    fn run_connect(&mut self, at: usize, net: &mut Net, now: Time) {
        let conn = &mut self.conns[at];
        let Some((_, server)) = conn.connecting.filter(|(at, _)| *at <= now) else { return };
        conn.connecting = None;
        let id = conn.id;
        let room = 1usize << self.rng.u8(11..16);
        let link = net.connect(server, [[room; 2]; 2]);
        self.completions.push_back(Completion::Connected(id, link));
    }

    fn run_receive(&mut self, at: usize, net: &mut Net, now: Time) {
        let conn = &mut self.conns[at];
        let (id, side) = (conn.id, conn.side);
        let Some(link) = conn.link else { return };
        let want = match conn.armed {
            _ if conn.done => return,
            Armed::Cancelling(ReadInterest::Direct) => {
                conn.done = true;
                return self.completions.push_back(Completion::ReceivedDirect(id, 0));
            }
            Armed::Cancelling(_) => {
                conn.done = true;
                let cancelled = Completion::ReceiveFailed(id, libc::ECANCELED);
                return self.completions.push_back(cancelled);
            }
            Armed::As(want) if !conn.blind => want,
            _ => return,
        };
        if want == ReadInterest::Direct {
            return self.run_direct(at, net, now);
        }
        let once = matches!(want, ReadInterest::SmallOnce | ReadInterest::LargeOnce);
        let large = matches!(want, ReadInterest::Large | ReadInterest::LargeOnce);
        let mut first = true;
        while net.links[link].is_readable(side) && (first || !once && self.rng.bool()) {
            if net.links[link].unread(side) > 0 && self.chance(Nuisances::NO_BUFFERS, 6) {
                self.conns[at].done = true;
                let failed = Completion::ReceiveFailed(id, libc::ENOBUFS);
                return self.completions.push_back(failed);
            }
            let mut most = if large { LARGE } else { SMALL };
            if self.chance(Nuisances::SHORT_READS, 2) {
                let end = if self.rng.bool() { 16 } else { most };
                most = self.rng.usize(1..end);
            }
            let mut bytes = vec![0; most.min(net.links[link].unread(side))];
            let read = net.links[link].read(side, &mut bytes, now);
            let conn = &mut self.conns[at];
            match read {
                Read::Bytes(_) => {
                    conn.done = once;
                    self.completions.push_back(Completion::Received(id, bytes));
                }
                Read::Nothing => return,
                Read::Reset if !first && !once && self.nuisances.has(Nuisances::MISSED_RESETS) => {
                    conn.blind = true;
                    return;
                }
                Read::End | Read::Reset => {
                    conn.done = true;
                    let failed = Completion::ReceiveFailed(id, libc::ECONNRESET);
                    let end = if read == Read::End { Completion::End(id) } else { failed };
                    return self.completions.push_back(end);
                }
            }
            first = false;
        }
    }

    fn run_direct(&mut self, at: usize, net: &mut Net, now: Time) {
        let short = self.chance(Nuisances::SHORT_READS, 2);
        let conn = &mut self.conns[at];
        let (Some(link), Some((memory, wanted))) = (conn.link, &mut conn.memory) else { return };
        let room = memory.spare((*wanted).min(DIRECT));
        let most = if short { self.rng.usize(1..=room.len()) } else { room.len() };
        let read = net.links[link].read(conn.side, &mut room[..most], now);
        let done = match read {
            Read::Nothing => return,
            Read::Bytes(n) => Completion::ReceivedDirect(conn.id, n),
            Read::End => Completion::End(conn.id),
            Read::Reset => Completion::ReceiveFailed(conn.id, libc::ECONNRESET),
        };
        conn.done = true;
        self.completions.push_back(done);
    }

    // ---- what came of it

    pub(super) fn dispatch(&mut self, net: &mut Net, now: Time) {
        let all = self.completions.len();
        // Some may wait for the next round.
        let round = if self.chance(Nuisances::LATE, 3) { self.rng.usize(..=all) } else { all };
        for _ in 0..round {
            let Some(completion) = self.completions.pop_front() else { break };
            self.completed(completion, net, now);
            let cut = self.sends.bytes() > 0 && self.chance(Nuisances::CUT_TURNS, 3);
            if cut || self.sends.bytes() > 256 << 10 {
                self.flush(net, now);
            }
        }
    }

    fn completed(&mut self, completion: Completion, net: &Net, now: Time) {
        let time = self.instant(now);
        let Some(at) = self.place(completion.id()).filter(|at| !self.conns[*at].closing) else {
            return;
        };
        if completion.is_of_receive() && self.conns[at].done {
            // There may be others before the last one.
            let id = completion.id();
            let more = self.completions.iter().any(|next| next.id() == id && next.is_of_receive());
            if !more {
                (self.conns[at].armed, self.conns[at].done) = (Armed::No, false);
            }
        }
        let tells = match &completion {
            Completion::ReceivedDirect(_, n) => *n > 0,
            Completion::Received(..) | Completion::Took(..) | Completion::Sent(_) => true,
            _ => false,
        };
        if tells {
            self.conns[at].excused = now;
        }
        match completion {
            Completion::Received(id, bytes) => self.received(id, bytes, net, now),
            Completion::ReceivedDirect(id, n) => {
                let looking = std::mem::take(&mut self.conns[at].looking);
                let Some((memory, _)) = self.conns[at].memory.take() else { return };
                let sends = &mut self.sends;
                let want = self.machine.received_direct(id, memory, n, sends, time);
                if looking {
                    self.look(id, net, now);
                }
                self.reconcile(id, want, net, now);
            }
            Completion::End(id) => self.ended(id, None, now),
            Completion::ReceiveFailed(_, libc::ENOBUFS) => self.conns[at].parked = true,
            Completion::ReceiveFailed(id, libc::ECANCELED) => {
                let want = self.machine.want(id);
                self.reconcile(id, want, net, now);
            }
            Completion::ReceiveFailed(id, error) => self.ended(id, Some(error), now),
            Completion::Looked(id, look) => self.machine.looked(id, look, &mut self.sends, time),
            Completion::Connected(id, link) => {
                let Some(link) = link else {
                    self.conns[at].read_closed = true;
                    let refused = Some(libc::ECONNREFUSED);
                    return self.machine.hung_up(id, refused, &mut self.sends, time);
                };
                self.conns[at].link = Some(link);
                self.machine.connected(id, &mut self.sends, time);
                self.reconcile(id, ReadInterest::Small, net, now);
            }
            Completion::Took(..) | Completion::Sent(_) | Completion::SendFailed(_) => {
                self.sent(&completion, at, net, now);
            }
            Completion::ShutDown(_) => {}
        }
    }

    fn received(&mut self, id: ConnectionId, bytes: Vec<u8>, net: &Net, now: Time) {
        let time = self.instant(now);
        let number = self.buffers.len();
        self.buffers.push(bytes);
        #[expect(clippy::cast_possible_truncation, reason = "there are few")]
        let lease = Lease::new(number as u32);
        let input = &mut self.buffers[number];
        let want = self.machine.received(id, input, &lease, &mut self.sends, time);
        if !self.sends.took_lease() {
            self.buffers.pop();
        }
        self.reconcile(id, want, net, now);
    }

    fn ended(&mut self, id: ConnectionId, error: Option<i32>, now: Time) {
        let time = self.instant(now);
        if let Some(at) = self.place(id) {
            self.conns[at].read_closed = true;
            if let Some((memory, _)) = self.conns[at].memory.take() {
                // It goes back whatever happened.
                self.machine.received_direct(id, memory, 0, &mut self.sends, time);
            }
        }
        self.machine.hung_up(id, error, &mut self.sends, time);
    }

    /// Arms receives again that found no buffer.
    pub(super) fn unpark(&mut self, net: &Net, now: Time) {
        for at in 0..self.conns.len() {
            if self.conns[at].parked && self.rng.u8(..4) > 0 {
                self.conns[at].parked = false;
                let id = self.conns[at].id;
                let want = self.machine.want(id);
                self.reconcile(id, want, net, now);
            }
        }
    }

    /// Makes the receive what is wanted: arms it, or cancels one of another kind first.
    pub(super) fn reconcile(&mut self, id: ConnectionId, want: ReadInterest, net: &Net, now: Time) {
        let Some(at) = self.place(id) else { return };
        let idle = self.conns[at].link.is_none_or(|link| {
            let link = &net.links[link];
            link.untaken(self.conns[at].side) == 0 && self.conns[at].sending.is_none()
        });
        let conn = &mut self.conns[at];
        let reads = want != ReadInterest::Nothing;
        if reads && !conn.reads && idle {
            // Until now nobody listened to it.
            conn.since = now;
        }
        if reads && !conn.reads {
            conn.excused = now;
        }
        conn.reads = reads;
        if conn.read_closed || conn.parked || conn.link.is_none() {
            return;
        }
        match conn.armed {
            Armed::As(armed) if armed == want => {}
            Armed::As(ReadInterest::Direct | ReadInterest::SmallOnce | ReadInterest::LargeOnce)
            | Armed::Cancelling(_) => {}
            Armed::No => {
                conn.blind = false;
                conn.armed = if reads { Armed::As(want) } else { Armed::No };
                if want == ReadInterest::Direct {
                    conn.memory = self.machine.take_direct(id);
                    if conn.memory.is_none() {
                        conn.armed = Armed::As(ReadInterest::Large);
                    }
                }
            }
            Armed::As(armed) => conn.armed = Armed::Cancelling(armed),
        }
    }
}
