//! One connection's TLS: bytes in and out, and what is carried from one read to the next.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{
    CertificateError, CipherSuite, Error, HandshakeKind, InvalidMessage, ProtocolVersion,
};

use crate::credentials::{Security, TlsVersion};
use crate::error::TlsError;
use crate::handshake;
use crate::shard::machine::ReadInterest;

/// Bytes of a record's header (RFC 8446 §5.1).
const HEADER: usize = 5;
/// Most bytes that one record holds of what is sent (§5.1).
pub(super) const RECORD: usize = 1 << 14;
/// Most bytes of one record as it is sent, with its header (RFC 5246 §6.2.3).
const RECORD_MAX: usize = HEADER + RECORD + 2048;
/// Most bytes that a session keeps of what it cannot use yet: a handshake message of 64 KiB, the most
/// that rustls takes, in records of the usual size, or the beginning of one record.
const HELD_MAX: usize = 96 << 10;
/// The alert that ends a handshake with a message that cannot be read, in the clear (RFC 8446 §6.2).
const DECODE_ERROR: [u8; HEADER + 2] = [21, 3, 3, 0, 2, 2, 50];
/// Most bytes of handshake messages and alerts that wait to be sent; a flight is far shorter.
const OUT_MAX: usize = 256 << 10;
/// A record that is longer than this is received into large buffers.
const SMALL_RECORD: usize = 4096;
/// A read of fewer bytes than this is a sign that small buffers would do.
const SMALL_READ: usize = 2048;
/// So many of them in a row, and small buffers do.
const SMALL_READS: u8 = 16;
/// What a record adds to its content at most, and what a key update before it takes.
pub(super) const OVERHEAD: usize = 256;

enum TlsRole {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// The TLS state of one connection.
pub(super) struct Session {
    pub(super) generation: u32,
    side: TlsRole,
    /// Bytes that make no whole record yet, or no whole handshake message.
    held: Vec<u8>,
    /// So many of them are whole records that rustls has seen: parts of a handshake message.
    seen: usize,
    /// Handshake messages and alerts to be sent, encrypted as they must be.
    pub(super) out: Vec<u8>,
    /// The handshake is done.
    pub(super) open: bool,
    /// Nothing more is read: it failed, or the peer has said that it is done.
    pub(super) read_closed: bool,
    /// Nothing more is encrypted: it failed, or we have said that we are done.
    pub(super) mute: bool,
    /// A send of it blocked: whatever is new waits behind it.
    pub(super) blocked: bool,
    /// The session is in the list of those that have something of their own to send.
    pub(super) listed: bool,
    /// Small reads to go before small buffers do again.
    large: u8,
    /// By how many bytes all that was sent is longer than what is in it; the count wraps round.
    pub(super) added: u32,
    /// Bytes of memory that were told of.
    told: usize,
}

/// What is to be written while rustls has nothing of its own to say.
enum Write<'a> {
    Nothing,
    /// One record of application data, into this room.
    Data(&'a [u8], &'a mut [u8]),
    /// The close_notify alert (RFC 8446 §6.1).
    Close,
}

/// What rustls wants next.
enum Step {
    /// There is more to do.
    Again,
    /// More bytes are needed, or nothing is left to do.
    Rest,
    /// So many bytes were written.
    Written(usize),
    /// The peer has closed its side.
    Closed,
    Failed(TlsError),
}

impl Session {
    pub(super) fn server(generation: u32, side: UnbufferedServerConnection) -> Self {
        Self::new(generation, TlsRole::Server(side))
    }

    pub(super) fn client(generation: u32, side: UnbufferedClientConnection) -> Self {
        Self::new(generation, TlsRole::Client(side))
    }

    const fn new(generation: u32, side: TlsRole) -> Self {
        Self {
            generation,
            side,
            held: Vec::new(),
            seen: 0,
            out: Vec::new(),
            open: false,
            read_closed: false,
            mute: false,
            blocked: false,
            listed: false,
            large: 0,
            added: 0,
            told: 0,
        }
    }

    /// Counts what so many plain bytes have become.
    #[expect(clippy::cast_possible_truncation, reason = "a count that wraps round")]
    pub(super) const fn count(&mut self, plain: usize, sent: usize) {
        self.added = self.added.wrapping_add(sent as u32).wrapping_sub(plain as u32);
    }

    /// How many bytes of memory its records take.
    pub(super) const fn holds(&self) -> usize {
        self.held.capacity() + self.out.capacity()
    }

