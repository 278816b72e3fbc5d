//! How a client's connection reaches its server: one of the addresses of a name, or a proxy.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::machine::Endpoint;
use super::wheel::Tick;
use crate::handshake::proxy::Proxy;
use crate::handshake::{RemoteHost, Url};

/// The addresses of a name, tried one after the other until one answers: in the order of RFC 8305 §4,
/// families in turn, but without its race. Which one answered is remembered for the next connection, also
/// of other threads that share this, so that an address that is dead is tried once and not by each.
#[derive(Debug)]
pub struct Addresses {
    list: Box<[SocketAddr]>,
    /// The place of the one to begin with.
    first: AtomicUsize,
    /// Connections that each of them has taken.
    connected: Box<[AtomicU64]>,
}

impl Addresses {
    /// These addresses, best first, each once; `None` if there are none. They are put in order so that
    /// the families alternate, beginning with that of the first.
    #[must_use]
    pub fn new(addresses: impl IntoIterator<Item = SocketAddr>) -> Option<Self> {
        let mut families = [Vec::new(), Vec::new()];
        let mut begins_with = None;
        for address in addresses {
            let begins_with = *begins_with.get_or_insert_with(|| address.is_ipv4());
            let family = &mut families[usize::from(address.is_ipv4() != begins_with)];
            if !family.contains(&address) {
                family.push(address);
            }
        }
        let [mut first, mut second] = families.map(|family| family.into_iter());
        let mut list = Vec::new();
        loop {
            let pair = [first.next(), second.next()];
            if pair == [None; 2] {
                break;
            }
            list.extend(pair.into_iter().flatten());
        }
        let connected = list.iter().map(|_| AtomicU64::new(0)).collect();
        (!list.is_empty()).then(|| Self {
            list: list.into(),
            first: AtomicUsize::new(0),
            connected,
        })
    }

    /// The addresses in the order in which they are tried at first.
    #[must_use]
    pub fn as_slice(&self) -> &[SocketAddr] {
        &self.list
    }

    /// How many connections of TCP each address has taken, in the same order.
    pub fn connected(&self) -> impl Iterator<Item = (SocketAddr, u64)> + '_ {
        let counts = self.connected.iter().map(|count| count.load(Ordering::Relaxed));
        self.list.iter().copied().zip(counts)
    }

    /// The place of the address to begin with.
    fn begin(&self) -> usize {
        self.first.load(Ordering::Relaxed)
    }

    fn get(&self, at: usize) -> Option<SocketAddr> {
        self.list.get(at).copied()
    }

    fn place(&self, endpoint: &Endpoint) -> usize {
        let is_it = |address: &SocketAddr| Endpoint::Tcp(*address) == *endpoint;
        self.list.iter().position(is_it).unwrap_or(0)
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) % self.list.len()
    }

    /// The address at this place does not answer: whoever comes next begins behind it.
    fn failed(&self, at: usize) {
        let order = Ordering::Relaxed;
        // Somebody else may have found that out before.
        let _ = self.first.compare_exchange(at, self.behind(at), order, order);
    }

    fn reached(&self, at: usize) {
        if let Some(count) = self.connected.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How a connection reaches its server: to an address, a unix socket, or one of the addresses of a name;
/// straight, or through a proxy that is there.
#[derive(Debug, Clone)]
pub struct Route {
    to: Hop,
    proxy: Option<Arc<Proxy>>,
}

#[derive(Debug, Clone)]
enum Hop {
    One(Endpoint),
    Any(Arc<Addresses>),
}

impl<E: Into<Endpoint>> From<E> for Route {
    fn from(endpoint: E) -> Self {
        Self { to: Hop::One(endpoint.into()), proxy: None }
    }
}

impl From<Arc<Addresses>> for Route {
    fn from(addresses: Arc<Addresses>) -> Self {
        Self { to: Hop::Any(addresses), proxy: None }
    }
}

impl Route {
    /// Takes the route through a proxy, whose addresses these are. The proxy is asked for a tunnel
    /// to the URL's host and port; everything else, including the TLS of a wss URL, goes through
    /// the tunnel.
    #[must_use]
    pub fn through(mut self, proxy: Arc<Proxy>) -> Self {
        self.proxy = Some(proxy);
        self
    }

    /// The proxy, if there is one.
    #[must_use]
    pub fn proxy(&self) -> Option<&Proxy> {
        self.proxy.as_deref()
    }

    /// The addresses that are tried, of the proxy if there is one; `None` where it is one endpoint.
    #[must_use]
    pub const fn addresses(&self) -> Option<&Arc<Addresses>> {
        match &self.to {
            Hop::Any(addresses) => Some(addresses),
            Hop::One(_) => None,
        }
    }

    /// The endpoint that the next connection tries first.
    #[must_use]
    pub fn endpoint(&self) -> Option<Endpoint> {
        match &self.to {
            Hop::One(endpoint) => Some(endpoint.clone()),
            Hop::Any(addresses) => addresses.get(addresses.begin()).map(Endpoint::Tcp),
        }
    }

    /// Whom a connection must wait for others to (draft-02 §5.1 step 2).
    pub(super) fn remote(&self, url: &Url, to: &Endpoint) -> Option<RemoteHost> {
        match (&self.proxy, url.address()) {
            (None, _) => to.ip().map(RemoteHost::Address),
            (Some(_), Some(address)) => Some(RemoteHost::Address(address)),
            // Only the proxy knows where it leads.
            (Some(_), None) => Some(RemoteHost::Name(url.host().to_owned())),
        }
    }

    /// The way of one connection, whose first attempt is at this endpoint; `None` if nothing is to be
    /// known of it.
    pub(super) fn begin(self, to: &Endpoint, from: Option<IpAddr>) -> Option<Box<Path>> {
        let attempts = match self.to {
            Hop::One(_) => None,
            Hop::Any(addresses) => Some(Attempts {
                at: addresses.place(to),
                left: addresses.list.len() - 1,
                addresses,
                from,
                error: None,
                until: Tick::MAX,
                failed: false,
            }),
        };
        let proxy = self.proxy;
        (proxy.is_some() || attempts.is_some())
            .then(|| Box::new(Path { proxy, attempts, begun: false }))
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Hop::One(endpoint) => endpoint.fmt(f),
            Hop::Any(addresses) => {
                for (place, address) in addresses.list.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{address}")?;
                }
                Ok(())
            }
        }
    }
}

