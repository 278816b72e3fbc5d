//! What comes behind the handshake.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use ringbolt::conn::{Connection, ConnectionConfig, ConnectionEvent, Message, Role};
use ringbolt::handshake::{ClientRequest, Url};
use ringbolt::wire::Dialect;

/// What a peer sends behind its handshake, in either dialect and role: however it is cut, the
/// events and the answers are the same, and memory and time follow the bytes.
pub fn stream(data: &[u8]) {
    // The data itself decides how it is cut: all cuts of each input would take too long.
    let sum: usize = data.iter().map(|byte| usize::from(*byte)).sum();
    let size = [1, 2, 3, 7, 61][sum % 5];
    let now = Instant::now();
    for side in SIDES.iter() {
        let whole = side.converse(data, usize::MAX, now);
        let pieces = side.converse(data, size, now);
        assert_eq!(pieces, whole, "{:?} of {:?} in pieces of {size}", side.role, side.dialect);
    }
}

/// Whose view of a stream, and in which dialect.
static SIDES: LazyLock<[Side; 4]> = LazyLock::new(|| {
    [
        (Role::Server, Dialect::Hybi02),
        (Role::Server, Dialect::Rfc6455),
        (Role::Client, Dialect::Hybi02),
        (Role::Client, Dialect::Rfc6455),
    ]
    .map(|(role, dialect)| Side::new(role, dialect))
});

/// A view of a stream, and what every conversation of it begins with.
struct Side {
    role: Role,
    dialect: Dialect,
    config: Arc<ConnectionConfig>,
    request: Arc<ClientRequest>,
    /// The peer's.
    handshake: Vec<u8>,
}

/// Something that was read.
#[derive(Debug, PartialEq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Other(String),
}

impl Side {
    fn new(role: Role, dialect: Dialect) -> Self {
        let url = Url::parse("ws://example.com/demo").expect("a valid URL");
        let request = ClientRequest::builder(url, "http://example.com").dialect(dialect).build();
        let request = Arc::new(request.expect("a valid request"));
        let config = Arc::new(ConnectionConfig::default());
        let mut side = Self { role, dialect, config, request, handshake: Vec::new() };
        let now = Instant::now();
        let mut sent = side.client(now).transmit().to_vec();
        if role == Role::Client {
            let mut server = Connection::server(&side.config, now);
            let mut received = server.handle_receive(&mut sent, now);
            while let Some(event) = received.next_event() {
                let ConnectionEvent::Request(upgrade) = event else { panic!("{event:?}") };
                upgrade.accept(None, &[]).expect("nothing extra to refuse");
            }
            sent = server.transmit().to_vec();
        }
        side.handshake = sent;
        side
    }

    /// A client whose handshake is the same each time.
    fn client(&self, now: Instant) -> Connection {
        let mut rng = fastrand::Rng::with_seed(2);
        let mut client = Connection::client(&self.config, &self.request, &mut rng, now);
        if self.role == Role::Client {
            let sent = client.transmit().len();
            if !self.handshake.is_empty() {
                client.transmitted(sent);
            }
        }
        client
    }

    /// This side's view of a handshake and then `data`, in pieces of `size`: its events, and what it
    /// sent. Of what is masked, with keys that nobody can predict, only the length is the same.
    fn converse(&self, data: &[u8], size: usize, now: Instant) -> (Vec<Seen>, Vec<u8>, usize) {
        let mut connection = match self.role {
            Role::Server => Connection::server(&self.config, now),
            _ => self.client(now),
        };
        let mut handshake = self.handshake.clone();
        let mut data = data.to_vec();
        let most = handshake.len() + data.len();
        let mut events = Vec::new();
        let size = size.min(data.len().max(1));
        for piece in std::iter::once(&mut handshake[..]).chain(data.chunks_mut(size)) {
            let mut received = connection.handle_receive(piece, now);
            while let Some(event) = received.next_event() {
                // An event takes two bytes at the least, so this cannot go on.
                assert!(events.len() <= most, "more events than bytes");
                match event {
                    ConnectionEvent::Request(upgrade) => {
                        upgrade.accept(None, &[]).expect("nothing extra to refuse");
                    }
                    ConnectionEvent::Opened(response, _) => {
                        assert!(response.cookies().count() == 0);
                    }
                    ConnectionEvent::Message(message, mut sender) => {
                        assert!(sender.send(message), "an open connection sends");
                        events.push(match message {
                            Message::Text(text) => Seen::Text(text.to_owned()),
                            Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
                        });
                    }
                    other => events.push(Seen::Other(format!("{other:?}"))),
                }
            }
        }
        let sent = connection.transmit();
        let masked = self.role == Role::Client && self.dialect == Dialect::Rfc6455;
        (events, if masked { Vec::new() } else { sent.to_vec() }, sent.len())
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut long = b"\x05\x7e\x01\x00".to_vec();
    long.extend(std::iter::repeat_n(0x61, 256));
    vec![
        b"\x04\x05Hello\x05\x03abc\x02\x02hi\x01\x00".to_vec(),
        b"\x84\x03Hel\x02\x01!\x00\x02lo\x04\x00".to_vec(),
        b"\x84\x02\xe6\xbc\x80\x02\xa2\xe5\x00\x02\xad\x97".to_vec(),
        b"\x03\x00\x05\x7f\x00\x00\x00\x00\x00\x00\x00\x02ok\x01\x02OK\x04\x01x".to_vec(),
        b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58\x89\x80\x01\x02\x03\x04".to_vec(),
        b"\x01\x82\x00\x00\x00\x00\xe6\xbc\x80\x81\x00\x00\x00\x00\xa2".to_vec(),
        b"\x88\x82\x00\x00\x00\x00\x03\xe8".to_vec(),
        b"\x81\x05Hello\x01\x03Hel\x89\x01!\x80\x02lo\x88\x02\x03\xe8".to_vec(),
        long,
    ]
}
