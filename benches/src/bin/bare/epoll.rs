//! The bare epoll server: one thread, level-triggered, one receive buffer that stays in the cache.
//!
//! Per message that is one `recv`, one `send`, and a share of one `epoll_wait`: a connection is not
//! read again until it is reported again, and is watched for room only while a send blocks.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, listen, recv, send, sockopt};

use crate::place::{Place, Work, announce};
use crate::upgrade::{CANNED, Kind, answer, kind};

/// How epoll is used.
#[derive(clap::Args)]
pub(crate) struct Epoll {
    /// KiB of the receive buffer
    #[arg(long, value_name = "KIB", default_value_t = 64)]
    buffer: usize,
}

/// The listener's name among the events.
const LISTENER: u64 = u64::MAX;
/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;
/// Events taken at once.
const EVENTS: usize = 1024;

pub(crate) fn serve(
    place: &Place,
    options: &Epoll,
    work: Work,
) -> Result<(), Box<dyn std::error::Error>> {
    place.pin()?;
    let files = ringbolt::raise_file_limit();
    let listener = TcpListener::bind(place.listen)?;
    listener.set_nonblocking(true)?;
    listen(&listener, BACKLOG)?;
    // Inherited by every accepted connection.
    sockopt::set_tcp_nodelay(&listener, true)?;
    let address = listener.local_addr()?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut server = Server {
        work,
        epoll,
        listener: listener.into(),
        spin: place.spin(),
        buffer: vec![0; options.buffer.max(4) << 10],
        seats: Vec::with_capacity(usize::try_from(files).unwrap_or(0).min(1 << 20)),
        free: Vec::new(),
        pending: Vec::new(),
        parts: Vec::new(),
    };
    announce(address);
    server.run()?;
    Ok(())
}

struct Seat {
    socket: OwnedFd,
    upgraded: bool,
    /// What the kernel would not take; while there is any, the connection is watched for room.
    waiting: Vec<u8>,
}

struct Server {
    work: Work,
    epoll: OwnedFd,
    listener: OwnedFd,
    spin: Duration,
    buffer: Vec<u8>,
    seats: Vec<Option<Seat>>,
    free: Vec<usize>,
    /// What arrived for everybody since the events were taken, and who sent which part.
    pending: Vec<u8>,
    parts: Vec<(usize, usize, usize)>,
}

impl Server {
    fn run(&mut self) -> Result<(), Errno> {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            self.wait(&mut events)?;
            for event in events.drain(..) {
                let (data, flags) = (event.data, event.flags);
                let Ok(index) = usize::try_from(data.u64()) else { continue };
                if data.u64() == LISTENER {
                    self.accept()?;
                } else if flags.contains(EventFlags::OUT) {
                    self.drain(index)?;
                } else {
                    self.receive(index)?;
                }
            }
            if !self.pending.is_empty() {
                self.spread()?;
            }
        }
    }

    fn wait(&self, events: &mut Vec<Event>) -> Result<(), Errno> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        if !self.spin.is_zero() {
            let until = Instant::now() + self.spin;
            while Instant::now() < until {
                if epoll::wait(&self.epoll, spare_capacity(events), Some(&at_once))? > 0 {
                    return Ok(());
                }
            }
        }
        match epoll::wait(&self.epoll, spare_capacity(events), None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(e) => Err(e),
        }
    }

    fn accept(&mut self) -> Result<(), Errno> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(e) => return Err(e),
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.seats.push(None);
                self.seats.len() - 1
            });
            epoll::add(&self.epoll, &socket, EventData::new_u64(index as u64), EventFlags::IN)?;
            self.seats[index] = Some(Seat { socket, upgraded: false, waiting: Vec::new() });
        }
    }

    fn close(&mut self, index: usize) {
        // Closing the only descriptor ends the watch, too.
        if self.seats[index].take().is_some() {
            self.free.push(index);
        }
    }

    #[inline]
    fn receive(&mut self, index: usize) -> Result<(), Errno> {
        let Some(seat) = &mut self.seats[index] else { return Ok(()) };
        let len = match recv(&seat.socket, &mut *self.buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                self.close(index);
                return Ok(());
            }
            Ok((len, _)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(_) => {
                self.close(index);
                return Ok(());
            }
        };
        let bytes = &self.buffer[..len];
        if !seat.upgraded {
            seat.upgraded = true;
            let answer =
                if self.work == Work::Accept { Some(CANNED.to_vec()) } else { answer(bytes) };
            match answer {
                Some(answer) => _ = deliver(&self.epoll, index, seat, &answer)?,
                None => self.close(index),
            }
            return Ok(());
        }
        match (self.work, kind(bytes)) {
            (Work::Fanout, Kind::Beat) => {}
            (Work::Fanout, Kind::Data) => {
                let start = self.pending.len();
                self.pending.extend_from_slice(bytes);
                self.parts.push((index, start, start + len));
            }
            _ => {
                let open = deliver(&self.epoll, index, seat, bytes)?;
                if self.work == Work::Accept || !open {
                    self.close(index);
                }
            }
        }
        Ok(())
    }

    /// Sends what waited, and watches for bytes again when it has left.
    fn drain(&mut self, index: usize) -> Result<(), Errno> {
        let Some(seat) = &mut self.seats[index] else { return Ok(()) };
        let waiting = std::mem::take(&mut seat.waiting);
        if !deliver(&self.epoll, index, seat, &waiting)? {
            self.close(index);
        } else if seat.waiting.is_empty() {
            let name = EventData::new_u64(index as u64);
            epoll::modify(&self.epoll, &seat.socket, name, EventFlags::IN)?;
        }
        Ok(())
    }

    /// Sends what arrived for everybody to all but whoever sent it.
    fn spread(&mut self) -> Result<(), Errno> {
        let mut broken = Vec::new();
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let Some(seat) = seat.as_mut().filter(|seat| seat.upgraded) else { continue };
            let open = if self.parts.iter().all(|part| part.0 != index) {
                deliver(&self.epoll, index, seat, &self.pending)?
            } else {
                let others = self.parts.iter().filter(|part| part.0 != index);
                let bytes: Vec<u8> =
                    others.flat_map(|part| &self.pending[part.1..part.2]).copied().collect();
                deliver(&self.epoll, index, seat, &bytes)?
            };
            if !open {
                broken.push(index);
            }
        }
        broken.into_iter().for_each(|index| self.close(index));
        self.pending.clear();
        self.parts.clear();
        Ok(())
    }
}

/// Sends, and keeps what the kernel does not take; `false` when the connection is broken.
#[inline]
fn deliver(epoll: &OwnedFd, index: usize, seat: &mut Seat, bytes: &[u8]) -> Result<bool, Errno> {
    if !seat.waiting.is_empty() {
        seat.waiting.extend_from_slice(bytes);
        return Ok(true);
    }
    if bytes.is_empty() {
        return Ok(true);
    }
    let sent = match send(&seat.socket, bytes, SendFlags::NOSIGNAL) {
        Ok(sent) => sent,
        Err(Errno::AGAIN) => 0,
        Err(_) => return Ok(false),
    };
    if sent < bytes.len() {
        seat.waiting.extend_from_slice(&bytes[sent..]);
        let name = EventData::new_u64(index as u64);
        epoll::modify(epoll, &seat.socket, name, EventFlags::OUT)?;
    }
    Ok(true)
}
