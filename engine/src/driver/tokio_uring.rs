//! The tokio-uring driver: one thread, one runtime of that name, one future per connection. For
//! kernels from 5.11 on that allow io_uring and lack what the ring driver needs, and our answer to
//! what an async runtime on io_uring costs.
//!
//! ```text
//!  machine ──▶ sends to the connections' futures ──▶ runtime: submit, sleep, completions ─┐
//!     ▲                                                                                   │
//!     └─────────── connections' futures: what was read goes straight to the machine ◀─────┘
//! ```
//!
//! The runtime has no cancellation: a future that is dropped leaves its operation in flight, which
//! takes the next bytes of the stream and keeps the socket open. So nothing is ever dropped that is
//! in flight. The futures are this driver's own, in a set, not the runtime's tasks: a panic of the
//! application passes through, and nothing needs to live forever.
//!
//! The runtime submits only before it sleeps. Where there is more to do at once, a no-op is waited
//! for, which takes everything submitted before it to the kernel.

mod buffers;
mod connection;
mod core;
mod send;

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use io_uring::{IoUring, Probe, opcode};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::time::Sleep;
use tokio_uring::Runtime;
use tokio_uring::net::TcpListener;

use super::accept::{ACCEPT_PAUSE, Listener};
use crate::config::{Config, Driver, SelectedDriver};
use crate::error::{StartError, StartErrorKind};
use crate::shard::machine::Machine;
use crate::sys::socket::{raise_file_limit, watched};
use crate::sys::spin::Spin;
use buffers::Buffers;

use core::{Attempt, Core, Start};

/// Accepts in flight: each takes one connection and a turn of the loop.
const ACCEPTS: usize = 8;
/// How long what is in flight may take to complete after everything was shut down.
const END: Duration = Duration::from_secs(5);

/// The tokio-uring driver of one shard, set up and not yet running.
pub(crate) struct TokioUring<M> {
    // Declared before the runtime, whose operations may still use its memory when this is dropped:
    // whoever runs it takes them apart in the right order.
    core: RefCell<Core<M>>,
    runtime: Runtime,
    listeners: Vec<std::net::TcpListener>,
    spin: Spin,
}

/// Whether the driver works here: what the runtime needs is tried on a ring of our own, since the
/// runtime itself neither checks it nor reports what it is refused later.
///
/// # Errors
///
/// What the kernel refused, why, and what to do.
pub(super) fn probe(_: &Config) -> Result<SelectedDriver, StartError> {
    try_ring().map(|_| SelectedDriver::new(Driver::TokioUring, None))
}

/// Tries what the runtime needs. Says whether the kernel takes `COOP_TASKRUN` (5.19), the one flag that helps the runtime.
fn try_ring() -> Result<bool, StartError> {
    if Handle::try_current().is_ok() {
        return Err(StartError::new(
            StartErrorKind::Kernel,
            "cannot make a tokio-uring runtime",
            "this thread already runs a tokio runtime",
            "call it on a thread of its own, made by std::thread::spawn for example",
        ));
    }
    let refused = |e: io::Error| StartError::ring(&e);
    let mut builder = IoUring::builder();
    let (ring, cooperative) = match builder.setup_coop_taskrun().build(8) {
        Ok(ring) => (ring, true),
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
            (IoUring::new(8).map_err(refused)?, false)
        }
        Err(e) => return Err(refused(e)),
    };
    // A sandbox may allow a ring to be made and nothing else.
    ring.submit().map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let operations = [
        ("ACCEPT", opcode::Accept::CODE),
        ("CONNECT", opcode::Connect::CODE),
        ("READ", opcode::Read::CODE),
        ("WRITE", opcode::Write::CODE),
        ("READ_FIXED", opcode::ReadFixed::CODE),
        ("WRITE_FIXED", opcode::WriteFixed::CODE),
    ];
    let missing = operations.into_iter().find(|(_, code)| !probe.is_supported(*code));
    // EXT_ARG came with 5.11, which is what the runtime is made for.
    let old = !ring.params().is_feature_ext_arg() || !ring.params().is_feature_fast_poll();
    let why = match missing {
        Some((name, _)) => format!("the kernel's io_uring has no {name}"),
        None if old => "the kernel's io_uring is older than Linux 5.11".to_owned(),
        None => return Ok(cooperative),
    };
    let what = "cannot set up an io_uring ring";
    Err(StartError::new(StartErrorKind::Ring, what, why, "run on Linux 5.11 or later"))
}

/// About how many bytes a shard locks for its registered buffers.
pub(super) fn locked_bytes(config: &Config) -> Option<u64> {
    Some(buffers::locked_bytes(&config.ring) as u64)
}

/// Makes the runtime on this thread, which is to run it.
///
/// # Errors
///
/// What the kernel refused, why, and what to do; or this thread already runs a runtime.
pub(super) fn set_up(config: &Config) -> Result<Runtime, StartError> {
    let config = &config.ring;
    let cooperative = try_ring()?;
    let mut ring = tokio_uring::uring_builder();
    ring.setup_clamp();
    ring.setup_cqsize(config.completion_entries.max(config.submission_entries));
    if cooperative {
        ring.setup_coop_taskrun();
    }
    let mut builder = tokio_uring::builder();
    builder.entries(config.submission_entries).uring_builder(&ring);
    Runtime::new(&builder).map_err(|e| StartError::ring(&e))
}

