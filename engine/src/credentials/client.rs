//! Whom clients trust, and who they say they are.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};

use super::pem::{Pem, certified};
use super::{ALPN, provider, rejected, wrong};
use crate::error::StartError;

/// How clients reach wss URLs: whom they trust and who they say they are.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<rustls::ClientConfig>,
    server_name: Option<ServerName<'static>>,
    verifies: bool,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ClientTls");
        shown.field("server_name", &self.server_name).field("verifies", &self.verifies);
        shown.finish_non_exhaustive()
    }
}

/// What a [`ClientTls`] is made of.
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientTlsBuilder {
    authorities: Option<Pem>,
    insecure: bool,
    identity: Option<(Pem, Pem)>,
    server_name: Option<String>,
    resumption: bool,
}

impl ClientTls {
    /// Trusts whom the system trusts, shows no certificate, and resumes sessions.
    pub fn builder() -> ClientTlsBuilder {
        ClientTlsBuilder {
            authorities: None,
            insecure: false,
            identity: None,
            server_name: None,
            resumption: true,
        }
    }

    pub(crate) fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.config)
    }

    /// The name that a host's certificate must be for.
    pub(crate) fn name(&self, host: &str) -> Option<ServerName<'static>> {
        match &self.server_name {
            Some(name) => Some(name.clone()),
            None => parse(host),
        }
    }
}

/// The name in a certificate: a URL has IPv6 addresses in brackets and may have a dot behind a name, a
/// certificate has neither (RFC 6066 §3).
fn parse(host: &str) -> Option<ServerName<'static>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    ServerName::try_from(bare.to_owned()).ok()
}

impl ClientTlsBuilder {
    /// Trusts these authorities instead of the system's.
    pub fn authorities(mut self, authorities: impl Into<Pem>) -> Self {
        self.authorities = Some(authorities.into());
        self
    }

    /// Trusts everybody: whoever answers is taken for the server. For tests only.
    pub const fn dangerous_trust_everybody(mut self) -> Self {
        self.insecure = true;
        self
    }

    /// Shows this certificate chain to servers that ask for one.
    pub fn certificate(mut self, chain: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        self.identity = Some((chain.into(), key.into()));
        self
    }

    /// Asks for this name, and expects it in the certificate, instead of the URL's host.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Whether a server may resume an earlier session, which saves most of a handshake. Default true.
    pub const fn resumption(mut self, resumed: bool) -> Self {
        self.resumption = resumed;
        self
    }

    /// Reads every file.
    ///
    /// # Errors
    ///
    /// What is wrong with which file, and what to do.
    pub fn build(self) -> Result<ClientTls, StartError> {
        let provider = provider();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| rejected("the TLS configuration", &e))?;
        let builder = if self.insecure {
            let everybody = Arc::new(Everybody(Arc::clone(&provider)));
            builder.dangerous().with_custom_certificate_verifier(everybody)
        } else {
            builder.with_root_certificates(match &self.authorities {
                Some(authorities) => authorities.roots()?,
                None => system_roots()?,
            })
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = certified(identity, &provider)?;
                builder
                    .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        let server_name = match self.server_name {
            None => None,
            Some(name) => Some(parse(&name).ok_or_else(|| {
                wrong(
                    format!("cannot ask for the name {name}"),
                    "it is neither a host name nor an address",
                    "write it as in a certificate: example.com or 192.0.2.1",
                )
            })?),
        };
        Ok(ClientTls { config: Arc::new(config), server_name, verifies: !self.insecure })
    }
}

fn system_roots() -> Result<RootCertStore, StartError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable > 0 {
        return Ok(roots);
    }
    let why = match found.errors.first() {
        Some(error) => error.to_string(),
        None => "the system has no list of certificate authorities".to_owned(),
    };
    Err(wrong(
        "cannot tell whom to trust",
        why,
        "install the system's list (the package ca-certificates), or name the authority's own \
         certificate in a PEM file",
    ))
}

/// Takes any certificate; that the server has its key is checked all the same.
#[derive(Debug)]
struct Everybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Everybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
