//! The entries of a server's lists: hosts, origins and subprotocols, as they match and as they are
//! written.
//!
//! An entry that could match nothing is a mistake that nobody would find: it is refused, with the
//! form that does match where there is one.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};

use super::UpgradeRequest;
use super::host::{self, bracketed};
use super::url::{HostPort, default_port, split_port, without_secrets};

/// An entry that no client could meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyError {
    kind: Kind,
    entry: String,
    /// What is wrong with it.
    why: &'static str,
    /// Forms that would match, if something is near enough to one.
    instead: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    Origin,
    Subprotocol,
}

impl PolicyError {
    fn new(kind: Kind, entry: &str, instead: Vec<String>) -> Self {
        Self { kind, entry: entry.to_owned(), why: why(kind, entry), instead }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whose, form) = match self.kind {
            Kind::Host => (
                "Host",
                "example.com, example.com:9002, [::1], *.example.com for all names below it, or * for \
                 every host",
            ),
            Kind::Origin => (
                "Origin",
                "https://example.com, http://localhost:3000, https://*.example.com for all names below \
                 it, or * for every origin",
            ),
            Kind::Subprotocol => ("subprotocol", "chat or v1.example.com, each by itself"),
        };
        let entry = match (without_secrets(&self.entry), self.entry.contains('@')) {
            (shown, false) => shown,
            (shown, true) => match shown.split_once("://") {
                Some((scheme, host)) => format!("{scheme}://\u{2026}@{host}"),
                None => format!("\u{2026}@{shown}"),
            },
        };
        write!(f, "`{entry}` is no {whose} that a client could send: {}; write ", self.why)?;
        if self.instead.is_empty() {
            return write!(f, "it like {form}");
        }
        f.write_str(&self.instead.join(" or "))?;
        let portless = self.kind == Kind::Host && !self.instead[..].iter().any(|one| has_port(one));
        if portless && has_port(&self.entry) {
            f.write_str(", which stands for every port")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

fn has_port(entry: &str) -> bool {
    matches!(split_port(entry), Some((_, Some(_))))
}

/// Names, or addresses, that an entry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Names {
    /// This one.
    One(String),
    /// Every one below this one, however many labels that is; not itself.
    Below(String),
}

impl Names {
    fn matches(&self, host: &str) -> bool {
        match self {
            Self::One(name) => match (bracketed(name), bracketed(host)) {
                // An address has several forms.
                (Some(name), Some(host)) => {
                    name.parse::<Ipv6Addr>().is_ok_and(|name| host.parse() == Ok(name))
                }
                _ => name.eq_ignore_ascii_case(host),
            },
            // Whole labels: there is a dot, and something before it.
            Self::Below(domain) => host
                .len()
                .checked_sub(domain.len() + 1)
                .and_then(|at| host.split_at_checked(at))
                .and_then(|(labels, rest)| Some((labels, rest.strip_prefix('.')?)))
                .is_some_and(|(labels, rest)| {
                    !labels.is_empty() && rest.eq_ignore_ascii_case(domain)
                }),
        }
    }

