//! compio-ws on io_uring: everything that is ready is taken, then answered, then flushed once. It
//! flushes when it is asked for a message, so each answer would be sent alone otherwise.

use compio::net::{TcpListener, TcpStream};
use compio_ws::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use compio_ws::tungstenite::protocol::WebSocketConfig;
use compio_ws::tungstenite::{Error, Message};
use compio_ws::{Config, accept_hdr_with_config_async};
use peers_common::{Order, Rooms, SelectedDriver, Work};

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    let _ = stream.set_nodelay(true);
    // The defaults of 128 KiB per connection cost it several times as much.
    let config = Config::from(WebSocketConfig::default().read_buffer_size(8 << 10))
        .with_buffer_size_base(8 << 10);
    let mut seat = None;
    #[expect(clippy::result_large_err, reason = "the library's own type")]
    let join = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        seat = (work == Work::Broadcast).then(|| rooms.join(request.uri().path()));
        Ok(response)
    };
    if let Ok(ws) = accept_hdr_with_config_async(stream, join, config).await {
        peers_common::serve(ws, Order::AllFirst, seat, take).await;
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
    let runtime = compio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        peers_common::announce(listener.local_addr().expect("its address"));
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                compio::runtime::spawn(serve(stream, work, rooms.clone())).detach();
            }
        }
    });
}