/// A source address, if it is of the family of the endpoint.
pub(super) fn source(from: Option<IpAddr>, to: &Endpoint) -> Option<IpAddr> {
    from.filter(|from| to.ip().is_some_and(|to| to.is_ipv4() == from.is_ipv4()))
}

/// What a connection still has before it on its way.
#[derive(Debug)]
pub(super) struct Path {
    /// A proxy that is not asked yet.
    pub(super) proxy: Option<Arc<Proxy>>,
    /// Until TCP stands.
    attempts: Option<Attempts>,
    /// The first attempt has begun.
    begun: bool,
}

#[derive(Debug)]
struct Attempts {
    addresses: Arc<Addresses>,
    /// The place of the address that is tried, and how many there are besides those that were.
    at: usize,
    left: usize,
    from: Option<IpAddr>,
    /// The error of the first attempt.
    error: Option<i32>,
    /// When the present one gives way to the next.
    until: Tick,
    /// The present one is over, and the next is to begin when its socket is gone.
    failed: bool,
}

/// A source address, an endpoint, and whom a connection to it must wait for others to.
pub(super) type Next = (Option<IpAddr>, Endpoint, Option<RemoteHost>);

/// Whether an attempt failed for want of something of this machine's, which no other address cures.
const fn is_ours(error: i32) -> bool {
    matches!(error, libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EAGAIN)
}

impl Path {
    /// An attempt begins at `now`. All of them share a time of `timeout`, which began at `since` unless
    /// this is the first; says when it began.
    pub(super) fn attempt(&mut self, now: Tick, since: Tick, timeout: Tick) -> Tick {
        let began = if std::mem::replace(&mut self.begun, true) { since } else { now };
        if let Some(attempts) = self.attempts.as_mut().filter(|attempts| attempts.left > 0) {
            let share = Tick::try_from(attempts.left).unwrap_or(Tick::MAX - 1) + 1;
            let left = (began + timeout).saturating_sub(now) / share;
            attempts.until = now + left.max(1);
        }
        began
    }

    /// When the attempt under way gives way to another.
    pub(super) fn until(&self) -> Option<Tick> {
        self.attempts.as_ref().map(|attempts| attempts.until).filter(|until| *until < Tick::MAX)
    }

