//! How a peer's handshake can be wrong.

use std::fmt;

/// Why a server does not accept a request. The connection ends, after an HTTP answer if
/// [`RequestError::status`] has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestError {
    /// The first bytes are no HTTP request line at all: a scanner, line noise.
    NotHttp,
    /// An HTTP request, but its method is neither `GET` nor `HEAD` (HS-S-01).
    MethodNotGet,
    /// The resource name does not begin with "/", holds bytes outside U+0021 to U+007E, or is not
    /// followed by a space (HS-S-02, HS-S-03); in RFC 6455, is no absolute http URI either (§4.2.1).
    ResourceName,
    /// CR without LF (HS-S-05).
    BareCarriageReturn,
    /// LF without CR (HS-S-05).
    BareLineFeed,
    /// A control character other than HT, or DEL, in the first line or a value.
    ControlCharacter,
    /// A field name is empty or holds bytes outside U+0021 to U+0039 and U+003B to U+007E (HS-S-05).
    FieldName,
    /// A line has no colon (HS-S-05).
    FieldWithoutColon,
    /// No space follows a field's colon (HS-S-05).
    FieldWithoutSpace,
    /// The head exceeds `max_bytes` (CONF-03).
    HeadTooLarge,
    /// A line exceeds `max_line_bytes` (CONF-03).
    LineTooLong,
    /// The head exceeds `max_fields` (CONF-03).
    TooManyFields,
    /// A field of the handshake stands there twice.
    DuplicateField,
    /// No Upgrade field, or the method `HEAD`: an ordinary HTTP request (HS-S-08).
    UpgradeMissing,
    /// Upgrade is not "WebSocket" (HS-S-08).
    UpgradeValue,
    /// Connection is absent or not "Upgrade" (HS-S-09).
    ConnectionValue,
    /// Host is absent (HS-S-10).
    HostMissing,
    /// Host is not a host name or address with an optional port (HS-S-10, HS-S-22).
    HostMalformed,
    /// Host is not a host of this server (HS-S-10).
    HostRefused,
    /// Origin is absent though the policy demands it (HS-S-11, AMB-12).
    OriginMissing,
    /// Origin is not one that the policy accepts (HS-S-11, SEC-02).
    OriginRefused,
    /// No subprotocol was asked for though the policy demands one (HS-S-12).
    SubprotocolMissing,
    /// None of the subprotocols asked for is supported (HS-S-12).
    SubprotocolUnsupported,
    /// Sec-WebSocket-Draft is absent, so this is another version of the protocol (AMB-04).
    DraftMissing,
    /// Sec-WebSocket-Draft is not a version that the server understands (HS-S-14).
    DraftUnsupported,
    /// Sec-WebSocket-Key1 or -Key2 is absent (HS-S-13).
    KeyMissing,
    /// A key without a space: the sign of a cross-protocol attack (HS-S-25).
    KeyWithoutSpace,
    /// A key without a digit (AMB-09).
    KeyWithoutDigit,
    /// A key's number exceeds 32 bits (AMB-09, HS-S-27).
    KeyTooLarge,
    /// A key's number is not a multiple of its count of spaces (HS-S-26).
    KeyRemainder,
    /// The connection ended inside the handshake (HS-S-06).
    ConnectionEnded,
    /// The request is older than HTTP/1.1 (RFC 6455 §4.2.1).
    HttpVersion,
    /// The request is of HTTP/2 or later, which have no `Upgrade` (RFC 9110 §15.6.6).
    HttpVersionUnsupported,
    /// The first line does not end in a version of HTTP (RFC 9112 §3).
    HttpVersionMalformed,
    /// Sec-WebSocket-Key is not sixteen bytes in base64 (RFC 6455 §4.2.1).
    KeyMalformed,
    /// Sec-WebSocket-Version is not 13, or the server does not take RFC 6455 (RFC 6455 §4.4).
    VersionUnsupported,
    /// Sec-WebSocket-Protocol is no list of different tokens (RFC 6455 §4.1); in draft-02, is not
    /// UTF-8.
    SubprotocolMalformed,
    /// Origin is not UTF-8.
    OriginMalformed,
    /// The request line exceeds `max_line_bytes` (CONF-03, RFC 9112 §3).
    RequestLineTooLong,
    /// A body is announced, by Content-Length or Transfer-Encoding; what follows the head would be
    /// read as frames (RFC 9112 §6). The eight bytes that follow draft-02's may be (AMB-24).
    BodyAnnounced,
    /// Content-Length is no number, or there are different ones (RFC 9112 §6.3).
    ContentLength,
    /// The first bytes are those of a TLS handshake (RFC 8446 §5.1): the client was given a wss URL.
    ClientSpeaksTls,
}

