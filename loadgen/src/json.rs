//! The result document: one JSON object, versioned, base units with the unit in the key.

use serde::Serialize;
use serde_json::{Value, json};

use crate::outcome::Outcome;
use crate::plan::{Length, Pace, Plan, Scenario};
use crate::record::Times;
use crate::text::PERCENTILES;

/// The version of the document's form.
pub(crate) const SCHEMA: &str = "ringbolt.loadgen/1";

/// The document.
pub(crate) fn document(plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "schema": SCHEMA,
        "tool": { "name": "loadgen", "version": env!("CARGO_PKG_VERSION") },
        "started_unix_s": outcome.started,
        "commit": plan.output.commit,
        "plan": plan_value(plan),
        "outcome": outcome_value(outcome),
        "cost": cost(outcome),
        "trust": trust(plan, outcome),
        "intervals": outcome.intervals.iter().map(|second| json!({
            "second": second.second,
            "received": second.received,
            "p50_ns": second.p50,
            "p99_ns": second.p99,
            "max_ns": second.max,
        })).collect::<Vec<_>>(),
    })
}

fn plan_value(plan: &Plan) -> Value {
    let (duration, messages) = match plan.window.length {
        Length::Time(time) => (Some(whole_nanos(time)), None),
        Length::Messages(n) => (None, Some(n)),
    };
    let scenario = match &plan.scenario {
        Scenario::Echo(_) => "echo",
    };
    json!({
        "scenario": scenario,
        "url": plan.url,
        "address": plan.address.to_string(),
        "protocol": "draft-ietf-hybi-thewebsocketprotocol-02",
        "origin": plan.request.origin(),
        "subprotocols": plan.request.protocols().collect::<Vec<_>>(),
        "connections": plan.connections,
        "traffic": plan.traffic().map(|traffic| json!({
            "loop": match traffic.pace { Pace::Open { .. } => "open", Pace::Closed { .. } => "closed" },
            "rate_per_s": plan.rate(),
            "depth": match traffic.pace { Pace::Closed { depth } => Some(depth), Pace::Open { .. } => None },
            "payload_bytes": traffic.payload,
            "kind": if traffic.text { "text" } else { "binary" },
            "seed": traffic.seed,
        })),
        "warmup_ns": whole_nanos(plan.window.warmup),
        "duration_ns": duration,
        "messages": messages,
        "connect_rate_per_s": plan.connect_rate,
        "timeout_ns": whole_nanos(plan.timeout),
        "threads": plan.threads.len(),
        "cpus": plan.threads,
        "spin_ns": whole_nanos(plan.spin),
        "source_addresses": plan.sources.count(),
        "first_source": plan.sources.first().map(|ip| ip.to_string()),
        "server_pid": plan.pid,
    })
}

fn outcome_value(outcome: &Outcome) -> Value {
    let record = &outcome.record;
    let errors: serde_json::Map<String, Value> = record
        .errors
        .iter()
        .map(|(class, count, example)| {
            (class.name().to_owned(), json!({ "count": count, "first": example }))
        })
        .collect();
    json!({
        "good": outcome.is_good(),
        "interrupted": outcome.interrupted,
        "elapsed_ns": outcome.elapsed,
        "connected_in_ns": outcome.dialling,
        "connections_opened": record.opened,
        "connections_ended_unclean": record.unclean,
        "sent": record.sent,
        "received": record.received,
        "answered": record.latency.len(),
        "offered": outcome.offered,
        "achieved": outcome.achieved(),
        "rate_per_s": outcome.rate(),
        "errors_total": record.errors.total(),
        "errors": errors,
        "latency": times(&record.latency),
        "service": times(&record.service),
        "warmup_latency": times(&record.warmup),
        "handshake": times(&record.handshake),
    })
}

fn cost(outcome: &Outcome) -> Value {
    json!({
        "server_cpu_ns_per_message": outcome.server_nanos(),
        "server_cpu_ns": outcome.server.map(|cost| cost.nanos),
        "server_system_share": outcome.server.and_then(|cost| cost.system_share),
        "server_cpu_source": outcome.server.map(|cost| cost.source.name()),
        "generator_cpu_ns_per_message": outcome.generator_nanos(),
        "generator_cpu_ns": outcome.record.cpu,
        "generator_system_calls": outcome.record.ring.enters,
    })
}

fn trust(plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "lag": times(&outcome.record.lag),
        "generator_load": outcome.generator_load(),
        "notes": outcome.verdicts(plan),
    })
}

/// A histogram's figures; `null` if it is empty.
fn times(times: &Times) -> Option<Value> {
    if times.is_empty() {
        return None;
    }
    let mut value = json!({
        "count": times.len(),
        "saturated": times.saturated(),
        "min_ns": times.min(),
        "mean_ns": times.mean(),
        "max_ns": times.max(),
    });
    for (percent, name) in PERCENTILES {
        value[format!("{}_ns", name.replace('.', "_"))] = json!(times.percentile(percent));
    }
    Some(value)
}

fn whole_nanos(time: std::time::Duration) -> impl Serialize {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
