//! Connections by the thousand: TCP, request, answer, Close frame and its answer, end.
//!
//! The request is always the same, and so is its answer: a server that sends a fixed one and an
//! engine that works it out are driven by the same client and held to the same bytes.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use clap::Args;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
    sockopt,
};

use crate::drive::{Cost, Target};
use crate::upgrade::CANNED;

/// How many connect at once, and for how long.
#[derive(Args)]
pub(crate) struct Storm {
    #[command(flatten)]
    target: Target,
    /// Connections under way at once
    #[arg(short, value_name = "N", default_value_t = 64)]
    connections: usize,
}

/// The example of draft-02 section 1.2 with the draft's number and without a subprotocol.
const REQUEST: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Origin: http://example.com\r\n\r\n\
    ^n:ds[4U";
/// A Close frame without payload (section 4.4).
const CLOSE: &[u8] = &[0x01, 0x00];

pub(crate) fn run(storm: &Storm) -> Result<(), Box<dyn std::error::Error>> {
    storm.target.pin()?;
    let mut client = Client {
        server: storm.target.server,
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        seats: Vec::new(),
        buffer: vec![0; 4096],
        done: 0,
    };
    for index in 0..storm.connections {
        let socket = client.dial(index)?;
        client.seats.push(Seat { socket, received: Vec::new(), step: Step::Connecting });
    }
    let begin = Instant::now();
    let mut until = begin + Duration::from_secs_f64(storm.target.warmup);
    let mut cost: Option<Cost> = None;
    loop {
        let now = Instant::now();
        if now >= until {
            if let Some(cost) = cost {
                cost.report(now, client.done, &[]);
                return Ok(());
            }
            until = now + Duration::from_secs_f64(storm.target.duration);
            cost = Some(Cost::start(storm.target.pid, now, client.done));
        }
        client.turn()?;
    }
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Connecting,
    Answer,
    Close,
    End,
}

struct Seat {
    socket: OwnedFd,
    received: Vec<u8>,
    step: Step,
}

struct Client {
    server: SocketAddr,
    epoll: OwnedFd,
    seats: Vec<Seat>,
    buffer: Vec<u8>,
    done: u64,
}

impl Client {
    fn dial(&self, index: usize) -> Result<OwnedFd, Errno> {
        let family = match self.server {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &self.server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e),
        }
        let name = EventData::new_u64(index as u64);
        epoll::add(&self.epoll, &socket, name, EventFlags::OUT)?;
        Ok(socket)
    }

    fn turn(&mut self) -> Result<(), Box<dyn std::error::Error>> {
        let mut events = Vec::with_capacity(256);
        let patience = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in events {
            let data = event.data;
            self.step(usize::try_from(data.u64())?)?;
        }
        Ok(())
    }

    fn step(&mut self, index: usize) -> Result<(), Box<dyn std::error::Error>> {
        let seat = &mut self.seats[index];
        if seat.step == Step::Connecting {
            sockopt::socket_error(&seat.socket)??;
            seat.step = Step::Answer;
            send(&seat.socket, REQUEST, SendFlags::NOSIGNAL)?;
            let name = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &seat.socket, name, EventFlags::IN)?;
            return Ok(());
        }
        let len = match recv(&seat.socket, &mut *self.buffer, RecvFlags::empty()) {
            Ok((len, _)) => len,
            Err(Errno::AGAIN) => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        if len == 0 {
            if seat.step != Step::End {
                return Err("the server ended a connection early".into());
            }
            self.done += 1;
            let socket = self.dial(index)?;
            self.seats[index] = Seat { socket, received: Vec::new(), step: Step::Connecting };
            return Ok(());
        }
        seat.received.extend_from_slice(&self.buffer[..len]);
        let (expected, next) = match seat.step {
            Step::Answer => (CANNED, Step::Close),
            _ => (CLOSE, Step::End),
        };
        if seat.received.len() >= expected.len() {
            if seat.received != expected {
                return Err("the server answered something else".into());
            }
            if seat.step == Step::Answer {
                send(&seat.socket, CLOSE, SendFlags::NOSIGNAL)?;
            }
            seat.received.clear();
            seat.step = next;
        }
        Ok(())
    }
}
