//! tokio on one thread.

use tokio::net::{TcpListener, TcpStream};

/// Serves every connection with `serve`, with `TCP_NODELAY`, until the process is ended.
///
/// # Panics
///
/// If the runtime or the listener cannot be made.
pub fn run<F: Future<Output = ()> + 'static>(serve: impl Fn(TcpStream) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        crate::announce::announce(listener.local_addr().expect("its address"));
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            tokio::task::spawn_local(serve(stream));
        }
    });
}
