//! monoio-tungstenite on io_uring. It cannot be asked what is ready, and a read that is given up may
//! lose bytes, so every answer is flushed, and there is no way to send while it reads: echo only.

use monoio::net::{TcpListener, TcpStream};
use monoio_tungstenite::Message;
use peers_common::Work;

async fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(mut ws) = monoio_tungstenite::accept(stream).await else { return };
    while let Ok(message) = ws.read().await {
        let sent = match message {
            Message::Text(_) | Message::Binary(_) => match ws.write(message).await {
                Ok(()) => ws.flush().await,
                Err(error) => Err(error),
            },
            _ => Ok(()),
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = ws.flush().await;
}

fn main() {
    if peers_common::work() == Work::Broadcast {
        eprintln!("it cannot send while it reads");
        std::process::exit(1);
    }
    let runtime = monoio::RuntimeBuilder::<monoio::IoUringDriver>::new().with_entries(4096).build();
    runtime.expect("an io_uring").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        peers_common::announce(listener.local_addr().expect("its address"));
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                monoio::spawn(serve(stream));
            }
        }
    });
}
