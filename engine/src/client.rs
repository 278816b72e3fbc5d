//! Client connections by the thousand, on one thread and one ring: what a server's shard is, in the
//! other role.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use crate::config::{Config, SelectedDriver};
use crate::conn::{Message, Part};
#[cfg(feature = "tls")]
use crate::credentials::Security;
use crate::driver::Loop;
use crate::error::StartError;
use crate::handler::WebSocket;
use crate::handshake::proxy::Proxy;
use crate::handshake::{Refusal, UpgradeRequest, UpgradeResponse, Url};
use crate::hub::Hub;
use crate::memory::share_of_the_machine;
use crate::metrics::Snapshot;
use crate::outcome::{Accept, CloseReason, Reject};
use crate::shard::machine::Machine;
use crate::shard::route::{Addresses, Route};
use crate::shard::{self, Application, Context, Fleet};
use crate::sys::clock::thread_cpu_nanos;
use crate::sys::heap::release_free_memory;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::wire::CloseCode;

/// A client application: it opens connections and is told what happens to them.
///
/// Callbacks run on the thread that called [`Clients::run`] and must not block.
pub trait Handler {
    /// What the application keeps per connection.
    type Data;

    /// Called once per turn of the loop, before its output leaves: the place to open connections
    /// and to send on any of them. `now` is when the turn began. Returns when to be called again at
    /// the latest, or `None` if only an event is a reason to be called.
    fn on_turn(&mut self, fleet: &mut Fleet<'_, Self::Data>, now: Instant) -> Option<Instant>;

    /// TCP is established, or the unix socket connected, or the tunnel through a proxy open. The
    /// opening handshake follows; for a wss URL, that of TLS comes first.
    fn on_connected(&mut self, data: &mut Self::Data) {
        let _ = data;
    }

    /// TLS is established, for a wss URL; the opening handshake follows.
    #[cfg(feature = "tls")]
    fn on_secured(&mut self, data: &mut Self::Data, security: Security) {
        let _ = (data, security);
    }

    /// The server answered the opening handshake with another HTTP status than 101; `on_close` follows.
    /// What it says about the reason is waited for up to half a second.
    fn on_refused(&mut self, data: &mut Self::Data, refusal: &Refusal) {
        let _ = (data, refusal);
    }

    /// The connection is established.
    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>, response: &UpgradeResponse<'_>) {
        let _ = (ws, response);
    }

    /// A whole message arrived.
    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>);

    /// Hands messages over in parts of at least so many bytes while more of them is still to come,
    /// by `on_part`, instead of gathering them whole: a large message then passes through the cache
    /// piece by piece, and takes no more memory than a part. What is smaller, what is compressed, and
    /// text whose bad sequences are replaced comes whole all the same. Asked once,
    /// before the first connection; the default gathers everything.
    fn part_bytes(&self) -> Option<NonZeroU32> {
        None
    }

    /// A part of a message arrived; only with [`Handler::part_bytes`]. A message that breaks a rule
    /// half-way ends the connection, so its last part may never come.
    fn on_part(&mut self, ws: &mut WebSocket<'_, Self::Data>, part: Part<'_>) {
        let _ = (ws, part);
    }

    /// A pong arrived.
    fn on_pong(&mut self, ws: &mut WebSocket<'_, Self::Data>, payload: &[u8]) {
        let _ = (ws, payload);
    }

    /// Everything queued has left after a send was refused.
    fn on_drain(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let _ = ws;
    }

    /// The peer closes and says why (RFC 6455 §7.1.5, §7.1.6); the answer is sent, and `on_close`
    /// follows. Draft-02's Close says nothing, so this is not called there.
    fn on_closing(&mut self, data: &mut Self::Data, code: CloseCode, reason: &str) {
        let _ = (data, code, reason);
    }

    /// The connection is over, or could not be established. Called exactly once for each
    /// [`Fleet::connect`].
    fn on_close(&mut self, data: Self::Data, reason: CloseReason);
}

/// Runs a client application.
#[derive(Debug, Clone)]
pub struct Clients {
    config: Config,
}

impl Clients {
    /// Clients with these settings. Keep-alive pings and the idle timeout are as configured.
    #[must_use]
    pub const fn new(config: Config) -> Self {
        Self { config }
    }

