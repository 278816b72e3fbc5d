//! A tunnel through a proxy, sans-IO: draft-02 §5.1 step 3 (HS-C-03).
//!
//! Write [`Tunnel::start`]'s bytes to the proxy, then give [`Tunnel::read`] all that comes back
//! until it says the tunnel is open; the WebSocket handshake runs inside.

mod environment;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use environment::exempts;

pub use super::basic::Credentials;
use super::url::split_port;
use super::{Url, host};

/// How a proxy is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyKind {
    /// SOCKS version 5 (RFC 1928, RFC 1929).
    Socks5,
    /// HTTP's CONNECT.
    Http,
}

/// A proxy's place and the credentials it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    kind: ProxyKind,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
}

/// The proxies that a system has configured, none of them for WebSocket in particular.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Proxies {
    /// For any protocol, by SOCKS.
    pub socks: Option<Proxy>,
    /// For HTTPS.
    pub https: Option<Proxy>,
    /// For HTTP.
    pub http: Option<Proxy>,
}

impl Proxies {
    /// The one to use: SOCKS, failing that the one for HTTPS, failing that the one for HTTP.
    #[must_use]
    pub fn choose(&self) -> Option<&Proxy> {
        self.socks.as_ref().or(self.https.as_ref()).or(self.http.as_ref())
    }
}

impl fmt::Display for ProxyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Socks5 => "socks5",
            Self::Http => "http",
        })
    }
}

/// Shows the proxy as a URL, without credentials.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}:{}", self.kind, self.host, self.port)
    }
}

/// Why a text names no proxy that can be used. It does not repeat the text, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidProxy {
    /// A scheme other than `http`, `socks5` or `socks5h`.
    Scheme,
    /// A proxy that itself is reached by TLS.
    Https,
    /// No host, or none that is one.
    Host,
    /// No number up to 65,535.
    Port,
    /// Credentials that cannot be sent (see [`Credentials::new`]).
    Credentials,
    /// Something stands behind the port.
    Path,
}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "its scheme is neither http nor socks5",
            Self::Https => {
                "it would have to be reached over TLS, which is not supported: proxies are spoken to in \
                 the clear (http:// or socks5://), and TLS of a wss URL runs inside of the tunnel"
            }
            Self::Host => "it has no valid host",
            Self::Port => "its port is not a number up to 65535",
            Self::Credentials => "its name or password cannot be sent",
            Self::Path => "something follows its host and port",
        })
    }
}

impl std::error::Error for InvalidProxy {}

/// The port of a proxy whose text has none, as in curl.
const PORT: u16 = 1080;

/// Reads `http://NAME:PASSWORD@HOST:PORT`, or the same with `socks5://` or `socks5h://`, between which
/// there is no difference: a proxy always gets the name of the server, not its address. Without a scheme
/// it is http, without a port 1080, as curl has it.
impl FromStr for Proxy {
    type Err = InvalidProxy;

