//! One connecting socket per remote host: draft-02 §5.1 step 2.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Whom a client connects to, as far as it can know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an address is known or it is not")]
pub enum RemoteHost {
    /// The address; several names may lead to it.
    Address(IpAddr),
    /// The name, in lower case, if only a proxy knows the address: each name counts as one host.
    Name(String),
}

/// A place in a [`ConnectQueue`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Decides which connections may be made now, so that no host sees more than one at a time between
/// the start of the TCP connection and the end of the opening handshake, and never more than a limit
/// over all hosts. Others wait, in order; none fails. Established connections are not counted.
///
/// It holds one entry for each connection that waits or is being made, none for others.
#[derive(Debug)]
pub struct ConnectQueue {
    limit: usize,
    connecting: usize,
    next: u64,
    places: HashMap<Ticket, RemoteHost>,
    lanes: HashMap<RemoteHost, Lane>,
    /// Hosts to which nobody connects and for which somebody waits, in order.
    ready: VecDeque<RemoteHost>,
}

/// The queue for one host.
#[derive(Debug, Default)]
struct Lane {
    connecting: Option<Ticket>,
    waiting: VecDeque<Ticket>,
}

impl ConnectQueue {
    /// An empty queue that lets at most `limit` connections, at least one, be made at a time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            connecting: 0,
            next: 0,
            places: HashMap::new(),
            lanes: HashMap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Queues one connection. [`ConnectQueue::poll_start`] says when it may be made.
    pub fn enter(&mut self, host: RemoteHost) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        let lane = self.lanes.entry(host.clone()).or_default();
        if lane.connecting.is_none() && lane.waiting.is_empty() {
            self.ready.push_back(host.clone());
        }
        lane.waiting.push_back(ticket);
        self.places.insert(ticket, host);
        ticket
    }

    /// The next connection that may be made now, if any; call it until it returns `None` after each
    /// [`ConnectQueue::enter`] and [`ConnectQueue::leave`].
    ///
    /// The place is kept until it is left, also while a proxy's 407 is answered on another TCP
    /// connection (AMB-07).
    pub fn poll_start(&mut self) -> Option<Ticket> {
        while self.connecting < self.limit {
            let host = self.ready.pop_front()?;
            let Some(lane) = self.lanes.get_mut(&host) else { continue };
            // Places that were left while they waited are gone from `places`.
            let next = std::iter::from_fn(|| lane.waiting.pop_front())
                .find(|ticket| self.places.contains_key(ticket));
            if let Some(ticket) = next {
                lane.connecting = Some(ticket);
                self.connecting += 1;
                return Some(ticket);
            }
            self.lanes.remove(&host);
        }
        None
    }

    /// Gives a place up: its connection is established, has failed, or is not wanted any more. Does
    /// nothing if that was done before.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(host) = self.places.remove(&ticket) else { return };
        let Some(lane) = self.lanes.get_mut(&host) else { return };
        if lane.connecting != Some(ticket) {
            return; // it waited; `poll_start` passes over it
        }
        lane.connecting = None;
        self.connecting -= 1;
        if lane.waiting.is_empty() {
            self.lanes.remove(&host);
        } else {
            self.ready.push_back(host);
        }
    }

    /// How many connections are being made.
    #[must_use]
    pub const fn connecting(&self) -> usize {
        self.connecting
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.places.len() - self.connecting
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectQueue, RemoteHost, Ticket};

    fn address(last: u8) -> RemoteHost {
        RemoteHost::Address([127, 0, 0, last].into())
    }

    fn started(queue: &mut ConnectQueue) -> Vec<Ticket> {
        std::iter::from_fn(|| queue.poll_start()).collect()
    }

    #[test]
    fn connections_to_one_address_are_made_one_after_the_other() {
        // covers: HS-C-02
        let mut queue = ConnectQueue::new(10);
        let tickets = [1, 1, 2, 1].map(|last| queue.enter(address(last)));
        assert_eq!(started(&mut queue), [tickets[0], tickets[2]]);
        assert_eq!((queue.connecting(), queue.waiting()), (2, 2));
        let late = queue.enter(address(2));
        assert_eq!(started(&mut queue), [], "one is connecting there");
        queue.leave(late);
        queue.leave(tickets[2]);
        assert_eq!(started(&mut queue), [], "the other address frees nothing");
        queue.leave(tickets[0]);
        assert_eq!(started(&mut queue), [tickets[1]]);
        queue.leave(tickets[1]);
        queue.leave(tickets[1]);
        assert_eq!(started(&mut queue), [tickets[3]]);
        queue.leave(tickets[3]);
        assert_eq!((queue.connecting(), queue.waiting()), (0, 0));
        assert!(queue.lanes.is_empty() && queue.ready.is_empty(), "nothing is kept");
    }

    #[test]
    fn names_behind_a_proxy_are_hosts_of_their_own_and_the_total_is_limited() {
        // covers: HS-C-02
        let mut queue = ConnectQueue::new(2);
        let tickets = ["a", "b", "c"].map(|name| queue.enter(RemoteHost::Name(name.into())));
        assert_eq!(started(&mut queue), tickets[..2]);
        queue.leave(tickets[1]);
        assert_eq!(started(&mut queue), tickets[2..]);
    }

    #[test]
    fn a_place_given_up_while_waiting_is_passed_over() {
        let mut queue = ConnectQueue::new(1);
        let tickets = [1, 1, 1, 2].map(|last| queue.enter(address(last)));
        assert_eq!(started(&mut queue), tickets[..1]);
        queue.leave(tickets[1]);
        queue.leave(tickets[3]);
        assert_eq!(queue.waiting(), 1);
        queue.leave(tickets[0]);
        assert_eq!(started(&mut queue), [tickets[2]]);
        queue.leave(tickets[2]);
        assert_eq!(started(&mut queue), []);
        assert!(queue.lanes.is_empty() && queue.ready.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_host_whose_turn_never_came_can_be_entered_again() {
        let mut queue = ConnectQueue::new(1);
        let busy = queue.enter(address(1));
        assert_eq!(started(&mut queue), [busy]);
        let given_up = queue.enter(address(2));
        queue.leave(given_up);
        let wanted = queue.enter(address(2));
        queue.leave(busy);
        assert_eq!(started(&mut queue), [wanted]);
    }

    #[test]
    fn a_limit_of_zero_lets_one_through() {
        let mut queue = ConnectQueue::new(0);
        let ticket = queue.enter(address(1));
        assert_eq!(queue.poll_start(), Some(ticket));
    }
}
