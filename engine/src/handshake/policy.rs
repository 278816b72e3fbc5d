//! What a server accepts.

use super::{RequestError, UpgradeRequest, hybi02};
use crate::wire::Dialect;

/// What one server accepts of the requests that are well-formed (draft-02 §5.2.1, RFC 6455 §4.2.2).
/// The default accepts both dialects and every host and origin, demands that there is an origin in
/// draft-02, and supports no subprotocol.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ServerPolicy {
    hosts: Option<Vec<String>>,
    origins: Option<Vec<String>>,
    subprotocols: Vec<String>,
    require_subprotocol: bool,
    require_origin: bool,
    secure: bool,
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
    /// An entry without a port stands for all ports of that host.
    #[must_use]
    pub fn hosts(mut self, hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hosts = Some(hosts.into_iter().map(Into::into).collect());
        self
    }

    /// The origins whose pages may connect; any other, and a client without one, is refused.
    #[must_use]
    pub fn origins(mut self, origins: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.origins = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// The subprotocols that the server speaks.
    #[must_use]
    pub fn subprotocols(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Whether a client must ask for a subprotocol.
    #[must_use]
    pub const fn require_subprotocol(mut self, required: bool) -> Self {
        self.require_subprotocol = required;
        self
    }

    /// Whether a client of draft-02 must send its origin. If not, the answer to one that sends none
    /// carries an empty one (AMB-12). Of RFC 6455's clients only browsers have one (§4.1 item 8):
    /// this does not concern them, the list of [`ServerPolicy::origins`] does.
    #[must_use]
    pub const fn require_origin(mut self, required: bool) -> Self {
        self.require_origin = required;
        self
    }

    /// Whether clients reach the server by TLS, here or before it: the answer's location is a wss
    /// URL then.
    #[must_use]
    pub const fn secure(mut self, secure: bool) -> Self {
        self.secure = secure;
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

    pub(super) const fn is_secure(&self) -> bool {
        self.secure
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
        if self.hosts.as_ref().is_some_and(|hosts| !hosts.iter().any(|h| is_host(request, h))) {
            return Err(RequestError::HostRefused);
        }
        match (request.origin(), &self.origins) {
            (None, Some(_)) => return Err(RequestError::OriginMissing),
            (None, None) if self.require_origin && request.draft().is_some() => {
                return Err(RequestError::OriginMissing);
            }
            (Some(origin), Some(list)) if !list.iter().any(|o| o.eq_ignore_ascii_case(origin)) => {
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

/// Whether an entry of the list is the host that the request is for.
fn is_host(request: &UpgradeRequest<'_>, entry: &str) -> bool {
    entry.eq_ignore_ascii_case(request.host())
        || entry.eq_ignore_ascii_case(request.host_port().host)
}
