//! The result document: one JSON object, versioned, base units with the unit in the key.

use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use ringbolt::wire::Dialect;
use serde::Serialize;
use serde_json::{Value, json};

use crate::environment;
use crate::outcome::{self, Outcome};
use crate::plan::{Length, Pace, Plan, Scenario, Traffic};
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
        "environment": environment::value(plan.file_limit),
        "outcome": outcome_value(plan, outcome),
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
        Scenario::Broadcast(_) => "broadcast",
        Scenario::Storm { .. } => "storm",
    };
    json!({
        "scenario": scenario,
        "url": plan.url,
        "address": plan.address.to_string(),
        "dialect": plan.request.dialect().name(),
        "protocol": match plan.request.dialect() {
            Dialect::Hybi02 => "draft-ietf-hybi-thewebsocketprotocol-02",
            _ => "RFC 6455",
        },
        "origin": plan.request.origin(),
        "compression_offered": plan.request.compresses(),
        "subprotocols": plan.request.protocols().collect::<Vec<_>>(),
        "connections": plan.connections,
        "rate_per_s": plan.rate(),
        "traffic": plan.scenario.traffic().map(traffic),
        "fan": match &plan.scenario {
            Scenario::Broadcast(fan) => json!({
                "publishers": fan.publishers,
                "subscribers": fan.subscribers,
                "burst": fan.burst,
            }),
            Scenario::Echo(_) | Scenario::Storm { .. } => Value::Null,
        },
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

fn traffic(traffic: &Traffic) -> Value {
    let (name, depth) = match traffic.pace {
        Pace::Open { depth, .. } => ("open", depth),
        Pace::Closed { depth } => ("closed", Some(depth)),
    };
    json!({
        "loop": name,
        "depth": depth,
        "payload_bytes": traffic.payload,
        "kind": if traffic.text { "text" } else { "binary" },
        "seed": traffic.seed,
    })
}

fn outcome_value(plan: &Plan, outcome: &Outcome) -> Value {
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
        "unit": outcome::unit(&plan.scenario).0,
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
        "reach": outcome.reach.map(|reach| json!({
            "expected": reach.expected,
            "received": reach.received,
            "share": reach.share(),
        })),
        "errors_total": record.errors.total(),
        "errors": errors,
        "latency_of": outcome::latency_name(&plan.scenario),
        "latency": times(&record.latency),
        "completion": times(&record.completion),
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
        "generator_driver": outcome.record.driver.as_ref().map(|taken| taken.driver.name()),
        "generator_driver_because": outcome.record.driver.as_ref().and_then(|t| t.because.clone()),
        "generator_ring_features": outcome.record.driver.as_ref().map(|t| t.features.to_string()),
        "generator_ring_without": outcome.record.driver.as_ref().map(|taken| {
            let rows = taken.without.iter();
            rows.map(|row| (row.feature.name(), row.because.clone())).collect::<Vec<_>>()
        }),
        "generator_system_calls": outcome.record.ring.enters,
    })
}

fn trust(plan: &Plan, outcome: &Outcome) -> Value {
    json!({
        "lag": times(&outcome.record.lag),
        "generator_load": outcome.generator_load(),
        "generator_waited_ns": outcome.record.waited,
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
    value["histogram_v2_base64"] = json!(encode(times));
    Some(value)
}

fn whole_nanos(time: std::time::Duration) -> impl Serialize {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The histogram as other HdrHistogram tools read it, values in nanoseconds.
fn encode(times: &Times) -> String {
    let mut bytes = Vec::new();
    let written = V2Serializer::new().serialize(times.histogram(), &mut bytes);
    written.map_or_else(|_| String::new(), |_| base64(&bytes))
}

/// Base64 of RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut padded = [0; 4];
        padded[1..=group.len()].copy_from_slice(group);
        let number = u32::from_be_bytes(padded);
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;

    use super::{base64, encode};
    use crate::record::Times;

    /// The inverse, naively.
    fn unbase64(text: &str) -> Vec<u8> {
        let value = |c: u8| match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
        let bits = digits.iter().flat_map(|d| (0..6).rev().map(move |bit| d >> bit & 1));
        let bits: Vec<u8> = bits.collect();
        bits.chunks_exact(8).map(|byte| byte.iter().fold(0, |sum, bit| sum << 1 | bit)).collect()
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        // RFC 4648, section 10.
        let vectors = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        assert_eq!(vectors.map(|text| base64(text.as_bytes())), encoded);
        assert_eq!(base64(&[0xFB, 0xFF]), "+/8=");
    }

    #[test]
    fn histograms_are_read_back_by_their_crate() {
        let mut times = Times::new();
        for time in [1_000, 2_000, 2_000, 5_000_000] {
            times.record(time);
        }
        let bytes = unbase64(&encode(&times));
        let read: Histogram<u64> =
            Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
        assert_eq!(&read, times.histogram());
    }
}
