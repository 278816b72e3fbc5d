//! The driver of a shard as the real ones are, on a network that is none: receives that are armed and
//! cancelled, sends that block, completions that come late.

mod receive;
mod send;

use std::collections::VecDeque;
use std::time::Instant;

use fastrand::Rng;

use super::app::App;
use super::net::Net;
use super::plan::{Nuisances, duration};
use super::{MILLI, Time};
use crate::conn::Reassembly;
use crate::shard::Shard;
use crate::shard::machine::{Action, Endpoint, Look, Machine as _, ReadInterest};
use crate::shard::send::Transmit;
use crate::shard::send_batch::SendBatch;
use crate::shard::table::ConnectionId;

/// How long to wait before accepting again when there was no file.
const ACCEPT_PAUSE: Time = 100 * MILLI;

/// A receive that the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Armed {
    No,
    As(ReadInterest),
    Cancelling(ReadInterest),
}

/// What the driver keeps per connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) id: ConnectionId,
    /// The connection's place in the network, once it has one.
    pub(super) link: Option<usize>,
    side: usize,
    armed: Armed,
    /// The kernel is done with the receive, and that has not been told.
    done: bool,
    memory: Option<(Box<Reassembly>, u64)>,
    pub(super) sending: Option<Transmit>,
    /// What is being sent had to wait.
    waited: bool,
    /// The kernel has all of it, and that has not been told.
    sent: bool,
    parked: bool,
    read_closed: bool,
    looking: bool,
    /// A reset that the kernel will not tell.
    blind: bool,
    closing: bool,
    shutdowns: u8,
    /// The kernel does not let go of it before it is forced to, or before this time.
    stuck: Option<Time>,
    connecting: Option<(Time, usize)>,
    /// Since when it is there, or is read from again.
    since: Time,
    reads: bool,
    /// When it was last looked at, and when its peer was last known to have made progress then.
    looked: Option<(Time, [Time; 3])>,
    /// When the machine last had a reason to hold its peer to be alive, or to be excused.
    excused: Time,
    /// When the application was told of its end.
    pub(super) ended: Option<Time>,
}

/// What the kernel has done.
#[derive(Debug)]
enum Completion {
    Received(ConnectionId, Vec<u8>),
    ReceivedDirect(ConnectionId, usize),
    End(ConnectionId),
    ReceiveFailed(ConnectionId, i32),
    Took(ConnectionId, usize),
    Sent(ConnectionId),
    SendFailed(ConnectionId),
    Looked(ConnectionId, Look),
    Connected(ConnectionId, Option<usize>),
    ShutDown(ConnectionId),
}

impl Completion {
    const fn is_of_receive(&self) -> bool {
        matches!(
            self,
            Self::Received(..) | Self::ReceivedDirect(..) | Self::End(_) | Self::ReceiveFailed(..)
        )
    }

    /// Bytes that the kernel has read for a connection and that were not handed over.
    fn unread(all: &VecDeque<Self>, of: ConnectionId) -> usize {
        let bytes = all.iter().filter(|one| one.id() == of).map(|one| match one {
            Self::Received(_, bytes) => bytes.len(),
            Self::ReceivedDirect(_, n) => *n,
            _ => 0,
        });
        bytes.sum()
    }

    const fn id(&self) -> ConnectionId {
        match self {
            Self::Received(id, _)
            | Self::ReceivedDirect(id, _)
            | Self::End(id)
            | Self::ReceiveFailed(id, _)
            | Self::Took(id, _)
            | Self::Sent(id)
            | Self::SendFailed(id)
            | Self::Looked(id, _)
            | Self::Connected(id, _)
            | Self::ShutDown(id) => *id,
        }
    }
}

/// A connection that was closed with something left to be sent.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) link: usize,
    pub(super) bytes: usize,
    /// Since when its peer had taken nothing, or it had been ending.
    pub(super) since: Time,
    /// There is no peer any more.
    pub(super) gone: bool,
}

