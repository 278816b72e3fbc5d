//! sockudo-ws on tokio: everything that is ready is answered, then flushed once. Its idle timers are
//! off, since no other peer has one.

use peers_common::{Order, Rooms, SelectedDriver, Work};
use sockudo_ws::error::Error;
use sockudo_ws::handshake::server_handshake;
use sockudo_ws::{Config, Message, Role, WebSocketStream};
use tokio::net::TcpStream;

async fn serve(mut stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    let Ok(handshake) = server_handshake(&mut stream).await else { return };
    let config = Config::builder().idle_timeout(0).auto_ping(false).build();
    let ws =
        WebSocketStream::from_raw_with_leftover(stream, Role::Server, config, handshake.leftover);
    let seat = (work == Work::Broadcast).then(|| rooms.join(&handshake.path));
    peers_common::serve(ws, Order::OneByOne, seat, take).await;
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