    /// TCP stands.
    pub(super) fn arrived(&mut self) {
        if let Some(attempts) = self.attempts.take() {
            attempts.addresses.reached(attempts.at);
        }
    }

    /// The attempt under way has failed with this error: whether there is another address to try.
    pub(super) fn failed(&mut self, error: i32) -> bool {
        let Some(attempts) = &mut self.attempts else { return false };
        if attempts.failed {
            return true;
        }
        attempts.error.get_or_insert(error);
        attempts.until = Tick::MAX;
        if is_ours(error) {
            return false;
        }
        attempts.addresses.failed(attempts.at);
        attempts.failed = attempts.left > 0;
        attempts.failed
    }

    /// The error that the first attempt has failed with.
    pub(super) fn error(&self) -> Option<i32> {
        self.attempts.as_ref()?.error
    }

    /// Where from and where to the next attempt is, now that the socket of one that has failed is gone;
    /// and the host that it must wait for, if that is another than before.
    pub(super) fn next(&mut self) -> Option<Next> {
        let attempts = self.attempts.as_mut().filter(|attempts| attempts.failed)?;
        attempts.failed = false;
        attempts.left -= 1;
        attempts.at = attempts.addresses.behind(attempts.at);
        let to = Endpoint::Tcp(attempts.addresses.get(attempts.at)?);
        let host = to.ip().filter(|_| self.proxy.is_none()).map(RemoteHost::Address);
        Some((source(attempts.from, &to), to, host))
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::{Addresses, Path, Route, Tick};

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|one| one.parse().expect("an address")).collect()
    }

    #[test]
    fn families_alternate_and_each_address_comes_once() {
        let given = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "[::1]:1", "[::3]:1", "127.0.0.2:1"];
        let order = ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"];
        let found = Addresses::new(addresses(&given)).expect("some");
        assert_eq!(found.as_slice(), addresses(&order));
        let found = Addresses::new(addresses(&["127.0.0.1:1", "[::1]:1"])).expect("some");
        assert_eq!(found.as_slice(), addresses(&["127.0.0.1:1", "[::1]:1"]));
        assert!(Addresses::new([]).is_none());
    }

    fn path(route: &Route) -> Box<Path> {
        route.clone().begin(&route.endpoint().expect("one"), None).expect("addresses")
    }

    #[test]
    fn whoever_comes_next_begins_where_somebody_answered() {
        let all = Arc::new(Addresses::new(addresses(&["[::1]:1", "127.0.0.1:1"])).expect("two"));
        let route = Route::from(Arc::clone(&all));
        let (mut one, mut other) = (path(&route), path(&route));
        assert_eq!((one.attempt(7, 3, 100), one.until()), (7, Some(57)));
        assert!(one.failed(111) && one.until().is_none());
        assert!(one.failed(104), "it is known");
        let (from, to, _) = one.next().expect("another");
        assert_eq!((from, to.to_string()), (None, "127.0.0.1:1".to_owned()));
        assert!(one.next().is_none(), "until it has failed");
        assert_eq!((one.attempt(57, 7, 100), one.until()), (7, None), "the last has the rest");
        one.arrived();
        assert_eq!(all.connected().map(|(_, n)| n).collect::<Vec<_>>(), [0, 1]);
        let second = route.endpoint().expect("an endpoint").to_string();
        assert_eq!(second, "127.0.0.1:1");
        // Somebody who began before fails at the same address: that changes nothing.
        assert!(other.failed(111));
        assert_eq!(route.endpoint().expect("an endpoint").to_string(), second);
        other.next().expect("another");
        assert!(!other.failed(101) && other.error() == Some(111), "the first error is told");
        // It was the last of two: who comes next begins with the other one again.
        assert_eq!(route.endpoint().expect("an endpoint").to_string(), "[::1]:1");
    }

    #[test]
    fn what_this_machine_lacks_is_no_fault_of_the_address() {
        let all = Arc::new(Addresses::new(addresses(&["[::1]:1", "127.0.0.1:1"])).expect("two"));
        let route = Route::from(all);
        let mut path = path(&route);
        assert!(!path.failed(libc::EMFILE));
        assert_eq!(route.endpoint().expect("an endpoint").to_string(), "[::1]:1");
        assert_eq!(path.until(), None::<Tick>);
    }
}
