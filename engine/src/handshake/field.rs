//! One field of a head.

use std::borrow::Cow;

/// A field of a head, borrowed from the received bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field<'a> {
    /// The name as it was sent; compare it with [`Field::is`].
    pub name: &'a [u8],
    /// The value: what follows the colon and one space. It may hold any bytes above U+007F, which HTTP
    /// gives no meaning (RFC 9110 §5.5). Lines that were folded are one, with a space where the fold
    /// was.
    pub value: &'a [u8],
}

impl<'a> Field<'a> {
    /// Whether the name is this one, ASCII case-insensitively (draft-02 §2.1, CONF-04).
    #[must_use]
    pub const fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The name as text; what is not UTF-8 reads as U+FFFD (draft-02 §6.1, UTF8-01).
    #[must_use]
    pub fn name_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.name)
    }

    /// The value as text; `None` if it is not UTF-8.
    #[must_use]
    pub fn value_str(&self) -> Option<&'a str> {
        std::str::from_utf8(self.value).ok()
    }

    /// The value as text; what is not UTF-8 reads as U+FFFD (draft-02 §6.1, UTF8-01).
    #[must_use]
    pub fn value_text(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.value)
    }
}
