//! Says before a run starts what cannot work, and what to do about it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use ringbolt::Endpoint;

use crate::args::{DialArgs, MachineArgs};
use crate::desk::nanos;
use crate::environment::Files;
use crate::failure::Failure;
use crate::plan::{Output, Plan, Scenario};
use crate::source::{self, Sources};
use crate::tell;

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

/// What may go wrong although the run can begin, and what to do about each.
pub(crate) fn warnings(plan: &Plan, files: &Files) -> Vec<String> {
    let connections = plan.connections;
    let is_local = plan.address.ip().is_none_or(|ip| ip.is_loopback());
    let mut all = Vec::new();
    // Other scenarios open a bounded number at a time.
    let knocks = matches!(plan.scenario, Scenario::Storm { .. });
    let backlog = files.number("proc/sys/net/core/somaxconn").filter(|_| knocks && is_local);
    if let Some(backlog) = backlog.filter(|backlog| connections > *backlog) {
        all.push(format!(
            "up to {connections} connections are opened at once, and a listener on this machine keeps at \
             most {backlog} waiting: the others are tried again after a second. Use fewer \
             --connections, or raise net.core.somaxconn and the server's backlog"
        ));
    }
    let of_server = plan.pid.and_then(|pid| files.text(&format!("proc/{pid}/limits")));
    let open_files = of_server.and_then(|limits| open_files(&limits));
    if let Some(limit) = open_files.filter(|limit| connections >= *limit) {
        all.push(format!(
            "the server may have {limit} files open, fewer than the {connections} connections need: \
             start it after `ulimit -n {}`, or use fewer --connections",
            (connections + 1024).next_power_of_two()
        ));
    }
    let tracked = files.number("proc/sys/net/netfilter/nf_conntrack_max").filter(|_| !is_local);
    let tracks = files.number("proc/sys/net/netfilter/nf_conntrack_count").unwrap_or(0);
    if let Some(most) = tracked.filter(|most| connections > most.saturating_sub(tracks)) {
        all.push(format!(
            "the firewall of this machine keeps track of at most {most} connections, and has {tracks}: \
             the rest gets no answer. Raise net.netfilter.nf_conntrack_max"
        ));
    }
    all
}

/// The soft limit of open files.
fn open_files(limits: &str) -> Option<u64> {
    let rest = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Refuses files that could not be written when the run is over.
pub(crate) fn check_outputs(output: &Output) -> Result<(), Failure> {
    let files = [&output.file, &output.hgrm, &output.hlog, &output.trace];
    for path in files.into_iter().flatten() {
        check_writable(path).map_err(|e| tell::unwritable(path, &e))?;
    }
    if let Some(folder) = &output.folder {
        fs::create_dir_all(folder)
            .and_then(|()| check_writable(&folder.join(tell::DOCUMENT)))
            .map_err(|e| tell::unwritable(folder, &e))?;
    }
    Ok(())
}

/// Leaves everything as it was. Devices and pipes are not opened: that may mean something to them.
fn check_writable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if found.is_file() => File::options().append(true).open(path).map(drop),
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            File::create_new(path)?;
            fs::remove_file(path)
        }
        Err(e) => Err(e),
    }
}

/// Refuses goals that this run could not tell of.
pub(crate) fn check_goals(plan: &Plan) -> Result<(), Failure> {
    for goal in &plan.output.goals {
        goal.check(plan).map_err(|why| {
            Failure::usage(
                format!("`--fail-if {goal}` cannot be decided for this run"),
                why,
                "leave it out, or run a scenario that measures it",
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
        format!("one process may use {IN_FLIGHT_MAX} bytes for them"),
        "use fewer connections, a smaller --payload, or a smaller --depth or --burst",
    ))
}

/// Refuses to begin in the past.
pub(crate) fn check_start(start_at: Option<u64>) -> Result<(), Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, nanos);
    match start_at {
        Some(at) if at <= now => Err(Failure::preflight(
            "cannot begin at the time that --start-at gives",
            format!("that was {} ago", crate::text::time(now - at)),
            "give a time far enough ahead for every connection to be open by then",
        )),
        _ => Ok(()),
    }
}

/// Refuses to send as text what is none.
pub(crate) fn check_text(scenario: &Scenario) -> Result<(), Failure> {
    match scenario.traffic() {
        Some(traffic) if traffic.text && !traffic.payload.is_text() => Err(Failure::usage(
            format!("cannot send {} as text", traffic.payload),
            "it is not UTF-8",
            "leave --text out",
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::warnings;
    use crate::args::{Cli, Command};
    use crate::environment::Files;
    use crate::plan::Plan;

    fn plan(words: &[&str]) -> Plan {
        let Command::Measure(scenario) = Cli::parse_from([&["loadgen"], words].concat()).command
        else {
            panic!("no scenario: {words:?}");
        };
        Plan::new(*scenario).expect("a plan")
    }

    #[test]
    fn what_may_go_wrong_is_said_before() {
        let root = std::env::temp_dir().join(format!("loadgen-preflight-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("proc/sys/net/core/somaxconn", "128\n");
        write(
            "proc/7/limits",
            "Max open files            150                  4096        files\n",
        );
        write("proc/sys/net/netfilter/nf_conntrack_max", "500\n");
        write("proc/sys/net/netfilter/nf_conntrack_count", "350\n");
        let files = Files::below(&root);
        let said = |words: &[&str]| warnings(&plan(words), &files);
        let none = Vec::<String>::new();
        assert_eq!(said(&["storm", "ws://127.0.0.1:9/", "-c", "128"]), none);
        let storm = said(&["storm", "ws://127.0.0.1:9/", "-c", "129"]);
        assert!(storm.len() == 1 && storm[0].contains("net.core.somaxconn"), "{storm:?}");
        assert_eq!(said(&["echo", "ws://127.0.0.1:9/", "-c", "5000"]), none);
        let files_of_server = said(&["echo", "ws://127.0.0.1:9/", "-c", "150", "--pid", "7"]);
        assert!(files_of_server[0].contains("ulimit -n 2048"), "{files_of_server:?}");
        assert_eq!(said(&["echo", "ws://192.0.2.1:9/", "-c", "150"]), none);
        let tracked = said(&["echo", "ws://192.0.2.1:9/", "-c", "151"]);
        assert!(tracked.len() == 1 && tracked[0].contains("nf_conntrack_max"), "{tracked:?}");
        let nothing = Files::below("/nowhere/at/all");
        assert_eq!(warnings(&plan(&["storm", "ws://127.0.0.1:9/", "-c", "9k"]), &nothing), none);
        std::fs::remove_dir_all(root).expect("removed");
    }
}
