//! Host names and addresses as URLs have them.
//!
//! What browsers take for a host (the URL Standard of the WHATWG, "host parsing") is taken here, with two
//! bounds that theirs have elsewhere: a name must fit the DNS (labels of 1 to 63 bytes, 253 in all, and one
//! dot behind them if it is written), and hold only what the field Host can carry (RFC 3986's reg-name
//! without escapes). So `v2--site.example`, `_sip.example`, `example.com.` and `127.1` are hosts.

use std::net::{Ipv4Addr, Ipv6Addr};

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::UrlError;

/// The host in the form that goes on the wire: %-escapes read as UTF-8, then Punycode in lower case
/// (UTS 46 as browsers use it); an address in its shortest form.
pub(super) fn resolve(host: &str) -> Result<String, UrlError> {
    if let Some(address) = bracketed(host) {
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::Host)?;
        return Ok(format!("[{address}]"));
    }
    let decoded = decode(host).ok_or(UrlError::Host)?;
    let name = Uts46::new()
        .to_ascii(
            decoded.as_bytes(),
            AsciiDenyList::URL,
            Hyphens::Allow,
            DnsLength::VerifyAllowRootDot,
        )
        .map_err(|_| UrlError::Host)?;
    if !name.bytes().all(is_name_byte) {
        return Err(UrlError::Host);
    }
    if ends_in_number(&name) {
        return ipv4(&name).map(|address| address.to_string()).ok_or(UrlError::Host);
    }
    Ok(name.into_owned())
}

/// What stands between brackets.
pub(super) fn bracketed(host: &str) -> Option<&str> {
    host.strip_prefix('[')?.strip_suffix(']')
}

/// Whether a byte may stand in a host name: RFC 3986's unreserved characters and sub-delims.
#[inline]
pub(super) const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'-' | b'_' | b'~')
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

/// Whether a name is meant as an address of IPv4: its last label is a number.
fn ends_in_number(name: &str) -> bool {
    let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap_or_default();
    (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())) || number(last).is_some()
}

/// An address of one to four numbers, each in base ten, eight (`0...`) or sixteen (`0x...`); the last
/// one fills the bytes that are left.
fn ipv4(name: &str) -> Option<Ipv4Addr> {
    let mut numbers = Vec::with_capacity(4);
    for part in name.strip_suffix('.').unwrap_or(name).split('.') {
        if numbers.len() == 4 {
            return None;
        }
        numbers.push(number(part)?);
    }
    let (last, first) = numbers.split_last()?;
    let mut address: u32 = 0;
    for number in first {
        address = address << 8 | u32::from(u8::try_from(*number).ok()?);
    }
    let left = 8 * (4 - u32::try_from(first.len()).ok()?);
    if left < 32 && *last >> left > 0 {
        return None;
    }
    let above = address.checked_shl(left).unwrap_or(0);
    Some(Ipv4Addr::from(above | u32::try_from(*last).ok()?))
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    if digits.is_empty() {
        return (radix == 16).then_some(0); // "0x" alone is zero
    }
    // A sign is no digit.
    let right = digits.chars().all(|digit| digit.is_digit(radix));
    right.then(|| u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
}

/// The text with its %-escapes read as UTF-8; `None` if they are malformed.
fn decode(text: &str) -> Option<String> {
    let escape = |at: &str| at.as_bytes().first_chunk::<2>().is_some_and(is_escape);
    if text.split('%').skip(1).any(|behind| !escape(behind)) {
        return None;
    }
    String::from_utf8(decode_bytes(text)).ok()
}

fn is_escape(digits: &[u8; 2]) -> bool {
    digits.iter().all(u8::is_ascii_hexdigit)
}

/// The bytes that a text with %-escapes stands for; a "%" that begins none stands for itself.
pub(super) fn decode_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first == b'%'
            && let Some((digits, behind)) = rest.split_first_chunk::<2>()
            && is_escape(digits)
            && let Some(byte) = std::str::from_utf8(digits).ok()
            && let Ok(byte) = u8::from_str_radix(byte, 16)
        {
            bytes.push(byte);
            rest = behind;
        } else {
            bytes.push(first);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{UrlError, resolve};

    #[test]
    fn hosts_are_what_browsers_take_for_hosts() {
        // covers: URL-02, URL-06, URL-11
        for (host, expected) in [
            ("Example.COM", "example.com"),
            ("v2--site.example", "v2--site.example"),
            ("r3---sn.example", "r3---sn.example"),
            ("-a-.example", "-a-.example"),
            ("example.com.", "example.com."),
            ("localhost.", "localhost."),
            ("_sip._tcp.example", "_sip._tcp.example"),
            ("a~b!$&'()*+,;=", "a~b!$&'()*+,;="),
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("fa\u{df}.example", "xn--fa-hia.example"),
            ("%65xample", "example"),
            ("\u{ff45}xample\u{3002}com", "example.com"),
            // Addresses of IPv4, in all their forms.
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.1", "127.0.0.1"),
            ("0x7F.1", "127.0.0.1"),
            ("0177.0.0.01", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("1.65535", "1.0.255.255"),
            ("0x", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.255"),
            ("0xffffffff", "255.255.255.255"),
            ("\u{ff11}27.1", "127.0.0.1"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            ("[::1]", "[::1]"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(resolve(host).as_deref(), Ok(expected), "{host}");
            assert_eq!(resolve(expected).as_deref(), Ok(expected), "{host} again");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        // covers: URL-02, URL-11
        let label = "a".repeat(63);
        let longest = [&*label, &label, &label, &"a".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert_eq!(resolve(&longest).as_ref(), Ok(&longest));
        let rooted = format!("{longest}.");
        assert_eq!(resolve(&rooted).as_ref(), Ok(&rooted));
        let (longer, long_label) = (format!("{longest}a"), "a".repeat(64));
        for host in [
            "",
            ".",
            "..",
            ".a",
            "a..b",
            "a..",
            "a b",
            "a\"b",
            "a`b",
            "{a}",
            "a%",
            "a%+1",
            "%FF",
            "a%2Fb",
            "a%00",
            "a|b",
            "a^b",
            "a\\b",
            "xn--a",
            "xn--",
            "256.1.1.1",
            "1.2.3.4.5",
            "1.2.3.256",
            "1.65536.1",
            "4294967296",
            "0x100000000",
            "1..2",
            "a.09",
            "a.0x1",
            "[::x]",
            "[1.2.3.4]",
            "[::1%25lo]",
            "::1",
            "\u{ad}",
            &longer,
            &long_label,
        ] {
            assert_eq!(resolve(host), Err(UrlError::Host), "{host}");
        }
    }
}
