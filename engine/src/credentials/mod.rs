//! Certificates, keys and whom to trust: what TLS is configured with.
//!
//! A [`ServerTls`] is shared by all shards and can be read anew while the server runs
//! ([`ServerTls::reload`]): connections that are open keep what they have, new ones get the new
//! certificates, and files that cannot be used change nothing.

mod client;
mod names;
mod pem;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

pub use client::{ClientTls, ClientTlsBuilder};
pub use pem::Pem;

use crate::error::{StartError, StartErrorKind};

/// The only application protocol: WebSocket begins as HTTP/1.1 (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Whether a client must show a certificate when [`ServerTlsBuilder::client_ca`] is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClientAuth {
    /// One without is refused.
    #[default]
    Required,
    /// One without is taken; one with a certificate of somebody else's is refused.
    Optional,
}

/// A version of TLS. Older ones than 1.2 are broken, and not spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246), with forward secrecy and authenticated encryption only.
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

/// What a TLS handshake has agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Security {
    /// The version of TLS.
    pub version: TlsVersion,
    /// The cipher suite, by the name that IANA has for it.
    pub cipher_suite: &'static str,
    /// Whether an earlier session was resumed: no certificate was shown then.
    pub resumed: bool,
}

/// What a server's TLS listeners show and ask for. A clone is the same configuration.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    sources: ServerTlsBuilder,
    current: Mutex<Arc<rustls::ServerConfig>>,
    version: AtomicU64,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").field("sources", &self.0.sources).finish_non_exhaustive()
    }
}

/// Where a server's certificates come from.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct ServerTlsBuilder {
    identities: Vec<(Pem, Pem)>,
    client_ca: Option<Pem>,
    client_auth: ClientAuth,
    min_version: TlsVersion,
}

impl ServerTls {
    /// A configuration to be filled: at least one certificate.
    pub fn builder() -> ServerTlsBuilder {
        ServerTlsBuilder::default()
    }

    /// Reads every file again. New connections get what they hold now.
    ///
    /// # Errors
    ///
    /// What is wrong with which file: then nothing has changed.
    pub fn reload(&self) -> Result<(), StartError> {
        let fresh = self.0.sources.load()?;
        *self.0.current.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        self.0.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(crate) fn current(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.0.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerTlsBuilder {
    /// Adds a certificate chain, the server's own first, and its key. A client is shown the first
    /// whose names include the one it asks for (SNI), and the first of all if none does.
    pub fn certificate(mut self, chain: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        self.identities.push((chain.into(), key.into()));
        self
    }

    /// Asks clients for a certificate that one of these authorities has issued.
    pub fn client_ca(mut self, authorities: impl Into<Pem>) -> Self {
        self.client_ca = Some(authorities.into());
        self
    }

    /// Whether that is a must. Default [`ClientAuth::Required`].
    pub const fn client_auth(mut self, auth: ClientAuth) -> Self {
        self.client_auth = auth;
        self
    }

    /// The oldest version that is spoken. Default [`TlsVersion::Tls12`].
    pub const fn min_version(mut self, version: TlsVersion) -> Self {
        self.min_version = version;
        self
    }

    /// Reads every file.
    ///
    /// # Errors
    ///
    /// What is wrong with which file, and what to do.
    pub fn build(self) -> Result<ServerTls, StartError> {
        let current = Mutex::new(self.load()?);
        Ok(ServerTls(Arc::new(Shared { sources: self, current, version: AtomicU64::new(0) })))
    }

    fn load(&self) -> Result<Arc<rustls::ServerConfig>, StartError> {
        let provider = provider();
        if self.identities.is_empty() {
            return Err(wrong(
                "cannot serve TLS",
                "there is no certificate",
                "name a certificate chain and its key",
            ));
        }
        let certificates = names::ByName::load(&self.identities, &provider)?;
        let versions: &[_] = match self.min_version {
            TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            TlsVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|e| rejected("the TLS configuration", &e))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let roots = Arc::new(authorities.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = match self.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|e| rejected(authorities, &e))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Sessions are kept by the clients, in tickets: they cost the server no memory, and any shard
        // resumes what another began.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::ring::Ticketer::new()
            .map_err(|e| rejected("the key of session tickets", &e))?;
        config.send_tls13_tickets = 1;
        Ok(Arc::new(config))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn wrong(what: impl Into<String>, why: impl Into<String>, remedy: &'static str) -> StartError {
    StartError::new(StartErrorKind::Tls, what, why, remedy)
}

fn rejected(what: impl fmt::Display, error: &dyn fmt::Display) -> StartError {
    wrong(format!("cannot use {what}"), error.to_string(), "use another certificate or key")
}
