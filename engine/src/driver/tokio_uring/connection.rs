//! One connection: a future that reads and one that writes, side by side.
//!
//! The runtime loses the bytes of a read whose future is dropped, and the socket with it. So both
//! futures run to their end, whatever happens: a connection is ended by shutting its socket down,
//! which completes what is in flight, and time-outs are the machine's business.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tokio_uring::net::TcpStream;

use super::buffers::{Buffer, BufferClass};
use super::core::Core;
use super::send::{Job, Part};
use crate::conn::Reassembly;
use crate::driver::DIRECT_READ_BYTES;
use crate::shard::machine::{Machine, ReadInterest};
use crate::shard::table::ConnectionId;
use crate::sys::owned::Filling;

/// Reads in a row that would have fitted a tiny buffer before a connection goes back to one.
const TINY_READS: u8 = 16;
/// Fewer bytes than this fit a tiny buffer.
const TINY_READ: usize = 1024;

/// How far a send has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// There is none.
    Idle,
    /// A send has been handed over and has not begun.
    Given,
    /// The runtime has it.
    UnderWay,
}

/// What the futures of a connection and the driver share.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) stream: TcpStream,
    pub(super) want: Cell<ReadInterest>,
    pub(super) write: Cell<Write>,
    job: Cell<Option<Job>>,
    /// A read or a connect is in flight.
    pub(super) armed: Cell<bool>,
    /// TCP is being established.
    pub(super) connecting: Cell<bool>,
    /// The connection is to be closed: nothing new is begun.
    pub(super) ending: Cell<bool>,
    /// Its socket is to be looked at once all that the runtime has read of it was handed over.
    pub(super) looking: Cell<bool>,
    /// Bytes that were read and that nobody wants yet.
    pub(super) unwanted: Cell<u32>,
    /// Reads to go before a tiny buffer does again.
    grown: Cell<u8>,
    /// The last read had room left: nothing more is there, so little memory waits for what comes next. A
    /// read cannot be taken back, and neither can a message's memory that it owns.
    dry: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Connection {
    pub(super) fn new(id: ConnectionId, stream: TcpStream, connecting: bool) -> Self {
        Self {
            id,
            stream,
            want: Cell::new(ReadInterest::Small),
            write: Cell::new(Write::Idle),
            job: Cell::new(None),
            armed: Cell::new(false),
            connecting: Cell::new(connecting),
            ending: Cell::new(false),
            looking: Cell::new(false),
            unwanted: Cell::new(0),
            grown: Cell::new(0),
            dry: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Whether it sends and receives.
    pub(super) fn is_open(&self) -> bool {
        !self.ending.get() && !self.connecting.get()
    }

    /// Has its futures look at what has changed.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Gives it something to send; only while nothing is.
    pub(super) fn give(&self, job: Job) {
        debug_assert!(self.write.get() == Write::Idle);
        self.job.set(Some(job));
        self.write.set(Write::Given);
        self.wake();
    }

    /// Completes when the connection is to be closed.
    pub(super) async fn ended(&self) {
        poll_fn(|cx| {
            self.remember(cx.waker());
            if self.ending.get() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn remember(&self, waker: &Waker) {
        let mut last = self.waker.borrow_mut();
        if !last.as_ref().is_some_and(|last| last.will_wake(waker)) {
            *last = Some(waker.clone());
        }
    }

    /// How it is to be read, once it is; `None` when it never will be again.
    async fn wanted(&self) -> Option<ReadInterest> {
        poll_fn(|_| match self.want.get() {
            _ if self.ending.get() => Poll::Ready(None),
            ReadInterest::Nothing => Poll::Pending,
            want => Poll::Ready(Some(want)),
        })
        .await
    }

    /// What is to be sent, once there is something; `None` when nothing will be.
    async fn to_send(&self) -> Option<Job> {
        poll_fn(|_| match self.job.take() {
            Some(job) => Poll::Ready(Some(job)),
            None if self.ending.get() => Poll::Ready(None),
            None => Poll::Pending,
        })
        .await
    }

    fn class(&self, want: ReadInterest) -> BufferClass {
        match want {
            ReadInterest::Small | ReadInterest::SmallOnce | ReadInterest::Nothing
                if self.grown.get() == 0 =>
            {
                BufferClass::Tiny
            }
            ReadInterest::Small | ReadInterest::SmallOnce | ReadInterest::Nothing => {
                BufferClass::Small
            }
            ReadInterest::Large | ReadInterest::LargeOnce | ReadInterest::Direct => {
                BufferClass::Large
            }
        }
    }

    fn note_read(&self, n: usize, room: usize) {
        self.dry.set(n < room);
        let fitted = n < TINY_READ;
        self.grown.set(if fitted { self.grown.get().saturating_sub(1) } else { TINY_READS });
    }
}

/// Serves a connection until it is closed and the kernel owns nothing of it but the socket.
pub(super) async fn serve<M: Machine>(core: &RefCell<Core<M>>, connection: &Rc<Connection>) {
    let mut reading = pin!(read(core, connection));
    let mut writing = pin!(write(core, connection));
    let (mut read, mut written) = (false, false);
    poll_fn(|cx| {
        connection.remember(cx.waker());
        // The send first: what the peer answered to it is behind it, and finds the way out free.
        written = written || writing.as_mut().poll(cx).is_ready();
        read = read || reading.as_mut().poll(cx).is_ready();
        if connection.looking.take() {
            core.borrow_mut().look_now(connection);
        }
        if read && written { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Reads until the connection is closed or its stream has ended.
async fn read<M: Machine>(core: &RefCell<Core<M>>, connection: &Connection) {
    let mut kept = None;
    while let Some(want) = connection.wanted().await {
        let want = if connection.dry.get() { ReadInterest::Small } else { want };
        let direct = match want {
            ReadInterest::Direct => core.borrow_mut().take_direct(connection),
            _ => None,
        };
        let going_on = if let Some((memory, wanted)) = direct {
            let filling = Filling::new(memory, wanted.min(DIRECT_READ_BYTES));
            read_direct(core, connection, filling).await
        } else {
            let class = connection.class(want);
            let buffer = core.borrow_mut().receive_buffer(kept.take(), class);
            read_once(core, connection, buffer, &mut kept).await
        };
        if !going_on {
            break;
        }
    }
    if let Some(buffer) = kept {
        core.borrow_mut().buffers.give(buffer);
    }
}

/// One read into a buffer; `false` if it was the last.
async fn read_once<M: Machine>(
    core: &RefCell<Core<M>>,
    connection: &Connection,
    buffer: Buffer,
    kept: &mut Option<Buffer>,
) -> bool {
    connection.armed.set(true);
    let (outcome, buffer) = buffer.read(&connection.stream).await;
    connection.armed.set(false);
    core.borrow_mut().read_completed();
    let outcome = held_back(connection, outcome).await;
    let mut core = core.borrow_mut();
    match outcome {
        Ok(n) if n > 0 && !connection.ending.get() => {
            connection.note_read(n, buffer.bytes().len());
            *kept = core.received(connection, buffer, n);
            true
        }
        outcome => {
            core.buffers.give(buffer);
            core.nothing_read(connection, outcome.map(|_| ()))
        }
    }
}

/// What a read brought, once it is wanted: the read may have been under way when reading was paused,
/// and cannot be taken back. What ends the stream is told at once.
async fn held_back(connection: &Connection, outcome: io::Result<usize>) -> io::Result<usize> {
    if let Ok(n) = outcome
        && n > 0
    {
        connection.unwanted.set(u32::try_from(n).unwrap_or(u32::MAX));
        // `None` when the connection is to be closed: whoever asked looks for that.
        let _ = connection.wanted().await;
        connection.unwanted.set(0);
    }
    outcome
}

/// One read into a message's own memory; `false` if it was the last.
async fn read_direct<M: Machine>(
    core: &RefCell<Core<M>>,
    connection: &Connection,
    filling: Filling<Reassembly>,
) -> bool {
    connection.armed.set(true);
    core.borrow_mut().read_begun();
    let (outcome, filling) = connection.stream.read(filling).await;
    connection.armed.set(false);
    core.borrow_mut().read_completed();
    let outcome = held_back(connection, outcome).await;
    let mut core = core.borrow_mut();
    if connection.ending.get() {
        return false;
    }
    let n = outcome.as_ref().map_or(0, |n| (*n).min(filling.len()));
    connection.dry.set(n < filling.len());
    // The memory goes back whatever happened.
    core.received_direct(connection, filling.into_memory(), n);
    n > 0 || core.nothing_read(connection, outcome.map(|_| ()))
}

/// Sends what it is given, one job after the other, until the connection is closed.
async fn write<M: Machine>(core: &RefCell<Core<M>>, connection: &Connection) {
    while let Some(job) = connection.to_send().await {
        connection.write.set(Write::UnderWay);
        let begun = core.borrow_mut().write_begun();
        let outcome = write_job(core, connection, job).await;
        connection.write.set(Write::Idle);
        core.borrow_mut().written(connection, outcome, begun);
    }
}

async fn write_job<M: Machine>(
    core: &RefCell<Core<M>>,
    connection: &Connection,
    job: Job,
) -> io::Result<()> {
    let mut rest = match job {
        Job::One(part) => return write_part(core, connection, part).await.map(drop),
        Job::Rest(rest) => rest,
    };
    loop {
        let part = core.borrow_mut().next_part(&mut rest);
        let Some(part) = part else { return Ok(()) };
        let n = write_part(core, connection, part).await?;
        if rest.bytes() > 0 {
            core.borrow_mut().took(connection, n);
        }
    }
}

/// Sends all of one part; says how many bytes went last.
async fn write_part<M: Machine>(
    core: &RefCell<Core<M>>,
    connection: &Connection,
    mut part: Part,
) -> io::Result<usize> {
    let outcome = loop {
        let (outcome, back) = part.write(&connection.stream).await;
        part = back;
        match outcome {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                if part.advance(n) {
                    break Ok(n);
                }
                let mut core = core.borrow_mut();
                core.counters.blocked_sends += 1;
                core.took(connection, n);
            }
            Err(e) if is_passing(&e) => {}
            Err(e) => break Err(e),
        }
    };
    core.borrow_mut().part_back(part);
    outcome
}

/// Whether the operation may simply be tried again.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN))
}
