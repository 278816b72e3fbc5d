//! What can be told of a plan just before it runs.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::base::failure::Failure;
use crate::base::files::Files;
use crate::base::output;
use crate::plan::workload::Connections;
use crate::plan::{Destinations, Plan};

/// What may go wrong although the run can begin, and what to do about each.
pub(crate) fn warnings(plan: &Plan, files: &Files) -> Vec<String> {
    let connections = plan.connections;
    let is_local = plan.address.ip().is_none_or(|ip| ip.is_loopback());
    let mut all = Vec::new();
    // Other scenarios open a bounded number at a time.
    let knocks = plan.workload.connections == Connections::Cycled;
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
pub(crate) fn check_outputs(output: &Destinations) -> Result<(), Failure> {
    let files = [&output.file, &output.hgrm, &output.hlog, &output.trace];
    for path in files.into_iter().flatten() {
        check_writable(path).map_err(|e| output::unwritable(path, &e))?;
    }
    if let Some(folder) = &output.folder {
        fs::create_dir_all(folder)
            .and_then(|()| check_writable(&folder.join(output::DOCUMENT)))
            .map_err(|e| output::unwritable(folder, &e))?;
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

#[cfg(test)]
mod tests;