    /// Runs the application on this thread until it calls [`Fleet::stop`], and returns it with the
    /// counters.
    ///
    /// # Errors
    ///
    /// The kernel refuses a ring, or the ring became unusable.
    pub fn run<H: Handler>(&self, handler: H) -> Result<(H, Snapshot), StartError> {
        let hub = Hub::new(1, self.config.mailbox_entries)
            .map_err(|e| StartError::kernel("a waker", &e))?;
        let hub = Arc::new(hub);
        let mut settings = self.config.clone();
        settings.memory_budget.get_or_insert_with(|| {
            share_of_the_machine(std::thread::available_parallelism().map_or(1, usize::from))
        });
        let settings = Arc::new(settings);
        let shard = shard::Shard::new(Dial(handler), settings, hub, 0, Instant::now())
            .with_trim(release_free_memory)
            .with_cpu_clock(thread_cpu_nanos);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.config.client_tls {
            let (ended, taken) = self.drive(Tls::new(shard, [], Some(tls.clone())))?;
            return Ok(outcome(ended.into_inner(), taken));
        }
        let (ended, taken) = self.drive(shard)?;
        Ok(outcome(ended, taken))
    }

    fn drive<M: Machine>(&self, machine: M) -> Result<(M, SelectedDriver), StartError> {
        let (driver, taken) = Loop::new(machine, Vec::new(), &self.config)?;
        let ended = driver
            .run(|| {})
            .map_err(|e: io::Error| StartError::kernel("progress: the ring failed", &e))?;
        Ok((ended, taken))
    }
}

/// The way to the server of a URL: its address, or all those of its name, best first (RFC 6724, as the
/// system orders them), to be tried in turn. With a proxy they are the proxy's, and the name of the server
/// is the proxy's to look up. Share a route between connections and threads: it remembers which address
/// has answered.
///
/// Asks the system's resolver, and waits for it: not for callbacks.
///
/// ```
/// use ringbolt::handshake::Url;
///
/// let url = Url::parse("ws://127.0.0.1:9001/")?;
/// assert_eq!(ringbolt::client::route(&url, None)?.to_string(), "127.0.0.1:9001");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The resolver's, or [`io::ErrorKind::NotFound`] if the name has no address.
pub fn route(url: &Url, proxy: Option<Proxy>) -> io::Result<Route> {
    let (host, port) = match &proxy {
        None => (url.host(), url.port()),
        Some(proxy) => (proxy.host(), proxy.port()),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found: Vec<_> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        // Resolvers know this name without the dot only (RFC 6761 §6.3).
        Err(_) if host == "localhost." => ("localhost", port).to_socket_addrs()?.collect(),
        Err(_) => (host, port).to_socket_addrs()?.collect(),
    };
    let addresses = Addresses::new(found)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))?;
    let route = Route::from(Arc::new(addresses));
    Ok(match proxy {
        None => route,
        Some(proxy) => route.through(Arc::new(proxy)),
    })
}

fn outcome<H: Handler>(ended: shard::Shard<Dial<H>>, taken: SelectedDriver) -> (H, Snapshot) {
    let mut snapshot = ended.snapshot();
    snapshot.driver = Some(taken);
    (ended.into_app().0, snapshot)
}

/// A client's handler, as the shard sees it.
struct Dial<H>(H);

impl<H: Handler> Application for Dial<H> {
    type Data = H::Data;

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<H::Data>, Reject> {
        // A client accepts nothing; its connections never read a request.
        Err(Reject::NOT_FOUND)
    }

    fn on_connected(&mut self, data: &mut H::Data) {
        self.0.on_connected(data);
    }

    #[cfg(feature = "tls")]
    fn on_secured(&mut self, data: &mut H::Data, security: Security) {
        self.0.on_secured(data, security);
    }

    fn on_refused(&mut self, data: &mut H::Data, refusal: &Refusal) {
        self.0.on_refused(data, refusal);
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, H::Data>, response: Option<&UpgradeResponse<'_>>) {
        if let Some(response) = response {
            self.0.on_open(ws, response);
        }
    }

    #[inline]
    fn on_message(&mut self, ws: &mut WebSocket<'_, H::Data>, message: Message<'_>) {
        self.0.on_message(ws, message);
    }

    fn part_bytes(&self) -> Option<NonZeroU32> {
        self.0.part_bytes()
    }

    fn on_part(&mut self, ws: &mut WebSocket<'_, H::Data>, part: Part<'_>) {
        self.0.on_part(ws, part);
    }

    fn on_pong(&mut self, ws: &mut WebSocket<'_, H::Data>, payload: &[u8]) {
        self.0.on_pong(ws, payload);
    }

    fn on_drain(&mut self, ws: &mut WebSocket<'_, H::Data>) {
        self.0.on_drain(ws);
    }

    fn on_closing(&mut self, data: &mut H::Data, code: CloseCode, reason: &str) {
        self.0.on_closing(data, code, reason);
    }

    fn on_close(&mut self, _: &mut Context, data: H::Data, reason: CloseReason) {
        self.0.on_close(data, reason);
    }

    #[inline]
    fn on_turn(&mut self, fleet: &mut Fleet<'_, H::Data>, now: Instant) -> Option<Instant> {
        self.0.on_turn(fleet, now)
    }
}
