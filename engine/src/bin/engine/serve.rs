//! Runs a server: starts it, obeys signals, ends it.

use std::fmt;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use ringbolt::config::RingConfig;
use ringbolt::{
    Builder, Listening, RingFeature, Server, ServerTls, ServerTlsBuilder, StartError,
    StartErrorKind, raise_file_limit,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::args::Mode;
use crate::handlers::{Broadcast, Echo};
use crate::log;
use crate::output::{self, FAILED, complain};
use crate::settings::{Place, Settings};
use crate::units::Bytes;
use crate::variables::Variables;

/// This kernel or sandbox gives no io_uring (EX_UNAVAILABLE).
const UNAVAILABLE: u8 = 69;
/// How often the state of the shards is looked at while nobody sends a signal.
const LOOK: Duration = Duration::from_millis(500);
/// How often to look during a drain, which is over as soon as all connections have ended.
const LOOK_DRAINING: Duration = Duration::from_millis(10);

pub(crate) fn run(settings: &Settings, policy: &str, variables: &Variables) -> ExitCode {
    // Before anything can be interrupted: a signal at any moment has its meaning.
    let mut wanted = vec![SIGTERM, SIGINT, SIGUSR1];
    if settings.tls.is_some() {
        // Without anything to read again, a terminal that hangs up ends us, as it ends others.
        wanted.push(SIGHUP);
    }
    let signals = match Signals::new(wanted) {
        Ok(signals) => signals,
        Err(e) => return complain(format_args!("cannot receive signals: {e}"), FAILED),
    };
    let open_files = raise_file_limit();
    let (server, tls) = match start(settings) {
        Ok(started) => started,
        Err(e) => {
            let unavailable = e.kind() == StartErrorKind::Ring;
            let code = if unavailable { UNAVAILABLE } else { FAILED };
            return output::fail(&e, variables, code);
        }
    };
    if let Err(code) = print_listeners(&server) {
        return code;
    }
    announce(&server, settings, open_files);
    log::line(format_args!("policy {policy}"));
    let (heard, inbox) = mpsc::channel();
    let listening = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || listen(signals, &heard));
    if let Err(e) = listening {
        return complain(
            format_args!("cannot start the thread that receives signals: {e}"),
            FAILED,
        );
    }
    supervise(server, tls.as_ref(), &inbox, settings.drain)
}

fn start(settings: &Settings) -> Result<(Server, Option<ServerTls>), StartError> {
    let tls = settings.tls.clone().map(ServerTlsBuilder::build).transpose()?;
    let plain = settings.plain.iter();
    let mut builder =
        plain.fold(Server::builder(), |builder, all| builder.bind_all(all.iter().copied()));
    if let Some(tls) = &tls {
        let secure = settings.secure.iter();
        builder = secure
            .fold(builder, |builder, all| builder.bind_tls_all(all.iter().copied(), tls.clone()));
    }
    let builder = builder.config(settings.config.clone());
    let builder = match &settings.place {
        Place::Everywhere => builder,
        Place::Shards(shards) => builder.shards(*shards),
        Place::Cpus(cpus) => builder.cpus(cpus.iter().copied()),
    };
    Ok((start_mode(settings.mode, builder)?, tls))
}

fn start_mode(mode: Mode, builder: Builder) -> Result<Server, StartError> {
    match mode {
        Mode::Echo(part_bytes) => builder.start(move |_| Echo { part_bytes }),
        Mode::Broadcast => builder.start(|_| Broadcast),
    }
}

/// Says on stdout where the server listens: nobody could find it at a free port otherwise.
fn print_listeners(server: &Server) -> Result<(), ExitCode> {
    let lines: String =
        server.listening().iter().map(|at| format!("listening on {}\n", shown(at))).collect();
    output::print(&lines)
}

/// Says on stderr everything that matters.
fn announce(server: &Server, settings: &Settings, open_files: u64) {
    let Settings { mode, dialects, config, .. } = settings;
    let dialects: Vec<_> = dialects.iter().map(|dialect| dialect.name()).collect();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let limits = &config.limits;
    let taken = server.driver();
    let direct = taken.features.contains(RingFeature::Direct);
    if let Some(because) = &taken.because {
        log::line(format_args!("driver took={} because={because:?}", taken.driver));
    }
    for (name, because) in taken.absences() {
        log::line(format_args!("driver without={name} because={because:?}"));
    }
    for absent in settings.plain.iter().chain(&settings.secure).flatten() {
        if !server.listening().iter().any(|at| at.address.ip() == absent.ip()) {
            log::line(format_args!(
                "listen without={} because=\"this machine does not have the address\"",
                absent.ip()
            ));
        }
    }
    log::line(format_args!(
        "start mode={mode} dialects={} address={} shards={} cpus={} driver={} descriptors={} ring_features={} kernel={} \
         open_files={open_files} connections={} max_message={} max_frame={} max_outbound={} \
         memory_budget={} \
         handshake_timeout={:?} idle_timeout={:?} ping_interval={:?} close_timeout={:?} drain={:?}",
        dialects.join(","),
        server.listening().iter().map(shown).collect::<Vec<_>>().join(","),
        server.cpus().len(),
        Cpus(server.cpus()),
        taken.driver,
        if direct { "direct" } else { "process" },
        taken.features,
        kernel.trim(),
        possible_connections(server, settings.config.max_connections, open_files, direct),
        Bytes(limits.max_message_bytes),
        Bytes(limits.max_frame_bytes),
        Bytes(config.max_outbound_bytes as u64),
        Bytes(server.memory_budget() as u64),
        config.handshake_timeout,
        config.idle_timeout,
        config.ping_interval,
        config.close_timeout,
        settings.drain,
    ));
}

