//! fastwebsockets behind hyper's upgrade. A read must not be given up half-way, so the connection is
//! split, its writer has a buffer, and what it holds is flushed when the reader has to wait.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{pending, ready};
use std::io::Cursor;
use std::pin::pin;

use bytes::Bytes;
use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, Role, WebSocket, WebSocketError, WebSocketWrite,
    upgrade,
};
use futures_util::FutureExt as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers_common::{Rooms, Seat, Work};
use tokio::io::{AsyncReadExt as _, AsyncWrite, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::Notify;

type Message = (OpCode, Bytes);

/// What the reader owes the peer: pongs and the answer to a Close.
#[derive(Default)]
struct Owed {
    frames: RefCell<Vec<Frame<'static>>>,
    more: Notify,
}

impl Owed {
    async fn pay<W>(&self, writer: &mut WebSocketWrite<W>) -> Result<(), WebSocketError>
    where
        W: AsyncWrite + Unpin,
    {
        for frame in self.frames.take() {
            writer.write_frame(frame).await?;
        }
        Ok(())
    }
}

async fn send<W>(writer: &mut WebSocketWrite<W>, message: &Message) -> Result<(), WebSocketError>
where
    W: AsyncWrite + Unpin,
{
    writer.write_frame(Frame::new(true, message.0, None, Payload::Borrowed(&message.1))).await
}

async fn hear(seat: &mut Option<Seat<Message>>) -> Message {
    match seat {
        Some(seat) => seat.hear().await,
        None => pending().await,
    }
}

async fn converse(
    stream: TcpStream,
    early: Bytes,
    mut seat: Option<Seat<Message>>,
) -> Result<(), WebSocketError> {
    let whole = WebSocket::after_handshake(stream, Role::Server);
    let (reader, mut writer) = whole.split(|stream| {
        let (read, write) = stream.into_split();
        (Cursor::new(early.clone()).chain(read), BufWriter::new(write))
    });
    let mut reader = FragmentCollectorRead::new(reader);
    let owed = Owed::default();
    let mut owe = |frame| {
        owed.frames.borrow_mut().push(frame);
        owed.more.notify_one();
        ready(Ok::<(), WebSocketError>(()))
    };
    loop {
        let mut read = pin!(reader.read_frame(&mut owe));
        let frame = match read.as_mut().now_or_never() {
            Some(frame) => frame?,
            None => loop {
                owed.pay(&mut writer).await?;
                writer.flush().await?;
                tokio::select! {
                    biased;
                    frame = &mut read => break frame?,
                    message = hear(&mut seat) => {
                        send(&mut writer, &message).await?;
                        while let Some(message) = seat.as_mut().and_then(Seat::heard) {
                            send(&mut writer, &message).await?;
                        }
                    }
                    () = owed.more.notified() => {}
                }
            },
        };
        owed.pay(&mut writer).await?;
        match (frame.opcode, &seat) {
            (OpCode::Close, _) => return writer.flush().await,
            (OpCode::Text | OpCode::Binary, None) => writer.write_frame(frame).await?,
            (OpCode::Text | OpCode::Binary, Some(seat)) => {
                seat.tell(&(frame.opcode, shared(frame.payload)));
            }
            _ => {}
        }
    }
}

fn shared(payload: Payload<'_>) -> Bytes {
    match payload {
        Payload::Bytes(payload) => payload.freeze(),
        payload => Bytes::copy_from_slice(&payload),
    }
}

fn answer(
    mut request: Request<Incoming>,
    work: Work,
    rooms: &Rooms<Message>,
) -> Response<Empty<Bytes>> {
    let seat = (work == Work::Broadcast).then(|| rooms.join(request.uri().path()));
    match upgrade::upgrade(&mut request) {
        Ok((response, upgraded)) => {
            tokio::task::spawn_local(async move {
                let Ok(ws) = upgraded.await else { return };
                // The socket itself, without hyper's box around it.
                let upgraded = ws.into_inner().into_inner();
                if let Ok(parts) = upgraded.downcast::<TokioIo<TcpStream>>() {
                    let _ = converse(parts.io.into_inner(), parts.read_buf, seat).await;
                }
            });
            response
        }
        Err(_) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    }
}

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    let service = service_fn(|request| ready(Ok::<_, Infallible>(answer(request, work, &rooms))));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

fn main() {
    let (work, rooms) = (peers_common::work(), Rooms::default());
    peers_common::run(|stream| serve(stream, work, rooms.clone()));
}
