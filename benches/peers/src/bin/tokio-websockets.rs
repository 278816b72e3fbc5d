//! tokio-websockets: everything that is ready is answered, then flushed once.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_websockets::{Config, Limits, ServerBuilder};

async fn serve(stream: TcpStream) {
    let builder = ServerBuilder::new()
        .config(Config::default().frame_size(usize::MAX))
        .limits(Limits::unlimited());
    let Ok((_, mut ws)) = builder.accept(stream).await else { return };
    while let Some(Ok(message)) = ws.next().await {
        let mut next = Some(message);
        while let Some(message) = next.take() {
            let data = message.is_text() || message.is_binary();
            if data && ws.feed(message).await.is_err() {
                return;
            }
            next = match ws.next().now_or_never() {
                Some(Some(Ok(message))) => Some(message),
                Some(_) => return drop(ws.flush().await),
                None => None,
            };
        }
        if ws.flush().await.is_err() {
            return;
        }
    }
}

fn main() {
    ringbolt_peers::run(serve);
}
