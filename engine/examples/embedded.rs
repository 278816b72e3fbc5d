//! The protocol core without the engine: [`Connection`] over the standard library's blocking
//! sockets, a server on one thread and a client on another, on the loopback interface.
//!
//! ```text
//! cargo run --example embedded
//! ```
//!
//! The client asks for a subprotocol, sends a few messages, prints the echoes and closes; the
//! program ends by itself, and fails if anything went wrong. [`run`] is all that a transport has to
//! do: wait for bytes or a deadline, hand over what came, write what is to be written.

#![expect(clippy::print_stdout, reason = "it shows on the terminal what happens")]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use ringbolt::conn::{Connection, ConnectionConfig, ConnectionEvent, Message};
use ringbolt::handshake::{ClientRequest, ServerPolicy, Url};

/// The subprotocol that both sides speak.
const SUBPROTOCOL: &str = "echo";
/// What the client says, one after the other.
const WORDS: [&str; 3] = ["Hello", "two of them in one read", "\u{6F22}\u{5B57}"];

fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || serve(&listener).map_err(|error| error.to_string()));
    let echoes = ask(address)?;
    server.join().map_err(|_| "the server panicked")??;
    if echoes != WORDS {
        return Err(format!("the echoes differ: {echoes:?}").into());
    }
    Ok(())
}

/// Serves one client: accepts what it asks for and sends every message back.
fn serve(listener: &TcpListener) -> Result<(), Box<dyn Error>> {
    let (socket, peer) = listener.accept()?;
    let policy = ServerPolicy::new().subprotocols([SUBPROTOCOL])?;
    let config = Arc::new(ConnectionConfig::default().with_policy(policy));
    let mut connection = Connection::server(&config, Instant::now());
    run(&mut connection, socket, |event| match event {
        ConnectionEvent::Request(upgrade) => {
            println!("server: {peer} asks for {}", upgrade.request().resource_name());
            let subprotocol = upgrade.subprotocol();
            upgrade.accept(subprotocol, &[("Set-Cookie", "seen=1")])?;
            Ok(())
        }
        // The message still lies in the buffer that it was read into; no copy but into the output.
        ConnectionEvent::Message(message, mut sender) => {
            sender.send(message);
            Ok(())
        }
        _ => Ok(()),
    })?;
    println!("server: closed cleanly: {}", connection.closed_cleanly());
    Ok(())
}

/// Says [`WORDS`] to the server and returns what comes back.
fn ask(server: SocketAddr) -> Result<Vec<String>, Box<dyn Error>> {
    let url = Url::parse(&format!("ws://{server}/embedded?by=example"))?;
    let request = ClientRequest::builder(url, "http://example.com").protocols([SUBPROTOCOL]);
    let request = Arc::new(request.build()?);
    let socket = TcpStream::connect(server)?;
    let config = Arc::new(ConnectionConfig::default());
    let mut connection =
        Connection::client(&config, &request, &mut fastrand::Rng::new(), Instant::now());
    let mut echoes = Vec::new();
    run(&mut connection, socket, |event| {
        match event {
            ConnectionEvent::Opened(response, mut sender) => {
                println!("client: open, subprotocol {:?}", response.subprotocol());
                for cookie in response.cookies() {
                    println!("client: cookie {}", cookie.value_text());
                }
                for word in WORDS {
                    sender.send(word);
                }
            }
            ConnectionEvent::Message(Message::Text(text), mut sender) => {
                println!("client: {text:?} came back");
                // To keep a message is to copy it.
                echoes.push(text.to_owned());
                if echoes.len() == WORDS.len() {
                    sender.close();
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    if !connection.closed_cleanly() {
        return Err("the connection was not closed cleanly".into());
    }
    Ok(echoes)
}

/// Carries bytes between a socket and a connection until the connection is over.
fn run(
    connection: &mut Connection,
    mut socket: TcpStream,
    mut on_event: impl FnMut(ConnectionEvent<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // All of it is written before the next read, so the output stays as small as the input.
        socket.write_all(connection.transmit())?;
        connection.transmitted(connection.transmit().len());
        if connection.is_over() {
            break;
        }
        let wait = connection.poll_timeout().map(|at| at.saturating_duration_since(Instant::now()));
        if wait.is_some_and(|wait| wait.is_zero()) {
            connection.handle_timeout(Instant::now());
            continue;
        }
        socket.set_read_timeout(wait)?;
        match socket.read(&mut buffer) {
            Ok(0) => {
                connection.handle_eof();
            }
            Ok(n) => {
                let input = buffer.get_mut(..n).unwrap_or_default();
                let mut received = connection.handle_receive(input, Instant::now());
                while let Some(event) = received.next_event() {
                    on_event(event)?;
                }
            }
            // The deadline, or a signal: look again.
            Err(error) if is_retry(error.kind()) => {}
            Err(_) => {
                connection.handle_eof();
            }
        }
    }
    connection.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

fn is_retry(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
