//! What a server says when it refuses: an HTTP answer as people read it.

use std::fmt;

use super::response::status_of;

/// Most characters of what a server says that are shown.
const SHOWN_MAX: usize = 200;
/// Most bytes of a body that are looked at.
const BODY_MAX: usize = 1024;
/// A field that some servers put the reason into.
const REASON_FIELD: &str = "X-WebSocket-Reject-Reason";

/// A server's answer to an opening handshake with another HTTP status than 101. Everything in it comes
/// from the network; it is cut after 200 characters, and control characters are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: u16,
    phrase: String,
    reason: Option<String>,
    whole: bool,
}

impl Refusal {
    /// Reads an answer as far as it has arrived; `None` if it is none of HTTP, or has the status 101.
    pub(super) fn read(received: &[u8]) -> Option<Self> {
        let (status, phrase) = status_of(received)?;
        let phrase = shown(&phrase);
        if status == 101 {
            return None;
        }
        let end = received.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some((head, body)) = end.and_then(|end| received.split_at_checked(end + 4)) else {
            return Some(Self { status, phrase, reason: None, whole: false });
        };
        let head = Fields(head);
        let (body, whole) = head.body(status, body);
        let text = head.text(&body).or_else(|| head.find(REASON_FIELD));
        let field = telling(status).and_then(|name| Some(format!("{name}: {}", head.find(name)?)));
        let parts: Vec<_> = text.into_iter().chain(field).map(|part| shown(&part)).collect();
        let reason = (!parts.is_empty()).then(|| parts.join("; "));
        Some(Self { status, phrase, reason, whole })
    }

    /// The status.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// The words behind the status.
    #[must_use]
    pub fn phrase(&self) -> &str {
        &self.phrase
    }

    /// What the server says about it, as far as it has arrived: the text of the body (the title, if that
    /// is a page), and the field that belongs to the status, such as Location.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// Whether nothing more of it is to be waited for.
    pub(crate) const fn is_whole(&self) -> bool {
        self.whole
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, phrase, reason, .. } = self;
        write!(f, "{status}")?;
        if !phrase.is_empty() {
            write!(f, " {phrase}")?;
        }
        reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// The field that tells more about a status (RFC 9110 §10.2.2, §10.2.3, §11.6.1; RFC 6455 §4.4).
const fn telling(status: u16) -> Option<&'static str> {
    match status {
        300..=399 => Some("Location"),
        401 => Some("WWW-Authenticate"),
        426 => Some("Sec-WebSocket-Version"),
        429 | 503 => Some("Retry-After"),
        _ => None,
    }
}

