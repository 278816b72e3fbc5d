//! Whom to talk to: URLs, unix sockets, and what the opening handshake says.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;

use ringbolt::handshake::proxy::{InvalidProxy, Proxy};
use ringbolt::handshake::url::without_secrets;
use ringbolt::handshake::{ClientRequest, DeflateTerms, Url};
use ringbolt::wire::Dialect;
use ringbolt::{Addresses, Endpoint, Route};

use crate::base::failure::Failure;
use crate::spec::options::{Takeover, TargetArgs};

/// Reads a target: `ws://HOST/RESOURCE`, or `unix:PATH:/RESOURCE` for a unix socket, whose path comes
/// first then.
pub(crate) fn parse(text: &str) -> Result<(Option<Arc<Path>>, Url), Failure> {
    let wrong = |why: String| {
        Failure::usage(
            format!("`{}` is not an address of a WebSocket server", without_secrets(text)),
            why,
            "write it like ws://127.0.0.1:9000/chat or unix:/run/server.sock:/chat",
        )
    };
    let socket = ["unix:", "ws+unix:"].iter().find_map(|scheme| text.strip_prefix(scheme));
    let Some(rest) = socket else {
        return Ok((None, Url::parse(text).map_err(|e| wrong(e.to_string()))?));
    };
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, resource) = match rest.rfind(":/") {
        Some(at) => (&rest[..at], &rest[at + 1..]),
        None => (rest, "/"),
    };
    if path.is_empty() || path.len() > UNIX_PATH_MAX {
        return Err(wrong(format!("the path of a unix socket has 1 to {UNIX_PATH_MAX} bytes")));
    }
    let url = Url::parse(&format!("ws://localhost{resource}")).map_err(|e| wrong(e.to_string()))?;
    Ok((Some(Path::new(path).into()), url))
}

/// The longest path that an address of a unix socket has room for (unix(7)), with its end.
const UNIX_PATH_MAX: usize = 107;

/// Reads a field such as `X-Token: abc`.
fn header(line: &str) -> Result<(&str, &str), Failure> {
    line.split_once(':').map(|(name, value)| (name.trim(), value.trim())).ok_or_else(|| {
        Failure::usage(
            format!("`{line}` is not a header"),
            "it has no colon",
            "write it like --header 'X-Token: abc'",
        )
    })
}

/// The way to a target, and what is tried first: the server, or the proxy that it is reached through.
pub(crate) fn way(
    socket: Option<Arc<Path>>,
    proxy: Option<&str>,
    url: &Url,
) -> Result<(Route, Endpoint), Failure> {
    let route = match (socket, proxy) {
        (Some(path), None) => Route::from(Endpoint::Unix(path)),
        (None, proxy) => route(proxy, url)?,
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "a unix socket cannot be reached through a proxy",
                "it is on this machine",
                "leave --proxy out",
            ));
        }
    };
    let first = route.endpoint().ok_or_else(|| unknown(url.host(), "the name has no address"))?;
    Ok((route, first))
}

fn unknown(host: &str, why: &str) -> Failure {
    Failure::unreachable(
        format!("cannot find the host `{host}`"),
        why.to_owned(),
        "check the name, or write the address itself",
    )
}

/// The way to the server of a URL: its host's addresses, or those of its proxy.
fn route(proxy: Option<&str>, url: &Url) -> Result<Route, Failure> {
    let proxy = match proxy {
        None => None,
        Some("env") => from_environment(url)?,
        Some(text) => Some(Proxy::from_str(text).map_err(|e| no_proxy("--proxy", &e))?),
    };
    let Some(proxy) = proxy else { return resolve(url.address(), url.host(), url.port()) };
    let bare = proxy.host().trim_start_matches('[').trim_end_matches(']');
    let route = resolve(bare.parse().ok(), proxy.host(), proxy.port())?;
    Ok(route.through(Arc::new(proxy)))
}

fn from_environment(url: &Url) -> Result<Option<Proxy>, Failure> {
    let found = Proxy::from_environment(url, |name| std::env::var(name).ok());
    Ok(found.map_err(|(name, e)| no_proxy(name, &e))?.map(|(_, proxy)| proxy))
}

