//! Names and passwords, and how HTTP's Basic scheme sends them (RFC 7617).

use std::fmt;

use super::UrlError;
use super::host::decode_bytes;

/// A name and a password: of a URL's user information, or for a proxy.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    name: String,
    password: String,
}

/// Neither appears in logs: a name may be half of a secret, or a token in the place of one.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// `None` if they cannot be sent: a control character or a colon in the name, a control
    /// character in the password, no name, or more than 255 bytes in either.
    #[must_use]
    pub fn new(name: &str, password: &str) -> Option<Self> {
        Self::basic(name, password).filter(Self::is_short)
    }

    /// Whether SOCKS can send them, too (RFC 1929 §2).
    pub(super) const fn is_short(&self) -> bool {
        let (name, password) = (self.name.len(), self.password.len());
        name >= 1 && name <= 255 && password <= 255
    }

    /// The credentials, where only the rules of HTTP hold: no control characters, no colon in the
    /// name.
    fn basic(name: &str, password: &str) -> Option<Self> {
        let right = |text: &str| !text.chars().any(char::is_control);
        (right(name) && right(password) && !name.contains(':'))
            .then(|| Self { name: name.to_owned(), password: password.to_owned() })
    }

    /// The credentials before the "@" of a URL: %-escapes are read as UTF-8, and the name ends at
    /// the first colon. `None` if there are none, as between "//" and "@".
    pub(super) fn of_userinfo(userinfo: &str) -> Result<Option<Self>, UrlError> {
        let (name, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
        if name.is_empty() && password.is_empty() {
            return Ok(None);
        }
        let decoded = |text| String::from_utf8(decode_bytes(text)).map_err(|_| UrlError::UserInfo);
        Self::basic(&decoded(name)?, &decoded(password)?).map(Some).ok_or(UrlError::UserInfo)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// The value of an Authorization field (RFC 7617 §2), in UTF-8 (§2.1).
    pub(super) fn authorization(&self) -> String {
        format!("Basic {}", base64(format!("{}:{}", self.name, self.password).as_bytes()))
    }
}

/// RFC 4648 §4, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().chain(&[0; 2]).take(3).fold(0, |bits, &b| bits << 8 | usize::from(b));
        for i in 0..4 {
            let digit = DIGITS.get(bits >> (18 - 6 * i) & 63).copied().unwrap_or(b'=');
            text.push(char::from(if i > group.len() { b'=' } else { digit }));
        }
    }
    text
}

/// A URL, or what was meant to be one, as it can be shown: without what may be a name and a password
/// in it, however malformed it is. That is everything from behind the scheme to the last "@".
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let Some((before, rest)) = text.rsplit_once('@') else { return text.to_owned() };
    let kept = match before.find("//") {
        Some(at) => at + 2,
        None => before.find(':').map_or(0, |at| at + 1),
    };
    format!("{}{rest}", before.get(..kept).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::{Credentials, UrlError, base64, without_secrets};

    #[test]
    fn credentials_that_cannot_be_sent_are_refused() {
        for (name, password) in [("", "x"), ("a:b", "x"), ("a\r\n", "x"), ("a", "\n")] {
            assert_eq!(Credentials::new(name, password), None, "{name:?} {password:?}");
        }
        assert_eq!(Credentials::new(&"x".repeat(256), ""), None);
        assert!(Credentials::new(&"x".repeat(255), "a:b \u{fc}").is_some());
        let text = format!("{:?}", Credentials::new("edna", "secret"));
        assert!(!text.contains("edna") && !text.contains("secret"), "{text}");
    }

    #[test]
    fn user_information_is_decoded_and_sent_as_utf_8() {
        for (userinfo, expected) in [
            // RFC 7617 §2 and §2.1.
            ("Aladdin:open%20sesame", Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")),
            ("test:123%C2%A3", Some("Basic dGVzdDoxMjPCow==")),
            ("test:123\u{a3}", Some("Basic dGVzdDoxMjPCow==")),
            ("user:p%40ss", Some("Basic dXNlcjpwQHNz")),
            ("user:p@ss", Some("Basic dXNlcjpwQHNz")),
            ("user:a:b", Some("Basic dXNlcjphOmI=")),
            ("user", Some("Basic dXNlcjo=")),
            ("user:", Some("Basic dXNlcjo=")),
            (":token", Some("Basic OnRva2Vu")),
            // What is no escape is meant as it stands.
            ("u%zz:100%", Some("Basic dSV6ejoxMDAl")),
            ("u%+4:p", Some("Basic dSUrNDpw")),
            ("", None),
            (":", None),
        ] {
            let read = Credentials::of_userinfo(userinfo).expect(userinfo);
            assert_eq!(read.map(|one| one.authorization()).as_deref(), expected, "{userinfo}");
        }
        for userinfo in ["a%3Ab:c", "a%0d%0a:c", "a:%00", "a:\u{85}", "%ff:c", "a:%C3"] {
            assert_eq!(Credentials::of_userinfo(userinfo), Err(UrlError::UserInfo), "{userinfo}");
        }
    }

    #[test]
    fn base64_of_rfc_4648() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
            ("\u{3fb}\u{3ff}~?", "z7vPv34/"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn what_is_shown_of_a_url_holds_no_secret() {
        for (text, shown) in [
            ("ws://host/a", "ws://host/a"),
            ("ws://u:secret@host/", "ws://host/"),
            ("ws://u:sec/ret@host/", "ws://host/"),
            ("ws://u:secret@more@host:x/", "ws://host:x/"),
            ("ws:u:secret@host", "ws:host"),
            ("u:secret@host:80", "u:host:80"),
            ("secret@host", "host"),
            ("http://u:secret@host/#", "http://host/#"),
        ] {
            assert_eq!(without_secrets(text), shown, "{text}");
        }
    }
}
