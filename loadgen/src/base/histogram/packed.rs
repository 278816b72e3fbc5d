//! Histograms inside of documents: HdrHistogram's compressed V2 form in base64, values in
//! nanoseconds, as interval logs have it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde_json::{Value, json};

use crate::base::histogram::{PERCENTILES, Times};

/// The key that a packed histogram has.
pub(crate) const KEY: &str = "hdr_v2_deflate_base64";

pub(crate) fn pack(times: &Times) -> String {
    let mut bytes = Vec::new();
    let written = V2DeflateSerializer::new().serialize(times.histogram(), &mut bytes);
    written.map_or_else(|_| String::new(), |_| STANDARD.encode(&bytes))
}

/// The inverse; says what is wrong with the text.
pub(crate) fn unpack(text: &str) -> Result<Times, String> {
    /// A histogram of this tool packs into a tenth of it, whatever it holds.
    const LONGEST: usize = 4 << 20;
    if text.len() > LONGEST {
        return Err("its histogram is too long".to_owned());
    }
    let bytes = STANDARD.decode(text).map_err(|e| format!("its histogram is not base64: {e}"))?;
    let read: Histogram<u64> = Deserializer::new()
        .deserialize(&mut bytes.as_slice())
        .map_err(|e| format!("its histogram cannot be read: {e}"))?;
    Times::from_histogram(read)
        .ok_or_else(|| "its histogram is not of 1 ns to 60 s with 3 digits".to_owned())
}

/// A histogram's figures; `null` if it is empty.
pub(crate) fn figures(times: &Times) -> Value {
    if times.is_empty() {
        return Value::Null;
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
    value[KEY] = json!(pack(times));
    value
}

/// Reads what [`figures`] has written; `None` for `null`.
pub(crate) fn read(value: &Value) -> Result<Option<Times>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value[KEY].as_str().ok_or_else(|| format!("it lacks `{KEY}`"))?;
    let mut times = unpack(text)?;
    times.set_saturated(value["saturated"].as_u64().unwrap_or(0));
    Ok(Some(times))
}

#[cfg(test)]
mod tests {
    use super::{figures, pack, read, unpack};
    use crate::base::histogram::{LONGEST, Times};

    #[test]
    fn histograms_survive_their_packing() {
        let mut times = Times::new();
        for time in [1, 1_000, 2_000, 2_000, 5_000_000, LONGEST, LONGEST + 7] {
            times.record(time);
        }
        let back = read(&figures(&times)).expect("readable").expect("not empty");
        assert_eq!(back.histogram(), times.histogram());
        assert_eq!(back.saturated(), 1);
        assert_eq!(read(&figures(&Times::new())).map(|times| times.is_none()), Ok(true));
        // As every HdrHistogram's V2 in base64 does.
        assert!(pack(&times).starts_with("HISTFAAA"), "{}", pack(&times));
    }

    #[test]
    fn broken_histograms_are_refused() {
        for text in ["", "%", "HISTFAAA", "AAAA", "HISTFAAAAAA="] {
            assert!(unpack(text).is_err(), "{text:?}");
        }
        assert!(read(&serde_json::json!({ "count": 1 })).is_err());
    }
}
