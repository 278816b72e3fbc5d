//! What the peers share: the command line, the line that says where, rooms, and the loops of those
//! whose WebSocket is a stream and a sink of messages.

mod announce;
mod rooms;
#[cfg(feature = "tokio")]
mod runtime;

use futures_util::{FutureExt as _, Sink, SinkExt as _, Stream, StreamExt as _};

pub use announce::announce;
pub use rooms::{Rooms, Seat};
#[cfg(feature = "tokio")]
pub use runtime::run;

/// What a server does with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Work {
    /// Sends it back.
    Echo,
    /// Sends it to all others of the same path.
    Broadcast,
}

/// What the command line asks for; ends the program if it asks for anything else.
#[must_use]
pub fn work() -> Work {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo"] => Work::Echo,
        ["broadcast"] => Work::Broadcast,
        _ => {
            eprintln!("one argument is needed, echo or broadcast");
            std::process::exit(2);
        }
    }
}

/// What a stream of a WebSocket gave.
#[derive(Debug)]
pub enum SelectedDriver<M> {
    /// A text or binary message.
    Data(M),
    /// A control frame, which the library has dealt with.
    Control,
    /// An error.
    Broken,
}

/// How an echo answers several messages that are ready at once; each library has one that suits it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Each message is fed before the next one is taken: the library may keep few of them in its
    /// receive buffer.
    OneByOne,
    /// All are taken before the first is fed: the library flushes when it is asked for the next one.
    AllFirst,
}

/// Serves one connection: echoes, or with a `seat` delivers to the others. Everything that is ready
/// is fed, then flushed once.
pub async fn serve<S, M: Clone>(
    ws: S,
    order: Order,
    seat: Option<Seat<M>>,
    take: impl Fn(S::Item) -> SelectedDriver<M>,
) where
    S: Stream + Sink<M> + Unpin,
{
    // An error ends the connection; there is nobody to tell.
    let _ = match seat {
        None => echo(ws, order, take).await,
        Some(seat) => broadcast(ws, seat, take).await,
    };
}

/// Most messages that are taken before the first of them is answered.
const BATCH: usize = 32;

async fn echo<S, M>(
    mut ws: S,
    order: Order,
    take: impl Fn(S::Item) -> SelectedDriver<M>,
) -> Result<(), S::Error>
where
    S: Stream + Sink<M> + Unpin,
{
    let mut ready = Vec::new();
    let mut open = true;
    while open {
        let mut next = ws.next().await;
        loop {
            match next.map(&take) {
                Some(SelectedDriver::Data(message)) if order == Order::AllFirst => ready.push(message),
                Some(SelectedDriver::Data(message)) => ws.feed(message).await?,
                Some(SelectedDriver::Control) => {}
                Some(SelectedDriver::Broken) | None => open = false,
            }
            if !open || ready.len() >= BATCH {
                break;
            }
            next = match ws.next().now_or_never() {
                Some(next) => next,
                None => break,
            };
        }
        for message in ready.drain(..) {
            ws.feed(message).await?;
        }
        ws.flush().await?;
    }
    Ok(())
}

async fn broadcast<S, M: Clone>(
    mut ws: S,
    mut seat: Seat<M>,
    take: impl Fn(S::Item) -> SelectedDriver<M>,
) -> Result<(), S::Error>
where
    S: Stream + Sink<M> + Unpin,
{
    loop {
        tokio::select! {
            biased;
            message = seat.hear() => {
                ws.feed(message).await?;
                while let Some(message) = seat.heard() {
                    ws.feed(message).await?;
                }
            }
            mut next = ws.next() => loop {
                match next.map(&take) {
                    Some(SelectedDriver::Data(message)) => seat.tell(&message),
                    Some(SelectedDriver::Control) => {}
                    Some(SelectedDriver::Broken) | None => return ws.flush().await,
                }
                next = match ws.next().now_or_never() {
                    Some(next) => next,
                    None => break,
                };
            },
        }
        ws.flush().await?;
    }
}
