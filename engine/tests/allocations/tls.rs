//! What secured connections cost.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringbolt::{Config, Driver, Pem, Server, ServerTls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::{ALONE, Echo, counting, end, frame};

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn certificate() -> (String, ServerTls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
    let chain = made.cert.pem();
    let tls = ServerTls::builder()
        .certificate(
            Pem::Text(chain.clone().into()),
            Pem::Text(made.signing_key.serialize_pem().into()),
        )
        .build()
        .expect("usable files");
    (chain, tls)
}

fn trusting(chain: &str, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate"))
        .expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn echo(tls: &ServerTls) -> Server {
    let start = |_: &mut ringbolt::Shard<'_>| {
        counting::count_this_thread();
        Echo
    };
    let any = "127.0.0.1:0".parse().expect("an address");
    let config = Config::new().with(|config| config.driver = Driver::Uring);
    let builder = Server::builder().bind(any).bind_tls(any, tls.clone());
    builder.shards(1).config(config).start(start).expect("it starts")
}

fn connect(server: &Server, config: &Arc<ClientConfig>) -> Stream {
    let tcp = TcpStream::connect(server.listening()[1].address).expect("it listens");
    tcp.set_nodelay(true).expect("a flag");
    tcp.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let name = "localhost".try_into().expect("a name");
    let tls = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut stream = StreamOwned::new(tls, tcp);
    let request = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nHost: example.com\r\n\
                   Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                   Sec-WebSocket-Version: 13\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("room");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend(byte);
    }
    stream
}

/// Waits until all have gone. Each look at the counters may seem to take some ten KiB from the shard's
/// heap, which this thread frees.
fn wait_for_nothing(server: &Server) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while server.snapshot().open > 0 {
        assert!(Instant::now() < deadline, "they do not go");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_idle_secured_connection_costs_its_session_and_gives_it_back() {
    let _alone = ALONE.lock();
    let (chain, tls) = certificate();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = trusting(&chain, version);
        let server = echo(&tls);
        let warm: Vec<_> = (0..64).map(|_| connect(&server, &config)).collect();
        let before = counting::live_bytes();
        let idle: Vec<_> = (0..500).map(|_| connect(&server, &config)).collect();
        let each = (counting::live_bytes() - before) as f64 / 500.0;
        println!("500 idle connections of {version:?}: {each:.1} bytes of heap each");
        assert!(each > 256.0, "{each:.1} bytes each: the shard is not counted");
        assert!(each <= 4096.0, "{each:.1} bytes each");
        drop((idle, warm));
        wait_for_nothing(&server);
        // What is left is tables and blocks that the next ones use.
        let before = counting::live_bytes();
        for _ in 0..1000 {
            drop(connect(&server, &config));
        }
        wait_for_nothing(&server);
        let left = counting::live_bytes() - before;
        println!("after 1000 more that have gone: {left} bytes of heap more");
        assert!(left < 1000 * 1000, "{left} bytes are left of 1000 connections");
        end(server);
    }
}

#[test]
fn a_message_costs_one_allocation_per_record_and_direction() {
    let _alone = ALONE.lock();
    let (chain, tls) = certificate();
    let server = echo(&tls);
    let mut stream = connect(&server, &trusting(&chain, &rustls::version::TLS13));
    for len in [64, 16 << 10] {
        let mut masked = frame(0x82, len);
        masked[1] |= 0x80;
        let header = masked.len() - len;
        masked.splice(header..header, [0; 4]);
        let mut back = vec![0; masked.len() - 4];
        let mut rounds = |n: u64| {
            for _ in 0..n {
                stream.write_all(&masked).expect("room");
                stream.read_exact(&mut back).expect("it comes back");
            }
        };
        rounds(200);
        let before = counting::allocations();
        rounds(1000);
        let each = (counting::allocations() - before) as f64 / 1000.0;
        println!("{len} B inside TLS: {each:.2} allocations per message");
        // A message of 16 KiB and its header are two records each way.
        let most = if len == 64 { 2.1 } else { 4.1 };
        assert!(each <= most, "{each:.2} allocations per message of {len} bytes");
    }
    end(server);
}
