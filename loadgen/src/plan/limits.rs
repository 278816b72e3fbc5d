//! What this machine can do for a plan; what it cannot is said before the run, with what to do about it.

use std::time::{SystemTime, UNIX_EPOCH};

use ringbolt::Endpoint;

use crate::base::clock::nanos;
use crate::base::failure::Failure;
use crate::plan::source::{self, Sources};
use crate::plan::workload::Workload;
use crate::spec::options::{DialArgs, MachineArgs};

/// Where to connect from, checked for having ports enough.
pub(crate) fn sources(
    dial: &DialArgs,
    address: &Endpoint,
    connections: u64,
    rotation: u64,
) -> Result<Sources, Failure> {
    let Some(ip) = address.ip() else {
        return match dial.source {
            None => Ok(Sources::none()),
            Some(_) => Err(Failure::usage(
                "a unix socket cannot be connected to from an address",
                "it has neither addresses nor ports",
                "leave --source out",
            )),
        };
    };
    let sources = match &dial.source {
        Some(cidr) => Sources::parse(cidr, ip)?,
        None => Sources::automatic(ip, connections.max(rotation), source::ports()),
    };
    sources.check(connections)?;
    if dial.source.is_some() {
        sources.check_local()?;
    }
    Ok(sources)
}

/// One entry per thread: the CPU that it is pinned to.
pub(crate) fn threads(
    machine: &MachineArgs,
    is_local: bool,
    connections: u64,
) -> Result<Vec<Option<usize>>, Failure> {
    let usable: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    if let Some(list) = &machine.cpus {
        if let Some(cpu) = list.0.iter().find(|cpu| !usable.contains(cpu)) {
            return Err(Failure::usage(
                format!("cannot run on CPU {cpu}"),
                format!("this process may use the CPUs {usable:?}"),
                "choose --cpus among them",
            ));
        }
        let threads = machine.threads.unwrap_or(list.0.len() as u64);
        if threads != list.0.len() as u64 {
            return Err(Failure::usage(
                format!("{threads} threads do not fit on {} CPUs", list.0.len()),
                "each thread is pinned to a CPU of its own",
                "give as many --cpus as --threads, or only one of the two",
            ));
        }
        return Ok(list.0.iter().copied().map(Some).collect());
    }
    // A server on this machine needs CPUs, too.
    let all = usable.len().max(1);
    let default = if is_local { all.div_ceil(2) } else { all };
    let wanted = machine.threads.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let most = usize::try_from(connections).unwrap_or(usize::MAX).min(4096);
    let threads = wanted.min(most);
    let pinned = threads <= usable.len();
    // Servers pin their threads from the first CPU on; we take the last.
    Ok((0..threads)
        .map(|n| if pinned { usable.get(usable.len() - threads + n).copied() } else { None })
        .collect())
}

/// Files that so many connections and threads open, and some to spare.
pub(crate) const fn files(connections: u64, threads: usize) -> u64 {
    connections + 8 * threads as u64 + 64
}

/// Most bytes of messages that may be on their way at once, all connections together.
const IN_FLIGHT_MAX: u64 = 8 << 30;

/// Refuses what would not fit into memory.
pub(crate) fn check_memory(workload: &Workload, connections: u64) -> Result<(), Failure> {
    let message = workload.payload() as u64 + 16;
    let bytes = message.saturating_mul(workload.at_once()).saturating_mul(connections);
    if bytes <= IN_FLIGHT_MAX {
        return Ok(());
    }
    Err(Failure::preflight(
        format!("cannot keep {bytes} bytes of messages in flight"),
        format!("one process may use {IN_FLIGHT_MAX} bytes for them"),
        "use fewer connections, a smaller --payload, or a smaller --depth or --burst",
    ))
}

/// Refuses to send as text what is none.
pub(crate) fn check_text(workload: &Workload) -> Result<(), Failure> {
    match &workload.traffic {
        Some(traffic) if traffic.text && !traffic.payload.is_text() => Err(Failure::usage(
            format!("cannot send {} as text", traffic.payload),
            "it is not UTF-8",
            "leave --text out",
        )),
        _ => Ok(()),
    }
}

/// Refuses to begin in the past.
pub(crate) fn check_start(start_at: Option<u64>) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
    match start_at {
        Some(at) if at <= now => Err(Failure::preflight(
            "cannot begin at the time that --start-at gives",
            format!("that was {} ago", crate::base::format::time(now - at)),
            "give a time far enough ahead for every connection to be open by then",
        )),
        _ => Ok(()),
    }
}

/// Says how many files may be open.
pub(crate) fn check_files(connections: u64, threads: usize) -> Result<u64, Failure> {
    let limit = ringbolt::raise_file_limit();
    let needed = files(connections, threads);
    if needed <= limit {
        return Ok(limit);
    }
    Err(Failure::preflight(
        format!("cannot open {connections} connections"),
        format!("this process may have {limit} files open and needs {needed}"),
        "raise the limit with `ulimit -n 1048576` (as root, or LimitNOFILE= in a unit), or use \
         fewer connections",
    ))
}