    /// Reads a host, or `*.` and the name of a host, in whatever form; `None` if it is neither.
    fn read(text: &str) -> Option<Self> {
        if let Some(domain) = text.strip_prefix("*.") {
            let domain = host::resolve(domain).ok()?;
            let is_name =
                domain.parse::<std::net::IpAddr>().is_err() && bracketed(&domain).is_none();
            return (is_name && !domain.contains('*')).then_some(Self::Below(domain));
        }
        let host = host::resolve(text).ok()?;
        (!host.contains('*')).then_some(Self::One(host))
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(host) => f.write_str(host),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// What stands between "//" and the path, and its port. A bare address of IPv6 counts as one.
fn read_authority(text: &str) -> Option<(Names, Option<u16>)> {
    let text = text.rsplit_once('@').map_or(text, |(_, host)| host);
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some((Names::One(format!("[{address}]")), None));
    }
    if let Ok(address) = text.parse::<SocketAddrV6>() {
        return Some((Names::One(format!("[{}]", address.ip())), Some(address.port())));
    }
    let (host, port) = split_port(text)?;
    Some((Names::read(host)?, port))
}

/// Scheme, in lower case, authority, and whether something stands behind it.
fn split_url(text: &str) -> (Option<String>, &str) {
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (Some(scheme.to_ascii_lowercase()), rest),
        None => (None, text),
    };
    (scheme, rest.split(['/', '?', '#', '\\']).next().unwrap_or_default())
}

/// What is wrong with an entry that no client could meet.
fn why(kind: Kind, entry: &str) -> &'static str {
    let text = entry.trim();
    let (scheme, authority) = split_url(text);
    let scheme = scheme.as_deref();
    let (users, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let bare = host.parse::<Ipv6Addr>().is_ok() || host.parse::<SocketAddrV6>().is_ok();
    let (name, port) = split_port(host).unwrap_or((host, None));
    let behind = scheme.map_or(0, |scheme| scheme.len() + 3) + authority.len() < text.len();
    match (kind, scheme) {
        _ if text.is_empty() => "it is empty",
        _ if text != entry => "it has a space at one end",
        (Kind::Origin, None) => "its scheme is missing",
        (Kind::Host, Some(_)) => "a Host has no scheme",
        _ if !users.is_empty() => "clients do not send a user's name there",
        (_, Some(_)) if host == "*" => "there is no form for every host of one scheme",
        _ if bare && !host.starts_with('[') => "an IPv6 address is written in brackets",
        _ if name.strip_prefix("*.").unwrap_or(name).contains('*') || host.ends_with(":*") => {
            "* must stand alone, or stand for all names below a domain"
        }
        _ if behind => "nothing may follow the host and the port",
        (_, Some("ws" | "wss")) => "the scheme must be that of the page, http or https",
        _ if port == Some(0) => "nobody connects to port 0",
        (Kind::Origin, _) if matches!(port, Some(80 | 443)) => {
            "clients leave out the default port of their scheme"
        }
        _ if matches!(port, Some(80 | 443)) => "clients leave these two ports out",
        _ => "clients write hosts in lower case and ASCII, addresses in full",
    }
}

/// Why no client could ask for this subprotocol.
fn why_no_subprotocol(name: &str) -> &'static str {
    match name {
        "" => "it is empty",
        "*" => "there is no form for all of them",
        _ if name.contains([' ', ',', '\t']) => "spaces and commas separate names",
        _ => "a name is visible ASCII",
    }
}

/// An entry of the list of hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AllowedHost {
    names: Names,
    /// Every port, if none is given.
    port: Option<u16>,
}

impl AllowedHost {
    /// `None` stands for every host.
    pub(super) fn read(entry: &str) -> Result<Option<Self>, PolicyError> {
        let wrong = |instead| Err(PolicyError::new(Kind::Host, entry, instead));
        if entry == "*" {
            return Ok(None);
        }
        let (_, authority) = split_url(entry.trim());
        let Some((names, port)) = read_authority(authority) else { return wrong(Vec::new()) };
        // Clients leave the port of their scheme out of Host, and never connect to port 0.
        let read = Self { names, port: port.filter(|port| ![0, 80, 443].contains(port)) };
        let form = read.to_string();
        if form == entry { Ok(Some(read)) } else { wrong(vec![form]) }
    }

