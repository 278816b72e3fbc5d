//! Listening sockets, one per shard on the same port.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::error::StartError;
use crate::shard::machine::Endpoint;

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// A shard's listening socket.
#[derive(Debug)]
pub(crate) struct Listener(Socket);

impl Listener {
    /// Binds one socket per shard. Port 0 takes a free port, the same for all.
    pub(crate) fn bind(address: SocketAddr, shards: usize) -> Result<Vec<Self>, StartError> {
        let wrong = |e: io::Error| StartError::listen(address, &e);
        // Shards share the port by SO_REUSEPORT, which would also let a second server of the same
        // user take half the connections: the first socket finds out whether the port is free.
        let probe = socket(address, false).map_err(wrong)?;
        let bound = probe.local_addr().map_err(wrong)?.as_socket().unwrap_or(address);
        drop(probe);
        (0..shards)
            .map(|_| {
                let socket = socket(bound, true)?;
                socket.listen(BACKLOG)?;
                Ok(Self(socket))
            })
            .collect::<io::Result<_>>()
            .map_err(wrong)
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

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
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
