//! What the network brings to the TLS layer, and files of certificates.

use std::sync::LazyLock;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ringbolt::bench::TlsEnd;
use ringbolt::{ClientTls, Pem, ServerTls, TlsError};

/// Most bytes that a session may hold of what a peer sent (and has not been read), with what waits to be
/// sent.
const HOLDS_MAX: usize = 1 << 20;
/// Most times that both ends are asked for what they have to say.
const ROUNDS: usize = 20;

/// Both ends' configurations, and the files that they are made of.
struct World {
    server: ServerTls,
    client: ClientTls,
    chain: Vec<u8>,
    key: Vec<u8>,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    let own = key();
    let params = CertificateParams::new(["example.com".to_owned()]).expect("a name");
    let chain = params.signed_by(&own, &authority).expect("a certificate");
    let (chain, key) = (chain.pem().into_bytes(), own.serialize_pem().into_bytes());
    let text = |bytes: &[u8]| Pem::Text(bytes.to_vec());
    let server = ServerTls::builder().certificate(text(&chain), text(&key)).build();
    let authorities = Pem::Text(authority.pem().into_bytes());
    // Resumed or not, by chance of what came before, would make an input mean two things.
    let client = ClientTls::builder().authorities(authorities).resumption(false).build();
    World { server: server.expect("usable"), client: client.expect("usable"), chain, key }
});

/// Bytes from the network, by the first byte: to a server's end, to a client's, or between two ends, where
/// the rest says how records are cut, damaged, lost and repeated. What arrives is a beginning of what was
/// said, nothing is held without bound, and without damage all of it arrives.
pub fn tls(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 3 {
        0 => alone(TlsEnd::server(&WORLD.server).expect("a configuration"), rest),
        1 => alone(TlsEnd::client(&WORLD.client, "example.com").expect("a name"), rest),
        _ => between(rest),
    }
}

/// Holds that the answers are equal however the bytes are cut, except for what is random.
fn alone(mut end: TlsEnd, data: &[u8]) {
    let mut plain = Vec::new();
    let mut sent = end.take_out().len();
    let mut rest = data;
    while let Some(first) = rest.first() {
        let (piece, behind) = rest.split_at((usize::from(*first) + 1).min(rest.len()));
        rest = behind;
        let outcome = end.receive(&mut piece.to_vec(), &mut plain);
        sent += end.take_out().len();
        assert!(plain.is_empty(), "nobody has the keys");
        assert!(end.holds() <= HOLDS_MAX && !end.is_open());
        if outcome.is_err() {
            assert!(end.is_deaf() || end.receive(&mut [22, 3, 1], &mut plain).is_err());
            return;
        }
    }
    // A server may have answered a first message, a client has sent its own.
    assert!(sent <= 64 << 10, "{sent} bytes");
}

/// What happens to what is under way.
struct Network<'d> {
    program: &'d [u8],
    damaged: bool,
}

impl Network<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.program.split_first() else { return 0 };
        self.program = rest;
        *first
    }

    /// Hands `bytes` over, in pieces.
    fn carry(&mut self, mut bytes: Vec<u8>, to: &mut TlsEnd, heard: &mut Vec<u8>) -> bool {
        let place = |len: usize, at: u8| usize::from(at) * len / 256;
        match self.next() {
            1 if !bytes.is_empty() => {
                let at = place(bytes.len(), self.next());
                bytes[at] ^= self.next().max(1);
                self.damaged = true;
            }
            2 => {
                bytes.truncate(place(bytes.len(), self.next()));
                self.damaged = true;
            }
            3 => {
                bytes.extend_from_within(..place(bytes.len(), self.next()));
                self.damaged = true;
            }
            _ => {}
        }
        let size = match self.next() {
            0 => bytes.len().max(1),
            size => usize::from(size),
        };
        let outcome = bytes.chunks_mut(size).try_for_each(|piece| to.receive(piece, heard));
        assert!(to.holds() <= HOLDS_MAX);
        assert!(self.damaged || outcome.is_ok(), "{outcome:?} without damage");
        outcome.is_ok()
    }
}

impl Network<'_> {
    /// An open end says something. It may find out then that what it holds is the beginning of no record.
    fn says(&self, end: &mut TlsEnd, message: &[u8], out: &mut Vec<u8>) -> bool {
        let outcome = end.encrypt(message, out);
        assert!(self.damaged || outcome.is_ok(), "{outcome:?} without damage");
        let strange = [TlsError::NotTls, TlsError::PlainClient, TlsError::PlainServer];
        assert!(!outcome.is_err_and(|error| strange.contains(&error)), "it was TLS so far");
        outcome.is_ok()
    }
}

