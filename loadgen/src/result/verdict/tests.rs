//! What is said of runs that are made up.

use std::sync::Arc;

use clap::Parser as _;

use super::Outcome;
use crate::base::thread_cpu::Switches;
use crate::cli::arguments::{Cli, Command};
use crate::plan::Plan;
use crate::run::cost::{Cost, CpuSource};
use crate::run::job::Job;
use crate::run::outcome::{DeliveryRatio, When};
use crate::run::stats::{ErrorClass, Sent, Stats};

const MS: u64 = 1_000_000;

fn job(options: &[&str]) -> Job {
    let words = [&["loadgen", "echo", "ws://127.0.0.1:9/", "-t", "1"], options].concat();
    let Command::Measure(scenario) = Cli::parse_from(&words).command else {
        panic!("no scenario: {words:?}");
    };
    scenario.job().expect("a job")
}

fn plan(options: &[&str]) -> Arc<Plan> {
    job(options).plan
}

/// A second with one reply per millisecond, each 100 µs after it was due and `lag` ns of it
/// before it was sent; the thread ran `cpu` and waited `waited` of it.
fn outcome(plan: &Plan, lag: u64, cpu: u64, waited: u64) -> Outcome {
    let mut stats = Stats::new(plan.timing());
    for due in (0..1000).map(|ms| ms * MS) {
        let sent = Sent { due, at: due + lag };
        stats.tried(due, due + lag, &(0..1000 * MS));
        stats.sent(sent, &(0..1000 * MS));
        stats.answered(sent, due + 100_000, 0, &(0..1000 * MS));
    }
    stats.cpu = vec![cpu];
    stats.waited = vec![waited];
    Outcome {
        stats,
        elapsed: 1000 * MS,
        offered: plan.rate().map(|_| 1000),
        delivery_ratio: None,
        dialling: 0,
        server: None,
        server_missed: None,
        memory: None,
        open_range: None,
        held: 0,
        late: 0,
        floor: None,
        intervals: Vec::new(),
        interrupted: false,
        when: When::default(),
    }
}

fn cost(nanos: u64) -> Cost {
    let (threads, switches) = (vec![nanos], Switches::default());
    Cost { nanos, threads, waited: Some(0), switches, system_share: None, source: CpuSource::Ticks }
}

#[test]
fn connections_without_a_port_are_explained() {
    let closed = plan(&[]);
    let mut short = outcome(&closed, 0, 0, 0);
    for (class, errno) in
        [(ErrorClass::Connect, 99), (ErrorClass::Connect, 111), (ErrorClass::Closed, 99)]
    {
        let why = std::io::Error::from_raw_os_error(errno).to_string();
        short.stats.errors.because(class, &why, || why.clone());
    }
    let said = short.verdicts(&closed).join("\n");
    let ports = crate::plan::source::ports();
    assert!(said.contains("for 1 connections there was no port left"), "{said}");
    assert!(said.contains(&format!("has {ports} of them")) && said.contains("--source"), "{said}");
}

#[test]
fn a_run_that_nothing_speaks_against_has_no_notes() {
    let open = plan(&["-r", "1000"]);
    let good = outcome(&open, 5_000, 500 * MS, 10 * MS);
    assert_eq!(good.verdicts(&open), Vec::<String>::new());
    assert!(good.is_good() && !good.is_void());
    assert_eq!(good.achieved(), Some(1.0));
    assert!((good.rate() - 1000.0).abs() < 1e-9);
    assert_eq!(good.generator_nanos(), Some(500_000.0));
}

#[test]
fn the_limiter_is_named() {
    let (closed, open) = (plan(&[]), plan(&["-r", "2000"]));
    let said = |outcome: &Outcome, plan: &Plan| outcome.verdicts(plan).join("\n");
    let busy = outcome(&closed, 0, 970 * MS, 0);
    assert!(said(&busy, &closed).contains("for 97 % of the window"));
    let robbed = outcome(&closed, 0, 500 * MS, 460 * MS);
    assert!(
        said(&robbed, &closed).contains("for 96 % of the window") && !robbed.has_headline(&closed)
    );
    assert!(!busy.has_headline(&closed));
    let text = crate::present::summary::summary(&job(&[]), &busy, None);
    assert!(text.contains("the server takes at least 1,000 messages/s"), "{text}");
    let mut both = outcome(&closed, 0, 970 * MS, 0);
    both.server = Some(cost(990 * MS));
    assert!(both.has_headline(&closed), "the server was at its end, too");
    both.server = Some(Cost { threads: vec![330 * MS; 3], ..cost(990 * MS) });
    assert!(!both.has_headline(&closed), "none of its threads was");
    let mut behind = outcome(&open, 5_000, 500 * MS, 0);
    behind.offered = Some(2000);
    assert!(said(&behind, &open).contains("the server limited the run: only 50.0 %"));
    assert!(behind.has_headline(&open));
    behind.stats.cpu = vec![980 * MS];
    assert!(said(&behind, &open).contains("the generator limited the run"));
    assert!(!behind.has_headline(&open));
    let slightly = outcome(&open, 30_000, 500 * MS, 0);
    assert!(slightly.has_headline(&open) && said(&slightly, &open).contains("a tenth"));
    let late = outcome(&open, 60_000, 500 * MS, 0);
    assert!(said(&late, &open).contains("late, by 60.0 µs at p99"), "{}", said(&late, &open));
    assert!(!late.has_headline(&open), "more than half of the latency is the generator's");
    let mut queued = outcome(&open, 5_000, 500 * MS, 0);
    queued.stats.queued = 7;
    assert!(queued.has_headline(&open) && said(&queued, &open).contains("7 messages were due"));
    let mut held_up = outcome(&open, 5_000, 500 * MS, 0);
    held_up.server = Some(Cost { waited: Some(400 * MS), ..cost(300 * MS) });
    assert!(said(&held_up, &open).contains("had no CPU for 40 % of the window"));
    let mut missed = outcome(&open, 5_000, 500 * MS, 0);
    missed.server_missed = Some(1_500 * MS);
    assert!(said(&missed, &open).contains("left out: it was read 1.50 s beside the window"));
    let starved = outcome(&open, 5_000, 500 * MS, 100 * MS);
    assert!(said(&starved, &open).contains("waited for a CPU for 10 %"));
}

#[test]
fn one_error_spoils_a_run_and_one_in_a_hundred_voids_it() {
    let plan = plan(&[]);
    let mut outcome = outcome(&plan, 0, 0, 0);
    outcome.stats.errors.add(ErrorClass::Unanswered, 10, || "no reply".to_owned());
    assert!(!outcome.is_good() && !outcome.is_void());
    assert!(crate::present::summary::summary(&job(&[]), &outcome, None).contains("messages/s"));
    outcome.stats.errors.add(ErrorClass::Unanswered, 10, || "no reply".to_owned());
    assert!(outcome.is_void());
    let text = crate::present::summary::summary(&job(&[]), &outcome, None);
    assert!(text.contains("No result") && !text.contains("messages/s"), "{text}");
    assert!(text.contains("20 unanswered, the first: no reply"), "{text}");
}

#[test]
fn reach_is_received_per_expected() {
    assert_eq!(DeliveryRatio { expected: 200, received: 150 }.share(), Some(0.75));
    assert_eq!(DeliveryRatio { expected: 0, received: 0 }.share(), None);
}
