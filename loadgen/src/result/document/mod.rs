//! The result document: one JSON object, versioned, base units with the unit in the key. Its form is
//! `schema/result-3.json`.

use crate::run::job::Job;
use crate::run::scenario;

mod run;
#[cfg(test)]
pub(crate) mod sample;

use ringbolt::wire::Dialect;
use serde_json::{Map, Value, json};

use crate::base::clock::{SECOND, nanos};
use crate::base::files::Files;
use crate::base::histogram::packed::{self as histogram, figures};
use crate::base::thread_cpu::Switches;
use crate::plan::Plan;
use crate::plan::tls::Tls;
use crate::plan::workload::{Length, Pace, Traffic};
use crate::result::environment::{self, Busy};
use crate::result::search::{Search, Step};
use crate::result::verdict::Limiter;
use crate::result::{goals, identity};
use crate::run::outcome::Outcome;
use crate::run::seconds::Second;
use crate::spec::goal;

pub(crate) use run::{Run, SCHEMA, read_all};

/// The document.
pub(crate) fn document(
    job: &Job,
    outcome: &Outcome,
    search: Option<&Search>,
    before: &Busy,
    after: &Busy,
) -> Value {
    let plan = &job.plan;
    json!({
        "schema": SCHEMA,
        "identity": identity::value(plan, outcome.when.began, outcome.when.ended),
        "clock": clock(outcome),
        "environment": environment::value(plan, outcome.stats.driver.as_ref(), before, after),
        "workload": workload(job),
        "outcome": outcome_value(job, outcome, search),
        "intervals": intervals(&outcome.intervals, outcome.when.opened, outcome.elapsed),
        "cost": cost(outcome),
        "trust": trust(plan, outcome),
        "goals": plan.output.goals.iter().map(|goal| {
            let value = goals::measure(goal, plan, outcome);
            json!({
                "goal": goal.to_string(),
                "value": value,
                "unit": goal.unit(),
                "failed": goal::failed(goal, value),
            })
        }).collect::<Vec<_>>(),
    })
}

/// When the window was, by the system's clock, and how far that may be off.
fn clock(outcome: &Outcome) -> Value {
    json!({
        "window_opened_unix_ns": outcome.when.opened,
        "window_closed_unix_ns": outcome.when.opened.saturating_add(outcome.elapsed),
        "error_ns": ringbolt::wall_clock_error_nanos(),
    })
}

fn workload(job: &Job) -> Value {
    let plan = &job.plan;
    let (duration, messages) = match plan.window.length {
        Length::Time(time) => (Some(nanos(time)), None),
        Length::Messages(n) => (None, Some(n)),
    };
    let mut value = json!({
        "scenario": job.scenario.name(),
        "url": plan.url,
        "address": plan.address.to_string(),
        "proxy": plan.route.proxy().map(ToString::to_string),
        "dialect": plan.request.dialect().name(),
        "protocol": match plan.request.dialect() {
            Dialect::Hybi02 => "draft-ietf-hybi-thewebsocketprotocol-02",
            _ => "RFC 6455",
        },
        "tls": plan.tls.as_ref().map(Tls::value),
        "origin": plan.request.origin(),
        "compression_offered": plan.request.compresses(),
        "compression_takeover": plan.request.deflate_terms().map(|terms| json!({
            "sent": terms.takeover,
            "received": terms.peer_takeover,
        })),
        "subprotocols": plan.request.protocols().collect::<Vec<_>>(),
        "field_names": plan.fields,
        "connections": plan.connections,
        "rate_per_s": plan.rate(),
        "arrival": plan.arrivals().map(|arrivals| arrivals.process.name()),
        "seed": plan.seed,
        "stages": plan.window.stages.iter().map(|stage| json!({
            "duration_ns": nanos(stage.length),
            "rate_from_per_s": stage.from,
            "rate_to_per_s": stage.to,
        })).collect::<Vec<_>>(),
        "traffic": plan.workload.traffic.as_ref().map(traffic),
        "start_at_unix_ns": plan.window.start_at,
        "warmup_ns": nanos(plan.window.warmup),
        "duration_ns": duration,
        "messages": messages,
        "connect_rate_per_s": plan.connect_rate,
        "timeout_ns": nanos(plan.timeout),
        "connect_timeout_ns": nanos(plan.connect_timeout),
        "threads": plan.threads.len(),
        "spin_ns": nanos(plan.spin),
        "driver": plan.driver.name(),
        "source_addresses": plan.sources.count(),
        "first_source": plan.sources.first().map(|ip| ip.to_string()),
        "server_pid": plan.pid,
    });
    add(&mut value, scenario::KEYS.iter().flat_map(|keys| keys.workload), job.scenario.workload());
    value
}