    /// The bytes that the session holds, if that has changed since the last call.
    pub(super) fn holds_now(&mut self) -> Option<usize> {
        let holds = self.holds();
        (holds != std::mem::replace(&mut self.told, holds)).then_some(holds)
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self.side, TlsRole::Client(_))
    }

    /// What the handshake has agreed on.
    pub(super) fn security(&self) -> Option<Security> {
        let (version, suite, kind) = match &self.side {
            TlsRole::Server(side) => {
                (side.protocol_version(), side.negotiated_cipher_suite(), side.handshake_kind())
            }
            TlsRole::Client(side) => {
                (side.protocol_version(), side.negotiated_cipher_suite(), side.handshake_kind())
            }
        };
        Some(Security {
            version: match version? {
                ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
                _ => TlsVersion::Tls13,
            },
            cipher_suite: name(suite?.suite()),
            resumed: kind == Some(HandshakeKind::Resumed),
        })
    }

    /// Writes the first message of a client.
    pub(super) fn start(&mut self) -> Result<(), TlsError> {
        self.process(&mut [], &mut Vec::new()).map(drop)
    }

    /// Reads what came from the peer; what it says is appended to `plain`.
    pub(super) fn receive(
        &mut self,
        mut input: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(), TlsError> {
        while !input.is_empty() && !self.read_closed {
            if self.held.is_empty() {
                let taken = self.process(input, plain)?;
                return self.hold(input.get(taken..).unwrap_or_default());
            }
            // Only what completes the record is copied; what follows is decrypted where it lies.
            let take = missing(self.unseen()).clamp(1, input.len());
            let (first, rest) = input.split_at_mut(take);
            self.hold(first)?;
            input = rest;
            if missing(self.unseen()) > 0 {
                continue;
            }
            let mut held = std::mem::take(&mut self.held);
            let taken = self.process(&mut held, plain)?;
            if taken < held.len() {
                held.drain(..taken);
                self.held = held;
            }
        }
        Ok(())
    }

    /// What rustls has not seen of the bytes that are held: the beginning of a record.
    fn unseen(&self) -> &[u8] {
        self.held.get(self.seen..).unwrap_or_default()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        if self.read_closed {
            return Ok(());
        }
        if self.held.len() + bytes.len() > HELD_MAX {
            self.say_too_long();
            return Err(TlsError::Oversized);
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Hands bytes to rustls until it wants more, and says how many it is done with. They begin with
    /// those that it has seen and needs still.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>) -> Result<usize, TlsError> {
        let whole = self.seen + whole_records(input.get(self.seen..).unwrap_or_default());
        let mut taken = 0;
        loop {
            let rest = input.get_mut(taken..).unwrap_or_default();
            let (discard, step) = self.advance(rest, plain, &mut Write::Nothing);
            taken += discard;
            match step {
                Step::Again if self.out.len() > OUT_MAX => {
                    (self.read_closed, self.mute) = (true, true);
                    return Err(TlsError::Misbehaved);
                }
                Step::Again => {}
                Step::Rest | Step::Written(_) => break,
                Step::Closed => {
                    self.read_closed = true;
                    break;
                }
                Step::Failed(error) => {
                    let rest = input.get(taken..).unwrap_or_default();
                    let error =
                        self.plain(rest).filter(|_| error == TlsError::NotTls).unwrap_or(error);
                    if error == TlsError::PlainClient {
                        // An alert would be noise to it.
                        (self.read_closed, self.mute) = (true, true);
                        handshake::refuse(400, error.sentence(), &mut self.out);
                    } else {
                        let before = self.out.len();
                        self.say_why();
                        // rustls itself says nothing of a handshake message that is too long.
                        if error == TlsError::Oversized && self.out.len() == before {
                            self.say_too_long();
                        }
                    }
                    return Err(self.told(error));
                }
            }
        }
        self.seen = whole.saturating_sub(taken);
        self.open = match &self.side {
            TlsRole::Server(side) => !side.is_handshaking(),
            TlsRole::Client(side) => !side.is_handshaking(),
        };
        Ok(taken)
    }

    /// What bytes mean that are no TLS, if the peer has said nothing before and they are in the clear.
    fn plain(&self, bytes: &[u8]) -> Option<TlsError> {
        let spoken = match &self.side {
            TlsRole::Server(side) => side.protocol_version(),
            TlsRole::Client(side) => side.protocol_version(),
        };
        if spoken.is_some() {
            return None;
        }
        let letters = bytes.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        match self.side {
            // Whatever it is: some answer what they do not understand in no HTTP either.
            TlsRole::Client(_) => Some(TlsError::PlainServer),
            // A method, or the beginning of one.
            TlsRole::Server(_) => (letters > 2 && matches!(bytes.get(letters), None | Some(b' ')))
                .then_some(TlsError::PlainClient),
        }
    }

    /// What a failure means now.
    fn told(&self, error: TlsError) -> TlsError {
        // What comes later was not meant for somebody else.
        let later = error == TlsError::NotTls && self.open;
        if later { TlsError::Malformed } else { error }
    }

    fn advance(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        write: &mut Write<'_>,
    ) -> (usize, Step) {
        let out = &mut self.out;
        match &mut self.side {
            TlsRole::Server(side) => step(side.process_tls_records(input), plain, out, write),
            TlsRole::Client(side) => step(side.process_tls_records(input), plain, out, write),
        }
    }

    /// After a failure: queues the alert that rustls has for the peer. Nothing else is asked of it
    /// from then on.
    fn say_why(&mut self) {
        (self.read_closed, self.mute) = (true, true);
        loop {
            let more = match &self.side {
                TlsRole::Server(side) => side.wants_write(),
                TlsRole::Client(side) => side.wants_write(),
            };
            if !more || self.out.len() > OUT_MAX {
                return;
            }
            let (_, step) = self.advance(&mut [], &mut Vec::new(), &mut Write::Nothing);
            if !matches!(step, Step::Again) {
                return;
            }
        }
    }

    /// Ends a session whose peer says more at once than is held for it, and queues the alert that tells it so.
    /// Where the handshake is encrypted already, only rustls could say that.
    fn say_too_long(&mut self) {
        (self.read_closed, self.mute) = (true, true);
        self.held = Vec::new();
        let (version, handshaking) = match &self.side {
            TlsRole::Server(side) => (side.protocol_version(), side.is_handshaking()),
            TlsRole::Client(side) => (side.protocol_version(), side.is_handshaking()),
        };
        if handshaking && matches!(version, None | Some(ProtocolVersion::TLSv1_2)) {
            self.out.extend(DECODE_ERROR);
        }
    }

    /// Encrypts `plain`, at most [`RECORD`] bytes, into `room`, which is [`OVERHEAD`] longer; says
    /// how many bytes that are.
    pub(super) fn encrypt(&mut self, plain: &[u8], room: &mut [u8]) -> Result<usize, TlsError> {
        if self.mute || !self.open {
            return Ok(0);
        }
        self.write(&mut Write::Data(plain, room))
    }

    /// Queues the close_notify alert (RFC 8446 §6.1) behind what waits to be sent. Whether there is
    /// one to be sent.
    pub(super) fn close(&mut self) -> bool {
        if self.mute || !self.open {
            return false;
        }
        let written = self.write(&mut Write::Close);
        self.mute = true;
        written.is_ok()
    }

    fn write(&mut self, write: &mut Write<'_>) -> Result<usize, TlsError> {
        let mut held = std::mem::take(&mut self.held);
        let mut plain = Vec::new();
        let outcome = loop {
            // rustls looks at what is held each time: it knows a part of it.
            match self.advance(&mut held, &mut plain, write) {
                (0, Step::Again | Step::Closed) => {}
                (0, Step::Written(written)) => break Ok(written),
                (_, Step::Failed(error)) => {
                    self.say_why();
                    break Err(self.told(error));
                }
                // Reading was done when the last bytes came.
                _ => {
                    (self.read_closed, self.mute) = (true, true);
                    break Err(TlsError::Other);
                }
            }
        };
        self.held = held;
        outcome
    }

    /// How to receive after a read of `len` bytes, when the connection inside wants `inner`.
    pub(super) fn want(&mut self, len: usize, inner: ReadInterest) -> ReadInterest {
        let begun = self.unseen();
        if begun.len() + missing(begun) > SMALL_RECORD {
            self.large = SMALL_READS;
        } else if len < SMALL_READ {
            self.large = self.large.saturating_sub(1);
        }
        self.want_now(inner)
    }

    /// How to receive when nothing was read.
    pub(super) const fn want_now(&self, inner: ReadInterest) -> ReadInterest {
        match inner {
            ReadInterest::Nothing | ReadInterest::SmallOnce => inner,
            ReadInterest::Small if self.large == 0 => ReadInterest::Small,
            // What comes is encrypted: it cannot go where the message lies. Who is to be received from
            // singly is.
            ReadInterest::LargeOnce => ReadInterest::LargeOnce,
            _ => ReadInterest::Large,
        }
    }
}

/// The length of the record that begins here, with its header; `None` while that is not whole.
fn record(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// How many bytes are missing to judge the beginning of a record: its header first, then the rest.
/// None are of one that is longer than any may be.
fn missing(begun: &[u8]) -> usize {
    match record(begun) {
        None => HEADER - begun.len(),
        Some(len) if len > RECORD_MAX => 0,
        Some(len) => len.saturating_sub(begun.len()),
    }
}

/// How many bytes at the front are whole records.
fn whole_records(bytes: &[u8]) -> usize {
    let mut whole = 0;
    while let Some(rest) = bytes.get(whole..)
        && let Some(len) = record(rest).filter(|len| *len <= rest.len())
    {
        whole += len;
    }
    whole
}

/// Does what rustls asks for next: takes what the peer said, queues what rustls says, or writes. Says
/// how many bytes of the input it is done with.
fn step<D>(
    status: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    write: &mut Write<'_>,
) -> (usize, Step) {
    let UnbufferedStatus { mut discard, state } = status;
    let step = match state {
        Err(error) => Step::Failed(reason(&error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Step::Failed(reason(&error)),
                None => break Step::Again,
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut message)) => {
            let start = out.len();
            // The first try tells how much room it needs.
            if let Err(EncodeError::InsufficientSize(size)) = message.encode(&mut []) {
                out.resize(start + size.required_size, 0);
            }
            match message.encode(out.get_mut(start..).unwrap_or_default()) {
                Ok(_) => Step::Again,
                Err(_) => Step::Failed(TlsError::Other),
            }
        }
        Ok(ConnectionState::TransmitTlsData(message)) => {
            message.done();
            Step::Again
        }
        Ok(ConnectionState::PeerClosed) => Step::Closed,
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Step::Rest,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let written = match write {
                Write::Nothing => return (discard, Step::Rest),
                Write::Data(plain, room) => traffic.encrypt(plain, room),
                Write::Close => {
                    let start = out.len();
                    out.resize(start + OVERHEAD, 0);
                    let room = out.get_mut(start..).unwrap_or_default();
                    let written = traffic.queue_close_notify(room);
                    out.truncate(start + written.as_ref().copied().unwrap_or_default());
                    written
                }
            };
            match written {
                Ok(written) => Step::Written(written),
                Err(EncryptError::EncryptExhausted) => Step::Failed(TlsError::Exhausted),
                Err(EncryptError::InsufficientSize(_)) => Step::Failed(TlsError::Other),
            }
        }
        // Early data is not taken; other states are not known yet.
        Ok(_) => Step::Failed(TlsError::Other),
    };
    (discard, step)
}

/// A cipher suite's name (RFC 8446 §B.4, RFC 5289 §3, RFC 7905 §2).
fn name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// What an error of rustls means to whoever reads our counters.
pub(super) fn reason(error: &Error) -> TlsError {
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => TlsError::NotTls,
        Error::InvalidMessage(
            InvalidMessage::MessageTooLarge
            | InvalidMessage::HandshakePayloadTooLarge
            | InvalidMessage::CertificatePayloadTooLarge,
        )
        | Error::PeerSentOversizedRecord => TlsError::Oversized,
        Error::InvalidMessage(_) => TlsError::Malformed,
        Error::PeerIncompatible(_) => TlsError::Incompatible,
        Error::NoApplicationProtocol => TlsError::NoProtocol,
        Error::NoCertificatesPresented => TlsError::NoCertificate,
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(alert) => TlsError::Alert((*alert).into()),
        Error::DecryptError => TlsError::Undecryptable,
        Error::EncryptError => TlsError::Exhausted,
        Error::PeerMisbehaved(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => TlsError::Misbehaved,
        _ => TlsError::Other,
    }
}

fn certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::UnknownIssuer => TlsError::Untrusted,
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => TlsError::Expired,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            TlsError::WrongName
        }
        CertificateError::Other(other) => match other.0.downcast_ref() {
            Some(webpki::Error::CaUsedAsEndEntity) => TlsError::Authority,
            _ => TlsError::BadCertificate,
        },
        _ => TlsError::BadCertificate,
    }
}
