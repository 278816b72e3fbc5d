//! wss through a proxy: the tunnel is asked for in the clear, everything else is TLS inside of it.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;

use ringbolt::handshake::Url;
use ringbolt::handshake::proxy::{Proxy, ProxyError};
use ringbolt::{CloseReason, Driver, Route, TlsError};

use crate::clients::{Dialler, built, trusting};
use crate::peer::{World, config};
use crate::support::PATIENCE;

/// A proxy that answers each of its clients so, and carries bytes to the server it asked for if that is
/// a yes and nothing more; gives what the clients said first.
fn proxy(clients: usize, answer: &'static [u8]) -> (Route, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let at = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        let mut heads = Vec::new();
        let mut carrying = Vec::new();
        for _ in 0..clients {
            let (mut client, _) = listener.accept().expect("a client");
            client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).expect("a head") > 0 {
                head.extend(byte);
            }
            let head = String::from_utf8(head).expect("text");
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            heads.push(head);
            carrying.push(std::thread::spawn(move || {
                drop(client.write_all(answer));
                if answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"\r\n\r\n") {
                    carry(client, TcpStream::connect(target).expect("the server listens"));
                } else {
                    drop(client.read_to_end(&mut Vec::new()));
                }
            }));
        }
        carrying.into_iter().for_each(|one| one.join().expect("no panic"));
        heads
    });
    let proxy: Proxy = format!("http://{at}").parse().expect("a proxy");
    let url = Url::parse("wss://unused/").expect("a URL");
    (ringbolt::client::route(&url, Some(proxy)).expect("an address"), serving)
}

fn carry(client: TcpStream, server: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        // A reset of the one is the end for the other.
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    };
    let (from, to) = (client.try_clone().expect("a handle"), server.try_clone().expect("a handle"));
    let back = std::thread::spawn(move || copy(server, client));
    copy(from, to);
    back.join().expect("no panic");
}

#[test]
fn tls_runs_inside_of_the_tunnel() {
    // covers: HS-C-03, HS-C-05
    let world = World::new();
    let tls = built(trusting(&world.authority));
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let target = format!("localhost:{}", server.address().port());
        let (route, serving) = proxy(6, b"HTTP/1.1 200 OK\r\n\r\n");
        let url = format!("wss://{target}/");
        let (done, counters) = Dialler::new(&url, route, 6).run(driver, Some(&tls));
        let clean = done.reasons.iter().filter(|reason| reason.is_clean()).count();
        assert_eq!((done.echoes, clean), (30, 6), "{:?}", done.reasons);
        assert_eq!(counters.counters.tls_handshakes, 6, "{counters}");
        for head in serving.join().expect("the proxy's checks hold") {
            let expected = format!("CONNECT {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            assert_eq!(head, expected, "nothing else is said in the clear");
        }
        crate::echo::end(server);
    }
}

#[test]
fn a_tunnel_that_is_refused_or_leads_elsewhere_fails_the_connection() {
    // covers: HS-C-04
    let world = World::new();
    let tls = built(trusting(&world.authority));
    let elsewhere: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Bad Request\r\n";
    for driver in Driver::built() {
        for (answer, expected) in [
            (&b"HTTP/1.1 403 No\r\n\r\n"[..], CloseReason::Proxy(ProxyError::Refused(403))),
            (elsewhere, CloseReason::Tls(TlsError::PlainServer)),
        ] {
            let (route, serving) = proxy(2, answer);
            let (done, _) = Dialler::new("wss://localhost:1/", route, 2).run(driver, Some(&tls));
            assert_eq!(done.reasons, [expected; 2]);
            serving.join().expect("the proxy's checks hold");
        }
        // Without a configuration for TLS nobody is asked for anything.
        let (route, serving) = proxy(1, b"");
        let (done, _) = Dialler::new("wss://localhost:1/", route, 1).run(driver, None);
        assert_eq!(done.reasons, [CloseReason::Tls(TlsError::NotConfigured)]);
        assert_eq!(serving.join().expect("the proxy's checks hold"), [""]);
        // ws URLs go through a proxy beside.
        let plain = crate::support::echo(1, config(driver));
        let (route, serving) = proxy(2, b"HTTP/1.1 200 OK\r\n\r\n");
        let url = format!("ws://{}/", plain.address());
        let (done, _) = Dialler::new(&url, route, 2).run(driver, Some(&tls));
        assert_eq!(done.echoes, 10, "{:?}", done.reasons);
        serving.join().expect("the proxy's checks hold");
        crate::echo::end(plain);
    }
}
