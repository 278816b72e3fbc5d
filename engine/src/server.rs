//! A running server: threads, pinning, listening, and its end.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::{Config, SelectedDriver};
#[cfg(feature = "tls")]
use crate::credentials::ServerTls;
use crate::driver::{Listener, Loop};
use crate::error::{StartError, StartErrorKind};
use crate::handler::{Handler, Serve};
use crate::hub::{Command, Hub, Publisher};
use crate::memory::{Ledger, share_of_the_machine};
use crate::metrics::Snapshot;
use crate::shard;
use crate::shard::machine::Machine;
use crate::shard::topics::Topic;
use crate::sys::clock::thread_cpu_nanos;
use crate::sys::heap::release_free_memory;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// A server that accepts connections, each shard on its own pinned thread.
#[derive(Debug)]
pub struct Server {
    hub: Arc<Hub>,
    endpoints: Vec<Listening>,
    cpus: Vec<Option<usize>>,
    taken: SelectedDriver,
    memory_budget: usize,
    threads: Vec<JoinHandle<io::Result<Snapshot>>>,
}

/// Where a server listens; shown as a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listening {
    /// The address, with the port that was taken.
    pub address: SocketAddr,
    /// Whether the listener speaks TLS, so that its URLs begin with `wss`.
    pub secure: bool,
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "wss" } else { "ws" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// What a handler's factory may ask of its shard.
#[derive(Debug)]
pub struct Shard<'a> {
    index: usize,
    hub: &'a Arc<Hub>,
    topics: &'a mut shard::topics::Topics,
}

impl Shard<'_> {
    /// The shard's number, from 0.
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Publishes to every subscriber of every shard, for handlers that have something to say while
    /// no connection is at hand, as in `on_close`.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { hub: Arc::clone(self.hub) }
    }

    /// The topic of this name, held open for the shard's life. `None` at the limit `max_topics`.
    pub fn topic(&mut self, name: &str) -> Option<Topic> {
        self.topics.open(name, true)
    }
}

/// How a server is to be started.
#[derive(Debug, Clone)]
pub struct Builder {
    binds: Vec<Bind>,
    cpus: Vec<Option<usize>>,
    config: Config,
}

/// Where to listen, and with what.
#[derive(Debug, Clone)]
struct Bind {
    /// The addresses of one name, or a single address that was given as such.
    addresses: Vec<SocketAddr>,
    #[cfg(feature = "tls")]
    tls: Option<ServerTls>,
}

impl Bind {
    const fn plain(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Where it is listened; each address once.
    fn listening(&self) -> impl Iterator<Item = Listening> {
        let secure = self.is_secure();
        self.addresses.iter().map(move |address| Listening { address: *address, secure })
    }

    #[cfg(feature = "tls")]
    const fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "the same with the feature has to look")]
    const fn is_secure(&self) -> bool {
        false
    }
}

impl Builder {
    /// Listens on this address, in addition to any others. Port 0 takes a free port. A server that
    /// is given no address listens on a free port of 127.0.0.1.
    #[must_use]
    pub fn bind(self, address: SocketAddr) -> Self {
        self.bind_all([address])
    }

