//! What one connection may cost, and the policies where draft-02 leaves a choice.

/// Bounds on what a peer may send, and what is done with text that is not UTF-8.
///
/// Every bound is checked against the frame header, before any payload is kept (draft-02 §2,
/// CONF-03; SEC-06). Memory follows the bytes that arrived: at most twice what the peer has really
/// sent, never what a header announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Largest payload of one data frame, in bytes. Default 1 MiB.
    pub max_frame_bytes: u64,
    /// Largest message, all fragments together, in bytes. Default 1 MiB.
    pub max_message_bytes: u64,
    /// Most frames of one message. Default 1,024.
    pub max_fragments: u32,
    /// Largest payload of a ping, pong or close frame, in bytes. Draft-02 sets no limit (AMB-06).
    /// Default 64 KiB; at most `max_frame_bytes` counts.
    pub max_control_bytes: u64,
    /// What happens to a text message that is not UTF-8. Default [`InvalidUtf8::Close`] for a
    /// server; a client always replaces, as draft-02 §6.1 demands.
    pub invalid_utf8: InvalidUtf8,
    /// Hand messages over in parts of at least so many bytes while more of them is still to come; 0,
    /// the default, gathers them whole. What is compressed, and text whose bad sequences are replaced,
    /// comes whole all the same. Of a server or client it is the handler that says this.
    pub part_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 1 << 20,
            max_message_bytes: 1 << 20,
            max_fragments: 1024,
            max_control_bytes: 64 << 10,
            invalid_utf8: InvalidUtf8::Close,
            part_bytes: 0,
        }
    }
}

impl Limits {
    /// Sets the largest payload of one data frame, in bytes.
    #[must_use]
    pub const fn with_max_frame_bytes(mut self, bytes: u64) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Sets the largest message, in bytes.
    #[must_use]
    pub const fn with_max_message_bytes(mut self, bytes: u64) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets the most frames of one message.
    #[must_use]
    pub const fn with_max_fragments(mut self, fragments: u32) -> Self {
        self.max_fragments = fragments;
        self
    }

    /// Sets the largest payload of a control frame, in bytes.
    #[must_use]
    pub const fn with_max_control_bytes(mut self, bytes: u64) -> Self {
        self.max_control_bytes = bytes;
        self
    }

    /// Sets what a server does with text that is not UTF-8.
    #[must_use]
    pub const fn with_invalid_utf8(mut self, policy: InvalidUtf8) -> Self {
        self.invalid_utf8 = policy;
        self
    }

    /// Sets from how many bytes on messages are handed over in parts; 0 gathers them whole.
    #[must_use]
    pub const fn with_part_bytes(mut self, bytes: u32) -> Self {
        self.part_bytes = bytes;
        self
    }
}

/// What a server does with a text message that is not UTF-8; draft-02 §6.2 leaves it open
/// (UTF8-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidUtf8 {
    /// The connection ends: "data that it does not understand" (draft-02 §8).
    Close,
    /// Each bad sequence is read as U+FFFD, as a client must read it (draft-02 §6.1).
    Replace,
}
