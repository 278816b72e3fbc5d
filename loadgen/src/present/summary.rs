//! The summary that people read.

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::clock::Nanos;
use crate::base::format::{count, mebibytes, number, time};
use crate::base::histogram::{PERCENTILES, Times};
use crate::plan::workload::Length;
use crate::result::search::Search;
use crate::result::verdict::Limiter;
use crate::run::floor::Floor;
use crate::run::job::Job;
use crate::run::outcome::Outcome;
use crate::run::stats::Stats;

/// The whole summary.
pub(crate) fn summary(job: &Job, outcome: &Outcome, search: Option<&Search>) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(&mut out, job, outcome, search);
    out
}

fn write_summary(
    out: &mut String,
    job: &Job,
    outcome: &Outcome,
    search: Option<&Search>,
) -> std::fmt::Result {
    let plan = &job.plan;
    writeln!(out, "{}", headline(job))?;
    writeln!(out)?;
    if let Some(search) = search {
        write_search(out, search)?;
    }
    if outcome.is_void() {
        writeln!(out, "No result: more than 1 % of what was attempted went wrong.")?;
    } else if outcome.elapsed == 0 {
        writeln!(out, "No result: the run ended before the measurement began.")?;
    } else {
        write_figures(out, job, outcome)?;
    }
    write_errors(out, outcome)?;
    for verdict in outcome.verdicts(plan) {
        writeln!(out, "\nNote: {verdict}.")?;
    }
    if outcome.interrupted {
        let what = if outcome.elapsed == 0 { "nothing had been" } else { "this is what was" };
        writeln!(out, "\nInterrupted: {what} measured until then.")?;
    }
    Ok(())
}

/// The runs of a search, and what it found.
fn write_search(out: &mut String, search: &Search) -> std::fmt::Result {
    for step in &search.steps {
        let value = search.goal.show(step.value);
        let verdict = step.missed.unwrap_or("kept");
        writeln!(
            out,
            "  {:>12}/s  {} was {value}: {verdict}",
            count(step.rate),
            search.goal.name()
        )?;
    }
    match search.kept() {
        Some(rate) => writeln!(
            out,
            "\n  {}/s is the highest rate found that meets {}; its run:\n",
            count(rate),
            search.goal
        ),
        None => writeln!(out, "\n  No rate was found that meets {}; the last run:\n", search.goal),
    }
}

/// What is run, in one line.
pub(crate) fn headline(job: &Job) -> String {
    let Job { plan, scenario } = job;
    let what = scenario.headline();
    let length = match plan.window.length {
        Length::Time(time) => format!("{time:?}"),
        Length::Messages(n) if plan.is_passing() => number(n, "connection"),
        Length::Messages(n) => number(n, "message"),
    };
    let warmup = match plan.window.warmup {
        Duration::ZERO => "without warm-up".to_owned(),
        warmup => format!("after {warmup:?} of warm-up"),
    };
    let threads = number(plan.threads.len() as u64, "thread");
    let cpus = pinned(&plan.threads);
    let connections = number(plan.connections, "connection");
    let (url, dialect) = (&plan.url, plan.request.dialect());
    format!("{url} ({dialect}): {what}\n{connections}, {threads}{cpus}, {length} {warmup}")
}

fn pinned(threads: &[Option<usize>]) -> String {
    let cpus: Vec<String> = threads.iter().flatten().map(ToString::to_string).collect();
    if cpus.is_empty() { String::new() } else { format!(" on CPU {}", cpus.join(",")) }
}

#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
fn write_figures(out: &mut String, job: &Job, outcome: &Outcome) -> std::fmt::Result {
    let plan = &job.plan;
    let stats = &outcome.stats;
    let (one, unit) = job.scenario.unit();
    let rate = count(outcome.rate());
    if outcome.held > 0 && plan.arrivals().is_none() {
        return write_held(out, job, outcome);
    }
    match outcome.limiter(plan) {
        Some(Limiter::Generator) if plan.arrivals().is_none() => writeln!(
            out,
            "  {:<12} none: the generator was the limit; the server takes at least {rate} {unit}/s",
            "rate"
        )?,
        Some(Limiter::Generator) => {
            writeln!(
                out,
                "  {:<12} none: the generator was the limit, at {rate} {unit}/s",
                "rate"
            )?;
        }
        _ if outcome.messages() == 0 => {
            writeln!(out, "  {:<12} none: nothing was completed in the measurement", "rate")?;
        }
        _ => writeln!(out, "  {:<12} {rate} {unit}/s", "rate")?,
    }
    write!(out, "  {unit:<12} {} in {:.3} s", outcome.messages(), outcome.elapsed as f64 / 1e9)?;
    if !plan.is_passing() {
        let dialling = time(outcome.dialling);
        let many = if stats.opened == 1 { "connection" } else { "connections" };
        write!(out, ", {} {many} opened in {dialling}", stats.opened)?;
    }
    writeln!(out)?;
    if let (Some(offered), Some(achieved)) = (outcome.offered, outcome.achieved()) {
        writeln!(out, "  {:<12} {offered}, of which {:.2} % reached", "offered", achieved * 100.0)?;
    }
    job.scenario.write_counts(out, outcome)?;
    write_connections(out, job, outcome)?;
    if let (Some(cost), Some(nanos)) = (&outcome.server, outcome.server_nanos()) {
        write!(out, "  {:<12} {nanos:.0} ns of CPU per {one}", "server")?;
        write!(out, ", {:.1} % of one CPU", cost.nanos as f64 * 100.0 / outcome.elapsed as f64)?;
        if let Some(share) = cost.system_share {
            write!(out, ", {:.0} % in the kernel", share * 100.0)?;
        }
        writeln!(out, " ({})", cost.source.name())?;
    }
    if let Some(nanos) = outcome.generator_nanos() {
        let load: Vec<String> =
            outcome.generator_load().iter().map(|share| format!("{:.0}", share * 100.0)).collect();
        let load = load.join(", ");
        writeln!(out, "  {:<12} {nanos:.0} ns of CPU per {one}, threads at {load} %", "generator")?;
    }
    write_floor(out, outcome.floor.as_ref())?;
    write_latencies(out, job, stats)
}