/// Adds what the scenario has to say; what others would is `null`.
fn add<'k>(
    value: &mut Value,
    keys: impl Iterator<Item = &'k &'static str>,
    said: Vec<(&'static str, Value)>,
) {
    for key in keys {
        value[*key] = Value::Null;
    }
    for (key, own) in said {
        value[key] = own;
    }
}

fn traffic(traffic: &Traffic) -> Value {
    let (name, depth) = match &traffic.pace {
        Pace::Open { depth, .. } => ("open", *depth),
        Pace::Closed { depth } => ("closed", Some(*depth)),
    };
    json!({
        "loop": name,
        "depth": depth,
        "payload_bytes": traffic.payload.largest(),
        "payload": traffic.payload.to_string(),
        "fragments": traffic.fragments,
        "kind": if traffic.text { "text" } else { "binary" },
        "seed": traffic.seed,
    })
}

fn outcome_value(job: &Job, outcome: &Outcome, found: Option<&Search>) -> Value {
    let plan = &job.plan;
    let stats = &outcome.stats;
    let errors: Map<String, Value> = stats
        .errors
        .iter()
        .map(|(class, failed)| {
            let value = json!({
                "count": failed.count,
                "examples": failed.examples,
                "reasons": failed.reasons,
            });
            (class.name().to_owned(), value)
        })
        .collect();
    let mut value = json!({
        "good": outcome.is_good(),
        "headline": outcome.has_headline(plan),
        "void": outcome.is_void(),
        "unit": job.scenario.unit().0,
        "interrupted": outcome.interrupted,
        "elapsed_ns": outcome.elapsed,
        "connected_in_ns": outcome.dialling,
        "connections_opened": stats.opened,
        "connections_ended_unclean": stats.unclean,
        "sent": stats.sent,
        "waited_for_room": stats.queued,
        "received": stats.received,
        "received_payload_bytes": payload_bytes(plan, outcome),
        "answered": stats.latency.len(),
        "offered": outcome.offered,
        "achieved": outcome.achieved(),
        "rate_per_s": outcome.rate(),
        "delivery_ratio": outcome.delivery_ratio.map(|ratio| json!({
            "expected": ratio.expected,
            "received": ratio.received,
            "ratio": ratio.share(),
        })),
        "errors_total": stats.errors.total(),
        "errors": errors,
        "latency_of": job.scenario.latency_name(),
        "latency": figures(&stats.latency),
        "first_delivery": figures(&stats.first),
        "median_delivery": figures(&stats.median),
        "completion": figures(&stats.completion),
        "publications_incomplete": stats.incomplete,
        "service": figures(&stats.service),
        "warmup_latency": figures(&stats.warmup),
        "handshake": figures(&stats.handshake),
        "handshake_tcp": figures(&stats.tcp),
        "handshake_upgrade": figures(&stats.upgrade),
        "closing": figures(&stats.closing),
        "close_codes": stats.close_codes,
        "search": found.map(search),
        "server_pings_answered": stats.pings_answered,
        "connections_at_once": outcome.open_range.map(|open| json!({
            "least": open.least,
            "most": open.most,
        })),
        "stages": stats.stages.iter().map(|stage| json!({
            "sent": stage.sent,
            "latency": figures(&stage.latency),
        })).collect::<Vec<_>>(),
    });
    add(&mut value, scenario::KEYS.iter().flat_map(|keys| keys.outcome), job.scenario.outcome());
    value["handshake_tls"] = json!(figures(&stats.tls));
    value["tls"] = json!(plan.tls.as_ref().map(|_| json!({
        "sessions": stats.sessions,
        "resumed": stats.resumed,
    })));
    value
}

