//! Servers without a protocol: the floor under the engine; and the clients that measure both.
//!
//! Each answers the opening handshake of draft-02, so that the same client can drive it, and from
//! then on moves bytes without looking at them: no frames are read, nothing is counted, no timer
//! runs, no limit is watched. What the engine costs beyond `ring-*` is what its protocol costs;
//! what `ring-*` and `epoll-*` cost is the kernel's part.
//!
//! A server prints `listening on ADDRESS` and runs until SIGINT or SIGTERM, which end it at once.

mod drive;
mod epoll;
mod place;
mod ring;
mod storm;
mod upgrade;

use clap::{Parser, Subcommand};

use epoll::Epoll;
use place::{Place, Work};
use ring::Ring;

/// Servers without a protocol, to compare the engine with, and the clients that drive both.
#[derive(Parser)]
#[command(version, about, long_about = None)]
struct Command {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Sends back what arrives: the engine's driver with nothing on top
    RingEcho {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        ring: Ring,
    },
    /// Sends back what arrives: one thread, epoll, one receive buffer
    EpollEcho {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        epoll: Epoll,
    },
    /// Sends what arrives to every other connection: the engine's driver with nothing on top
    RingFanout {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        ring: Ring,
        /// Connections served between two looks at the ring
        #[arg(long, value_name = "N", default_value_t = 256)]
        slice: usize,
    },
    /// Sends what arrives to every other connection: one thread, epoll
    EpollFanout {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        epoll: Epoll,
    },
    /// Accepts, answers any first bytes with a fixed handshake, sends back what follows, closes
    RingAccept {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        ring: Ring,
    },
    /// Accept and answer connections, with epoll
    EpollAccept {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        epoll: Epoll,
    },
    /// Drives an echo or a fan-out server and prints what a message cost it
    Drive(drive::Drive),
    /// Connects, upgrades and closes without end, and prints what a connection cost the server
    ///
    /// It sends the same request each time and demands the same answer.
    Storm(storm::Storm),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Command::parse().command {
        Verb::Drive(drive) => drive::run(drive),
        Verb::Storm(storm) => storm::run(&storm),
        Verb::RingEcho { place, ring } => ring::serve(&place, &ring, Work::Echo, 0),
        Verb::RingFanout { place, ring, slice } => ring::serve(&place, &ring, Work::Fanout, slice),
        Verb::RingAccept { place, ring } => ring::serve(&place, &ring, Work::Accept, 0),
        Verb::EpollEcho { place, epoll } => epoll::serve(&place, &epoll, Work::Echo),
        Verb::EpollFanout { place, epoll } => epoll::serve(&place, &epoll, Work::Fanout),
        Verb::EpollAccept { place, epoll } => epoll::serve(&place, &epoll, Work::Accept),
    }
}