/// Why a client fails the handshake with what the server sent (draft-02 §5.1, RFC 6455 §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResponseError {
    /// The status line is too short or has fewer than two spaces (HS-C-31).
    StatusLine,
    /// The status is neither 101 nor 407 (HS-C-33).
    StatusCode,
    /// The status is 407: a proxy wants credentials; connect again with them, keeping the place in
    /// the queue (HS-C-33, AMB-07).
    ProxyAuthenticationRequired,
    /// CR at a place other than a line's end (HS-C-31, HS-C-36, HS-C-39, HS-C-42).
    BareCarriageReturn,
    /// LF without CR (HS-C-31, HS-C-36, HS-C-38).
    BareLineFeed,
    /// A line without a colon (HS-C-36).
    FieldWithoutColon,
    /// A field with an empty name (HS-C-44).
    FieldWithoutName,
    /// The head exceeds `max_bytes` (HS-C-53, CONF-03).
    HeadTooLarge,
    /// A line exceeds `max_line_bytes` (CONF-03).
    LineTooLong,
    /// The head exceeds `max_fields` (CONF-03).
    TooManyFields,
    /// There is not exactly one Upgrade field (HS-C-44).
    UpgradeCount,
    /// Upgrade is not "websocket" in any case (HS-C-44).
    UpgradeValue,
    /// There is not exactly one Connection field (HS-C-44).
    ConnectionCount,
    /// Connection is not "upgrade" in any case (HS-C-44).
    ConnectionValue,
    /// There is not exactly one Sec-WebSocket-Origin field (HS-C-44).
    OriginCount,
    /// Sec-WebSocket-Origin is not the client's origin (HS-C-44).
    OriginValue,
    /// There is not exactly one Sec-WebSocket-Location field (HS-C-44).
    LocationCount,
    /// Sec-WebSocket-Location is not the URL of the request (HS-C-44).
    LocationValue,
    /// A subprotocol was asked for and there is not exactly one Sec-WebSocket-Protocol (HS-C-44).
    SubprotocolCount,
    /// Sec-WebSocket-Protocol is none that was asked for (HS-C-44).
    SubprotocolValue,
    /// The sixteen bytes are not the answer to the challenge (HS-C-48).
    Answer,
    /// The connection ended inside the handshake (HS-C-36, HS-C-38, HS-C-47).
    ConnectionEnded,
    /// There is not exactly one Sec-WebSocket-Accept (RFC 6455 §4.1).
    AnswerCount,
    /// An extension was not asked for, or its parameters are wrong (RFC 6455 §4.1, RFC 7692 §7.1).
    Extension,
    /// More interim responses than `max_interim` (RFC 9110 §15.2).
    TooManyInterim,
    /// The first bytes are those of a TLS record (RFC 8446 §5.1): the client was given a ws URL.
    ServerSpeaksTls,
}