/// An address; a URL where TLS is spoken.
fn shown(at: &Listening) -> String {
    if at.secure { at.to_string() } else { at.address.to_string() }
}

/// How many connections the limits allow.
fn possible_connections(server: &Server, most: usize, open_files: u64, direct: bool) -> u64 {
    let shards = server.cpus().len() as u64;
    let configured = (most as u64).saturating_mul(shards);
    let listeners = server.listening().len() as u64;
    configured.min(connections_by_files(open_files, shards, listeners, direct))
}

/// How many connections the limit of open files allows all shards together. Accepted directly, they are
/// in the file table of their shard's ring, which is as large as the process's may be.
pub(crate) fn connections_by_files(
    open_files: u64,
    shards: u64,
    listeners: u64,
    direct: bool,
) -> u64 {
    if direct {
        open_files.min(RingConfig::MAX_DIRECT.into()) * shards
    } else {
        // Standard streams, and a ring, a waker and the listeners per shard.
        open_files.saturating_sub(8 + (2 + listeners) * shards)
    }
}

struct Cpus<'a>(&'a [Option<usize>]);

impl fmt::Display for Cpus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cpu) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match cpu {
                Some(cpu) => write!(f, "{comma}{cpu}")?,
                None => write!(f, "{comma}any")?,
            }
        }
        Ok(())
    }
}

/// Passes signals on, and obeys the second order to end at once, whatever the rest is doing.
fn listen(mut signals: Signals, heard: &mpsc::Sender<i32>) {
    let mut ending = false;
    for signal in signals.forever() {
        let orders_end = signal == SIGTERM || signal == SIGINT;
        if orders_end && std::mem::replace(&mut ending, true) {
            log::line(format_args!("end at once: a second signal came"));
            std::process::exit(128 + signal);
        }
        if heard.send(signal).is_err() {
            return;
        }
    }
}

/// Reads certificates, keys and authorities again.
fn reload(tls: Option<&ServerTls>) {
    match tls.map(ServerTls::reload) {
        Some(Err(e)) => log::line(format_args!("tls reload=failed the old files stay in use: {e}")),
        Some(Ok(())) => {
            log::line(format_args!("tls reload=done new connections get what was read"))
        }
        None => {}
    }
}

/// Whether a shard has given up sending without a copy; says so.
fn tell_of_copies(server: &Server) -> bool {
    let counters = server.snapshot().ring;
    if counters.zero_copy_off == 0 {
        return false;
    }
    log::line(format_args!(
        "zc-send off shards={} sends={} copied={} because=\"the kernel copied them anyway, as \
         on loopback, or sends no such socket's bytes without a copy\"",
        counters.zero_copy_off, counters.zero_copy_sends, counters.zero_copy_copied
    ));
    true
}

/// Serves until it is told to end, or a shard breaks.
fn supervise(
    server: Server,
    tls: Option<&ServerTls>,
    inbox: &mpsc::Receiver<i32>,
    patience: Duration,
) -> ExitCode {
    let mut draining = false;
    // Only where it may happen is it worth asking.
    let mut watches_copies = server.driver().features.contains(RingFeature::ZeroCopySend);
    while !server.is_finished() {
        match inbox.recv_timeout(if draining { LOOK_DRAINING } else { LOOK }) {
            Ok(SIGUSR1) => log::line(format_args!("counters {}", server.snapshot())),
            Ok(SIGHUP) => reload(tls),
            Ok(signal) => {
                let name = if signal == SIGINT { "SIGINT" } else { "SIGTERM" };
                log::line(format_args!("drain signal={name} deadline={patience:?}"));
                draining = true;
                server.drain(patience);
            }
            Err(RecvTimeoutError::Timeout) if draining || server.is_whole() => {
                // A shard that has ended answers no more.
                watches_copies = watches_copies && !draining && !tell_of_copies(&server);
            }
            Err(_) => {
                // A shard alone cannot go on serving its part of the port: better all restarted.
                log::line(format_args!("a shard broke: draining the others"));
                draining = true;
                server.drain(patience);
            }
        }
    }
    match server.join() {
        Ok(counters) => {
            log::line(format_args!("end {counters}"));
            ExitCode::SUCCESS
        }
        Err(e) => complain(format_args!("a shard's ring became unusable: {e}"), FAILED),
    }
}
