//! yawc behind hyper's upgrade: everything that is ready is answered, then flushed once.

use std::convert::Infallible;

use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use peers_common::{Order, Rooms, SelectedDriver, Work};
use tokio::net::TcpStream;
use yawc::{Frame, OpCode, Options, WebSocket};

/// The library has no compression unless it is asked for; text is checked as every other peer does.
fn options() -> Options {
    // Its own benchmark has 64 KiB of these; large messages need more than the default.
    Options::default()
        .with_utf8()
        .with_limits(64 << 20, 128 << 20)
        .with_backpressure_boundary(64 << 10)
}

fn answer(
    mut request: Request<Incoming>,
    work: Work,
    rooms: &Rooms<Frame>,
) -> Response<Empty<Bytes>> {
    let seat = (work == Work::Broadcast).then(|| rooms.join(request.uri().path()));
    match WebSocket::upgrade_with_options(&mut request, options()) {
        Ok((response, upgraded)) => {
            tokio::task::spawn_local(async move {
                if let Ok(ws) = upgraded.await {
                    peers_common::serve(ws, Order::OneByOne, seat, take).await;
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

fn take(frame: Frame) -> SelectedDriver<Frame> {
    match frame.opcode() {
        OpCode::Text => SelectedDriver::Data(Frame::text(frame.into_payload())),
        OpCode::Binary => SelectedDriver::Data(Frame::binary(frame.into_payload())),
        _ => SelectedDriver::Control,
    }
}

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Frame>) {
    let service = service_fn(|request| {
        std::future::ready(Ok::<_, Infallible>(answer(request, work, &rooms)))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = connection.with_upgrades().await;
}

fn main() {
    let (work, rooms) = (peers_common::work(), Rooms::default());
    peers_common::run(|stream| serve(stream, work, rooms.clone()));
}
