//! Listening sockets, one per shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::StartError;
use crate::shard::machine::Endpoint;

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long to wait before accepting again when the kernel was out of files or memory.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket in a driver's hands.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: Listener,
    /// On a ring, whether the kernel accepts from it; on epoll, whether connections may wait there to be
    /// accepted.
    pub(super) active: bool,
}

impl Acceptor {
    /// All of them, active or not.
    pub(super) fn all(listeners: Vec<Listener>, active: bool) -> Vec<Self> {
        listeners.into_iter().map(|listener| Self { listener, active }).collect()
    }
}

/// A shard's listening socket.
#[derive(Debug)]
pub(crate) struct Listener(Socket);

impl Listener {
    /// Binds one socket per shard. Port 0 takes a free port, the same for all.
    pub(crate) fn bind(address: SocketAddr, shards: usize) -> Result<Vec<Self>, StartError> {
        bind(address, false, shards).map_err(|e| StartError::listen(address, &e))
    }

    /// Listens on all addresses of a name. Addresses that this machine does not have are left out
    /// if it has another one; port 0 takes a port that is free on all of them, if there is one.
    pub(crate) fn bind_all(
        addresses: &[SocketAddr],
        shards: usize,
    ) -> Result<Vec<Vec<Self>>, StartError> {
        let mut group: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            if !group.contains(address) {
                group.push(*address);
            }
        }
        let mut tries = SAME_PORT_TRIES;
        loop {
            match bind_group(&group, tries > 0, shards) {
                Ok(bound) => return Ok(bound),
                Err((address, e)) if tries == 0 || address.port() > 0 || !is_in_use(&e) => {
                    return Err(StartError::listen(address, &e));
                }
                Err(_) => tries -= 1,
            }
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.local_addr().ok()?.as_socket()
    }

    /// The socket, and another handle of it.
    #[cfg(feature = "tokio-uring")]
    pub(super) fn into_two(self) -> io::Result<(std::net::TcpListener, Socket)> {
        let other = self.0.try_clone()?;
        Ok((self.0.into(), other))
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// How often another port is tried that may be free on every address of a name.
const SAME_PORT_TRIES: u32 = 32;

fn is_in_use(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Whether this machine has no such address, or knows none of its family.
fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

/// Binds every address of a group; says which one it was that could not be.
fn bind_group(
    group: &[SocketAddr],
    same_port: bool,
    shards: usize,
) -> Result<Vec<Vec<Listener>>, (SocketAddr, io::Error)> {
    // One that takes both families would leave none to the other's sockets.
    let apart = group.iter().any(SocketAddr::is_ipv4);
    let (mut all, mut port, mut absent) = (Vec::new(), None, None);
    for address in group {
        let mut wanted = *address;
        if let Some(port) = port.filter(|_| same_port && wanted.port() == 0) {
            wanted.set_port(port);
        }
        match bind(wanted, apart, shards) {
            Ok(bound) => {
                port = bound.first().and_then(Listener::address).map(|bound| bound.port());
                all.push(bound);
            }
            Err(e) if is_absent(&e) => drop(absent.get_or_insert((*address, e))),
            Err(e) => return Err((*address, e)),
        }
    }
    match absent {
        Some(absent) if all.is_empty() => Err(absent),
        _ => Ok(all),
    }
}

/// Binds one socket per shard; `apart` keeps one of IPv6 from taking IPv4's connections.
fn bind(address: SocketAddr, apart: bool, shards: usize) -> io::Result<Vec<Listener>> {
    // Shards share the port by SO_REUSEPORT, which would also let a second server of the same
    // user take half the connections: the first socket finds out whether the port is free.
    let probe = socket(address, apart, false)?;
    let bound = probe.local_addr()?.as_socket().unwrap_or(address);
    drop(probe);
    (0..shards)
        .map(|_| {
            let socket = socket(bound, apart, true)?;
            socket.listen(BACKLOG)?;
            Ok(Listener(socket))
        })
        .collect()
}

fn socket(address: SocketAddr, apart: bool, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if apart && address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    // Inherited by every accepted connection: frames leave when they are sent.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A socket that will connect, bound to an address of ours if one is given, and where to.
pub(super) fn outgoing(
    from: Option<std::net::IpAddr>,
    to: &Endpoint,
) -> io::Result<(OwnedFd, SockAddr)> {
    let to = match to {
        Endpoint::Tcp(to) => *to,
        Endpoint::Unix(path) => {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            return Ok((socket.into(), SockAddr::unix(path)?));
        }
    };
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(from) = from {
        crate::sys::socket::bind_address_no_port(socket.as_raw_fd())?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    Ok((socket.into(), to.into()))
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::Listener;

    fn addresses(bound: &[Vec<Listener>]) -> Vec<SocketAddr> {
        bound.iter().map(|one| one[0].address().expect("an address")).collect()
    }

    #[test]
    fn all_addresses_of_a_name_get_the_same_port() {
        let name = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"];
        let name = name.map(|one| one.parse().expect("an address"));
        for _ in 0..8 {
            let bound = Listener::bind_all(&name, 2).expect("a free port");
            let found = addresses(&bound);
            assert_eq!(found.len(), 2, "each once: {found:?}");
            assert_eq!(found[0].port(), found[1].port(), "{found:?}");
            assert!(found[0].ip() == name[0].ip() && found[1].ip() == name[1].ip());
            found.iter().for_each(|at| drop(TcpStream::connect(at).expect("it listens")));
        }
    }

    #[test]
    fn an_address_that_is_not_here_is_left_out_and_one_in_use_is_an_error() {
        let held = TcpListener::bind("127.0.0.2:0").expect("a port");
        let taken = held.local_addr().expect("an address");
        // TEST-NET-1 (RFC 5737) is on no machine.
        let elsewhere: SocketAddr = "192.0.2.1:0".parse().expect("an address");
        let here: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let bound = Listener::bind_all(&[elsewhere, here], 1).expect("one is here");
        assert_eq!(addresses(&bound)[0].ip(), here.ip());
        let error = Listener::bind_all(&[elsewhere], 1).expect_err("none is here");
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
        let error = Listener::bind_all(&[here, taken], 1).expect_err("it is taken");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
    }

    #[test]
    fn both_families_of_every_interface_can_be_had_at_once() {
        let both = ["[::]:0", "0.0.0.0:0"].map(|one| one.parse().expect("an address"));
        let bound = Listener::bind_all(&both, 1).expect("a free port");
        let found = addresses(&bound);
        // A machine without IPv6 has one of them.
        assert!(found.iter().all(|one| one.port() == found[0].port()), "{found:?}");
        assert!(found.iter().any(SocketAddr::is_ipv4), "{found:?}");
    }
}
