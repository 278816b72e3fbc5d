//! How large a head may be.

use super::scan::FIELDS_MAX;

/// How large the peer's head may be (draft-02 §2, CONF-03). What exceeds a limit is refused as soon
/// as the bytes show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    max_bytes: u16,
    max_fields: u8,
    max_line_bytes: u16,
    max_interim: u8,
}

impl Default for HeadLimits {
    /// 16,384 bytes, 100 fields, 8,192 bytes a line, and 16 interim responses: what the common servers
    /// of HTTP take, so that cookies and the fields of proxies find room.
    fn default() -> Self {
        Self { max_bytes: 16_384, max_fields: 100, max_line_bytes: 8192, max_interim: 16 }
    }
}

impl HeadLimits {
    /// Bytes of the whole head: first line, fields and blank line, without the eight or sixteen
    /// bytes behind it. Above 65,535, that.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self
    }

    /// Fields of the head. Above [`FIELDS_MAX`], that.
    #[must_use]
    pub fn with_max_fields(mut self, fields: usize) -> Self {
        self.max_fields = u8::try_from(fields.min(FIELDS_MAX)).unwrap_or(u8::MAX);
        self
    }

    /// Bytes of one line without its CRLF, the first line included. Above 65,535, that.
    #[must_use]
    pub fn with_max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self
    }

    /// Interim responses (1xx but 101) before the one that counts; a client skips them. Together they
    /// may have as many bytes as one head.
    #[must_use]
    pub const fn with_max_interim(mut self, responses: u8) -> Self {
        self.max_interim = responses;
        self
    }

    /// Interim responses before the one that counts.
    #[must_use]
    pub const fn max_interim(&self) -> u8 {
        self.max_interim
    }

    /// Bytes of the whole head, without the bytes behind its blank line.
    #[must_use]
    pub const fn max_bytes(&self) -> usize {
        self.max_bytes as usize
    }

    /// Fields of the head.
    #[must_use]
    pub const fn max_fields(&self) -> usize {
        self.max_fields as usize
    }

    /// Bytes of one line without its CRLF.
    #[must_use]
    pub const fn max_line_bytes(&self) -> usize {
        self.max_line_bytes as usize
    }
}