/// The simulated driver of one shard.
pub(super) struct Driver {
    pub(super) machine: Shard<App>,
    pub(super) sends: SendBatch,
    base: Instant,
    pub(super) rng: Rng,
    nuisances: Nuisances,
    /// The server that it accepts for.
    server: Option<usize>,
    pub(super) conns: Vec<Conn>,
    pub(super) cuts: Vec<Cut>,
    /// Bytes of memory that the last turn took to be sent: its own, and what the kernel did not take at once.
    pub(super) brought: usize,
    /// What it did, for the trace.
    pub(super) log: Vec<(&'static str, [u64; 3])>,
    completions: VecDeque<Completion>,
    /// Receive buffers that the turn points into, by the number of their lease.
    buffers: Vec<Vec<u8>>,
    accept_again: Option<Time>,
    busy: bool,
    pub(super) deadline: Option<Time>,
    /// The process is stopped until then.
    pub(super) stopped: Time,
    /// When it last woke later than its machine had asked, by so much that nobody is held to account.
    pub(super) late: Option<Time>,
    lateness: Time,
    pub(super) exited: bool,
    pub(super) turns: u64,
}

impl Driver {
    pub(super) fn new(
        machine: Shard<App>,
        base: Instant,
        server: Option<usize>,
        nuisances: Nuisances,
        lateness: Time,
        rng: Rng,
    ) -> Self {
        Self {
            machine,
            sends: SendBatch::default(),
            base,
            rng,
            nuisances,
            server,
            conns: Vec::new(),
            cuts: Vec::new(),
            brought: 0,
            log: Vec::new(),
            completions: VecDeque::new(),
            buffers: Vec::new(),
            accept_again: None,
            busy: true,
            deadline: None,
            stopped: 0,
            late: None,
            lateness,
            exited: false,
            turns: 0,
        }
    }

    pub(super) fn instant(&self, now: Time) -> Instant {
        self.base + duration(now)
    }

    fn chance(&mut self, nuisance: Nuisances, one_in: u8) -> bool {
        self.nuisances.has(nuisance) && self.rng.u8(..one_in) == 0
    }

    fn place(&self, id: ConnectionId) -> Option<usize> {
        self.conns.iter().position(|conn| conn.id == id)
    }

    /// Whether it has a reason to run now.
    pub(super) fn is_ready(&self, net: &Net, now: Time) -> bool {
        if self.exited || now < self.stopped {
            return false;
        }
        self.busy
            || !self.completions.is_empty()
            || self.deadline.is_some_and(|at| at <= now)
            || self.machine.mailbox().is_some_and(|mailbox| !mailbox.is_empty())
            || self.accept_again.is_some_and(|at| at <= now)
            || self.accepts(net)
            || self.conns.iter().any(|conn| Self::has_work(conn, net, now))
    }

    /// When it has one at the latest, unless something new happens.
    pub(super) fn next(&self, now: Time) -> Option<Time> {
        if self.exited {
            return None;
        }
        if now < self.stopped {
            return Some(self.stopped);
        }
        let connecting = self.conns.iter().filter_map(|conn| conn.connecting.map(|(at, _)| at));
        let stuck = self.conns.iter().filter_map(|conn| conn.stuck);
        let times = [self.deadline, self.accept_again].into_iter().flatten();
        times.chain(connecting).chain(stuck).filter(|at| *at > now && *at < Time::MAX).min()
    }

    fn accepts(&self, net: &Net) -> bool {
        let waiting = self.server.is_some_and(|server| !net.backlogs[server].is_empty());
        waiting && self.accept_again.is_none()
    }

    /// One round of the loop.
    pub(super) fn round(&mut self, net: &mut Net, now: Time) {
        self.turns += 1;
        if let Some(mailbox) = self.machine.mailbox() {
            mailbox.awake();
        }
        if let Some(asked) = self.deadline.filter(|_| !self.busy)
            && now >= asked + self.lateness
        {
            self.late = Some(now);
        }
        let time = self.instant(now);
        self.run_kernel(net, now);
        self.machine.turn_began(time);
        self.accept(net, now);
        self.dispatch(net, now);
        self.unpark(net, now);
        self.act(net, now);
        if self.exited {
            return;
        }
        let next = self.machine.run(&mut self.sends, time);
        self.flush(net, now);
        self.deadline = next.deadline.map(|at| {
            let left = at.saturating_duration_since(self.base);
            u64::try_from(left.as_micros()).unwrap_or(Time::MAX)
        });
        let parked = self.conns.iter().any(|conn| conn.parked);
        self.busy = next.busy || !self.completions.is_empty() || parked;
        if !self.busy {
            self.busy = self.machine.mailbox().is_some_and(|mailbox| !mailbox.may_sleep());
        }
    }

