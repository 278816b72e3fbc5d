//! Plain and secured connections on one server: both dialects, topics, and messages in parts.

use std::num::NonZeroU32;

use ringbolt::{Driver, Message, Server};

use crate::peer::{World, config, connect, stream};
use crate::support::{
    BINARY, CONTINUATION, Client, MORE, Relay, Room, Running, TEXT, frame, pattern, request,
};

/// What is larger comes in parts.
const PART: NonZeroU32 = NonZeroU32::new(32 << 10).expect("not zero");

/// The text "/echo" comes back, all else goes to everybody else.
fn room() -> Room {
    Room(|ws, topic, message| match message {
        Message::Text("/echo") => ws.send(message).expect("room"),
        _ => ws.publish(topic, message).expect("little waits"),
    })
}

fn both(world: &World, driver: Driver, shards: usize) -> Running {
    let any = "127.0.0.1:0".parse().expect("an address");
    let builder = Server::builder().bind(any).bind_tls(any, world.tls());
    Running::new(builder.shards(shards).config(config(driver)), room)
}

#[test]
fn a_publication_reaches_plain_and_secured_subscribers() {
    let world = World::new();
    for driver in Driver::built() {
        let server = both(&world, driver, 2);
        let [plain, secure] = server.listening() else { panic!("two listeners") };
        assert_eq!((plain.secure, secure.secure), (false, true));
        let mut open: Vec<_> = (0..5).map(|_| Client::connect(plain.address, "/")).collect();
        let mut sealed: Vec<_> = (0..5).map(|_| connect(secure.address, world.client())).collect();
        for client in &mut open {
            client.text("/echo");
            client.expect_text("/echo");
        }
        for client in &mut sealed {
            client.text("/echo");
            client.expect_text("/echo");
        }
        for (round, len) in [1, 200, 5000, 70_000, 300_000].into_iter().enumerate() {
            let message = pattern(len, round as u64);
            sealed[0].send(&frame(BINARY, &message));
            for client in &mut open {
                client.expect(BINARY, &message);
            }
            for client in &mut sealed[1..] {
                client.expect(BINARY, &message);
            }
            open[0].send(&frame(BINARY, &message));
            for client in &mut open[1..] {
                client.expect(BINARY, &message);
            }
            for client in &mut sealed {
                client.expect(BINARY, &message);
            }
        }
        open.into_iter().for_each(Client::close);
        sealed.into_iter().for_each(Client::close);
        let ended = crate::echo::end(server);
        assert_eq!((ended.counters.opened, ended.counters.tls_handshakes), (10, 5), "{ended}");
    }
}

#[test]
fn the_location_says_which_scheme_a_listener_speaks() {
    let world = World::new();
    for driver in Driver::built() {
        let server = both(&world, driver, 1);
        let [plain, secure] = server.listening() else { panic!("two listeners") };
        let request = |host: &str| {
            let text = String::from_utf8(request("/chat")).expect("text");
            text.replace("Host: example.com", &format!("Host: {host}")).into_bytes()
        };
        for (host, scheme_and_host) in [
            ("example.com", "example.com"),
            ("example.com:8443", "example.com:8443"),
            ("localhost:443", "localhost:443"),
        ] {
            let mut open = Client::raw(plain.address);
            open.send(&request(host));
            let head = open.head();
            let expected = format!("Sec-WebSocket-Location: ws://{scheme_and_host}/chat\r\n");
            assert!(head.contains(&expected), "{expected} in {head}");
            let mut sealed = Client::over(stream(secure.address, "localhost", world.client()));
            sealed.send(&request(host));
            let head = sealed.head();
            let named = scheme_and_host.trim_end_matches(":443");
            let expected = format!("Sec-WebSocket-Location: wss://{named}/chat\r\n");
            assert!(head.contains(&expected), "{expected} in {head}");
        }
    }
}

/// A client's frame of RFC 6455, masked with a key of four equal bytes.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let masked: Vec<u8> = payload.iter().map(|byte| byte ^ 0x5A).collect();
    let mut bytes = frame(first, &masked);
    let header = bytes.len() - payload.len();
    bytes[1] |= 0x80;
    bytes.splice(header..header, [0x5A; 4]);
    bytes
}

#[test]
fn rfc_6455_is_spoken_inside_tls() {
    const REQUEST: &[u8] = b"GET /chat HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
        Sec-WebSocket-Version: 13\r\n\r\n";
    let world = World::new();
    for driver in Driver::built() {
        let server = world.echo(1, config(driver));
        let mut client = Client::over(stream(server.address(), "localhost", world.client()));
        client.send(REQUEST);
        let head = client.head();
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        for len in [0, 1, 125, 126, 16_384, 65_536, 200_000, 1 << 20] {
            let bytes = pattern(len, len as u64);
            client.send(&masked(0x82, &bytes));
            client.expect(0x82, &bytes);
        }
        client.send(&[masked(0x89, b"ping"), masked(0x81, b"text")].concat());
        client.expect(0x8A, b"ping");
        client.expect(0x81, b"text");
        client.send(&masked(0x88, &1000_u16.to_be_bytes()));
        client.expect(0x88, &1000_u16.to_be_bytes());
        client.expect_end();
        drop(client);
        let ended = crate::echo::end(server);
        assert_eq!(*ended.opened, [0, 1], "{ended}");
    }
}

#[test]
fn large_messages_go_through_in_parts() {
    let world = World::new();
    for driver in Driver::built() {
        let any = "127.0.0.1:0".parse().expect("an address");
        let builder = Server::builder().bind_tls(any, world.tls()).shards(1);
        let server = Running::new(builder.config(config(driver)), || Relay(PART));
        let mut client = connect(server.address(), world.client());
        for (len, seed) in [10_usize, 32 << 10, 100_000, 1 << 20].into_iter().zip(0..) {
            let message = pattern(len, seed);
            let wire = frame(BINARY, &message);
            let mut got = Vec::new();
            let mut frames = 0;
            // The first half comes back before the second is sent, where it is more than a part.
            for half in [&wire[..wire.len() / 2], &wire[wire.len() / 2..]] {
                client.send(half);
                let early = half.len() * 2 <= wire.len() + 1 && len > 200_000;
                while early && got.is_empty() {
                    let part = client.frame();
                    assert_eq!(part.first, BINARY | MORE);
                    got.extend(part.payload);
                    frames += 1;
                }
            }
            while got.len() < len {
                let part = client.frame();
                let first = if frames == 0 { BINARY } else { CONTINUATION };
                assert_eq!(part.first & !MORE, first);
                got.extend(part.payload);
                frames += 1;
            }
            assert!(got == message, "{len} bytes came back changed");
        }
        client.send(&frame(TEXT, b"done"));
        client.expect_text("done");
        client.close();
        crate::echo::end(server);
    }
}