impl<M: Machine> TokioUring<M> {
    /// Sets the driver up on this thread, which is to run it.
    ///
    /// # Errors
    ///
    /// The kernel has no descriptor left.
    pub(super) fn new(
        machine: M,
        listeners: Vec<Listener>,
        runtime: Runtime,
        config: &Config,
    ) -> Result<Self, StartError> {
        raise_file_limit();
        let wrong = |e: io::Error| StartError::kernel("a second handle of a listener", &e);
        let sockets: io::Result<Vec<_>> = listeners.into_iter().map(Listener::into_two).collect();
        let (listeners, others) = sockets.map_err(wrong)?.into_iter().unzip();
        let buffers = runtime.block_on(async { Buffers::new(&config.ring) });
        Ok(Self {
            core: RefCell::new(Core::new(machine, others, buffers)),
            runtime,
            listeners,
            spin: Spin::new(config.ring.spin, config.ring.spin_budget_percent),
        })
    }

    /// What was taken, because the drivers tried before it do not work, and what it goes without.
    pub(crate) fn selected(&self, because: Option<String>) -> SelectedDriver {
        let mut taken = SelectedDriver::new(Driver::TokioUring, because);
        taken.unregistered.clone_from(&self.core.borrow().buffers.unregistered);
        taken
    }

    /// Runs until the machine asks to leave, and gives it back; `started` is called once it accepts.
    ///
    /// # Errors
    ///
    /// Only what makes the runtime itself unusable.
    pub(crate) fn run(self, started: impl FnOnce()) -> io::Result<M> {
        let Self { core, runtime, listeners, spin } = self;
        let outcome = runtime.block_on(drive(&core, listeners, spin, started));
        // The ring goes before the memory that it knows (S8).
        drop(runtime);
        outcome.map(|()| core.into_inner().machine)
    }
}

/// The loop: hands each connection's future what is to be sent, sleeps in the runtime, and handles
/// what came in the meantime.
async fn drive<M: Machine>(
    core: &RefCell<Core<M>>,
    listeners: Vec<std::net::TcpListener>,
    mut spin: Spin,
    started: impl FnOnce(),
) -> io::Result<()> {
    let mailbox = core.borrow().machine.mailbox().map(|mailbox| mailbox.waker().watched());
    let waker = mailbox.transpose()?;
    let begin = |start: Start| task(core, start);
    let futures = FuturesUnordered::new();
    futures.push(begin(Start::Pass));
    for (index, listener) in listeners.into_iter().enumerate() {
        let listener = Rc::new(TcpListener::from_std(listener));
        for _ in 0..ACCEPTS {
            futures.push(begin(Start::Accept(index, Rc::clone(&listener))));
        }
    }
    let metrics = Handle::current().metrics();
    let sleep = pin!(tokio::time::sleep(Duration::ZERO));
    let mut waiter = Waiter { core, begin, futures, waker, sleep, armed: None };
    // The listeners have a backlog since they were bound: what connects from now on is accepted.
    started();
    loop {
        let next = {
            let mut core = core.borrow_mut();
            core.begin();
            // First what came due when the last turn was settled, so that the machine's turn sees
            // the slots that this frees.
            core.act();
            if core.exit {
                break;
            }
            let next = core.run();
            note(&mut core, &metrics);
            next
        };
        waiter.wait(next.busy, next.deadline, &mut spin).await;
    }
    core.borrow_mut().end_all();
    waiter.until_quiet(Instant::now() + END).await;
    note(&mut core.borrow_mut(), &metrics);
    Ok(())
}

fn note<M: Machine>(core: &mut Core<M>, metrics: &RuntimeMetrics) {
    core.note(metrics.worker_park_count(0));
}

/// One future of the set, from its start to its end.
async fn task<M: Machine>(core: &RefCell<Core<M>>, start: Start) {
    match start {
        Start::Pass => pass(core).await,
        Start::Accept(index, listener) => accept(core, index, &listener).await,
        Start::Serve(connection) => {
            connection::serve(core, &connection).await;
            core.borrow_mut().gone(connection);
        }
        Start::Connect(connection, attempt) => {
            let outcome = match attempt {
                Attempt::UnderWay(socket) => established(socket).await,
                Attempt::Made(outcome) => outcome,
            };
            let stands = core.borrow_mut().connected(&connection, outcome);
            if stands {
                connection::serve(core, &connection).await;
            } else {
                connection.ended().await;
            }
            core.borrow_mut().gone(connection);
        }
    }
}

/// Waits until an attempt to connect is over. The handle ends with it.
async fn established(socket: OwnedFd) -> io::Result<()> {
    let socket = watched(socket, Interest::WRITABLE)?;
    drop(socket.writable().await?);
    SockRef::from(socket.get_ref()).take_error()?.map_or(Ok(()), Err)
}