    fn accept(&mut self, net: &mut Net, now: Time) {
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
        }
        while self.accepts(net) {
            if self.chance(Nuisances::NO_FILES, 3) {
                self.accept_again = Some(now + ACCEPT_PAUSE);
                return;
            }
            let Some(server) = self.server else { return };
            let Some(link) = net.backlogs[server].pop_front() else { return };
            let time = self.instant(now);
            match self.machine.accepted(0, &mut self.sends, time) {
                Some(id) => {
                    self.occupy(id, 0, now).link = Some(link);
                    self.reconcile(id, ReadInterest::Small, net, now);
                }
                None => drop(net.links[link].close(0, now)),
            }
        }
    }

    fn occupy(&mut self, id: ConnectionId, side: usize, now: Time) -> &mut Conn {
        self.conns.push(Conn {
            id,
            link: None,
            side,
            armed: Armed::No,
            done: false,
            memory: None,
            sending: None,
            waited: false,
            sent: false,
            parked: false,
            read_closed: false,
            looking: false,
            blind: false,
            closing: false,
            shutdowns: 0,
            stuck: None,
            connecting: None,
            since: now,
            reads: true,
            looked: None,
            excused: now,
            ended: None,
        });
        let last = self.conns.len() - 1;
        &mut self.conns[last]
    }

