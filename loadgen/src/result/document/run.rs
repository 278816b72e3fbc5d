//! Reading documents: those of this version, and no others.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::base::failure::Failure;
use crate::base::histogram::{Times, packed};

/// The version of the document's form.
pub(crate) const SCHEMA: &str = "ringbolt.loadgen/3";

/// A run, as its document tells it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// What people know it by: the file's name.
    pub(crate) name: String,
    pub(crate) document: Value,
}

/// Documents longer than this are not read.
const LONGEST: u64 = 1 << 30;

/// The runs in these files; the first that cannot be read is told.
pub(crate) fn read_all(paths: &[PathBuf]) -> Result<Vec<Run>, Failure> {
    paths.iter().map(|path| Run::read(path)).collect()
}

impl Run {
    /// The run in a file, or in a folder that `--out` has filled.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
        let refuse = |why: String| {
            Failure::usage(
                format!("cannot read the result {}", file.display()),
                why,
                "give files that `loadgen ... -o FILE` has written",
            )
        };
        let size = fs::metadata(&file).map_err(|e| refuse(e.to_string()))?.len();
        if size > LONGEST {
            return Err(refuse("it is larger than 1 GiB".to_owned()));
        }
        let text = fs::read_to_string(&file).map_err(|e| refuse(e.to_string()))?;
        let document = serde_json::from_str(&text).map_err(|e| refuse(format!("no JSON: {e}")))?;
        Self::new(path.display().to_string(), document).map_err(refuse)
    }

    pub(crate) fn new(name: String, mut document: Value) -> Result<Self, String> {
        match document["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(BEFORE) => modernise(&mut document),
            Some(other) if other.starts_with("ringbolt.loadgen/") => {
                return Err(format!(
                    "its form is {other}, of another version of loadgen; this one reads {SCHEMA} and {BEFORE}"
                ));
            }
            _ => return Err("it is not a result of loadgen".to_owned()),
        }
        let run = Self { name, document };
        for group in ["identity", "clock", "environment", "workload", "outcome", "cost", "trust"] {
            if !run.document[group].is_object() {
                return Err(format!("its group `{group}` is missing"));
            }
        }
        // Whatever is asked for later can be read.
        for (group, key) in HISTOGRAMS {
            run.read_times(group, key).map_err(|why| format!("{group}.{key}: {why}"))?;
        }
        Ok(run)
    }

    /// A number at `path`, such as `outcome.rate_per_s`.
    pub(crate) fn number(&self, path: &str) -> Option<f64> {
        self.value(path).as_f64()
    }

    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.value(path).as_str()
    }

    /// What is at `path`; `null` if it is not there.
    pub(crate) fn value(&self, path: &str) -> &Value {
        path.split('.').fold(&self.document, |value, key| &value[key])
    }

    /// The histogram under this key, if the run has it.
    pub(crate) fn times(&self, group: &str, key: &str) -> Option<Times> {
        self.read_times(group, key).ok().flatten()
    }

    fn read_times(&self, group: &str, key: &str) -> Result<Option<Times>, String> {
        packed::read(&self.document[group][key])
    }

    /// The rows of its time series.
    pub(crate) fn intervals(&self) -> &[Value] {
        self.document["intervals"].as_array().map_or(&[], Vec::as_slice)
    }
}

/// The form before this one, in which some keys had other names.
const BEFORE: &str = "ringbolt.loadgen/2";

/// Gives a document of the form before this one the names of this one.
fn modernise(document: &mut Value) {
    document["schema"] = SCHEMA.into();
    for (place, old, new) in [
        ("/outcome/reach", "share", "ratio"),
        ("/outcome", "reach", "delivery_ratio"),
        ("/trust/floor", "lag_p50_ns", "scheduling_delay_p50_ns"),
        ("/trust/floor", "lag_p99_ns", "scheduling_delay_p99_ns"),
        ("/trust", "lag", "scheduling_delay"),
    ] {
        if let Some(group) = document.pointer_mut(place).and_then(Value::as_object_mut)
            && let Some(value) = group.remove(old)
        {
            group.insert(new.to_owned(), value);
        }
    }
}

/// Where documents have histograms.
const HISTOGRAMS: [(&str, &str); 12] = [
    ("outcome", "latency"),
    ("outcome", "first_delivery"),
    ("outcome", "median_delivery"),
    ("outcome", "handshake_tcp"),
    ("outcome", "handshake_tls"),
    ("outcome", "handshake_upgrade"),
    ("outcome", "closing"),
    ("outcome", "completion"),
    ("outcome", "service"),
    ("outcome", "warmup_latency"),
    ("outcome", "handshake"),
    ("trust", "scheduling_delay"),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{BEFORE, Run, SCHEMA};

    #[test]
    fn other_documents_are_refused_in_words() {
        let refused = |document| Run::new("x".to_owned(), document).expect_err("refused");
        assert!(refused(json!({ "schema": "ringbolt.loadgen/1" })).contains("another version"));
        for schema in [SCHEMA, BEFORE] {
            assert!(refused(json!({ "schema": schema })).contains("`identity`"));
        }
        assert!(refused(json!({ "answer": 42 })).contains("not a result of loadgen"));
        assert!(refused(json!([])).contains("not a result of loadgen"));
        let mut document = json!({ "schema": SCHEMA });
        for group in ["identity", "clock", "environment", "workload", "outcome", "cost", "trust"] {
            document[group] = json!({});
        }
        let run = Run::new("x".to_owned(), document.clone()).expect("a run");
        assert_eq!(run.number("outcome.rate_per_s"), None);
        document["outcome"]["latency"] = json!({ "hdr_v2_deflate_base64": "HISTFAAA" });
        assert!(refused(document).contains("outcome.latency: its histogram"));
    }

    #[test]
    fn documents_of_the_form_before_are_read() {
        let mut document = json!({ "schema": BEFORE });
        for group in ["identity", "clock", "environment", "workload", "cost"] {
            document[group] = json!({});
        }
        document["outcome"] = json!({ "reach": { "expected": 4, "received": 3, "share": 0.75 } });
        document["trust"] = json!({ "lag": null, "floor": { "lag_p50_ns": 1, "lag_p99_ns": 2 } });
        let run = Run::new("x".to_owned(), document).expect("a run");
        assert_eq!(run.text("schema"), Some(SCHEMA));
        assert_eq!(run.number("outcome.delivery_ratio.ratio"), Some(0.75));
        assert_eq!(run.number("trust.floor.scheduling_delay_p99_ns"), Some(2.0));
        assert!(
            run.document["trust"].as_object().expect("a group").contains_key("scheduling_delay")
        );
        assert!(run.value("outcome.reach").is_null() && run.value("trust.lag").is_null());
    }
}