impl RequestError {
    /// Every rule, in the order of declaration; counters are indexed by [`RequestError::index`].
    pub const ALL: [Self; 42] = [
        Self::NotHttp,
        Self::MethodNotGet,
        Self::ResourceName,
        Self::BareCarriageReturn,
        Self::BareLineFeed,
        Self::ControlCharacter,
        Self::FieldName,
        Self::FieldWithoutColon,
        Self::FieldWithoutSpace,
        Self::HeadTooLarge,
        Self::LineTooLong,
        Self::TooManyFields,
        Self::DuplicateField,
        Self::UpgradeMissing,
        Self::UpgradeValue,
        Self::ConnectionValue,
        Self::HostMissing,
        Self::HostMalformed,
        Self::HostRefused,
        Self::OriginMissing,
        Self::OriginRefused,
        Self::SubprotocolMissing,
        Self::SubprotocolUnsupported,
        Self::DraftMissing,
        Self::DraftUnsupported,
        Self::KeyMissing,
        Self::KeyWithoutSpace,
        Self::KeyWithoutDigit,
        Self::KeyTooLarge,
        Self::KeyRemainder,
        Self::ConnectionEnded,
        Self::HttpVersion,
        Self::HttpVersionUnsupported,
        Self::HttpVersionMalformed,
        Self::KeyMalformed,
        Self::VersionUnsupported,
        Self::SubprotocolMalformed,
        Self::OriginMalformed,
        Self::RequestLineTooLong,
        Self::BodyAnnounced,
        Self::ContentLength,
        Self::ClientSpeaksTls,
    ];

