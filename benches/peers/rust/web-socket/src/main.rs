//! web-socket, which leaves the opening handshake to its user. A read must not be given up half-way:
//! reader and writer are two, each with a buffer, and what is written is flushed when the reader has
//! to wait.

use std::future::pending;
use std::io;
use std::pin::pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::FutureExt as _;
use peers_common::{Rooms, Seat, Work};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::net::TcpStream;
use web_socket::{DataType, Event, Frame, MessageType, Stream, WebSocket};

type Message = (MessageType, Bytes);

/// Reads the request up to its empty line, answers it, and tells its path. Clients send nothing
/// behind it before they have the answer.
async fn handshake(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(&head).map_err(|_| io::ErrorKind::InvalidData)?;
    let key = request.headers.iter().find(|f| f.name.eq_ignore_ascii_case("Sec-WebSocket-Key"));
    let (true, Some(path), Some(key)) = (parsed.is_complete(), request.path, key) else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.value);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let accept = STANDARD.encode(hash.digest().bytes());
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(answer.as_bytes()).await?;
    Ok(path.to_owned())
}

fn frame(message: &Message) -> Frame<'_> {
    Frame { fin: true, opcode: message.0 as u8, data: message.1.as_ref() }
}

async fn hear(seat: &mut Option<Seat<Message>>) -> Message {
    match seat {
        Some(seat) => seat.hear().await,
        None => pending().await,
    }
}

async fn converse(mut stream: TcpStream, work: Work, rooms: Rooms<Message>) -> io::Result<()> {
    let path = handshake(&mut stream).await?;
    let mut seat = (work == Work::Broadcast).then(|| rooms.join(&path));
    let (read, write) = stream.split();
    let mut reader = WebSocket::server(BufReader::new(read));
    let mut writer = WebSocket::server(BufWriter::new(write));
    let mut parts = Vec::new();
    loop {
        let mut receive = pin!(reader.recv());
        let event = match receive.as_mut().now_or_never() {
            Some(event) => event?,
            None => loop {
                writer.flash().await?;
                tokio::select! {
                    biased;
                    event = &mut receive => break event?,
                    message = hear(&mut seat) => {
                        writer.send_raw(frame(&message)).await?;
                        while let Some(message) = seat.as_mut().and_then(Seat::heard) {
                            writer.send_raw(frame(&message)).await?;
                        }
                    }
                }
            },
        };
        let message = match event {
            Event::Data { ty: DataType::Complete(kind), data } => (kind, Bytes::from(data)),
            Event::Data { ty: DataType::Stream(part), data } => {
                parts.extend_from_slice(&data);
                let Stream::End(kind) = part else { continue };
                (kind, Bytes::from(std::mem::take(&mut parts)))
            }
            Event::Ping(data) => {
                writer.send_pong(data).await?;
                continue;
            }
            Event::Pong(_) => continue,
            Event::Close { code, .. } => return writer.close(code).await,
            Event::Error(_) => return Ok(()),
        };
        match &seat {
            None => writer.send_raw(frame(&message)).await?,
            Some(seat) => seat.tell(&message),
        }
    }
}

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    let _ = converse(stream, work, rooms).await;
}

fn main() {
    let (work, rooms) = (peers_common::work(), Rooms::default());
    peers_common::run(|stream| serve(stream, work, rooms.clone()));
}