    /// Listens on all of these addresses, as on every address of a name. With port 0 they get the
    /// same port, if one is free on all of them. An address that this machine does not have is left
    /// out if the machine has another one of them; [`Server::listening`] says which it has.
    ///
    /// ```
    /// use std::net::ToSocketAddrs as _;
    ///
    /// let everywhere = "localhost:0".to_socket_addrs()?;
    /// let builder = ringbolt::Server::builder().bind_all(everywhere);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn bind_all(mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.binds.push(Bind::plain(addresses.into_iter().collect()));
        self
    }

    /// Listens on this address for TLS. The handlers are those of plain connections.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn bind_tls(self, address: SocketAddr, tls: ServerTls) -> Self {
        self.bind_tls_all([address], tls)
    }

    /// Serves TLS on all of these addresses, as [`Builder::bind_all`] listens on them.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn bind_tls_all(
        mut self,
        addresses: impl IntoIterator<Item = SocketAddr>,
        tls: ServerTls,
    ) -> Self {
        self.binds.push(Bind { addresses: addresses.into_iter().collect(), tls: Some(tls) });
        self
    }

    /// Runs this many shards, pinned to the CPUs that the process may use, in order. The default
    /// is one per CPU; more shards than CPUs are not pinned.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        self.cpus = (0..shards.max(1))
            .map(|n| if shards <= cores.len() { cores.get(n).map(|core| core.id) } else { None })
            .collect();
        self
    }

    /// Runs one shard on each of these CPUs.
    #[must_use]
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.cpus = cpus.into_iter().map(Some).collect();
        self
    }

    /// Sets every limit and timeout.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Starts the shards. Each calls `factory` on its own thread, so that the handler need not be
    /// `Send`. When this returns, connections are accepted.
    ///
    /// # Errors
    ///
    /// The address is not free, the kernel refuses a ring, or a CPU cannot be used: the error
    /// says what to do.
    pub fn start<H, F>(self, factory: F) -> Result<Server, StartError>
    where
        H: Handler + 'static,
        H::Data: 'static,
        F: Fn(&mut Shard<'_>) -> H + Send + Clone + 'static,
    {
        let this = if self.cpus.is_empty() {
            let cores = core_affinity::get_core_ids().map_or(1, |cores| cores.len().max(1));
            self.shards(cores)
        } else {
            self
        };
        let mut settings = this.config;
        settings.memory_budget.get_or_insert_with(|| share_of_the_machine(this.cpus.len()));
        let settings = Arc::new(settings);
        let binds = match this.binds {
            none if none.is_empty() => vec![Bind::plain(vec![(Ipv4Addr::LOCALHOST, 0).into()])],
            binds => binds,
        };
        let (listeners, binds) = listen(&binds, this.cpus.len())?;
        let endpoints = binds.iter().flat_map(Bind::listening).collect();
        let binds: Arc<[Bind]> = binds.into();
        let hub = Hub::new(this.cpus.len(), settings.mailbox_entries);
        let hub = Arc::new(hub.map_err(|e| StartError::kernel("a waker", &e))?);
        let taken = SelectedDriver::new(settings.driver, None);
        let (shared, cpus) = (Arc::clone(&hub), this.cpus.clone());
        let memory_budget = settings.memory_budget.unwrap_or(usize::MAX);
        let threads = Vec::new();
        let mut server = Server { hub: shared, endpoints, cpus, taken, memory_budget, threads };
        let (started, outcomes) = mpsc::channel();
        for (index, (listeners, cpu)) in listeners.into_iter().zip(this.cpus).enumerate() {
            let (hub, settings) = (Arc::clone(&hub), Arc::clone(&settings));
            let (factory, started) = (factory.clone(), started.clone());
            let place = Place { index, cpu, hub, settings, binds: Arc::clone(&binds), listeners };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || run_shard(place, &factory, &started))
                .map_err(|e| StartError::kernel("a thread", &e))?;
            server.threads.push(thread);
        }
        drop(started);
        // Every shard reports; the first that cannot run ends them all.
        let shards = server.threads.len();
        let mut failed = None;
        for outcome in outcomes.iter().take(shards) {
            match outcome {
                Ok(taken) => server.taken = taken.with_unregistered_of(&server.taken),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        match failed {
            None => Ok(server),
            Some(error) => {
                server.drain(Duration::ZERO);
                drop(server.join());
                Err(error)
            }
        }
    }
}

/// Where a shard runs, and with what.
struct Place {
    index: usize,
    cpu: Option<usize>,
    hub: Arc<Hub>,
    settings: Arc<Config>,
    binds: Arc<[Bind]>,
    listeners: Vec<Listener>,
}

/// Binds everything, for each shard a socket of its own: the listeners of each shard, and what each is
/// of, by its place.
fn listen(binds: &[Bind], shards: usize) -> Result<(Vec<Vec<Listener>>, Vec<Bind>), StartError> {
    let mut listeners: Vec<_> = std::iter::repeat_with(Vec::new).take(shards).collect();
    let mut bound = Vec::new();
    for bind in binds {
        let Some(first) = bind.addresses.first() else {
            return Err(StartError::new(
                StartErrorKind::Address,
                "cannot listen",
                "there is no address",
                "give the address of an interface of this machine, or a name that has one",
            ));
        };
        for sockets in Listener::bind_all(&bind.addresses, shards)? {
            let address = sockets.first().and_then(Listener::address).unwrap_or(*first);
            let mut one = bind.clone();
            one.addresses = vec![address];
            bound.push(one);
            for (shard, socket) in listeners.iter_mut().zip(sockets) {
                shard.push(socket);
            }
        }
    }
    Ok((listeners, bound))
}

/// Ends the process when a handler panics: the shard's state may be torn, its connections would
/// hang, and the other shards would go on as if nothing had happened. The panic's own message is
/// printed before.
struct EndOnPanic(usize);

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "the last words of the process")]
            {
                eprintln!("shard {} panicked: the server ends", self.0);
            }
            std::process::abort();
        }
    }
}

/// Pins the calling thread to a CPU; `false` if the process may not use that one.
fn pin(id: usize) -> bool {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().find(|core| core.id == id).is_some_and(core_affinity::set_for_current)
}