    /// The position in [`RequestError::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that counters and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotHttp => "not_http",
            Self::MethodNotGet => "method_not_get",
            Self::ResourceName => "resource_name",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::BareLineFeed => "bare_line_feed",
            Self::ControlCharacter => "control_character",
            Self::FieldName => "field_name",
            Self::FieldWithoutColon => "field_without_colon",
            Self::FieldWithoutSpace => "field_without_space",
            Self::HeadTooLarge => "head_too_large",
            Self::LineTooLong => "line_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::DuplicateField => "duplicate_field",
            Self::UpgradeMissing => "upgrade_missing",
            Self::UpgradeValue => "upgrade_value",
            Self::ConnectionValue => "connection_value",
            Self::HostMissing => "host_missing",
            Self::HostMalformed => "host_malformed",
            Self::HostRefused => "host_refused",
            Self::OriginMissing => "origin_missing",
            Self::OriginRefused => "origin_refused",
            Self::SubprotocolMissing => "subprotocol_missing",
            Self::SubprotocolUnsupported => "subprotocol_unsupported",
            Self::DraftMissing => "draft_missing",
            Self::DraftUnsupported => "draft_unsupported",
            Self::KeyMissing => "key_missing",
            Self::KeyWithoutSpace => "key_without_space",
            Self::KeyWithoutDigit => "key_without_digit",
            Self::KeyTooLarge => "key_too_large",
            Self::KeyRemainder => "key_remainder",
            Self::ConnectionEnded => "connection_ended",
            Self::HttpVersion => "http_version",
            Self::HttpVersionUnsupported => "http_version_unsupported",
            Self::HttpVersionMalformed => "http_version_malformed",
            Self::KeyMalformed => "key_malformed",
            Self::VersionUnsupported => "version_unsupported",
            Self::SubprotocolMalformed => "subprotocol_malformed",
            Self::OriginMalformed => "origin_malformed",
            Self::RequestLineTooLong => "request_line_too_long",
            Self::BodyAnnounced => "body_announced",
            Self::ContentLength => "content_length",
            Self::ClientSpeaksTls => "client_speaks_tls",
        }
    }

    /// The section of the draft that the rule stands in, or that allows the limit.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::HeadTooLarge | Self::LineTooLong | Self::TooManyFields => {
                "draft-02 §2, RFC 9110 §5.4"
            }
            Self::RequestLineTooLong => "draft-02 §2, RFC 9112 §3",
            Self::BodyAnnounced | Self::ContentLength => "RFC 9112 §6.3",
            Self::ClientSpeaksTls => "RFC 8446 §5.1",
            Self::MethodNotGet => "draft-02 §5.2.1, RFC 6455 §4.2.1, RFC 9110 §15.5.6",
            Self::HttpVersionUnsupported => "RFC 9110 §15.6.6",
            Self::HttpVersionMalformed => "RFC 9112 §3",
            Self::KeyWithoutSpace
            | Self::KeyWithoutDigit
            | Self::KeyTooLarge
            | Self::KeyRemainder => "draft-02 §5.2.2",
            Self::HttpVersion | Self::KeyMalformed => "RFC 6455 §4.2.1",
            Self::VersionUnsupported => "RFC 6455 §4.4",
            Self::SubprotocolMalformed => "RFC 6455 §4.1",
            _ => "draft-02 §5.2.1, RFC 6455 §4.2.1",
        }
    }

    /// The sentence for people, without the section.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotHttp => "the bytes are not an HTTP request",
            Self::MethodNotGet => "the method is not GET",
            Self::ResourceName => "the resource name is not \"/\" and visible ASCII",
            Self::BareCarriageReturn => "a CR is not followed by LF",
            Self::BareLineFeed => "an LF does not follow a CR",
            Self::ControlCharacter => "a line holds a control character",
            Self::FieldName => "a field name is empty or holds an illegal byte",
            Self::FieldWithoutColon => "a field has no colon after its name",
            Self::FieldWithoutSpace => "a field has no space after its colon",
            Self::HeadTooLarge => {
                "the request's head is longer than the limit (HeadLimits::max_bytes, engine --max-handshake)"
            }
            Self::LineTooLong => {
                "a field of the request is longer than the limit (HeadLimits::max_line_bytes, engine --max-line)"
            }
            Self::TooManyFields => {
                "the request has more fields than the limit (HeadLimits::max_fields, engine --max-fields)"
            }
            Self::DuplicateField => "a field of the handshake occurs twice",
            Self::UpgradeMissing => "this is a WebSocket server: connect with a WebSocket client",
            Self::UpgradeValue => "the field Upgrade does not say \"WebSocket\"",
            Self::ConnectionValue => "the field Connection does not say \"Upgrade\"",
            Self::HostMissing => "the field Host is absent",
            Self::HostMalformed => "the field Host is not a host and an optional port",
            Self::HostRefused => "the field Host does not name this server",
            Self::OriginMissing => "the field Origin is absent, and this server requires one",
            Self::OriginRefused => "the origin is not accepted here",
            Self::SubprotocolMissing => "the field Sec-WebSocket-Protocol is absent",
            Self::SubprotocolUnsupported => "no requested subprotocol is supported",
            Self::DraftMissing => {
                "no version was asked for: Sec-WebSocket-Version: 13 and Sec-WebSocket-Draft: 2 are known"
            }
            Self::DraftUnsupported => {
                "the Sec-WebSocket-Draft is not supported; known are 2, and Sec-WebSocket-Version: 13"
            }
            Self::KeyMissing => {
                "the key is absent: Sec-WebSocket-Key, or in draft 2 Sec-WebSocket-Key1 and -Key2"
            }
            Self::KeyWithoutSpace => "a key holds no space",
            Self::KeyWithoutDigit => "a key holds no digit",
            Self::KeyTooLarge => "a key's number exceeds 32 bits",
            Self::KeyRemainder => "a key's number is not a multiple of its count of spaces",
            Self::ConnectionEnded => "the connection ended inside the opening handshake",
            Self::HttpVersion => "the request is older than HTTP/1.1",
            Self::HttpVersionUnsupported => {
                "the request is HTTP/2 or later; this server opens WebSockets with HTTP/1.1"
            }
            Self::HttpVersionMalformed => "the request line does not end in a version of HTTP",
            Self::KeyMalformed => "Sec-WebSocket-Key is not sixteen bytes in base64",
            Self::VersionUnsupported => {
                "the Sec-WebSocket-Version is not supported; known are 13, and Sec-WebSocket-Draft: 2"
            }
            Self::SubprotocolMalformed => {
                "Sec-WebSocket-Protocol is not a list of different tokens"
            }
            Self::OriginMalformed => "the field Origin is not valid UTF-8",
            Self::RequestLineTooLong => {
                "the request line is longer than the limit (HeadLimits::max_line_bytes, engine --max-line)"
            }
            Self::BodyAnnounced => {
                "the request announces a body, by Content-Length or Transfer-Encoding; an opening handshake has none"
            }
            Self::ContentLength => "the field Content-Length is not one number",
            Self::ClientSpeaksTls => {
                "the client speaks TLS and this port does not: use a ws:// URL, or the port for wss"
            }
        }
    }

    /// The HTTP status for people with an HTTP client; `None` if the bytes were not HTTP or nobody
    /// is there to read it: close silently (draft-02 §7.2, CLOSE-04, prescribes no answer).
    #[must_use]
    pub const fn status(self) -> Option<u16> {
        Some(match self {
            Self::NotHttp | Self::ConnectionEnded => return None,
            Self::HostRefused | Self::OriginMissing | Self::OriginRefused => 403,
            Self::UpgradeMissing
            | Self::UpgradeValue
            | Self::DraftMissing
            | Self::VersionUnsupported => 426,
            Self::HeadTooLarge | Self::LineTooLong | Self::TooManyFields => 431,
            Self::MethodNotGet => 405,
            Self::RequestLineTooLong => 414,
            Self::HttpVersionUnsupported => 505,
            _ => 400,
        })
    }
}