    /// Does what the machine asks for.
    fn act(&mut self, net: &mut Net, now: Time) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Connect { id, to, .. } => {
                    let Endpoint::Tcp(to) = to else { continue };
                    let at = now + self.rng.u64(1..30 * MILLI);
                    let server = usize::from(to.port().saturating_sub(1));
                    self.occupy(id, 1, now).connecting = Some((at, server));
                }
                Action::Receive(id) => {
                    let want = self.machine.want(id);
                    self.reconcile(id, want, net, now);
                }
                Action::Shutdown(id) => self.shut_down(id, net, now),
                Action::Look(id) => self.look(id, net, now),
                Action::Close(id) => self.close(id, net, now),
                Action::StopAccepting => {
                    self.accept_again = None;
                    if let Some(server) = self.server {
                        net.stop_listening(server, now);
                    }
                }
                Action::Tidy => {}
                Action::Exit => self.exited = true,
            }
        }
    }

    fn shut_down(&mut self, id: ConnectionId, net: &mut Net, now: Time) {
        let late = self.chance(Nuisances::LATE, 2);
        let Some(at) = self.place(id) else { return };
        let conn = &mut self.conns[at];
        if conn.closing {
            return;
        }
        if late {
            conn.shutdowns += 1;
        } else if let Some(link) = conn.link {
            net.links[link].shut_down(conn.side, now);
            self.log.push(("shutdown", [net.links[link].key as u64, conn.side as u64, 0]));
        }
    }

    fn look(&mut self, id: ConnectionId, net: &Net, now: Time) {
        let given = self.machine.given(id, &self.sends);
        let late = self.chance(Nuisances::LATE, 2);
        let mut look = Look { given, untaken: 0, unread: 0 };
        if let Some(at) = self.place(id)
            && !self.conns[at].closing
            && let Some(link) = self.conns[at].link
        {
            let progress = self.progress(&self.conns[at], net, now);
            let conn = &mut self.conns[at];
            if conn.armed == Armed::As(ReadInterest::Direct) {
                // What it has brought by now nobody knows before it ends.
                conn.looking = true;
                conn.armed = Armed::Cancelling(ReadInterest::Direct);
                return;
            }
            let link = &net.links[link];
            // What is told later is told behind what was read before.
            let read = if late { 0 } else { Completion::unread(&self.completions, id) };
            look.untaken = u32::try_from(link.untaken(conn.side)).unwrap_or(u32::MAX);
            look.unread = u32::try_from(link.unread(conn.side) + read).unwrap_or(u32::MAX);
            conn.looked = Some((now, progress));
            let seen = [u64::from(look.untaken), u64::from(look.unread)];
            self.log.push(("look", [link.key as u64, seen[0], seen[1]]));
            if late {
                self.completions.push_back(Completion::Looked(id, look));
                return;
            }
        }
        let time = self.instant(now);
        self.machine.looked(id, look, &mut self.sends, time);
    }

    /// When a connection's peer last made progress: as long as it is open, while it closes, and when it ends
    /// and only what it takes counts.
    fn progress(&self, conn: &Conn, net: &Net, now: Time) -> [Time; 3] {
        let Some(link) = conn.link.map(|link| &net.links[link]) else { return [conn.since; 3] };
        let taken = link.halves[conn.side].taken.max(conn.since);
        // Whoever is not read from, and has taken all there is, can do nothing.
        let idle = !conn.reads && link.untaken(conn.side) == 0 && conn.sending.is_none();
        let both = taken.max(link.halves[1 - conn.side].moved);
        [if idle { now } else { both }, both, taken]
    }

    /// Since when a connection's peer has given no reason to hold it to be alive; nothing of one that is not
    /// open.
    pub(super) fn silent_since(&mut self, at: usize, net: &Net, now: Time) -> Option<Time> {
        let conn = &mut self.conns[at];
        let (id, side) = (conn.id, conn.side);
        let link = &net.links[conn.link.filter(|_| self.machine.is_open(id))?];
        let unread = link.unread(side) + Completion::unread(&self.completions, id);
        if !conn.reads || unread > 0 || self.machine.has_input_of(id) {
            conn.excused = now;
        }
        Some(conn.excused.max(link.halves[side].spoken))
    }

    /// Bytes of memory that the kernel has of connections that have ended.
    pub(super) fn held_by_ended(&self) -> usize {
        let ended = self.conns.iter().filter(|conn| conn.closing || conn.ended.is_some());
        let held = ended.map(|conn| {
            let memory = conn.memory.as_ref().map_or(0, |(memory, _)| memory.capacity());
            memory + conn.sending.as_ref().map_or(0, Transmit::footprint)
        });
        held.sum()
    }

    /// When the machine could last know that a peer made progress.
    pub(super) fn known_progress(&self, at: usize, net: &Net, now: Time) -> [Time; 3] {
        let conn = &self.conns[at];
        match conn.looked {
            Some((then, progress)) if then + 200 * MILLI >= now => progress,
            _ => self.progress(conn, net, now),
        }
    }

    /// Ends a connection: what the kernel has of it must end first.
    fn close(&mut self, id: ConnectionId, net: &mut Net, now: Time) {
        let late = self.chance(Nuisances::LATE_RELEASE, 2);
        let until = match self.rng.u8(..4) {
            0 => Time::MAX,
            _ => now + self.rng.u64(..300 * MILLI),
        };
        let Some(at) = self.place(id) else { return self.machine.released(id) };
        self.note_cut(at, net, now);
        let conn = &mut self.conns[at];
        if conn.closing {
            // It has taken too long.
            conn.stuck = None;
        } else {
            conn.closing = true;
            let quiet = conn.armed == Armed::No && conn.sending.is_none();
            conn.stuck = (late && !quiet).then_some(until);
            if conn.stuck.is_some()
                && let Some(link) = conn.link
            {
                net.links[link].shut_down(conn.side, now);
                self.log.push(("closing", [net.links[link].key as u64, conn.side as u64, 0]));
            }
        }
        self.release(at, net, now);
    }

    /// Notes whether a connection is closed with something left to be sent, or in a way that takes it back.
    fn note_cut(&mut self, at: usize, net: &Net, now: Time) {
        let conn = &self.conns[at];
        let Some(link) = conn.link.filter(|_| !conn.closing) else { return };
        let socket = &net.links[link];
        let waiting = conn.sending.as_ref().map_or(0, Transmit::bytes);
        // Whatever the peer says next has a closed socket take this back.
        let taken_back = socket.beyond_window(conn.side);
        if waiting + taken_back == 0 {
            return;
        }
        let [_, _, taken] = self.known_progress(at, net, now);
        let since = taken.max(conn.ended.unwrap_or(0));
        let gone = socket.reset[conn.side] || socket.closed[1 - conn.side];
        self.cuts.push(Cut { link, bytes: waiting + taken_back, since, gone });
    }

    /// Closes the socket if the kernel has nothing else of it.
    fn release(&mut self, at: usize, net: &mut Net, now: Time) {
        let conn = &self.conns[at];
        if conn.stuck.is_some_and(|until| until > now) || conn.shutdowns > 0 {
            return;
        }
        let conn = self.conns.remove(at);
        if let Some(link) = conn.link {
            let link = &mut net.links[link];
            let taken_back = link.close(conn.side, now);
            self.log.push(("close", [link.key as u64, conn.side as u64, u64::from(taken_back)]));
        }
        self.completions.retain(|completion| completion.id() != conn.id);
        self.machine.released(conn.id);
    }

    pub(super) fn holds_nothing(&self) -> bool {
        self.conns.is_empty() && self.completions.is_empty()
    }
}
