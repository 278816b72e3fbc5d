//! What a wss target is trusted by, and what it is shown.

use std::path::PathBuf;

use ringbolt::ClientTls;
use serde_json::{Value, json};

use crate::base::failure::Failure;
use crate::spec::options::TlsArgs;

/// How wss targets are reached.
#[derive(Debug)]
pub(crate) struct Tls {
    pub(crate) client: ClientTls,
    /// Whether the server's certificate is verified.
    pub(crate) verified: bool,
    /// The file of authorities, if it is not the system's.
    authorities: Option<PathBuf>,
    /// Whether a server that asks for a certificate gets one.
    identified: bool,
    resumed: bool,
}

impl Tls {
    /// Reads the files; `None` where the target is a plain one.
    pub(crate) fn new(args: TlsArgs, secure: bool) -> Result<Option<Self>, Failure> {
        let TlsArgs { cacert, insecure, cert, key, resume } = args;
        if !secure {
            let idle = [
                ("--cacert", cacert.is_some()),
                ("--insecure", insecure),
                ("--cert", cert.is_some()),
                ("--resume", resume),
            ];
            return match idle.into_iter().find(|(_, given)| *given) {
                None => Ok(None),
                Some((flag, _)) => Err(Failure::usage(
                    format!("{flag} makes no sense here"),
                    "the target speaks no TLS",
                    "write its URL with wss://, or leave the flag out",
                )),
            };
        }
        let mut builder = ClientTls::builder().resumption(resume);
        if insecure {
            builder = builder.dangerous_trust_everybody();
        }
        if let Some(file) = &cacert {
            builder = builder.authorities(file.clone());
        }
        let identity = cert.zip(key);
        let identified = identity.is_some();
        if let Some((cert, key)) = identity {
            builder = builder.certificate(cert, key);
        }
        let client = builder.build().map_err(|e| Failure::start(&e))?;
        let verified = !insecure;
        Ok(Some(Self { client, verified, authorities: cacert, identified, resumed: resume }))
    }

    /// The settings as result documents have them.
    pub(crate) fn value(&self) -> Value {
        let authorities = self.authorities.as_ref().map(|file| file.display().to_string());
        json!({
            "verified": self.verified,
            "authorities": authorities.unwrap_or_else(|| "system".to_owned()),
            "client_certificate": self.identified,
            "resumption": self.resumed,
        })
    }
}