impl ResponseError {
    /// Every rule, in the order of declaration; counters are indexed by [`ResponseError::index`].
    pub const ALL: [Self; 26] = [
        Self::StatusLine,
        Self::StatusCode,
        Self::ProxyAuthenticationRequired,
        Self::BareCarriageReturn,
        Self::BareLineFeed,
        Self::FieldWithoutColon,
        Self::FieldWithoutName,
        Self::HeadTooLarge,
        Self::LineTooLong,
        Self::TooManyFields,
        Self::UpgradeCount,
        Self::UpgradeValue,
        Self::ConnectionCount,
        Self::ConnectionValue,
        Self::OriginCount,
        Self::OriginValue,
        Self::LocationCount,
        Self::LocationValue,
        Self::SubprotocolCount,
        Self::SubprotocolValue,
        Self::Answer,
        Self::ConnectionEnded,
        Self::AnswerCount,
        Self::Extension,
        Self::TooManyInterim,
        Self::ServerSpeaksTls,
    ];

    /// The position in [`ResponseError::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name that counters and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StatusLine => "status_line",
            Self::StatusCode => "status_code",
            Self::ProxyAuthenticationRequired => "proxy_authentication_required",
            Self::BareCarriageReturn => "bare_carriage_return",
            Self::BareLineFeed => "bare_line_feed",
            Self::FieldWithoutColon => "field_without_colon",
            Self::FieldWithoutName => "field_without_name",
            Self::HeadTooLarge => "head_too_large",
            Self::LineTooLong => "line_too_long",
            Self::TooManyFields => "too_many_fields",
            Self::UpgradeCount => "upgrade_count",
            Self::UpgradeValue => "upgrade_value",
            Self::ConnectionCount => "connection_count",
            Self::ConnectionValue => "connection_value",
            Self::OriginCount => "origin_count",
            Self::OriginValue => "origin_value",
            Self::LocationCount => "location_count",
            Self::LocationValue => "location_value",
            Self::SubprotocolCount => "subprotocol_count",
            Self::SubprotocolValue => "subprotocol_value",
            Self::Answer => "answer",
            Self::ConnectionEnded => "connection_ended",
            Self::AnswerCount => "answer_count",
            Self::Extension => "extension",
            Self::TooManyInterim => "too_many_interim",
            Self::ServerSpeaksTls => "server_speaks_tls",
        }
    }

    /// The section of the draft that the rule stands in, or that allows the limit.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::HeadTooLarge | Self::LineTooLong | Self::TooManyFields => {
                "draft-02 §2, RFC 9110 §5.4"
            }
            Self::TooManyInterim => "RFC 9110 §15.2",
            Self::ServerSpeaksTls => "RFC 8446 §5.1",
            Self::OriginCount | Self::OriginValue | Self::LocationCount | Self::LocationValue => {
                "draft-02 §5.1"
            }
            Self::AnswerCount => "RFC 6455 §4.1",
            Self::Extension => "RFC 6455 §4.1, RFC 7692 §7.1",
            _ => "draft-02 §5.1, RFC 6455 §4.1",
        }
    }

    /// The sentence for people, without the section.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::StatusLine => "the status line is malformed",
            Self::StatusCode => "the status is not 101",
            Self::ProxyAuthenticationRequired => "a proxy wants credentials",
            Self::BareCarriageReturn => "a CR is not followed by LF",
            Self::BareLineFeed => "an LF does not follow a CR",
            Self::FieldWithoutColon => "a field has no colon after its name",
            Self::FieldWithoutName => "a field's name is empty",
            Self::HeadTooLarge => {
                "the answer's head is longer than the limit (HeadLimits::max_bytes, loadgen --max-handshake)"
            }
            Self::LineTooLong => {
                "a line of the answer is longer than the limit (HeadLimits::max_line_bytes, loadgen --max-line)"
            }
            Self::TooManyFields => {
                "the answer has more fields than the limit (HeadLimits::max_fields, loadgen --max-fields)"
            }
            Self::UpgradeCount => "not exactly one field Upgrade",
            Self::UpgradeValue => "the field Upgrade is not \"websocket\"",
            Self::ConnectionCount => "not exactly one field Connection",
            Self::ConnectionValue => "the field Connection is not \"upgrade\"",
            Self::OriginCount => "not exactly one Sec-WebSocket-Origin",
            Self::OriginValue => "Sec-WebSocket-Origin is not the client's origin",
            Self::LocationCount => "not exactly one Sec-WebSocket-Location",
            Self::LocationValue => "Sec-WebSocket-Location is not the requested URL",
            Self::SubprotocolCount => "not exactly one Sec-WebSocket-Protocol",
            Self::SubprotocolValue => "Sec-WebSocket-Protocol was not asked for",
            Self::Answer => "the answer to the challenge is wrong",
            Self::ConnectionEnded => "the connection ended inside the opening handshake",
            Self::AnswerCount => "not exactly one Sec-WebSocket-Accept",
            Self::Extension => "an extension that was not asked for, or with wrong parameters",
            Self::TooManyInterim => {
                "more interim responses (1xx) than the limit (HeadLimits::max_interim)"
            }
            Self::ServerSpeaksTls => "the server speaks TLS; use a wss:// URL",
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence(), self.section())
    }
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.sentence(), self.section())
    }
}

impl std::error::Error for RequestError {}
impl std::error::Error for ResponseError {}

#[cfg(test)]
mod tests {
    use super::{RequestError, ResponseError};

    #[test]
    fn the_tables_of_rules_are_complete_and_in_order() {
        for (i, rule) in RequestError::ALL.into_iter().enumerate() {
            assert_eq!(rule.index(), i);
            assert_eq!(RequestError::ALL.iter().filter(|r| r.name() == rule.name()).count(), 1);
            assert!(rule.to_string().ends_with(&format!("({})", rule.section())));
            assert!(matches!(rule.status(), None | Some(400 | 403 | 405 | 414 | 426 | 431 | 505)));
        }
        assert_eq!(RequestError::ClientSpeaksTls.index() + 1, RequestError::ALL.len());
        for (i, rule) in ResponseError::ALL.into_iter().enumerate() {
            assert_eq!(rule.index(), i);
            assert_eq!(ResponseError::ALL.iter().filter(|r| r.name() == rule.name()).count(), 1);
            assert!(rule.to_string().contains('§'));
        }
        assert_eq!(ResponseError::ServerSpeaksTls.index() + 1, ResponseError::ALL.len());
    }
}