    pub(super) fn matches(&self, request: &UpgradeRequest<'_>) -> bool {
        let HostPort { host, port } = request.host_port();
        (self.port.is_none() || self.port == port) && self.names.matches(host)
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.fmt(f)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// An entry of the list of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AllowedOrigin {
    /// An origin taken as it stands: `null`, which pages without an origin send, or one whose
    /// scheme has hosts that are not DNS names, such as `chrome-extension://abcdef`.
    Literal(String),
    /// The origin of a page on the web: its scheme, its host, and its port unless that is the
    /// default of the scheme.
    Page(&'static str, Names, Option<u16>),
}

impl AllowedOrigin {
    /// `None` stands for every origin.
    pub(super) fn read(entry: &str) -> Result<Option<Self>, PolicyError> {
        let wrong = |instead| Err(PolicyError::new(Kind::Origin, entry, instead));
        if entry == "*" {
            return Ok(None);
        }
        let text = entry.trim();
        let read = match split_url(text) {
            (None, _) if text.eq_ignore_ascii_case("null") => Self::Literal("null".to_owned()),
            (None, authority) => {
                let pages = ["https", "http"].map(|scheme| Self::page(scheme, authority));
                return wrong(pages.into_iter().flatten().map(|one| one.to_string()).collect());
            }
            (Some(scheme), "*") => {
                let secure = matches!(&*scheme, "https" | "wss");
                let scheme = if secure { "https" } else { "http" };
                return wrong(vec![format!("{scheme}://*.example.com"), "*".to_owned()]);
            }
            (Some(scheme), authority) => match &*scheme {
                "http" | "ws" | "https" | "wss" => match Self::page(&scheme, authority) {
                    Some(page) => page,
                    None => return wrong(Vec::new()),
                },
                scheme => Self::Literal(format!("{scheme}://{}", authority.to_ascii_lowercase())),
            },
        };
        let form = read.to_string();
        let printable = form.bytes().all(|byte| matches!(byte, 0x21..=0x7E) && byte != b'*');
        match &read {
            Self::Literal(_) if !printable => wrong(Vec::new()),
            _ if form == entry => Ok(Some(read)),
            _ => wrong(vec![form]),
        }
    }

    /// The origin of a page whose URL, or a WebSocket URL beside it, begins so.
    fn page(scheme: &str, authority: &str) -> Option<Self> {
        let secure = matches!(scheme, "https" | "wss");
        let (names, port) = read_authority(authority)?;
        let port = port.filter(|&port| port != default_port(secure) && port != 0);
        Some(Self::Page(if secure { "https" } else { "http" }, names, port))
    }

    pub(super) fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Literal(own) => own.eq_ignore_ascii_case(origin),
            Self::Page(scheme, names, port) => origin
                .split_once("://")
                .filter(|(its, _)| its.eq_ignore_ascii_case(scheme))
                .and_then(|(_, authority)| HostPort::parse(authority))
                .is_some_and(|its| its.port == *port && names.matches(its.host)),
        }
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(own) => f.write_str(own),
            Self::Page(scheme, names, port) => {
                write!(f, "{scheme}://{names}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// A name of the list of subprotocols: what a client may ask for in either dialect.
pub(super) fn read_subprotocol(name: &str) -> Result<String, PolicyError> {
    let right = |name: &str| {
        let visible = |byte| matches!(byte, 0x21..=0x7E) && byte != b',';
        !name.is_empty() && name != "*" && name.bytes().all(visible)
    };
    if right(name) {
        return Ok(name.to_owned());
    }
    let parts: Vec<_> = name.split([' ', ',', '\t']).filter(|part| !part.is_empty()).collect();
    let instead = match parts[..] {
        [one] if right(one) => vec![one.to_owned()],
        _ => Vec::new(),
    };
    let why = why_no_subprotocol(name);
    Err(PolicyError { kind: Kind::Subprotocol, entry: name.to_owned(), why, instead })
}

#[cfg(test)]
mod tests {
    use super::{AllowedHost, AllowedOrigin, read_subprotocol};

    fn origin(entry: &str) -> AllowedOrigin {
        AllowedOrigin::read(entry).expect(entry).expect("a list of one")
    }

    #[test]
    fn origins_match_by_whole_labels() {
        // covers: HS-S-11, SEC-02
        for (entry, takes, not) in [
            (
                "https://*.example.com",
                &["https://a.example.com", "https://a.b.example.com", "HTTPS://A.Example.COM"][..],
                &[
                    "https://example.com",
                    "https://evil-example.com",
                    "https://evilexample.com",
                    "https://.example.com",
                    "https://a.example.com.evil",
                    "https://a.example.com:8443",
                    "https://a.example.com/",
                    "https://evil/.example.com",
                    "https://evil#.example.com",
                    "https://evil@a.example.com",
                    "http://a.example.com",
                    "a.example.com",
                    "null",
                    "",
                ][..],
            ),
            (
                "http://*.localhost:3000",
                &["http://app.localhost:3000"],
                &["http://localhost:3000", "http://app.localhost", "http://app.localhost:30001"],
            ),
            (
                "https://example.com",
                &["https://example.com", "https://EXAMPLE.com"],
                &["https://a.example.com", "https://example.com:8443", "https://example.com."],
            ),
            (
                "http://[::1]:3000",
                &["http://[::1]:3000", "http://[0::1]:3000"],
                &["http://[::2]:3000"],
            ),
            ("null", &["null"], &["https://null"]),
            ("chrome-extension://abc", &["chrome-extension://abc"], &["https://abc"]),
            ("file://", &["file://"], &["file://x"]),
        ] {
            let allowed = origin(entry);
            assert_eq!(allowed.to_string(), entry);
            takes.iter().for_each(|one| assert!(allowed.matches(one), "{entry} takes {one}"));
            not.iter()
                .for_each(|one| assert!(!allowed.matches(one), "{entry} does not take {one}"));
        }
        assert_eq!(AllowedOrigin::read("*"), Ok(None));
    }

    #[test]
    fn origins_that_nobody_has_are_refused_with_the_form_that_matches() {
        for (entry, instead) in [
            ("https://example.com/", "write https://example.com"),
            ("https://example.com/app?x", "write https://example.com"),
            ("https://example.com:443", "write https://example.com"),
            ("http://example.com:80/", "write http://example.com"),
            ("HTTPS://Example.com", "write https://example.com"),
            ("https://B\u{fc}cher.example", "write https://xn--bcher-kva.example"),
            ("wss://example.com", "write https://example.com"),
            ("ws://example.com:8080", "write http://example.com:8080"),
            (" https://example.com", "write https://example.com"),
            ("https://user:pw@example.com", "write https://example.com"),
            ("example.com", "write https://example.com or http://example.com"),
            ("localhost:3000", "write https://localhost:3000 or http://localhost:3000"),
            ("*.example.com", "write https://*.example.com or http://*.example.com"),
            ("::1", "write https://[::1] or http://[::1]"),
            ("http://::1", "write http://[::1]"),
            ("https://[0:0::1]", "write https://[::1]"),
            ("https://127.1", "write https://127.0.0.1"),
            ("https://*", "write https://*.example.com or *"),
            ("ws://*", "write http://*.example.com or *"),
            ("https://example.com:0", "write https://example.com"),
            ("NULL", "write null"),
            ("Chrome-Extension://ABC/", "write chrome-extension://abc"),
            ("https://*.com*", "write it like"),
            ("https://a.*.example.com", "write it like"),
            ("https://a*.example.com", "write it like"),
            ("https://*.*.example.com", "write it like"),
            ("https://*.127.0.0.1", "write it like"),
            ("https://*.[::1]", "write it like"),
            ("https://example.com:*", "write it like"),
            ("https://", "write it like"),
            ("*://example.com", "write it like"),
            ("", "write it like"),
        ] {
            let error = AllowedOrigin::read(entry).expect_err(entry).to_string();
            assert!(error.contains("` is no Origin that a client could send: "), "{error}");
            let (_, said) = error.split_once("; ").expect("two parts");
            let right =
                if instead.ends_with("like") { said.starts_with(instead) } else { said == instead };
            assert!(right && !error.contains("pw"), "{entry}: {error}");
            for form in said.strip_prefix("write ").unwrap_or_default().split(" or ") {
                let form =
                    form.trim_start_matches("it like ").split(", ").next().unwrap_or_default();
                let read = AllowedOrigin::read(form.split(' ').next().unwrap_or_default());
                assert!(read.is_ok(), "{entry}: {form} matches");
            }
        }
    }

    #[test]
    fn hosts_that_nobody_asks_for_are_refused_with_the_form_that_matches() {
        // covers: HS-S-10, SEC-03
        for entry in
            ["example.com", "example.com:9002", "[::1]", "[::1]:9002", "*.example.com", "127.0.0.1"]
        {
            let read = AllowedHost::read(entry).expect(entry).expect("a list of one");
            assert_eq!(read.to_string(), entry);
        }
        assert_eq!(AllowedHost::read("*"), Ok(None));
        for (entry, instead) in [
            ("example.com:80", "write example.com, which stands for every port"),
            ("example.com:443", "write example.com, which stands for every port"),
            ("example.com:0", "write example.com, which stands for every port"),
            ("user:pw@example.com", "write example.com"),
            ("EXAMPLE.com", "write example.com"),
            ("b\u{fc}cher.example:81", "write xn--bcher-kva.example:81"),
            ("http://example.com", "write example.com"),
            ("wss://example.com:9002/x", "write example.com:9002"),
            ("example.com/", "write example.com"),
            ("::1", "write [::1]"),
            ("fe80::2", "write [fe80::2]"),
            ("[0:0::1]", "write [::1]"),
            ("127.1", "write 127.0.0.1"),
            (" example.com", "write example.com"),
            ("a.*.example.com", "write it like"),
            ("*.[::1]", "write it like"),
            ("*:9002", "write it like"),
            ("a b", "write it like"),
            ("", "write it like"),
        ] {
            let error = AllowedHost::read(entry).expect_err(entry).to_string();
            let (_, said) = error.split_once("; ").expect("two parts");
            let right =
                if instead.ends_with("like") { said.starts_with(instead) } else { said == instead };
            assert!(right, "{entry}: {error}");
        }
    }

    #[test]
    fn each_refusal_says_what_is_wrong() {
        for (entry, why) in [
            ("https://user:pw@example.com", "clients do not send a user's name there"),
            ("https://*", "there is no form for every host of one scheme"),
            ("https://example.com:0", "nobody connects to port 0"),
            ("", "it is empty"),
            ("https://example.com:443", "clients leave out the default port of their scheme"),
            ("example.com", "its scheme is missing"),
            ("https://example.com/", "nothing may follow the host and the port"),
            ("wss://example.com", "the scheme must be that of the page, http or https"),
            (
                "https://a.*.example.com",
                "* must stand alone, or stand for all names below a domain",
            ),
            ("https://example.com:*", "* must stand alone, or stand for all names below a domain"),
            ("http://::1", "an IPv6 address is written in brackets"),
            (" https://example.com", "it has a space at one end"),
            ("HTTPS://Example.com", "clients write hosts in lower case and ASCII"),
        ] {
            let error = AllowedOrigin::read(entry).expect_err(entry).to_string();
            assert!(error.contains(&format!(" could send: {why}")), "{entry}: {error}");
        }
        for (entry, why) in [
            ("user@example.com", "clients do not send a user's name there"),
            ("example.com:0", "nobody connects to port 0"),
            ("", "it is empty"),
            ("*:9002", "* must stand alone, or stand for all names below a domain"),
            ("http://example.com", "a Host has no scheme"),
            ("example.com:443", "clients leave these two ports out"),
            ("example.com/", "nothing may follow the host and the port"),
            ("::1", "an IPv6 address is written in brackets"),
            ("127.1", "addresses in full"),
        ] {
            let error = AllowedHost::read(entry).expect_err(entry).to_string();
            assert!(error.contains(why), "{entry}: {error}");
        }
        let error =
            AllowedOrigin::read("https://user:pw@example.com").expect_err("a user").to_string();
        assert!(error.starts_with("`https://\u{2026}@example.com` is"), "{error}");
        let error = AllowedHost::read("user:pw@example.com").expect_err("a user").to_string();
        assert!(error.contains("\u{2026}@") && !error.contains("pw"), "{error}");
        for (entry, why) in [("", "empty"), ("*", "no form"), ("a b", "separate"), ("\r", "ASCII")]
        {
            let error = read_subprotocol(entry).expect_err(entry).to_string();
            assert!(error.contains(why), "{entry}: {error}");
        }
    }

    #[test]
    fn subprotocols_are_names_that_can_be_asked_for() {
        for name in ["chat", "v1.example.com", "a/b"] {
            assert_eq!(read_subprotocol(name).as_deref(), Ok(name));
        }
        let error = |name| read_subprotocol(name).expect_err(name).to_string();
        assert!(error(" chat").ends_with("; write chat"), "{}", error(" chat"));
        for name in ["", "*", "a b", "a,b", "\u{fc}", "a\r\n"] {
            assert!(error(name).contains("; write it like"), "{}", error(name));
        }
    }
}
