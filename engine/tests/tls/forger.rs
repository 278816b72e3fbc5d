//! Records that no library would send, encrypted with the keys of an established connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use rustls::crypto::cipher::{MessageEncrypter, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, StreamOwned,
    SupportedCipherSuite, SupportedProtocolVersion,
};

use crate::authority::Authority;
use crate::peer::{connect, roots};

/// A connection whose records are made by hand.
pub(crate) struct Forger {
    pub(crate) sock: TcpStream,
    encrypter: Box<dyn MessageEncrypter>,
    seq: u64,
}

impl Forger {
    /// An established connection, TLS and WebSocket.
    pub(crate) fn connect(
        address: SocketAddr,
        authority: &Authority,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let mut provider = rustls::crypto::ring::default_provider();
        let suite = match version.version {
            ProtocolVersion::TLSv1_2 => TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            _ => TLS13_CHACHA20_POLY1305_SHA256,
        };
        provider.cipher_suites = vec![suite];
        let mut config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots(authority))
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        let StreamOwned { conn, sock } = connect(address, config).stream;
        let (seq, secrets) = conn.dangerous_extract_secrets().expect("extraction is enabled").tx;
        let ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } = secrets else {
            panic!("another suite than the one asked for")
        };
        let encrypter = match suite {
            SupportedCipherSuite::Tls12(suite) => suite.aead_alg.encrypter(key, iv.as_ref(), &[]),
            SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        };
        Self { sock, encrypter, seq }
    }

    /// A record that the server can decrypt.
    pub(crate) fn record(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let version = ProtocolVersion::TLSv1_2;
        let message = OutboundPlainMessage { typ, version, payload: payload.into() };
        let record = self.encrypter.encrypt(message, self.seq).expect("it encrypts");
        self.seq += 1;
        record.encode()
    }

    /// Sends; the server may have ended the connection already.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.sock.write_all(bytes).is_ok()
    }

    /// Sends one record.
    pub(crate) fn say(&mut self, typ: ContentType, payload: &[u8]) -> bool {
        let record = self.record(typ, payload);
        self.send(&record)
    }

    /// How many bytes come before the server ends the connection.
    pub(crate) fn bytes_until_the_end(&mut self) -> usize {
        read_to_end(&mut self.sock)
    }

    /// Waits for so many bytes.
    pub(crate) fn expect_bytes(&mut self, at_least: usize) {
        let (mut got, mut buffer) = (0, [0; 4096]);
        while got < at_least {
            let n = self.sock.read(&mut buffer).expect("an answer");
            assert!(n > 0, "the end after {got} bytes");
            got += n;
        }
    }
}

/// Reads to the end of a stream, orderly or not, and counts.
pub(crate) fn read_to_end(sock: &mut TcpStream) -> usize {
    let (mut all, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        match sock.read(&mut buffer) {
            Ok(0) => return all,
            Ok(n) => all += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server does not end the connection")
            }
            Err(_) => return all,
        }
    }
}
