//! One end of a TLS connection without a shard, for fuzzing and measuring.

use std::fmt;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::session::{self, OVERHEAD, RECORD, Session};
use crate::credentials::{ClientTls, ServerTls};
use crate::error::TlsError;

/// One connection's TLS, as the layer between driver and shard has it.
pub struct TlsEnd(Session);

impl fmt::Debug for TlsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsEnd").field("open", &self.0.open).finish_non_exhaustive()
    }
}

impl TlsEnd {
    /// A server's end.
    ///
    /// # Errors
    ///
    /// What the TLS library says.
    pub fn server(tls: &ServerTls) -> Result<Self, TlsError> {
        let side = UnbufferedServerConnection::new(tls.current());
        Ok(Self(Session::server(0, side.map_err(|e| session::reason(&e))?)))
    }

    /// A client's end, which has its first message to send.
    ///
    /// # Errors
    ///
    /// What the TLS library says, or that no certificate could be for this host.
    pub fn client(tls: &ClientTls, host: &str) -> Result<Self, TlsError> {
        let name = tls.name(host).ok_or(TlsError::WrongName)?;
        let side = UnbufferedClientConnection::new(Arc::clone(&tls.config()), name);
        let mut session = Session::client(0, side.map_err(|e| session::reason(&e))?);
        session.start()?;
        Ok(Self(session))
    }

    /// Reads what came from the peer; what it says is appended to `plain`.
    ///
    /// # Errors
    ///
    /// Why the connection is over.
    pub fn receive(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<(), TlsError> {
        self.0.receive(input, plain)
    }

    /// Takes what is to be sent to the peer beside records of data.
    pub fn take_out(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0.out)
    }

    /// Appends records of these bytes to `out`.
    ///
    /// # Errors
    ///
    /// Why the connection is over.
    pub fn encrypt(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        for part in plain.chunks(RECORD) {
            let start = out.len();
            out.resize(start + part.len() + OVERHEAD, 0);
            let written = self.0.encrypt(part, out.get_mut(start..).unwrap_or_default());
            out.truncate(start + *written.as_ref().unwrap_or(&0));
            written?;
        }
        Ok(())
    }

    /// Queues the alert that says that nothing more is sent.
    pub fn close(&mut self) -> bool {
        self.0.close()
    }

    /// Whether the handshake is done.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.0.open
    }

    /// Whether the peer has ended what it says, or nothing more can be read.
    #[must_use]
    pub const fn is_deaf(&self) -> bool {
        self.0.read_closed
    }

    /// Bytes of memory that its records take.
    #[must_use]
    pub const fn holds(&self) -> usize {
        self.0.holds()
    }
}