/// The runs of a search.
fn search(search: &Search) -> Value {
    let step = |step: &Step| json!({ "rate_per_s": step.rate, "value": step.value, "missed": step.missed });
    json!({
        "goal": search.goal.to_string(),
        "unit": search.goal.unit(),
        "kept_rate_per_s": search.kept(),
        "steps": search.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

/// Bytes of payload in the right replies.
fn payload_bytes(plan: &Plan, outcome: &Outcome) -> Option<u64> {
    plan.workload.traffic.as_ref().map(|_| outcome.stats.received_bytes)
}

/// The rows of the time series; `opened` is when the window did, `elapsed` how long it was.
pub(crate) fn intervals(seconds: &[Second], opened: u64, elapsed: u64) -> Vec<Value> {
    let row = |second: &Second| {
        let offset = second.second.saturating_mul(SECOND);
        json!({
            "second": second.second,
            "start_unix_ns": opened.saturating_add(offset),
            "length_ns": elapsed.saturating_sub(offset).min(SECOND),
            "received": second.received,
            "errors": second.errors,
            "connections": second.connections,
            "p50_ns": second.p50,
            "p90_ns": second.p90,
            "p99_ns": second.p99,
            "p99_9_ns": second.p999,
            "max_ns": second.max,
            histogram::KEY: (!second.packed.is_empty()).then_some(&second.packed),
        })
    };
    seconds.iter().map(row).collect()
}

fn cost(outcome: &Outcome) -> Value {
    let (server, ring) = (outcome.server.as_ref(), &outcome.stats.ring);
    json!({
        "server_cpu_ns_per_message": outcome.server_nanos(),
        "server_cpu_ns": server.map(|cost| cost.nanos),
        "server_cpu_ns_of_threads": server.map(|cost| &cost.threads),
        "server_waited_ns": server.and_then(|cost| cost.waited),
        "server_system_share": server.and_then(|cost| cost.system_share),
        "server_context_switches": server.map(|cost| switches(cost.switches)),
        "server_cpu_source": server.map(|cost| cost.source.name()),
        "generator_cpu_ns_per_message": outcome.generator_nanos(),
        "generator_cpu_ns": outcome.stats.cpu,
        "generator_system_calls": ring.enters,
        "generator_completions": ring.completions,
        "generator_buffers_exhausted": ring.buffers_exhausted,
        "generator_queue_overflows": ring.overflows,
        "generator_system_shares": outcome.stats.system_shares,
        "generator_context_switches": switches(outcome.stats.switches),
        "generator_peak_memory_bytes": peak_memory(),
        "server_memory": outcome.memory.map(|memory| json!({
            "of": if memory.before.pss.is_some() { "pss" } else { "rss" },
            "before_bytes": memory.before.bytes(),
            "opened_bytes": memory.opened.bytes(),
            "closed_bytes": memory.closed.bytes(),
            "per_connection_bytes": memory.per_connection(outcome.stats.opened),
        })),
    })
}

fn switches(switches: Switches) -> Value {
    json!({ "voluntary": switches.voluntary, "involuntary": switches.involuntary })
}

/// The most memory that this process had at once.
fn peak_memory() -> Option<u64> {
    let text = Files::of_this_machine().field("proc/self/status", "VmHWM")?;
    text.strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

fn trust(plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "scheduling_delay": figures(&outcome.stats.scheduling_delay),
        "generator_load": outcome.generator_load(),
        "generator_waited_ns": outcome.stats.waited,
        "floor": outcome.floor,
        "limited_by": outcome.limiter(plan).map(Limiter::name),
        "notes": outcome.verdicts(plan),
    })
}
