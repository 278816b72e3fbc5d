//! WebSocket URLs: draft-02 §3, parse, construct, validate.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// A valid WebSocket URL, as its four components. One that exists may be connected to (§3.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    host: String,
    port: u16,
    resource_name: String,
    secure: bool,
}

/// Why a text is no WebSocket URL (draft-02 §3.1), or components make no valid one (§3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UrlError {
    /// Not `scheme://host...` (URL-01).
    NotAbsolute,
    /// A control character, or a "%" that is no escape, where none can be (URL-02).
    Character,
    /// The scheme is neither "ws" nor "wss" (URL-03).
    Scheme,
    /// There is a fragment, empty or not (URL-04).
    Fragment,
    /// The host is empty, is no host name after IDNA ToASCII, or no address (URL-02, URL-11).
    Host,
    /// The port is not a number up to 65,535 (URL-07).
    Port,
    /// The resource name is not "/" followed by U+0021 to U+007E (URL-13).
    ResourceName,
}

impl Url {
    /// Parses a URL from any source (§3.1), so that the result is valid by §3.3.
    ///
    /// It is resolved first: space around it is dropped, the host goes through IDNA ToASCII with the
    /// STD3 rules (§9.1), path and query become UTF-8 and %-escaped, "." and ".." segments are
    /// removed. User information is no component of a WebSocket URL and is dropped. An empty port
    /// counts as none.
    ///
    /// # Errors
    ///
    /// The step that fails.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let url = url.trim_matches(|c: char| c <= ' ');
        if url.contains(|c: char| c.is_ascii_control()) {
            return Err(UrlError::Character);
        }
        let (scheme, rest) = url.split_once(':').ok_or(UrlError::NotAbsolute)?;
        let mut letters = scheme.bytes();
        if !letters.next().is_some_and(|c| c.is_ascii_alphabetic())
            || !letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'-' | b'.'))
        {
            return Err(UrlError::NotAbsolute);
        }
        let secure = if scheme.eq_ignore_ascii_case("ws") {
            false
        } else if scheme.eq_ignore_ascii_case("wss") {
            true
        } else {
            return Err(UrlError::Scheme);
        };
        let rest = rest.strip_prefix("//").ok_or(UrlError::NotAbsolute)?;
        if rest.contains('#') {
            return Err(UrlError::Fragment);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len()));
        let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
        let (host, port) = split_port(host_port).ok_or(UrlError::Port)?;
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        let mut resource_name = String::with_capacity(rest.len() + 1);
        push_path(path, &mut resource_name);
        if let Some(query) = query {
            resource_name.push('?');
            escape(query, &mut resource_name);
        }
        Self::new(
            &resolve_host(host)?,
            port.unwrap_or_else(|| default_port(secure)),
            &resource_name,
            secure,
        )
    }

    /// A URL of components that stem from elsewhere; the host is put into lower case.
    ///
    /// # Errors
    ///
    /// The component that §3.3 forbids.
    pub fn new(host: &str, port: u16, resource_name: &str, secure: bool) -> Result<Self, UrlError> {
        if host.len() > HOST_MAX
            || !HostPort::parse(host).is_some_and(|it| it.port.is_none() && it.host == host)
        {
            return Err(UrlError::Host);
        }
        if !resource_name.starts_with('/')
            || !resource_name.bytes().all(|byte| matches!(byte, 0x21..=0x7E))
        {
            return Err(UrlError::ResourceName);
        }
        let host = host.to_ascii_lowercase();
        Ok(Self { host, port, resource_name: resource_name.to_owned(), secure })
    }

    /// The host in ASCII lowercase, Punycode if needed, an IPv6 address in brackets. This is also
    /// the name for TLS Server Name Indication (§5.1 step 5).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host as an address, if it is one; a name must be resolved.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// The port, explicit or not.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as the request line takes them.
    #[must_use]
    pub fn resource_name(&self) -> &str {
        &self.resource_name
    }

    /// Whether the scheme is "wss".
    #[must_use]
    pub const fn secure(&self) -> bool {
        self.secure
    }

    /// The URL constructed from its components (§3.2): what a server must send as its location, and
    /// what a proxy auto-configuration script is given (§5.1 step 3).
    #[must_use]
    pub fn location(&self) -> String {
        self.to_string()
    }

    /// The host, and the port unless it is the scheme's own (§5.1 steps 10 to 12).
    #[must_use]
    pub fn host_port(&self) -> String {
        if self.port == default_port(self.secure) {
            self.host.clone()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss://" } else { "ws://" };
        write!(f, "{scheme}{}{}", self.host_port(), self.resource_name)
    }
}

