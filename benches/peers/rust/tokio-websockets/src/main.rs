//! tokio-websockets: everything that is ready is taken, then answered, then flushed once. It flushes
//! when it is asked for a message, so each answer would be sent alone otherwise.

use peers_common::{Order, Rooms, SelectedDriver, Work};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Error, Limits, Message, ServerBuilder};

async fn serve(stream: TcpStream, work: Work, rooms: Rooms<Message>) {
    let builder = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    let Ok((request, ws)) = builder.accept(stream).await else { return };
    let seat = (work == Work::Broadcast).then(|| rooms.join(request.uri().path()));
    peers_common::serve(ws, Order::AllFirst, seat, take).await;
}

fn take(next: Result<Message, Error>) -> SelectedDriver<Message> {
    match next {
        Ok(message) if message.is_text() || message.is_binary() => SelectedDriver::Data(message),
        Ok(_) => SelectedDriver::Control,
        Err(_) => SelectedDriver::Broken,
    }
}

fn main() {
    let (work, rooms) = (peers_common::work(), Rooms::default());
    peers_common::run(|stream| serve(stream, work, rooms.clone()));
}
