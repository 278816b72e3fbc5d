//! Says before a run starts what cannot work, and what cures it.

use crate::args::{DialArgs, MachineArgs};
use crate::failure::Failure;
use crate::plan::{Plan, Scenario};
use crate::source::Sources;

use ringbolt::Endpoint;

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
        None => Sources::automatic(ip, connections.max(rotation)),
    };
    sources.check(connections)?;
    Ok(sources)
}

/// Refuses goals that this run could not tell of.
pub(crate) fn check_goals(plan: &Plan) -> Result<(), Failure> {
    for goal in &plan.output.goals {
        goal.check(plan).map_err(|why| {
            Failure::usage(
                format!("`--fail-if {goal}` cannot be told of this run"),
                why,
                "leave it out, or measure what it is about",
            )
        })?;
    }
    Ok(())
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
pub(crate) fn check_memory(scenario: &Scenario, connections: u64) -> Result<(), Failure> {
    let message = scenario.payload() as u64 + 16;
    let bytes = message.saturating_mul(scenario.at_once()).saturating_mul(connections);
    if bytes <= IN_FLIGHT_MAX {
        return Ok(());
    }
    Err(Failure::preflight(
        format!("cannot keep {bytes} bytes of messages in flight"),
        format!("{IN_FLIGHT_MAX} is the most that one process is given for them"),
        "use fewer connections, a smaller --payload, or a smaller --depth or --burst",
    ))
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
