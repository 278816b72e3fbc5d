//! The other side of a connection: rustls as its authors drive it, on a blocking socket.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use ringbolt::{Config, Driver, Server, ServerTls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::authority::{Authority, Identity};
use crate::support::{Client, Echo, PATIENCE, Running, request};

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;
pub(crate) type Secure = Client<Stream>;

/// An authority, a server's certificate from it, and what a client of that server is configured with.
pub(crate) struct World {
    pub(crate) authority: Authority,
    pub(crate) identity: Identity,
}

impl World {
    pub(crate) fn new() -> Self {
        let authority = Authority::new("the authority of a test");
        let identity = authority.issue(&["localhost", "127.0.0.1"]);
        Self { authority, identity }
    }

    pub(crate) fn tls(&self) -> ServerTls {
        ServerTls::builder()
            .certificate(self.identity.chain(), self.identity.key())
            .build()
            .expect("a usable certificate")
    }

    /// A server with a TLS listener only, that sends everything back.
    pub(crate) fn echo(&self, shards: usize, config: Config) -> Running {
        let builder = Server::builder()
            .bind_tls("127.0.0.1:0".parse().expect("an address"), self.tls())
            .shards(shards)
            .config(config);
        Running::new(builder, || Echo)
    }

    /// A client that trusts its authority.
    pub(crate) fn client(&self) -> ClientConfig {
        client(&self.authority, rustls::ALL_VERSIONS, None)
    }
}

pub(crate) fn config(driver: Driver) -> Config {
    crate::support::config().with(|config| config.driver = driver)
}

pub(crate) fn roots(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = authority.pem();
    let own = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    roots.add(own).expect("an authority");
    roots
}

/// What a client trusts, speaks and shows.
pub(crate) fn client(
    authority: &Authority,
    versions: &[&'static rustls::SupportedProtocolVersion],
    identity: Option<&Identity>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots(authority));
    match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = CertificateDer::pem_slice_iter(identity.chain.as_bytes())
                .collect::<Result<_, _>>()
                .expect("certificates");
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    }
}

/// TCP, and a TLS client on it that has said nothing yet.
pub(crate) fn stream(address: SocketAddr, name: &str, config: ClientConfig) -> Stream {
    let tcp = TcpStream::connect(address).expect("the server listens");
    tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    tcp.set_nodelay(true).expect("no delay");
    over(tcp, name, config)
}

/// Speaks TLS on a connection that is open already.
pub(crate) fn over(tcp: TcpStream, name: &str, config: ClientConfig) -> Stream {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a client"), tcp)
}

/// An established connection in draft-02.
pub(crate) fn connect(address: SocketAddr, config: ClientConfig) -> Secure {
    let mut client = Client::over(stream(address, "localhost", config));
    client.send(&request("/"));
    client.finish_opening();
    client
}

/// The certificate that the server has shown.
pub(crate) fn shown(client: &Secure) -> CertificateDer<'static> {
    let chain = client.stream.conn.peer_certificates().expect("a certificate");
    chain[0].clone().into_owned()
}