fn run_shard<H: Handler>(
    place: Place,
    factory: &impl Fn(&mut Shard<'_>) -> H,
    started: &mpsc::Sender<Result<SelectedDriver, StartError>>,
) -> io::Result<Snapshot> {
    let report = |outcome| drop(started.send(outcome));
    let _guard = EndOnPanic(place.index);
    if let Some(id) = place.cpu
        && !pin(id)
    {
        report(Err(StartError::new(
            StartErrorKind::Cpu,
            format!("cannot run shard {} on CPU {id}", place.index),
            "the CPU does not exist or this process may not use it",
            "choose among the CPUs that `taskset -p $$` and `nproc` show",
        )));
        return Ok(Snapshot::default());
    }
    let settings = Arc::clone(&place.settings);
    let memory = Ledger::new(place.settings.memory_budget.unwrap_or(usize::MAX));
    let (hub, max_topics) = (Arc::clone(&place.hub), place.settings.max_topics);
    let mut topics = shard::topics::Topics::new(max_topics, hub, place.index).on(memory);
    let handler = factory(&mut Shard { index: place.index, hub: &place.hub, topics: &mut topics });
    let secure = place.binds.iter().map(Bind::is_secure).collect();
    let shard =
        shard::Shard::new(Serve(handler), place.settings, place.hub, place.index, Instant::now())
            .with_topics(topics)
            .with_secure(secure)
            .with_trim(release_free_memory)
            .with_cpu_clock(thread_cpu_nanos);
    #[cfg(feature = "tls")]
    if place.binds.iter().any(Bind::is_secure) {
        let tls = Tls::new(shard, place.binds.iter().map(|bind| bind.tls.clone()), None);
        let ended = drive(tls, place.listeners, &settings, report)?;
        return Ok(ended.map(|tls| tls.into_inner().snapshot()).unwrap_or_default());
    }
    let ended = drive(shard, place.listeners, &settings, report)?;
    Ok(ended.map(|shard| shard.snapshot()).unwrap_or_default())
}

/// Runs a machine until it has ended; `None` if it never began, which has been reported then.
fn drive<M: Machine>(
    machine: M,
    listeners: Vec<Listener>,
    settings: &Config,
    report: impl Fn(Result<SelectedDriver, StartError>),
) -> io::Result<Option<M>> {
    match Loop::new(machine, listeners, settings) {
        Ok((driver, taken)) => driver.run(|| report(Ok(taken))).map(Some),
        Err(error) => {
            report(Err(error));
            Ok(None)
        }
    }
}

impl Server {
    /// A server to be configured: one shard per CPU, any free port of 127.0.0.1, safe limits.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { binds: Vec::new(), cpus: Vec::new(), config: Config::default() }
    }

    /// Where the server listens: the first of [`Server::listening`].
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let first = self.endpoints.first();
        first.map_or_else(|| (Ipv4Addr::LOCALHOST, 0).into(), |endpoint| endpoint.address)
    }

    /// Everywhere the server listens, in the order in which it was told to.
    #[must_use]
    pub fn listening(&self) -> &[Listening] {
        &self.endpoints
    }

    /// The driver that the shards run on, and why not a better one.
    #[must_use]
    pub const fn driver(&self) -> &SelectedDriver {
        &self.taken
    }

    /// The CPU of each shard; `None` where it is not pinned.
    #[must_use]
    pub fn cpus(&self) -> &[Option<usize>] {
        &self.cpus
    }

    /// The bytes that each shard may hold for its peers ([`Config::memory_budget`]), also where that was
    /// left to the server.
    #[must_use]
    pub const fn memory_budget(&self) -> usize {
        self.memory_budget
    }

    /// Publishes from anywhere in the program.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        Publisher { hub: Arc::clone(&self.hub) }
    }

    /// The counters of all shards, added up; each shard answers at its next turn, and one that
    /// does not within a second is left out.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let (reply, answers) = mpsc::channel();
        for (mailbox, thread) in self.hub.mailboxes.iter().zip(&self.threads) {
            // Nobody reads the mail of a shard that has ended.
            if !thread.is_finished() {
                mailbox.order(Command::Snapshot { reply: reply.clone() });
            }
        }
        drop(reply);
        let mut sum = Snapshot::default();
        let deadline = Instant::now() + Duration::from_secs(1);
        sum.driver = Some(self.taken.clone());
        while let Ok(one) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            sum.add(&one);
        }
        sum
    }

    /// Stops accepting connections, refuses new publications, and delivers those that were accepted
    /// before; then starts the closing handshake of every connection. Whatever is open after
    /// `patience` is cut. If publications are not all delivered after half of that time, the rest
    /// is given up and counted as
    /// [`publications_lost`](crate::metrics::Counters::publications_lost), and the closing
    /// handshakes start. A patience of zero waits for nothing. A second call can only shorten the
    /// time. [`Server::join`] waits for the end.
    pub fn drain(&self, patience: Duration) {
        self.hub.drain(Instant::now() + patience);
    }

    /// Whether every shard still runs. Without a drain, a shard ends only when its ring has become
    /// unusable.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Whether every shard has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until every shard has ended, after [`Server::drain`], and returns the final counters.
    ///
    /// # Errors
    ///
    /// A shard's ring became unusable. A handler that panics ends the process.
    pub fn join(self) -> io::Result<Snapshot> {
        let mut sum = Snapshot { driver: Some(self.taken), ..Snapshot::default() };
        for thread in self.threads {
            match thread.join() {
                Ok(snapshot) => sum.add(&snapshot?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(sum)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} shards on {}", self.cpus.len(), self.address())
    }
}