fn between(program: &[u8]) {
    let mut network = Network { program, damaged: false };
    let mut server = TlsEnd::server(&WORLD.server).expect("a configuration");
    let mut client = TlsEnd::client(&WORLD.client, "example.com").expect("a name");
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    let (mut said, mut answered) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut out = client.take_out();
        if client.is_open() && round > 2 {
            let message = vec![b'c'; usize::from(network.next()) << (network.next() % 8)];
            if !network.says(&mut client, &message, &mut out) {
                break;
            }
            said.extend(message);
        }
        if !network.carry(out, &mut server, &mut to_server) {
            break;
        }
        let mut out = server.take_out();
        if server.is_open() {
            let message = vec![b's'; usize::from(network.next())];
            if !network.says(&mut server, &message, &mut out) {
                break;
            }
            answered.extend(message);
        }
        if !network.carry(out, &mut client, &mut to_client) {
            break;
        }
        if network.program.is_empty() && server.is_open() && client.is_open() {
            break;
        }
    }
    assert!(said.starts_with(&to_server) && answered.starts_with(&to_client));
    if network.damaged {
        return;
    }
    assert!(server.is_open() && client.is_open(), "a handshake without damage");
    assert_eq!((said.len(), answered.len()), (to_server.len(), to_client.len()));
    assert!(client.close());
    network.program = &[];
    assert!(network.carry(client.take_out(), &mut server, &mut to_server) && server.is_deaf());
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut hello = vec![0];
    let mut client = TlsEnd::client(&WORLD.client, "example.com").expect("a name");
    let first = client.take_out();
    hello.extend_from_slice(&first);
    let mut flight = vec![1];
    let mut server = TlsEnd::server(&WORLD.server).expect("a configuration");
    server.receive(&mut first.clone(), &mut Vec::new()).expect("a client's first message");
    flight.extend(server.take_out());
    vec![
        hello,
        flight,
        b"\0GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\0\x16\x03\x01\x40\x01\x01".to_vec(),
        b"\x01\x15\x03\x03\x00\x02\x02\x28".to_vec(),
        vec![2],
        b"\x02\0\0\0\0\0\0\0\x05\x07\xff\x03\x01\x00\x01".to_vec(),
        b"\x02\0\x01\0\x02\0\x03\x04\x09\x01\x80\x01\0\0".to_vec(),
        b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\x40\0\x02\x80\0".to_vec(),
        // A record that begins with a byte of the one before: seen when something is to be said.
        b"\x02: \0\0\0\0\0\0\0\x05\x07\xff\x03\x01\0\x01Sec-WebSocket-Draft: 3\r\n".to_vec(),
    ]
}

/// A certificate's file, a key's and an authority's: each may be anything, and is refused or used, with a
/// text that says which it was.
pub fn pem(data: &[u8]) {
    let text = |bytes: &[u8]| Pem::Text(bytes.to_vec());
    let world = &*WORLD;
    let chain = ServerTls::builder().certificate(text(data), text(&world.key)).build();
    let key = ServerTls::builder().certificate(text(&world.chain), text(data)).build();
    let roots = ClientTls::builder().authorities(text(data)).build();
    // One section cannot be the certificate and the key both, but a text of two sections can.
    let sections = data.windows(10).filter(|ten| ten == b"-----BEGIN").count();
    assert!(sections > 0 || chain.is_err() && key.is_err() && roots.is_err());
    for error in [chain.err(), key.err(), roots.err()].into_iter().flatten() {
        let said = error.to_string();
        assert!(said.contains("a PEM text"), "{said}");
        assert!(!said.contains("PRIVATE KEY-----\n"), "a key in {said}");
    }
}

pub(super) fn pem_seeds() -> Vec<Vec<u8>> {
    let World { chain, key, .. } = &*WORLD;
    let both = [&chain[..], &key[..]].concat();
    let certificate = b"-----BEGIN CERTIFICATE-----\n".to_vec();
    let encrypted =
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    vec![chain.clone(), key.clone(), both, certificate, encrypted.to_vec(), b"0\x82\x01".to_vec()]
}
