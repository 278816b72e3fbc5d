//! Which certificate a client is shown.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pem::{Pem, certified};
use super::rejected;
use crate::error::StartError;

/// Certificates with the names they are for.
#[derive(Debug)]
pub(super) struct ByName {
    default: Arc<CertifiedKey>,
    all: Vec<(Vec<String>, Arc<CertifiedKey>)>,
}

impl ByName {
    pub(super) fn load(
        identities: &[(Pem, Pem)],
        provider: &CryptoProvider,
    ) -> Result<Self, StartError> {
        let mut all = Vec::new();
        for identity in identities {
            let key = certified(identity, provider)?;
            let names = match key.end_entity_cert().map(webpki::EndEntityCert::try_from) {
                Ok(Ok(end)) => end.valid_dns_names().map(str::to_ascii_lowercase).collect(),
                Ok(Err(e)) => return Err(rejected(&identity.0, &e)),
                Err(e) => return Err(rejected(&identity.0, &e)),
            };
            all.push((names, Arc::new(key)));
        }
        match all.first() {
            Some((_, first)) => Ok(Self { default: Arc::clone(first), all }),
            None => Err(rejected("TLS", &"there is no certificate")),
        }
    }

    fn find(&self, asked: Option<&str>) -> &Arc<CertifiedKey> {
        let Some(asked) = asked else { return &self.default };
        let found = self.all.iter().find(|(names, _)| names.iter().any(|own| is(own, asked)));
        found.map_or(&self.default, |(_, key)| key)
    }
}

/// Whether a certificate's name, lowercase, stands for `asked`; `*` stands for one label (RFC 9525
/// §6.3).
fn is(own: &str, asked: &str) -> bool {
    match (own.strip_prefix("*."), asked.split_once('.')) {
        (Some(rest), Some((label, asked))) => !label.is_empty() && rest.eq_ignore_ascii_case(asked),
        (Some(_), None) => false,
        (None, _) => own.eq_ignore_ascii_case(asked),
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.find(hello.server_name())))
    }
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn a_star_stands_for_one_label() {
        for (own, asked, expected) in [
            ("example.com", "EXAMPLE.com", true),
            ("example.com", "www.example.com", false),
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.www.example.com", false),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
        ] {
            assert_eq!(is(own, asked), expected, "{own} for {asked}");
        }
    }
}
