//! The line that says where a peer listens.

use std::io::Write as _;
use std::net::SocketAddr;

/// Tells whoever started the server where it listens.
///
/// # Panics
///
/// When nobody reads it.
pub fn announce(address: SocketAddr) {
    let mut out = std::io::stdout();
    writeln!(out, "listening on {address}").and_then(|()| out.flush()).expect("a reader");
}
