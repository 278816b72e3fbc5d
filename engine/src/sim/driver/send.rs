//! Sends: the turn at once where there is room, the rest of it as room comes.

use super::{Completion, Driver};
use crate::shard::machine::Machine as _;
use crate::shard::send_batch::{Entry, Source};
use crate::sim::Time;
use crate::sim::net::Net;
use crate::sim::plan::Nuisances;

impl Driver {
    /// Sends the turn and settles it: afterwards it is empty.
    pub(super) fn flush(&mut self, net: &mut Net, now: Time) {
        self.machine.seal(&mut self.sends);
        self.brought = self.sends.bytes();
        for index in 0..self.sends.entries().len() {
            let entry = self.sends.entries()[index];
            let Some(at) = self.place(entry.id) else { continue };
            if self.conns[at].closing || entry.segments == 0 {
                continue;
            }
            self.send_entry(at, &entry, net, now);
        }
        self.sends.clear();
        self.buffers.clear();
        self.machine.settled();
    }

    fn send_entry(&mut self, at: usize, entry: &Entry, net: &mut Net, now: Time) {
        let (id, side) = (self.conns[at].id, self.conns[at].side);
        let Some(link) = self.conns[at].link else { return };
        debug_assert!(self.conns[at].sending.is_none(), "what is newer waits behind what blocked");
        let whole = entry.bytes as usize;
        let mut room = whole;
        let slow = entry.is_oversized() || self.chance(Nuisances::SLOW_WAY, 4);
        if slow {
            room = 0;
        } else if self.chance(Nuisances::BLOCKED_SENDS, 4) {
            room = self.rng.usize(..whole);
        }
        let mut sent = 0;
        let segments: Vec<_> = self.sends.segments(entry).collect();
        for segment in segments {
            let bytes = match segment.source {
                Source::Lent(lease) => {
                    let (start, len) = (segment.start as usize, segment.len as usize);
                    &self.buffers[lease.0 as usize][start..start + len]
                }
                _ => self.sends.resolve(segment).unwrap_or_default(),
            };
            let most = bytes.len().min(room - sent);
            match net.links[link].write(side, &bytes[..most], now) {
                Ok(n) => sent += n,
                Err(_) if slow => break,
                Err(_) => return self.broken(at, now),
            }
            if sent == room || most < bytes.len() {
                break;
            }
        }
        if sent == whole {
            return;
        }
        let buffers = &self.buffers;
        let rest = self.sends.take_rest(entry, sent, |lease, start, end, out| {
            out.extend_from_slice(&buffers[lease.0 as usize][start..end]);
        });
        self.brought += rest.footprint();
        self.machine.blocked(id, rest.bytes(), rest.footprint());
        let conn = &mut self.conns[at];
        (conn.sending, conn.waited, conn.sent) = (Some(rest), !slow, false);
    }

    /// The peer has reset the connection.
    fn broken(&mut self, at: usize, now: Time) {
        let time = self.instant(now);
        let id = self.conns[at].id;
        self.machine.hung_up(id, Some(libc::EPIPE), &mut self.sends, time);
    }

    /// The kernel takes more of what blocked.
    pub(super) fn run_send(&mut self, at: usize, net: &mut Net, now: Time) {
        let short = self.chance(Nuisances::SHORT_READS, 2);
        let conn = &mut self.conns[at];
        let (Some(link), id) = (conn.link, conn.id) else { return };
        if conn.sent || !net.links[link].is_writable(conn.side) {
            return;
        }
        let Some(rest) = &mut conn.sending else { return };
        let most = if short { self.rng.usize(1..=rest.bytes().max(1)) } else { usize::MAX };
        let mut sent = 0;
        for piece in rest.pieces() {
            let piece = &piece[..piece.len().min(most - sent)];
            match net.links[link].write(conn.side, piece, now) {
                Ok(n) => sent += n,
                Err(_) => {
                    conn.sent = true;
                    return self.completions.push_back(Completion::SendFailed(id));
                }
            }
        }
        rest.advance(sent);
        if rest.bytes() == 0 {
            conn.sent = true;
            self.completions.push_back(Completion::Sent(id));
        } else {
            conn.waited = true;
            if sent > 0 {
                self.completions.push_back(Completion::Took(id, sent));
            }
        }
    }

    pub(super) fn sent(&mut self, completion: &Completion, at: usize, net: &Net, now: Time) {
        let time = self.instant(now);
        let id = self.conns[at].id;
        match completion {
            Completion::Took(_, bytes) => self.machine.took(id, *bytes),
            Completion::SendFailed(_) => {
                self.conns[at].sending = None;
                return self.broken(at, now);
            }
            _ => {
                self.conns[at].sending = None;
                let next = if self.conns[at].waited {
                    self.machine.sent(id, &mut self.sends, time)
                } else {
                    self.machine.sent_at_once(id, &mut self.sends, time)
                };
                let conn = &mut self.conns[at];
                (conn.sending, conn.waited, conn.sent) = (next, true, false);
            }
        }
        let want = self.machine.want(id);
        self.reconcile(id, want, net, now);
    }
}