async fn accept<M: Machine>(core: &RefCell<Core<M>>, index: usize, listener: &TcpListener) {
    while core.borrow().is_accepting() {
        core.borrow_mut().accepts += 1;
        let outcome = listener.accept().await;
        core.borrow_mut().accepts -= 1;
        match outcome {
            Ok((stream, _)) => core.borrow_mut().accepted(index, stream),
            Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) if core.borrow().is_accepting() => {
                // Out of files or memory: only newcomers suffer.
                core.borrow_mut().counters.accept_failures += 1;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            Err(_) => return,
        }
    }
}

/// Sends no-ops through the kernel whenever one is wanted.
async fn pass<M: Machine>(core: &RefCell<Core<M>>) {
    loop {
        let wanted = poll_fn(|cx| {
            let mut core = core.borrow_mut();
            if core.exit {
                return Poll::Ready(false);
            }
            if std::mem::take(&mut core.pass_wanted) {
                return Poll::Ready(true);
            }
            core.passer = Some(cx.waker().clone());
            Poll::Pending
        });
        if !wanted.await {
            return;
        }
        // It cannot fail; if it did, nothing would be lost but a moment.
        let _ = tokio_uring::no_op().await;
        core.borrow_mut().passes += 1;
    }
}

/// What the loop waits for.
struct Waiter<'a, M, F, B> {
    core: &'a RefCell<Core<M>>,
    begin: B,
    futures: FuturesUnordered<F>,
    waker: Option<AsyncFd<OwnedFd>>,
    sleep: Pin<&'a mut Sleep>,
    /// When the sleep ends, if it has not.
    armed: Option<Instant>,
}

impl<M: Machine, F: Future<Output = ()>, B: Fn(Start) -> F> Waiter<'_, M, F, B> {
    /// Waits for something to do, or only looks for it where there is more to do at once.
    async fn wait(&mut self, busy: bool, deadline: Option<Instant>, spin: &mut Spin) {
        let deadline_passed = |now| deadline.is_some_and(|at| at <= now);
        if busy || deadline_passed(Instant::now()) {
            return self.pass().await;
        }
        let begin = Instant::now();
        if spin.is_on() && spin.may_begin(begin) {
            loop {
                self.pass().await;
                let now = Instant::now();
                if self.core.borrow().begun || self.has_mail() || deadline_passed(now) {
                    return;
                }
                if spin.is_over(begin, now) {
                    break;
                }
            }
        }
        let may_sleep = self.core.borrow().machine.mailbox().is_none_or(|mail| mail.may_sleep());
        if !may_sleep {
            return self.pass().await;
        }
        self.until(deadline).await;
        if let Some(mailbox) = self.core.borrow().machine.mailbox() {
            mailbox.awake();
        }
    }

    fn has_mail(&self) -> bool {
        self.core.borrow().machine.mailbox().is_some_and(|mailbox| !mailbox.is_empty())
    }

    /// Takes what is submitted to the kernel, and what is complete from it.
    async fn pass(&mut self) {
        let passes = {
            let mut core = self.core.borrow_mut();
            core.pass_wanted = true;
            if let Some(passer) = &core.passer {
                passer.wake_by_ref();
            }
            core.passes
        };
        poll_fn(|cx| {
            self.poll_futures(cx);
            let core = self.core.borrow();
            if core.begun || core.passes > passes { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Sleeps until something has happened, the waker rings, or it is time.
    async fn until(&mut self, deadline: Option<Instant>) {
        poll_fn(|cx| {
            self.poll_futures(cx);
            if self.core.borrow().begun || self.poll_waker(cx) || self.poll_sleep(cx, deadline) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Waits until nothing is in flight any more, or it is time.
    async fn until_quiet(&mut self, end: Instant) {
        poll_fn(|cx| {
            self.poll_futures(cx);
            let quiet = self.core.borrow().is_quiet();
            if quiet || self.poll_sleep(cx, Some(end)) && Instant::now() >= end {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Lets every future go on that can, until none can.
    fn poll_futures(&mut self, cx: &mut Context<'_>) {
        loop {
            while let Poll::Ready(Some(())) = self.futures.poll_next_unpin(cx) {}
            let newcomers = std::mem::take(&mut self.core.borrow_mut().newcomers);
            if newcomers.is_empty() {
                return;
            }
            self.futures.extend(newcomers.into_iter().map(&self.begin));
        }
    }

    fn poll_waker(&self, cx: &mut Context<'_>) -> bool {
        let Some(waker) = &self.waker else { return false };
        match waker.poll_read_ready(cx) {
            Poll::Ready(Ok(mut ready)) => {
                // Each ring is an event of its own, so the counter need not be read.
                ready.clear_ready();
                true
            }
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        }
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let Some(deadline) = deadline else { return false };
        // Waking too early does no harm, and saves setting the clock again and again.
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.sleep.as_mut().reset(deadline.into());
            self.armed = Some(deadline);
        }
        let over = self.sleep.as_mut().poll(cx).is_ready();
        if over {
            self.armed = None;
        }
        over
    }
}