impl std::str::FromStr for Url {
    type Err = UrlError;

    fn from_str(url: &str) -> Result<Self, UrlError> {
        Self::parse(url)
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAbsolute => "the URL is not of the form ws://host or wss://host",
            Self::Character => "the URL holds a control character",
            Self::Scheme => "the scheme is neither ws nor wss",
            Self::Fragment => "a WebSocket URL has no fragment (#)",
            Self::Host => "the host is neither a valid host name nor an address",
            Self::Port => "the port is not a number up to 65535",
            Self::ResourceName => "the resource name is not \"/\" and visible ASCII",
        })
    }
}

impl std::error::Error for UrlError {}

/// The longest host name of the DNS (RFC 1035 §2.3.4, as text).
const HOST_MAX: usize = 253;

/// The port that the scheme implies.
pub(super) const fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

/// A host and an optional port, as the Host field has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostPort<'a> {
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// `None` if there is no host or the characters are not those of a host.
    #[inline]
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (host, port) = split_port(text)?;
        let right = if let Some(address) = bracketed(host) {
            address.parse::<Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && host.bytes().all(|byte| {
                    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~')
                })
        };
        right.then_some(Self { host, port })
    }
}

/// What stands between brackets.
fn bracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// Splits the port off; `None` if it is not a number up to 65,535. An empty one is none.
fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let after_address = text.rfind(']').map_or(0, |at| at + 1);
    if after_address == 0 && text.starts_with('[') {
        return Some((text, None)); // no host, and these colons begin no port
    }
    let Some(colon) = text.get(after_address..)?.find(':') else { return Some((text, None)) };
    let (host, port) = text.split_at_checked(after_address + colon)?;
    let port = port.strip_prefix(':')?;
    if port.is_empty() {
        return Some((host, None));
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((host, Some(port.parse().ok()?)))
}

/// The host in the form that goes on the wire: %-escapes read as UTF-8, then IDNA ToASCII.
fn resolve_host(host: &str) -> Result<String, UrlError> {
    if let Some(address) = bracketed(host) {
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
        return Ok(format!("[{address}]"));
    }
    let decoded = decode(host).ok_or(UrlError::Host)?;
    idna::domain_to_ascii_strict(&decoded).map_err(|_| UrlError::Host)
}

/// The text with its %-escapes read as UTF-8; `None` if they are malformed.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%' {
            let (digits, behind) = rest.split_first_chunk::<2>()?;
            let digits = std::str::from_utf8(digits).ok()?;
            if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return None;
            }
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = behind;
        } else {
            bytes.push(first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Appends the path, its "." and ".." segments removed, escaped; "/" if it is empty (URL-08).
fn push_path(path: &str, out: &mut String) {
    let path = path.replace('\\', "/"); // the web's parsers take one for the other
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | "%2e" | "%2E" => {}
            ".." | ".%2e" | ".%2E" | "%2e." | "%2E." | "%2e%2e" | "%2E%2E" | "%2e%2E"
            | "%2E%2e" => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push(""); // "/a/.." names the directory: "/"
        }
    }
    if kept.is_empty() {
        out.push('/');
    }
    for segment in kept {
        out.push('/');
        escape(segment, out);
    }
}

/// Appends the text as UTF-8, %-escaping what no URL may hold; escapes that are there stay.
fn escape(text: &str, out: &mut String) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in text.bytes() {
        match byte {
            b'"'
            | b'<'
            | b'>'
            | b'\\'
            | b'^'
            | b'`'
            | b'{'
            | b'|'
            | b'}'
            | 0x00..=0x20
            | 0x7F.. => {
                out.extend(['%', digit(byte >> 4), digit(byte & 0x0F)]);
            }
            _ => out.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests;
