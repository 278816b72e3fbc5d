//! tokio-tungstenite: everything that is ready is answered, then flushed once.

use peers_common::{Order, Rooms, SelectedDriver, Work};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    // The default of 128 KiB per connection costs it several times as much.
    let config = WebSocketConfig::default().read_buffer_size(8 << 10);
    let mut seat = None;
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let join = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        seat = (work == Work::Broadcast).then(|| rooms.join(request.uri().path()));
        Ok(response)
    };
    let accepted = tokio_tungstenite::accept_hdr_async_with_config(stream, join, Some(config));
    if let Ok(ws) = accepted.await {
        peers_common::serve(ws, Order::OneByOne, seat, take).await;
    }
}

fn take(next: Result<Message, Error>) -> SelectedDriver<Message> {
    match next {
        Ok(message @ (Message::Text(_) | Message::Binary(_))) => SelectedDriver::Data(message),
        Ok(_) => SelectedDriver::Control,
        Err(_) => SelectedDriver::Broken,
    }
}

fn main() {
    let (work, rooms) = (peers_common::work(), Rooms::default());
    peers_common::run(|stream| serve(stream, work, rooms.clone()));
}