/// The figures of a run in which nothing was sent.
#[expect(clippy::cast_precision_loss, reason = "figures to look at")]
fn write_held(out: &mut String, job: &Job, outcome: &Outcome) -> std::fmt::Result {
    let _plan = &job.plan;
    let seconds = outcome.elapsed as f64 / 1e9;
    let dialling = time(outcome.dialling);
    let held = outcome.held;
    writeln!(out, "  {:<12} {held} connections for {seconds:.3} s, opened in {dialling}", "held")?;
    write_connections(out, job, outcome)?;
    if let Some(cost) = &outcome.server {
        let load = cost.nanos as f64 * 100.0 / outcome.elapsed as f64;
        writeln!(out, "  {:<12} {load:.1} % of one CPU ({})", "server", cost.source.name())?;
    }
    write_latencies(out, job, &outcome.stats)
}

/// What became of the connections themselves.
fn write_connections(out: &mut String, job: &Job, outcome: &Outcome) -> std::fmt::Result {
    let plan = &job.plan;
    let stats = &outcome.stats;
    if let Some(memory) = outcome.memory {
        let [before, opened, closed] =
            [memory.before, memory.opened, memory.closed].map(|moment| mebibytes(moment.bytes()));
        write!(
            out,
            "  {:<12} {before} MiB before, {opened} when the measurement began, ",
            "memory"
        )?;
        write!(out, "{closed} at its end")?;
        let each = memory.per_connection(stats.opened).filter(|_| !plan.is_passing());
        if let Some(each) = each {
            write!(out, ": {} B per connection", count(each.max(0.0)))?;
        }
        writeln!(out, " ({})", if memory.before.pss.is_some() { "PSS" } else { "RSS" })?;
    }
    if stats.pings_answered > 0 {
        writeln!(
            out,
            "  {:<12} {} pings of the server answered",
            "keep-alive", stats.pings_answered
        )?;
    }
    job.scenario.write_connections(out)
}

/// What the generator measures of nothing.
fn write_floor(out: &mut String, floor: Option<&Floor>) -> std::fmt::Result {
    let Some(floor) = floor else {
        return writeln!(out, "  {:<12} not known; `loadgen calibrate` measures it", "floor");
    };
    let [p50, p99] = [floor.round_trip_p50_ns, floor.round_trip_p99_ns].map(time);
    writeln!(
        out,
        "  {:<12} round trip {p50} at p50, {p99} at p99, sent {} late at p99 (calibrated {})",
        "floor",
        time(floor.scheduling_delay_p99_ns),
        floor.measured_utc.split('T').next().unwrap_or_default()
    )
}

fn write_latencies(out: &mut String, job: &Job, stats: &Stats) -> std::fmt::Result {
    writeln!(out)?;
    write!(out, "  {:<12}", "")?;
    for (_, name) in PERCENTILES {
        write!(out, "{name:>10}")?;
    }
    writeln!(out, "{:>10}{:>10}", "max", "mean")?;
    write_times(out, job.scenario.latency_name(), &stats.latency)?;
    for (number, stage) in stats.stages.iter().enumerate() {
        write_times(out, &format!("  stage {}", number + 1), &stage.latency)?;
    }
    write_times(out, "  first", &stats.first)?;
    write_times(out, "  median", &stats.median)?;
    write_times(out, "  last", &stats.completion)?;
    write_times(out, "service", &stats.service)?;
    write_times(out, "sent late", &stats.scheduling_delay)?;
    write_times(out, "warm-up", &stats.warmup)?;
    for (name, times) in job.scenario.times() {
        write_times(out, name, &times)?;
    }
    if job.scenario.tells_handshakes() {
        write_times(out, "handshake", &stats.handshake)?;
    }
    write_times(out, "  tcp", &stats.tcp)?;
    write_times(out, "  tls", &stats.tls)?;
    write_times(out, "  upgrade", &stats.upgrade)?;
    write_times(out, "close", &stats.closing)
}

fn write_times(out: &mut String, name: &str, times: &Times) -> std::fmt::Result {
    if times.is_empty() {
        return Ok(());
    }
    write!(out, "  {name:<12}")?;
    for (percent, _) in PERCENTILES {
        write!(out, "{:>10}", time(times.percentile(percent)))?;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a mean lies between 0 and a minute"
    )]
    let mean = times.mean() as Nanos;
    writeln!(out, "{:>10}{:>10}", time(times.max()), time(mean))
}

fn write_errors(out: &mut String, outcome: &Outcome) -> std::fmt::Result {
    let stats = &outcome.stats;
    if stats.errors.total() > 0 {
        writeln!(out, "\nErrors:")?;
        for (class, failed) in stats.errors.iter() {
            let class = class.name().replace('_', " ");
            writeln!(out, "  {} {class}, the first: {}", failed.count, failed.first())?;
            for example in failed.examples.iter().skip(1) {
                writeln!(out, "    another: {example}")?;
            }
            if failed.reasons.len() > 1 {
                for (why, count) in &failed.reasons {
                    writeln!(out, "    {count} times: {why}")?;
                }
            }
        }
    }
    if stats.unclean > 0 {
        writeln!(out, "\nNote: {} connections ended without a closing handshake.", stats.unclean)?;
    }
    Ok(())
}