/// A head, from its status line to the empty line.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The value of the first field with this name.
    fn find(&self, name: &str) -> Option<String> {
        let value = |line: &[u8]| {
            let (own, value) = line.split_at_checked(name.len())?;
            let value =
                value.strip_prefix(b":").filter(|_| own.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(String::from_utf8_lossy(value.trim_ascii()).into_owned())
        };
        self.0.split(|byte| *byte == b'\n').find_map(value)
    }

    /// What has arrived of the body, up to a limit, and whether more of it need not be waited for (RFC
    /// 9112 §6.3).
    fn body(&self, status: u16, received: &[u8]) -> (Vec<u8>, bool) {
        let up_to = |most: usize| {
            let most = most.min(BODY_MAX);
            let body = received.get(..most).unwrap_or(received);
            (body.to_vec(), body.len() == most)
        };
        if matches!(status, 204 | 304) {
            return up_to(0);
        }
        if self.find("Transfer-Encoding").is_some() {
            return unchunked(received);
        }
        match self.find("Content-Length") {
            Some(length) => up_to(length.parse().unwrap_or(BODY_MAX)),
            // It ends with the connection. Those who say little say it in one piece.
            None => (up_to(BODY_MAX).0, !received.is_empty()),
        }
    }

    /// What the body says to people.
    fn text(&self, body: &[u8]) -> Option<String> {
        if self.find("Content-Encoding").is_some() {
            return None;
        }
        let text = String::from_utf8_lossy(body);
        let kind = self.find("Content-Type").unwrap_or_default().to_ascii_lowercase();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let is_page = text.trim_start().starts_with('<');
        let text = match kind {
            "" | "text/plain" | "text/html" if !is_page => &*text,
            "text/plain" | "application/json" | "application/problem+json" => &*text,
            "text/html" => title(&text)?,
            _ => return None,
        };
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// The title of a page.
fn title(page: &str) -> Option<&str> {
    let lower = page.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let len = lower.get(start..)?.find("</title>")?;
    page.get(start..start + len)
}

/// The chunks that have arrived, and whether the last one is among them (RFC 9112 §7.1).
fn unchunked(mut received: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = received.split_at_checked(end + 1).unwrap_or_default();
        let digits = line.split(|byte| !byte.is_ascii_hexdigit()).next().unwrap_or_default();
        let len =
            std::str::from_utf8(digits).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        match len {
            Some(0) | None => return (body, true),
            Some(len) => {
                let here = len.min(rest.len()).min(BODY_MAX - body.len());
                body.extend_from_slice(rest.get(..here).unwrap_or_default());
                if body.len() == BODY_MAX {
                    return (body, true);
                }
                // CRLF follows.
                received = rest.get(len.saturating_add(2)..).unwrap_or_default();
            }
        }
    }
    (body, false)
}

/// A text that may be shown: short, and nothing that a terminal would obey.
fn shown(text: &str) -> String {
    let mut out = String::new();
    for (place, c) in text.chars().enumerate() {
        if place == SHOWN_MAX {
            out.push('\u{2026}');
            break;
        }
        // Those that change the direction of writing, too.
        if c.is_control() || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}') {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    /// Status and phrase, reason, and whether it is whole.
    fn read(answer: &str) -> (String, Option<String>, bool) {
        let refusal = Refusal::read(answer.as_bytes()).expect("a refusal");
        let reason = refusal.reason().map(str::to_owned);
        (format!("{} {}", refusal.status(), refusal.phrase()), reason, refusal.is_whole())
    }

    fn reason(fields: &str, body: &str) -> Option<String> {
        read(&format!("HTTP/1.1 403 No\r\n{fields}\r\n\r\n{body}")).1
    }

    #[test]
    fn the_reason_is_the_text_of_the_body() {
        for (fields, body, told) in [
            ("Content-Type: text/plain; charset=utf-8", "not you\n", Some("not you")),
            ("content-TYPE:text/plain", "<not> you", Some("<not> you")),
            ("Content-Type: text/html", "Invalid key", Some("Invalid key")),
            ("Content-Type: text/html", "<html><TITLE>400 No</title>x", Some("400 No")),
            ("Content-Type: text/html", "<html><title>400 No", None),
            ("Content-Type: application/json", "{\"a\":1}", Some("{\"a\":1}")),
            ("Content-Type: image/png", "PNG", None),
            ("Content-Type: text/plain\r\nContent-Encoding: gzip", "x", None),
            ("Server: x", "sent HTTP to HTTPS\n", Some("sent HTTP to HTTPS")),
            ("Server: x", "<html>", None),
            ("X-WebSocket-Reject-Reason: full", "", Some("full")),
            ("Content-Length: 3", "abcdef", Some("abc")),
            ("Transfer-Encoding: chunked", "3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Some("abcde")),
        ] {
            assert_eq!(reason(fields, body).as_deref(), told, "{fields} {body}");
        }
    }

    #[test]
    fn fields_tell_more_about_some_statuses() {
        for (status, field, body, told) in [
            (301, "Location: wss://a.example/", "", "Location: wss://a.example/"),
            (401, "WWW-Authenticate: Basic", "log in", "log in; WWW-Authenticate: Basic"),
            (426, "Sec-WebSocket-Version: 13", "", "Sec-WebSocket-Version: 13"),
            (503, "Retry-After: 5", "", "Retry-After: 5"),
        ] {
            let answer = format!("HTTP/1.1 {status} x\r\n{field}\r\n\r\n{body}");
            assert_eq!(read(&answer).1.as_deref(), Some(told));
        }
        assert_eq!(reason("Location: wss://a.example/", ""), None);
    }

    #[test]
    fn what_is_shown_is_short_and_harmless() {
        let plain = "Content-Type: text/plain";
        assert_eq!(
            reason(plain, "a\u{1b}[2J\r\nb\u{202e}").as_deref(),
            Some("a\\u{1b}[2J\\r\\nb\\u{202e}")
        );
        let long = reason(plain, &"\u{e4}".repeat(9000)).expect("a text");
        assert_eq!(long, format!("{}\u{2026}", "\u{e4}".repeat(200)));
        let (status, ..) = read(&format!("HTTP/1.1 403 {}\u{7}\r\n", "x".repeat(4000)));
        assert_eq!(status, format!("403 {}\u{2026}", "x".repeat(200)));
        assert_eq!(read("HTTP/1.1 403 \u{7}\r\n").0, "403 \\u{7}");
    }

    #[test]
    fn it_is_whole_when_nothing_more_is_to_come() {
        for (answer, whole) in [
            ("HTTP/1.1 403 No\r\n", false),
            ("HTTP/1.1 403 No\r\nContent-Length: 3\r\n", false),
            ("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nab", false),
            ("HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nabc", true),
            ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", true),
            ("HTTP/1.1 304 No\r\nContent-Length: 9\r\n\r\n", true),
            ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
            ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", true),
            ("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na", false),
            ("HTTP/1.1 403 No\r\n\r\n", false),
            ("HTTP/1.1 403 No\r\n\r\nx", true),
        ] {
            assert_eq!(read(answer).2, whole, "{answer:?}");
        }
        let long = format!("HTTP/1.1 403 No\r\nContent-Length: 99999\r\n\r\n{}", "x".repeat(1024));
        assert!(read(&long).2, "more is not looked at");
        assert_eq!(Refusal::read(b"HTTP/1.1 101 Go\r\n\r\n"), None);
        assert_eq!(Refusal::read(b"SSH-2.0"), None);
    }

    #[test]
    fn it_reads_as_one_line() {
        let shown = |answer: &[u8]| Refusal::read(answer).expect("a refusal").to_string();
        assert_eq!(shown(b"HTTP/1.1 403 No\r\n\r\nnot you"), "403 No: not you");
        assert_eq!(shown(b"HTTP/1.1 403\r\n\r\n"), "403");
    }
}
