//! What a server accepts.

use super::allowed::{AllowedHost, AllowedOrigin, PolicyError, read_subprotocol};
use super::{RequestError, UpgradeRequest, hybi02};
use crate::wire::Dialect;

/// What one server accepts of the requests that are well-formed (draft-02 §5.2.1, RFC 6455 §4.2.2).
/// The default accepts both dialects and every host and origin, demands that there is an origin in
/// draft-02, and supports no subprotocol. What a program writes there proves nothing (SEC-01): any client can
/// send any origin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerPolicy {
    hosts: Option<Vec<AllowedHost>>,
    origins: Option<Vec<AllowedOrigin>>,
    subprotocols: Vec<String>,
    require_subprotocol: bool,
    require_origin: bool,
    secure: bool,
    trust_forwarded_proto: bool,
    more_drafts: [bool; 2],
    hybi02: bool,
    rfc6455: bool,
}

impl Default for ServerPolicy {
    fn default() -> Self {
        Self {
            hosts: None,
            origins: None,
            subprotocols: Vec::new(),
            require_subprotocol: false,
            require_origin: true,
            secure: false,
            trust_forwarded_proto: false,
            more_drafts: [false; 2],
            hybi02: true,
            rfc6455: true,
        }
    }
}

impl ServerPolicy {
    /// The default policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The hosts of this server; any other is refused, which is the defence against DNS rebinding.
    ///
    /// An entry is `example.com`, `[::1]` or the like, and stands for all ports of that host unless
    /// one is behind it. `*.example.com` stands for every name below `example.com`, however many
    /// labels it has more, and not for `example.com` itself. `*` stands for every host, as if there
    /// were no list.
    ///
    /// # Errors
    ///
    /// An entry that no client's Host field can meet, with the form that would: in capitals, in
    /// Unicode instead of Punycode, with a scheme, a path or the ports 80 and 443, which clients
    /// leave out.
    pub fn hosts(
        mut self,
        hosts: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, PolicyError> {
        let all = hosts.into_iter().map(|entry| AllowedHost::read(entry.as_ref()));
        self.hosts = all.collect::<Result<Vec<_>, _>>()?.into_iter().collect();
        Ok(self)
    }

    /// The origins whose pages may connect; any other is refused, and so is a client without one,
    /// unless [`ServerPolicy::require_origin`] says otherwise.
    ///
    /// An entry is an origin as browsers write it: scheme, host, and the port if it is not the
    /// scheme's own; or `null`. `https://*.example.com` stands for every name below `example.com`,
    /// however many labels it has more, with that scheme and port, and not for
    /// `https://example.com` itself (as in Content Security Policy). `*` stands for every origin,
    /// as if there were no list.
    ///
    /// # Errors
    ///
    /// An entry that no client's Origin field can meet, with the form that would: without a scheme,
    /// with a path or only a slash behind the host, the scheme's own port, capitals, Unicode
    /// instead of Punycode, or a `*` elsewhere.
    pub fn origins(
        mut self,
        origins: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, PolicyError> {
        let all = origins.into_iter().map(|entry| AllowedOrigin::read(entry.as_ref()));
        self.origins = all.collect::<Result<Vec<_>, _>>()?.into_iter().collect();
        Ok(self)
    }

    /// The subprotocols that the server speaks; which one is case-sensitive.
    ///
    /// # Errors
    ///
    /// A name that no client can ask for: empty, or with other bytes than U+0021 to U+007E or with a
    /// comma. `*` is none, either: the server must say which one it speaks.
    pub fn subprotocols(
        mut self,
        names: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, PolicyError> {
        let all = names.into_iter().map(|name| read_subprotocol(name.as_ref()));
        self.subprotocols = all.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// Whether a client must ask for a subprotocol.
    #[must_use]
    pub const fn require_subprotocol(mut self, required: bool) -> Self {
        self.require_subprotocol = required;
        self
    }

    /// Whether a client must send its origin where one is expected: in draft-02, whose clients always
    /// have one (§5.2.1), and in both dialects beside a list of [`ServerPolicy::origins`]. Default
    /// true. If not, a client without one is taken, list or not: pages cannot leave it out, programs
    /// can. Draft-02's answer to it carries an empty one (AMB-12).
    ///
    /// Of RFC 6455's clients only browsers have one (§4.1 item 8): without a list none needs it.
    #[must_use]
    pub const fn require_origin(mut self, required: bool) -> Self {
        self.require_origin = required;
        self
    }

    /// Whether clients reach the server by TLS that ends in front of it: the location in draft-02's
    /// answer is a wss URL then, as it is where the server itself speaks TLS. Default false.
    #[must_use]
    pub const fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
        self
    }

    /// Whether `X-Forwarded-Proto` says how the client has reached the proxy in front of the server,
    /// and so whether the location in draft-02's answer is a wss URL; without that field, or with
    /// one that names neither http, https, ws nor wss, it is as [`ServerPolicy::secure`] says.
    /// Default false.
    ///
    /// The field is believed whoever sends it. So nobody but the proxy should reach the server; the
    /// worst that another can do is to get a location that its own handshake cannot use.
    #[must_use]
    pub const fn trust_forwarded_proto(mut self, trusted: bool) -> Self {
        self.trust_forwarded_proto = trusted;
        self
    }

    /// Whether clients that say `Sec-WebSocket-Draft: 1` are taken; their framing is the same.
    #[must_use]
    pub const fn accept_draft_1(mut self, accepted: bool) -> Self {
        self.more_drafts[0] = accepted;
        self
    }

    /// Whether clients that say `Sec-WebSocket-Draft: 3` are taken; their framing is the same.
    #[must_use]
    pub const fn accept_draft_3(mut self, accepted: bool) -> Self {
        self.more_drafts[1] = accepted;
        self
    }

    /// The dialects that are spoken; a client of another is told which ones are.
    #[must_use]
    pub fn dialects(mut self, dialects: impl IntoIterator<Item = Dialect>) -> Self {
        (self.hybi02, self.rfc6455) = (false, false);
        for dialect in dialects {
            match dialect {
                Dialect::Hybi02 => self.hybi02 = true,
                Dialect::Rfc6455 => self.rfc6455 = true,
            }
        }
        self
    }

    /// Whether the client asked for a wss URL, as far as can be known; `tls` is whether its
    /// connection to this server is TLS.
    pub(super) fn is_secure(&self, request: &UpgradeRequest<'_>, tls: bool) -> bool {
        let told = self.trust_forwarded_proto.then(|| request.field("X-Forwarded-Proto")).flatten();
        told.and_then(is_secure_scheme).unwrap_or(tls || self.secure)
    }

    /// Judges what depends on the server: draft, host, origin, subprotocol.
    ///
    /// # Errors
    ///
    /// The first rule of the policy that the request does not meet.
    #[inline]
    pub fn judge(&self, request: &UpgradeRequest<'_>) -> Result<(), RequestError> {
        let [draft_1, draft_3] = self.more_drafts;
        match request.draft() {
            None if self.rfc6455 => {}
            None => return Err(RequestError::VersionUnsupported),
            Some(hybi02::DRAFT) if self.hybi02 => {}
            Some(1) if self.hybi02 && draft_1 => {}
            Some(3) if self.hybi02 && draft_3 => {}
            Some(_) => return Err(RequestError::DraftUnsupported),
        }
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|h| h.matches(request))) {
            return Err(RequestError::HostRefused);
        }
        match (request.origin(), &self.origins) {
            (None, list)
                if self.require_origin && (list.is_some() || request.draft().is_some()) =>
            {
                return Err(RequestError::OriginMissing);
            }
            (Some(origin), Some(list)) if !list.iter().any(|o| o.matches(origin)) => {
                return Err(RequestError::OriginRefused);
            }
            _ => {}
        }
        match self.choose_subprotocol(request) {
            Some(_) => Ok(()),
            // RFC 6455's client finds out that none was chosen, and decides (§4.2.2 item 5.5).
            None if request.asks_for_subprotocol()
                && (request.draft().is_some() || self.require_subprotocol) =>
            {
                Err(RequestError::SubprotocolUnsupported)
            }
            None if self.require_subprotocol => Err(RequestError::SubprotocolMissing),
            None => Ok(()),
        }
    }

    /// The first subprotocol in the client's order that the server speaks.
    #[must_use]
    pub fn choose_subprotocol<'r>(&self, request: &UpgradeRequest<'r>) -> Option<&'r str> {
        request.subprotocols().find(|name| self.subprotocols.iter().any(|own| own == name))
    }
}

/// Whether the first proxy of the list, the one that the client talked to, was reached by TLS.
fn is_secure_scheme(value: &[u8]) -> Option<bool> {
    let first = value.split(|byte| *byte == b',').next()?.trim_ascii();
    let is = |names: [&str; 2]| names.iter().any(|n| first.eq_ignore_ascii_case(n.as_bytes()));
    if is(["https", "wss"]) {
        return Some(true);
    }
    is(["http", "ws"]).then_some(false)
}
