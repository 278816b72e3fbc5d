//! Proxies as the environment of a process names them, by curl's conventions.

use std::net::IpAddr;

use super::{InvalidProxy, Proxy};
use crate::handshake::{Url, host};

impl Proxy {
    /// The proxy that variables name for a URL, and which of them; `None` if they name none, or exempt
    /// the host. `variable` gives the value of one, such as `|name| std::env::var(name).ok()`.
    ///
    /// As in curl: of a ws URL `ws_proxy`, `WS_PROXY` and `http_proxy` are looked at, of a wss URL
    /// `wss_proxy`, `WSS_PROXY`, `https_proxy` and `HTTPS_PROXY`, then `all_proxy` and `ALL_PROXY`; the
    /// first that is there counts, and an empty one says that there is none. `HTTP_PROXY` is never read:
    /// in a CGI program it is a field of somebody's request. `no_proxy`, or `NO_PROXY`, exempts hosts
    /// (see [`exempts`]). Other than in curl, localhost, names below it and loopback addresses are
    /// always exempt: what a proxy would reach by them is itself.
    ///
    /// # Errors
    ///
    /// The variable that names something that is no proxy, and why.
    pub fn from_environment(
        url: &Url,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<(&'static str, Self)>, (&'static str, InvalidProxy)> {
        let own: &[&'static str] = if url.secure() {
            &["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY"]
        } else {
            &["ws_proxy", "WS_PROXY", "http_proxy"]
        };
        let names = own.iter().chain(&["all_proxy", "ALL_PROXY"]);
        let found = names.copied().find_map(|name| Some((name, variable(name)?)));
        let Some((name, text)) = found.filter(|(_, text)| !text.is_empty()) else {
            return Ok(None);
        };
        let exempt = ["no_proxy", "NO_PROXY"].into_iter().find_map(variable);
        if is_local(url) || exempt.is_some_and(|list| exempts(&list, url)) {
            return Ok(None);
        }
        text.parse().map(|proxy| Some((name, proxy))).map_err(|error| (name, error))
    }
}

/// Whether the host of the URL is this machine for whoever looks.
fn is_local(url: &Url) -> bool {
    let host = rootless(url.host());
    match url.address() {
        Some(address) => address.is_loopback(),
        None => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether a list such as that of `NO_PROXY` exempts the host of a URL: names, which stand for
/// themselves and everything below them, with a dot before them or without; addresses, and blocks of
/// them such as `10.0.0.0/8`; or `*` for every host. Commas and spaces are between them, and what is
/// none of these exempts nothing.
#[must_use]
pub fn exempts(list: &str, url: &Url) -> bool {
    let name = rootless(url.host());
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some(address) = url.address() {
            return in_block(entry, address);
        }
        let entry = entry.strip_prefix('.').unwrap_or(entry);
        let Ok(entry) = host::resolve(entry.strip_suffix('.').unwrap_or(entry)) else {
            return false;
        };
        let below = name.strip_suffix(entry.as_str());
        below.is_some_and(|labels| labels.is_empty() || labels.ends_with('.'))
    })
}

/// A name without the dot that may end it.
fn rootless(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether an address is this one, or in this block.
fn in_block(entry: &str, address: IpAddr) -> bool {
    let (first, bits) = match entry.split_once('/') {
        Some((first, bits)) => (first, Some(bits)),
        None => (entry, None),
    };
    let bare = host::bracketed(first).unwrap_or(first);
    let Ok(first) = bare.parse::<IpAddr>() else { return false };
    let Ok(bits) = bits.map(str::parse::<u32>).transpose() else { return false };
    let same = |first: u128, address: u128, width: u32| match bits {
        None => first == address,
        Some(bits) => {
            let rest = width.checked_sub(bits);
            // A block of nothing but the whole family is shifted away entirely.
            let high = |n: u128, rest: u32| n.checked_shr(rest).unwrap_or(0);
            rest.is_some_and(|rest| high(first, rest) == high(address, rest))
        }
    };
    match (first, address) {
        (IpAddr::V4(first), IpAddr::V4(address)) => {
            same(u32::from(first).into(), u32::from(address).into(), 32)
        }
        (IpAddr::V6(first), IpAddr::V6(address)) => same(first.into(), address.into(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidProxy, Proxy, Url, exempts};

    fn url(text: &str) -> Url {
        Url::parse(text).expect("a URL")
    }

    fn found(to: &str, set: &[(&str, &str)]) -> Option<String> {
        let value = |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        let found = Proxy::from_environment(&url(to), value).expect("a proxy");
        found.map(|(name, proxy)| format!("{name} {proxy}"))
    }

    #[test]
    fn variables_are_looked_at_in_curl_s_order() {
        // covers: HS-C-03
        let all = [
            ("ws_proxy", "a:1"),
            ("WS_PROXY", "b:1"),
            ("http_proxy", "c:1"),
            ("HTTP_PROXY", "evil:1"),
            ("wss_proxy", "d:1"),
            ("WSS_PROXY", "e:1"),
            ("https_proxy", "f:1"),
            ("HTTPS_PROXY", "g:1"),
            ("all_proxy", "socks5://h:1"),
            ("ALL_PROXY", "socks5h://i"),
        ];
        let orders = [
            ("ws://x/", &[0, 1, 2, 8, 9][..], "ws_proxy http://a:1"),
            ("wss://x/", &[4, 5, 6, 7, 8, 9][..], "wss_proxy http://d:1"),
        ];
        for (to, order, first) in orders {
            assert_eq!(found(to, &all).as_deref(), Some(first));
            for n in 0..order.len() {
                let left: Vec<_> =
                    (0..all.len()).filter(|i| !order[..n].contains(i)).map(|i| all[i]).collect();
                let name = all[order[n]].0;
                let is = found(to, &left).expect("a proxy");
                assert!(is.starts_with(&format!("{name} ")), "{is} is not of {name}");
            }
        }
        assert_eq!(found("ws://x/", &[("HTTP_PROXY", "evil:1")]), None, "never");
        assert_eq!(found("ws://x/", &[("https_proxy", "f:1")]), None);
        let none = [("ws_proxy", ""), ("http_proxy", "c:1"), ("all_proxy", "h:1")];
        assert_eq!(found("ws://x/", &none), None, "an empty one says that there is none");
        let port = found("ws://x/", &[("ALL_PROXY", "socks5h://i")]);
        assert_eq!(port.as_deref(), Some("ALL_PROXY socks5://i:1080"));
        let wrong = |_: &str| Some("https://p:1".to_owned());
        let error = Proxy::from_environment(&url("ws://x/"), |n| {
            (n != "no_proxy").then(|| wrong(n)).flatten()
        });
        assert_eq!(error, Err(("ws_proxy", InvalidProxy::Https)));
    }

    #[test]
    fn hosts_are_exempt_by_whole_labels_addresses_and_blocks() {
        for (list, exempt, not) in [
            ("*", &["ws://x/", "ws://10.1.2.3/"][..], &[][..]),
            (
                "example.com, .other.example intra",
                &[
                    "ws://example.com/",
                    "ws://a.b.example.com:9/",
                    "ws://EXAMPLE.com./",
                    "ws://other.example/",
                    "ws://x.other.example/",
                    "ws://intra/",
                ][..],
                &["ws://evilexample.com/", "ws://example.com.evil/", "ws://com/", "ws://10.0.0.1/"]
                    [..],
            ),
            ("b\u{fc}cher.example", &["ws://a.xn--bcher-kva.example/"], &["ws://bcher.example/"]),
            (
                "10.0.0.1,[::2],2001:db8::/32",
                &["ws://10.0.0.1/", "ws://[::2]/", "ws://[2001:db8:9::1]/"],
                &["ws://10.0.0.2/", "ws://[::3]/", "ws://[2001:db9::]/"],
            ),
            (
                "10.0.0.0/8,192.0.2.128/25",
                &["ws://10.9.9.9/", "ws://192.0.2.200/"],
                &["ws://11.0.0.1/", "ws://192.0.2.1/", "ws://[a00::]/"],
            ),
            ("0.0.0.0/0", &["ws://1.2.3.4/"], &["ws://[1::]/", "ws://x/"]),
            ("::/0", &["ws://[1::]/"], &["ws://1.2.3.4/"]),
            ("", &[], &["ws://x/"]),
            (
                "10.0.0.0/33,10.0.0.0/x,a b..c,*.example.com",
                &["ws://a/"],
                &["ws://10.0.0.0/", "ws://b.example.com/"],
            ),
        ] {
            exempt
                .iter()
                .for_each(|one| assert!(exempts(list, &url(one)), "{list:?} exempts {one}"));
            not.iter().for_each(|one| assert!(!exempts(list, &url(one)), "{list:?} not {one}"));
        }
        let set = |list| [("http_proxy", "p:1"), ("no_proxy", list), ("NO_PROXY", "*")];
        assert_eq!(found("ws://x/", &set("x")), None);
        assert!(found("ws://y/", &set("x")).is_some(), "the small one goes before");
        for local in ["ws://localhost/", "ws://a.localhost./", "ws://127.9.9.9/", "ws://[::1]/"] {
            assert_eq!(found(local, &[("http_proxy", "p:1")]), None, "{local}");
        }
    }
}