    fn from_str(text: &str) -> Result<Self, InvalidProxy> {
        let text = text.trim();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let kind = match &*scheme.to_ascii_lowercase() {
            "http" => ProxyKind::Http,
            "socks5" | "socks5h" => ProxyKind::Socks5,
            "https" => return Err(InvalidProxy::Https),
            _ => return Err(InvalidProxy::Scheme),
        };
        let (userinfo, place) = match rest.rsplit_once('@') {
            Some((userinfo, place)) => (Some(userinfo), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        if place.contains(['/', '?', '#', '\\']) {
            return Err(InvalidProxy::Path);
        }
        let (host, port) = split_port(place).ok_or(InvalidProxy::Port)?;
        let host = host::resolve(host).map_err(|_| InvalidProxy::Host)?;
        let proxy = Self::new(kind, &host, port.unwrap_or(PORT));
        let credentials = userinfo.map(Credentials::of_userinfo).transpose();
        match credentials.map_err(|_| InvalidProxy::Credentials)?.flatten() {
            None => Ok(proxy),
            Some(one) if kind == ProxyKind::Http || one.is_short() => {
                Ok(proxy.with_credentials(one))
            }
            Some(_) => Err(InvalidProxy::Credentials),
        }
    }
}

impl Proxy {
    /// A proxy at this host and port.
    #[must_use]
    pub fn new(kind: ProxyKind, host: &str, port: u16) -> Self {
        Self { kind, host: host.to_owned(), port, credentials: None }
    }

    /// With credentials, sent from the first.
    #[must_use]
    pub fn with_credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Whether it has credentials.
    #[must_use]
    pub const fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// How it is spoken to.
    #[must_use]
    pub const fn kind(&self) -> ProxyKind {
        self.kind
    }

    /// The host to connect to.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port to connect to.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

/// Why a proxy does not open a tunnel. The connection attempt has failed (HS-C-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The proxy wants credentials, or other ones: connect again with them (HS-C-33, AMB-07).
    AuthenticationRequired,
    /// The proxy answered with this code, of HTTP or of SOCKS.
    Refused(u16),
    /// What it sent is no answer of this kind of proxy.
    Malformed,
    /// The proxy's answer is longer than the limit, 8,192 bytes unless [`Tunnel::with_answer_max`]
    /// says otherwise.
    TooLarge,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AuthenticationRequired => f.write_str(
                "the proxy wants credentials, or other ones than it was sent (407 Proxy Authentication \
                 Required, or what SOCKS has for it)",
            ),
            Self::Refused(code @ ..100) => write!(f, "the proxy refused with code {code} of SOCKS"),
            Self::Refused(status) => write!(f, "the proxy refused with status {status}"),
            Self::Malformed => f.write_str("the proxy's answer is not one that a proxy of this kind gives"),
            Self::TooLarge => f.write_str("the proxy's answer is longer than the limit"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// The most bytes of an HTTP proxy's answer.
const ANSWER_MAX: usize = 8192;

/// The opening of one tunnel.
#[derive(Debug)]
pub struct Tunnel {
    state: State,
    host: String,
    port: u16,
    credentials: Option<Credentials>,
    /// Bytes of the answer that are done with.
    taken: usize,
    /// Bytes of an HTTP answer that hold no end of its head.
    searched: usize,
    answer_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    HttpAnswer,
    SocksMethod,
    SocksAuthentication,
    SocksReply,
}

impl Tunnel {
    /// Appends the first bytes for the proxy, which ask for a TCP connection to `url`'s host and
    /// port.
    pub fn start(proxy: &Proxy, url: &Url, out: &mut Vec<u8>) -> Self {
        let (host, port) = (url.host().to_owned(), url.port());
        let credentials = proxy.credentials.clone();
        let state = match proxy.kind {
            ProxyKind::Http => {
                write_connect(&host, port, credentials.as_ref(), out);
                State::HttpAnswer
            }
            ProxyKind::Socks5 if credentials.is_some() => {
                out.extend_from_slice(&[5, 2, NO_AUTHENTICATION, NAME_AND_PASSWORD]);
                State::SocksMethod
            }
            ProxyKind::Socks5 => {
                out.extend_from_slice(&[5, 1, NO_AUTHENTICATION]);
                State::SocksMethod
            }
        };
        let answer_max = ANSWER_MAX;
        Self { state, host, port, credentials, taken: 0, searched: 0, answer_max }
    }

    /// Sets the most bytes that an HTTP proxy's answer may have.
    #[must_use]
    pub const fn with_answer_max(mut self, bytes: usize) -> Self {
        self.answer_max = bytes;
        self
    }

    /// Reads `received`: everything the proxy sent, from its first byte. `Some` is how many bytes of
    /// it the proxy's answer took; the tunnel is open and what follows comes through it. `None`
    /// means: write what was appended to `out`, if anything, and wait for more.
    ///
    /// # Errors
    ///
    /// Why there is no tunnel.
    pub fn read(
        &mut self,
        received: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<usize>, ProxyError> {
        if self.state == State::HttpAnswer {
            return self.read_http(received);
        }
        loop {
            let rest = received.get(self.taken..).unwrap_or_default();
            match self.state {
                State::SocksMethod => {
                    let Some(answer) = rest.first_chunk::<2>() else { return Ok(None) };
                    self.taken += answer.len();
                    match *answer {
                        [5, NO_AUTHENTICATION] => self.ask_socks(out),
                        [5, NAME_AND_PASSWORD] => self.authenticate(out)?,
                        [5, _] => return Err(ProxyError::AuthenticationRequired),
                        _ => return Err(ProxyError::Malformed),
                    }
                }
                State::SocksAuthentication => {
                    let Some(answer) = rest.first_chunk::<2>() else { return Ok(None) };
                    self.taken += answer.len();
                    match *answer {
                        [1, 0] => self.ask_socks(out),
                        [1, _] => return Err(ProxyError::AuthenticationRequired),
                        _ => return Err(ProxyError::Malformed),
                    }
                }
                State::SocksReply | State::HttpAnswer => {
                    let len = socks_reply(rest)?;
                    return Ok(len.map(|len| self.taken + len));
                }
            }
        }
    }

    fn read_http(&mut self, received: &[u8]) -> Result<Option<usize>, ProxyError> {
        loop {
            let answer = received.get(self.taken..).unwrap_or_default();
            // What is no HTTP is seen at once: such a peer may wait for us.
            let status = http_status(answer)?;
            // The end may begin in the last three bytes of what was searched before.
            let from = self.searched.saturating_sub(3);
            let found = answer
                .get(from..)
                .unwrap_or_default()
                .windows(4)
                .position(|four| four == b"\r\n\r\n")
                .map(|at| from + at + 4);
            let Some(len) = found.filter(|len| self.taken + len <= self.answer_max) else {
                self.searched = answer.len();
                let full = received.len() >= self.answer_max;
                return if full { Err(ProxyError::TooLarge) } else { Ok(None) };
            };
            match status.ok_or(ProxyError::Malformed)? {
                200..=299 => return Ok(Some(self.taken + len)),
                // Interim ones come before the answer (RFC 9110 §15.2); 101 answers nothing we asked.
                100 | 102..=199 => (self.taken, self.searched) = (self.taken + len, 0),
                407 => return Err(ProxyError::AuthenticationRequired),
                code => return Err(ProxyError::Refused(code)),
            }
        }
    }

    /// Appends the SOCKS request to connect (RFC 1928 §4).
    fn ask_socks(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[5, 1, 0]);
        match self.host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(IpAddr::V4(address)) => {
                out.push(1);
                out.extend_from_slice(&address.octets());
            }
            Ok(IpAddr::V6(address)) => {
                out.push(4);
                out.extend_from_slice(&address.octets());
            }
            Err(_) => {
                out.push(3);
                push_counted(&self.host, out);
            }
        }
        out.extend_from_slice(&self.port.to_be_bytes());
        self.state = State::SocksReply;
    }

    /// Appends name and password (RFC 1929 §2).
    fn authenticate(&mut self, out: &mut Vec<u8>) -> Result<(), ProxyError> {
        let Some(credentials) = &self.credentials else { return Err(ProxyError::Malformed) };
        out.push(1);
        push_counted(credentials.name(), out);
        push_counted(credentials.password(), out);
        self.state = State::SocksAuthentication;
        Ok(())
    }
}

/// SOCKS methods (RFC 1928 §3).
const NO_AUTHENTICATION: u8 = 0;
const NAME_AND_PASSWORD: u8 = 2;

/// The length of a SOCKS reply that says yes (RFC 1928 §6).
fn socks_reply(bytes: &[u8]) -> Result<Option<usize>, ProxyError> {
    match *bytes {
        [version, ..] if version != 5 => Err(ProxyError::Malformed),
        [_, code, ..] if code != 0 => Err(ProxyError::Refused(u16::from(code))),
        [_, _, _, kind, first, ..] => {
            let address = match kind {
                1 => 4,
                3 => 1 + usize::from(first),
                4 => 16,
                _ => return Err(ProxyError::Malformed),
            };
            let len = 4 + address + 2;
            Ok((bytes.len() >= len).then_some(len))
        }
        _ => Ok(None),
    }
}

/// Appends a length of one byte and the text. No text is longer than 255 bytes: [`Url`] and
/// [`Credentials`] see to it.
fn push_counted(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes().get(..255).unwrap_or(text.as_bytes());
    out.push(bytes.len().to_le_bytes()[0]);
    out.extend_from_slice(bytes);
}

/// Appends an HTTP request for a tunnel, as in the draft's example.
fn write_connect(host: &str, port: u16, credentials: Option<&Credentials>, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n").as_bytes());
    if let Some(credentials) = credentials {
        let value = credentials.authorization();
        out.extend_from_slice(format!("Proxy-authorization: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The code of an HTTP status line; `None` while it is not whole.
fn http_status(answer: &[u8]) -> Result<Option<u16>, ProxyError> {
    const FORM: &[u8; 13] = b"HTTP/1.0 000 ";
    let fits = |(place, (is, form)): (usize, (&u8, &u8))| match form {
        b'0' => is.is_ascii_digit(),
        b' ' if place == 12 => matches!(is, b' ' | b'\r'),
        form => is == form,
    };
    if !answer.iter().zip(FORM).enumerate().all(fits) {
        return Err(ProxyError::Malformed);
    }
    let code = answer.get(..FORM.len()).and_then(|line| line.get(9..12));
    let code = code.and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
    match code {
        Some(code @ 100..=999) => Ok(Some(code)),
        Some(_) => Err(ProxyError::Malformed),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests;