/// What it says is not repeated: there may be a password in it.
fn no_proxy(named: &str, why: &InvalidProxy) -> Failure {
    Failure::usage(
        format!("{named} names no proxy that can be used"),
        why.to_string(),
        "write it like http://127.0.0.1:3128 or socks5://NAME:PASSWORD@127.0.0.1:1080",
    )
}

/// All addresses of a host.
fn resolve(ip: Option<IpAddr>, host: &str, port: u16) -> Result<Route, Failure> {
    if let Some(ip) = ip {
        return Ok(Route::from(SocketAddr::new(ip, port)));
    }
    let found = (host, port).to_socket_addrs().map_err(|e| unknown(host, &e.to_string()))?;
    let mut found: Vec<_> = found.collect();
    // Servers listen on IPv4 more often than not; the others are tried if it does not answer.
    found.sort_by_key(|address| !address.is_ipv4());
    let addresses =
        Addresses::new(found).ok_or_else(|| unknown(host, "the name has no address"))?;
    Ok(Route::from(Arc::new(addresses)))
}

/// What is offered of compression.
fn terms(takeover: Takeover) -> DeflateTerms {
    let sent = matches!(takeover, Takeover::Sent | Takeover::Both);
    let received = matches!(takeover, Takeover::Received | Takeover::Both);
    DeflateTerms::default().with_takeover(sent, received)
}

/// A target as results show it: as it was typed, but for a name and a password in it.
pub(crate) fn shown(text: &str, url: &Url) -> String {
    if url.has_credentials() { url.location() } else { text.to_owned() }
}

/// The names of the fields that --header, --cookie, and a name and a password in the URL add.
pub(crate) fn fields(target: &TargetArgs, url: &Url) -> Vec<String> {
    let name = |line: &String| line.split(':').next().unwrap_or_default().trim().to_owned();
    let cookies = target.cookie.iter().map(|_| "Cookie".to_owned());
    let mut all: Vec<_> = target.header.iter().map(name).chain(cookies).collect();
    let authorization = "Authorization";
    if url.has_credentials() && !all.iter().any(|name| name.eq_ignore_ascii_case(authorization)) {
        all.push(authorization.to_owned());
    }
    all
}

/// The opening handshake that is asked for.
pub(crate) fn request(target: &TargetArgs, url: Url) -> Result<ClientRequest, Failure> {
    if target.compress && target.dialect == Dialect::Hybi02 {
        return Err(Failure::usage(
            "cannot compress in draft-02",
            "the draft has no extensions",
            "add --ws-version rfc6455, or leave --compress out",
        ));
    }
    let origin = match (&target.origin, target.dialect) {
        (Some(origin), _) => origin.clone(),
        (None, Dialect::Hybi02) => format!("http://{}", url.host_port()),
        // Only browsers have one.
        (None, _) => String::new(),
    };
    let headers = target.header.iter().map(|line| header(line)).collect::<Result<Vec<_>, _>>()?;
    let cookies = target.cookie.iter().map(|cookie| ("Cookie", &**cookie));
    ClientRequest::builder(url, origin)
        .dialect(target.dialect)
        .deflate(target.compress.then(|| terms(target.compress_takeover)))
        .protocols(target.protocol.iter().cloned())
        .cookies(cookies.chain(headers))
        .build()
        .map_err(|e| {
            Failure::usage(
                "cannot make the opening handshake",
                e.to_string(),
                "check --origin, --protocol, --cookie and --header",
            )
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse;

    #[test]
    fn unix_sockets_have_a_path_and_a_resource() {
        for (text, path, resource) in [
            ("unix:/run/a.sock", "/run/a.sock", "/"),
            ("unix:/run/a.sock:/chat?x=1", "/run/a.sock", "/chat?x=1"),
            ("ws+unix:relative.sock:/", "relative.sock", "/"),
            ("ws+unix:///run/a:b.sock:/a/b", "/run/a:b.sock", "/a/b"),
        ] {
            let (socket, url) = parse(text).expect("a target");
            assert_eq!(socket.as_deref(), Some(Path::new(path)), "{text}");
            assert_eq!((url.resource_name(), url.host()), (resource, "localhost"), "{text}");
        }
        let (socket, url) = parse("ws://127.0.0.1:9/x").expect("a target");
        assert_eq!((socket, url.port()), (None, 9));
        let long = format!("unix:/{}", "x".repeat(107));
        for text in ["unix:", "unix::/x", &long, "http://127.0.0.1/", "unix:/a:/b c#d"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
