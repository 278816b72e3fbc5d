//! Files in PEM, and what can be wrong with them.

use std::fmt;
use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::{PathBuf, rejected, wrong};
use crate::error::StartError;

/// A text in PEM: a file, or what one would hold.
#[derive(Clone)]
#[non_exhaustive]
pub enum Pem {
    /// The file of this name; read again by each reload.
    File(PathBuf),
    /// The text itself.
    Text(Vec<u8>),
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::File(path.to_path_buf())
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("a PEM text"),
        }
    }
}

/// Keys are not for logs.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Pem {
    fn read(&self, what: &str) -> Result<Vec<u8>, StartError> {
        let path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        std::fs::read(path).map_err(|e| {
            let remedy = match e.kind() {
                io::ErrorKind::NotFound => "check the name, and the folder it is looked up from",
                io::ErrorKind::PermissionDenied => "let the user that runs this program read it",
                io::ErrorKind::IsADirectory => "name a file in it",
                _ => "check the file",
            };
            wrong(format!("cannot read {what} {self}"), e.to_string(), remedy)
        })
    }

    /// The certificates, at least one.
    pub(super) fn certificates(
        &self,
        what: &str,
    ) -> Result<Vec<CertificateDer<'static>>, StartError> {
        let text = self.read(what)?;
        let found: Result<Vec<_>, Error> = CertificateDer::pem_slice_iter(&text).collect();
        let found = found.map_err(|e| malformed(what, self, &e))?;
        if !found.is_empty() {
            return Ok(found);
        }
        let (why, remedy) = if PrivateKeyDer::from_pem_slice(&text).is_ok() {
            (
                "it holds a private key but no certificate",
                "swap the two: first the file of the certificate, then that of the key",
            )
        } else {
            (
                "it holds no section `BEGIN CERTIFICATE`, so it is not a PEM file of certificates",
                "name a PEM file; `openssl x509 -inform der -in FILE` makes one of DER",
            )
        };
        Err(wrong(format!("cannot use {what} {self}"), why, remedy))
    }

    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, StartError> {
        let what = "the key";
        let text = self.read(what)?;
        let has = |section: &[u8]| text.windows(section.len()).any(|part| part == section);
        PrivateKeyDer::from_pem_slice(&text).map_err(|e| {
            let (why, remedy) = match e {
                Error::NoItemsFound if has(b"BEGIN ENCRYPTED PRIVATE KEY") => (
                    "it is encrypted with a passphrase",
                    "decrypt it with `openssl pkey -in FILE -out PLAIN`, and guard the result",
                ),
                Error::NoItemsFound if has(b"BEGIN CERTIFICATE") => (
                    "it holds a certificate but no private key",
                    "swap the two: first the file of the certificate, then that of the key",
                ),
                Error::NoItemsFound => (
                    "it holds no section `BEGIN PRIVATE KEY`, so it is not a PEM file of a key",
                    "name a PEM file; `openssl pkey -inform der -in FILE` makes one of DER",
                ),
                e => return malformed(what, self, &e),
            };
            wrong(format!("cannot use {what} {self}"), why, remedy)
        })
    }

    /// The certificates as authorities to trust.
    pub(super) fn roots(&self) -> Result<RootCertStore, StartError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates("the authorities in")? {
            roots.add(certificate).map_err(|e| rejected(self, &e))?;
        }
        Ok(roots)
    }
}

fn malformed(what: &str, pem: &Pem, error: &Error) -> StartError {
    let why = format!("it is not well-formed PEM: {error:?}");
    wrong(format!("cannot use {what} {pem}"), why, "copy the file again, whole and unchanged")
}

/// A chain and the key of its first certificate, which must fit.
pub(super) fn certified(
    (chain, key): &(Pem, Pem),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, StartError> {
    let certificates = chain.certificates("the certificate")?;
    let signing = provider.key_provider.load_private_key(key.key()?).map_err(|e| {
        wrong(
            format!("cannot use the key {key}"),
            e.to_string(),
            "use a key of the kind ECDSA (P-256, P-384), Ed25519 or RSA (2048 to 8192 bits)",
        )
    })?;
    let fits = |first: &CertificateDer<'static>| {
        CertifiedKey::new(vec![first.clone()], signing.clone()).keys_match()
    };
    let Some(first) = certificates.first() else {
        return Err(wrong(format!("cannot use {chain}"), "it is empty", "name another file"));
    };
    match fits(first) {
        Ok(()) => Ok(CertifiedKey::new(certificates, signing)),
        Err(_) if certificates.iter().skip(1).any(|later| fits(later).is_ok()) => Err(wrong(
            format!("cannot use the certificate {chain}"),
            "its chain is in the wrong order: the key is that of a later certificate",
            "put the server's own certificate first, and after each the one that issued it",
        )),
        Err(rustls::Error::InconsistentKeys(_)) => Err(wrong(
            format!("cannot use the key {key}"),
            format!("it is not the key of the certificate {chain}"),
            "name the key that the certificate was requested with; the public keys that `openssl \
             x509 -pubkey -noout -in CERTIFICATE` and `openssl pkey -pubout -in KEY` print are equal",
        )),
        Err(e) => Err(rejected(format_args!("the certificate {chain}"), &e)),
    }
}
