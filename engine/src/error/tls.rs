//! Why a TLS connection was given up.

use std::fmt;

/// Why a TLS connection was not established, or was given up later. The sections are those of TLS
/// 1.3 (RFC 8446); of TLS 1.2 (RFC 5246) where that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// A client's first bytes were no TLS record (§5.1), and no HTTP either.
    NotTls,
    /// No version, cipher suite or key exchange is common to both sides (§4.1.1).
    Incompatible,
    /// The client offered application protocols and `http/1.1` was not among them (RFC 7301 §3.2).
    NoProtocol,
    /// The client showed no certificate, and one is required (§4.4.2.4).
    NoCertificate,
    /// The peer's certificate was not issued by a trusted authority.
    Untrusted,
    /// The peer's certificate has expired, or is not valid yet.
    Expired,
    /// The server's certificate is for other names than the one that was asked for (RFC 9525).
    WrongName,
    /// The peer shows the certificate of an authority (RFC 5280 §4.2.1.9), which may only issue
    /// others. `openssl req -x509` makes such certificates unless told otherwise.
    Authority,
    /// The peer's certificate cannot be used for another reason: its signature, its form or its
    /// purpose.
    BadCertificate,
    /// The peer gave up, and sent this alert to say why (§6.2).
    Alert(u8),
    /// A record or a message has no legal form (§5.1, §4).
    Malformed,
    /// The peer broke a rule of the protocol: a message at the wrong time, a flood of empty records,
    /// of key updates or of renegotiations.
    Misbehaved,
    /// A record was not encrypted with the agreed keys, or was changed on its way (§5.2).
    Undecryptable,
    /// A record, or a handshake message, is longer than the protocol or our limits allow (§5.1).
    Oversized,
    /// The keys have encrypted as much as they may, and the protocol has no way to renew them (TLS
    /// 1.2).
    Exhausted,
    /// The URL is wss://, and no TLS is configured for clients.
    NotConfigured,
    /// Anything else.
    Other,
    /// The client's first bytes were a request of HTTP without TLS: it was given a ws URL. It is answered
    /// so.
    PlainClient,
    /// The server's first bytes were no TLS record (§5.1): the client was given a wss URL.
    PlainServer,
}

impl TlsError {
    /// Every kind, in the order of [`TlsError::index`].
    pub const NAMES: [&'static str; 19] = [
        "not_tls",
        "incompatible",
        "no_protocol",
        "no_certificate",
        "untrusted",
        "expired",
        "wrong_name",
        "authority",
        "bad_certificate",
        "alert",
        "malformed",
        "misbehaved",
        "undecryptable",
        "oversized",
        "exhausted",
        "not_configured",
        "other",
        "plain_client",
        "plain_server",
    ];

    /// The position of this kind in [`TlsError::NAMES`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::NotTls => 0,
            Self::Incompatible => 1,
            Self::NoProtocol => 2,
            Self::NoCertificate => 3,
            Self::Untrusted => 4,
            Self::Expired => 5,
            Self::WrongName => 6,
            Self::Authority => 7,
            Self::BadCertificate => 8,
            Self::Alert(_) => 9,
            Self::Malformed => 10,
            Self::Misbehaved => 11,
            Self::Undecryptable => 12,
            Self::Oversized => 13,
            Self::Exhausted => 14,
            Self::NotConfigured => 15,
            Self::Other => 16,
            Self::PlainClient => 17,
            Self::PlainServer => 18,
        }
    }

    /// What happened, in one sentence without its end.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NotTls => "the first bytes are neither TLS nor HTTP",
            Self::Incompatible => "the peer and we have no TLS version or cipher suite in common",
            Self::NoProtocol => "the client does not speak http/1.1 inside TLS",
            Self::NoCertificate => "the client showed no certificate, and one is required",
            Self::Untrusted => "the peer's certificate was not issued by a trusted authority",
            Self::Expired => "the peer's certificate has expired, or is not valid yet",
            Self::WrongName => "the server's certificate is for other names",
            Self::Authority => {
                "the peer's certificate is that of an authority (CA:TRUE), which may only issue others; \
                 with `-addext basicConstraints=critical,CA:FALSE` openssl makes one for a server"
            }
            Self::BadCertificate => {
                "the signature, form or purpose of the peer's certificate is wrong"
            }
            Self::Alert(code) => alert(code),
            Self::Malformed => "a TLS record or message has no legal form",
            Self::Misbehaved => "the peer broke a rule of TLS",
            Self::Undecryptable => "a TLS record cannot be decrypted",
            Self::Oversized => "a TLS record or handshake message is too long",
            Self::Exhausted => "the keys have encrypted as much as they may",
            Self::NotConfigured => "the URL is wss://, and no TLS is configured",
            Self::Other => "TLS failed",
            Self::PlainClient => {
                "the client does not speak TLS, and this port does: use a wss:// URL, or the port for ws"
            }
            Self::PlainServer => "the server answered without TLS; use a ws:// URL",
        }
    }
}

/// The alerts that tell a person what to do (RFC 8446 §6.2).
const fn alert(code: u8) -> &'static str {
    match code {
        40 => "the peer found no common TLS version or cipher suite (alert handshake_failure)",
        42 => "the peer could not use our certificate (alert bad_certificate)",
        45 => "the peer found our certificate expired (alert certificate_expired)",
        46 => "the peer did not accept our certificate (alert certificate_unknown)",
        48 => "the peer does not know who issued our certificate (alert unknown_ca)",
        49 => "the peer does not let us in with our certificate (alert access_denied)",
        70 => "the peer does not speak our TLS versions (alert protocol_version)",
        112 => "the server does not serve this name (alert unrecognized_name)",
        116 => "the server wants a certificate from the client (alert certificate_required)",
        120 => "the peer does not speak http/1.1 inside TLS (alert no_application_protocol)",
        _ => "the peer sent a TLS alert",
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())?;
        match self {
            Self::Alert(code) => write!(f, ", number {code}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::TlsError;

    #[test]
    fn every_kind_has_its_own_place() {
        let all = [
            TlsError::NotTls,
            TlsError::Incompatible,
            TlsError::NoProtocol,
            TlsError::NoCertificate,
            TlsError::Untrusted,
            TlsError::Expired,
            TlsError::WrongName,
            TlsError::Authority,
            TlsError::BadCertificate,
            TlsError::Alert(48),
            TlsError::Malformed,
            TlsError::Misbehaved,
            TlsError::Undecryptable,
            TlsError::Oversized,
            TlsError::Exhausted,
            TlsError::NotConfigured,
            TlsError::Other,
            TlsError::PlainClient,
            TlsError::PlainServer,
        ];
        assert_eq!(all.map(TlsError::index), std::array::from_fn(|place| place));
        assert!(TlsError::Alert(48).to_string().contains("unknown_ca"));
        assert!(TlsError::Alert(200).to_string().ends_with("number 200"));
    }
}
