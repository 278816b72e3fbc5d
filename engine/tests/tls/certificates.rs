//! Who shows what to whom, and what is agreed.

use ringbolt::{ClientAuth, Driver, Server, ServerTls, ServerTlsBuilder, TlsVersion};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, Error};

use crate::authority::Authority;
use crate::peer::{World, client, config, connect, shown, stream};
use crate::support::{Client, Echo, Running, request};

fn serve(driver: Driver, tls: &ServerTls) -> Running {
    let address = "127.0.0.1:0".parse().expect("an address");
    let builder = Server::builder().bind_tls(address, tls.clone()).shards(1).config(config(driver));
    Running::new(builder, || Echo)
}

fn build(tls: ServerTlsBuilder) -> ServerTls {
    tls.build().expect("usable files")
}

#[test]
fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let authority = Authority::new("authority");
    let first = authority.issue(&["localhost", "127.0.0.1"]);
    let second = authority.issue(&["a.test", "b.test"]);
    let star = authority.issue(&["*.star.test"]);
    let tls = [&first, &second, &star]
        .into_iter()
        .fold(ServerTls::builder(), |tls, one| tls.certificate(one.chain(), one.key()));
    let tls = build(tls);
    for driver in Driver::built() {
        let server = serve(driver, &tls);
        for (name, expected) in [
            ("localhost", &first),
            ("127.0.0.1", &first),
            ("a.test", &second),
            ("B.TEST", &second),
            ("www.star.test", &star),
        ] {
            for version in [&TLS12, &TLS13] {
                let config = client(&authority, &[version], None);
                let mut client = Client::over(stream(server.address(), name, config));
                client.send(&request("/"));
                client.finish_opening();
                assert!(shown(&client) == expected.der(), "{name}");
                client.close();
            }
        }
        // For a name that there is no certificate for, the first is shown; the client judges it.
        let config = client(&authority, &[&TLS13], None);
        let mut other = stream(server.address(), "elsewhere.test", config);
        let error = other.conn.complete_io(&mut other.sock).expect_err("another name").to_string();
        assert!(error.contains("not valid for name"), "{error}");
        drop(other);
        let ended = crate::echo::end(server);
        assert!(ended.to_string().contains("tls_error_alert=1"), "{ended}");
    }
}

/// What became of a client that tries to open a connection.
fn attempt(server: &Running, config: ClientConfig) -> Result<(), Option<AlertDescription>> {
    let mut client = Client::over(stream(server.address(), "localhost", config));
    let outcome = client.stream.conn.complete_io(&mut client.stream.sock).and_then(|_| {
        // In TLS 1.3 the server judges a client's certificate when the client is done.
        std::io::Write::write_all(&mut client.stream, &request("/"))?;
        std::io::Read::read_exact(&mut client.stream, &mut [0; 12])
    });
    outcome.map_err(|e| match e.get_ref().and_then(|e| e.downcast_ref::<Error>()) {
        Some(Error::AlertReceived(alert)) => Some(*alert),
        _ => None,
    })
}

#[test]
fn client_certificates_are_required_or_optional() {
    let (world, stranger) = (World::new(), Authority::new("a stranger"));
    let (known, unknown) = (world.authority.issue(&["client"]), stranger.issue(&["client"]));
    for driver in Driver::built() {
        for version in [&TLS12, &TLS13] {
            for auth in [ClientAuth::Required, ClientAuth::Optional] {
                let tls = ServerTls::builder()
                    .certificate(world.identity.chain(), world.identity.key())
                    .client_ca(world.authority.pem_source())
                    .client_auth(auth);
                let server = serve(driver, &build(tls));
                let with = |identity| client(&world.authority, &[version], identity);
                assert_eq!(attempt(&server, with(Some(&known))), Ok(()));
                let without = attempt(&server, with(None));
                let wrong = attempt(&server, with(Some(&unknown)));
                assert_eq!(wrong, Err(Some(AlertDescription::UnknownCA)));
                let ended = crate::echo::end(server).to_string();
                assert!(ended.contains("tls_error_untrusted=1"), "{ended}");
                if auth == ClientAuth::Optional {
                    assert_eq!(without, Ok(()));
                    continue;
                }
                assert!(without.is_err(), "{driver} without a certificate");
                assert!(ended.contains("tls_error_no_certificate=1"), "{ended}");
            }
        }
    }
}

#[test]
fn old_versions_are_refused_where_that_is_wanted() {
    let world = World::new();
    let tls = ServerTls::builder()
        .certificate(world.identity.chain(), world.identity.key())
        .min_version(TlsVersion::Tls13);
    let tls = build(tls);
    for driver in Driver::built() {
        let server = serve(driver, &tls);
        let old = attempt(&server, client(&world.authority, &[&TLS12], None));
        assert_eq!(old, Err(Some(AlertDescription::ProtocolVersion)));
        connect(server.address(), client(&world.authority, &[&TLS13], None)).close();
        let ended = crate::echo::end(server).to_string();
        assert!(ended.contains("tls_error_incompatible=1"), "{ended}");
    }
}

#[test]
fn http_1_1_is_the_protocol_inside() {
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let offers = |protocols: &[&[u8]]| {
            let mut config = world.client();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            config
        };
        let client = connect(server.address(), offers(&[b"h2", b"http/1.1"]));
        assert_eq!(client.stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.close();
        let other = attempt(&server, offers(&[b"h2"]));
        assert_eq!(other, Err(Some(AlertDescription::NoApplicationProtocol)));
        let ended = crate::echo::end(server).to_string();
        assert!(ended.contains("tls_error_no_protocol=1"), "{ended}");
    }
}

#[test]
fn new_certificates_are_shown_to_new_connections_only() {
    let authority = Authority::new("authority");
    let folder = std::env::temp_dir();
    let file = |end| folder.join(format!("tls-library-{}.{end}", std::process::id()));
    let store = || {
        let identity = authority.issue(&["localhost"]);
        std::fs::write(file("pem"), &identity.chain).expect("a file");
        std::fs::write(file("key"), &identity.key).expect("a file");
        identity
    };
    for driver in Driver::built() {
        let first = store();
        let tls = build(ServerTls::builder().certificate(file("pem"), file("key")));
        let server = serve(driver, &tls);
        let trusting = || client(&authority, &[&TLS13], None);
        let mut early = connect(server.address(), trusting());
        let second = store();
        tls.reload().expect("usable files");
        let mut late = connect(server.address(), trusting());
        std::fs::remove_file(file("key")).expect("it was there");
        let error = tls.reload().expect_err("a missing file").to_string();
        assert!(error.contains("cannot read the key"), "{error}");
        let mut last = connect(server.address(), trusting());
        for (client, expected) in [(&mut early, &first), (&mut late, &second), (&mut last, &second)]
        {
            assert!(shown(client) == expected.der());
            client.expect_alive();
        }
        for client in [early, late, last] {
            client.close();
        }
        crate::echo::end(server);
    }
    drop(std::fs::remove_file(file("pem")));
}
