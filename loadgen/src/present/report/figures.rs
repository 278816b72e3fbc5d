//! The plots of a report: the percentile spectrum, and the seconds of the window.

use serde_json::Value;

use super::axis::{Scale, Ticks};
use super::plot::{Axis, Line, Plot};
use crate::base::format;
use crate::base::histogram::Times;
use crate::result::document::Run;

/// A run's name and what of it is drawn.
pub(crate) struct Named<'a> {
    pub(crate) name: &'a str,
    pub(crate) run: &'a Run,
}

/// Points of a spectrum.
const SPECTRUM_POINTS: u32 = 240;
/// Points of a time series; more seconds are thinned out to them.
const SERIES_POINTS: usize = 900;

/// Latency by percentile, the distance between 90, 99 and 99.9 % being equal; `None` if nothing was
/// measured.
pub(crate) fn spectrum(runs: &[(String, Times)]) -> Option<String> {
    let measured = runs.iter().filter(|(_, times)| !times.is_empty());
    // The last step is where a single time is left.
    #[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
    let nines = measured.clone().map(|(_, times)| (times.len() as f64).log10()).fold(1.0, f64::max);
    let lines: Vec<Line> = runs
        .iter()
        .enumerate()
        .filter(|(_, (_, times))| !times.is_empty())
        .map(|(look, (name, times))| spectrum_line(name, look, times, nines))
        .collect();
    let first = lines.first()?;
    debug_assert!(!first.points.is_empty(), "a histogram with times has a line");
    let x = Scale::Linear { low: 0.0, high: nines };
    let y = fitting(&lines);
    let plot = Plot {
        title: "Latency by percentile",
        x: Axis { title: "percentile", scale: x, ticks: &|about| nine_ticks(x, nines, about) },
        y: Axis { title: "latency", scale: y, ticks: &|about| y.ticks(about, show_time) },
        lines: &lines,
    };
    Some(plot.html())
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
fn spectrum_line(name: &str, look: usize, times: &Times, nines: f64) -> Line {
    let own = (times.len() as f64).log10().max(0.0);
    let point = |step: u32| {
        let x = nines * f64::from(step) / f64::from(SPECTRUM_POINTS);
        let percent = 100.0 * (1.0 - 10f64.powf(-x));
        (x <= own + 1e-9).then(|| (x, times.percentile(percent) as f64))
    };
    let last = Some((own, times.max() as f64));
    let points = (0..=SPECTRUM_POINTS).map(point).filter(Option::is_some).chain([last]).collect();
    Line { name: name.to_owned(), look, points }
}

/// 0, 50, 90 %, and so on.
fn nine_ticks(scale: Scale, nines: f64, about: usize) -> Ticks {
    #[expect(clippy::cast_precision_loss, reason = "ticks are few")]
    let step = (nines / about.max(1) as f64).ceil().max(1.0);
    let mut ticks: Ticks = vec![(0.0, "0 %".to_owned())];
    if about > 6 {
        ticks.push((scale.place(2f64.log10()), "50 %".to_owned()));
    }
    let mut at = step;
    while at <= nines + 1e-9 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a handful of nines"
        )]
        let digits = (at as usize).saturating_sub(2);
        let percent = 100.0 - 10f64.powf(2.0 - at);
        ticks.push((scale.place(at), format!("{percent:.digits$} %")));
        at += step;
    }
    ticks
}

/// Replies per second; `None` without seconds.
pub(crate) fn throughput(runs: &[Named<'_>]) -> Option<String> {
    let rate = |row: &Value| {
        let length = row["length_ns"].as_f64()?;
        // The rest of a second shows more of chance than of the server.
        (length >= 2e8).then_some(row["received"].as_f64()? * 1e9 / length)
    };
    let lines = lines(runs, rate, f64::min);
    let y = Scale::from_zero(highest(&lines));
    series("Replies per second", "replies/s", y, &lines, &show_count)
}

/// Errors of each second; `None` if there were none.
pub(crate) fn errors(runs: &[Named<'_>]) -> Option<String> {
    let lines = lines(runs, |row| row["errors"].as_f64(), f64::max);
    let most = highest(&lines);
    let y = Scale::from_zero(most);
    (most > 0.0).then(|| series("Errors in each second", "errors", y, &lines, &show_count))?
}

/// Percentiles of each second: of one run several, of several runs one.
pub(crate) fn latencies(runs: &[Named<'_>], percentile: Option<(&str, &str)>) -> Option<String> {
    let time = |key: &'static str| {
        move |row: &Value| row[key].as_f64().filter(|_| row["received"].as_u64() > Some(0))
    };
    let (title, lines) = match (percentile, runs) {
        (Some((name, key)), runs) => {
            let of = |row: &Value| row[key].as_f64().filter(|_| row["received"].as_u64() > Some(0));
            (format!("{name} of each second"), lines(runs, of, f64::max))
        }
        (None, [one]) => {
            let keys = [("p50", "p50_ns"), ("p90", "p90_ns"), ("p99", "p99_ns"), ("max", "max_ns")];
            let line = |(look, (name, key)): (usize, (&str, &'static str))| Line {
                name: name.to_owned(),
                look,
                points: points(one.run, time(key), f64::max),
            };
            let lines = keys.into_iter().enumerate().map(line).collect();
            ("Latency of each second".to_owned(), lines)
        }
        (None, _) => return None,
    };
    let y = fitting(&lines);
    series(&title, "latency", y, &lines, &show_time)
}

fn series(
    title: &str,
    unit: &str,
    y: Scale,
    lines: &[Line],
    show: &dyn Fn(f64) -> String,
) -> Option<String> {
    let ends = lines.iter().flat_map(|line| line.points.iter().flatten().map(|(x, _)| *x));
    ends.clone().next()?;
    let x = Scale::Linear { low: 0.0, high: ends.fold(1.0, f64::max) };
    let plot = Plot {
        title,
        x: Axis { title: "seconds", scale: x, ticks: &|about| x.ticks(about, show_plain) },
        y: Axis { title: unit, scale: y, ticks: &|about| y.ticks(about, show) },
        lines,
    };
    Some(plot.html())
}

/// Chooses from several values that share a point the one to show: the one that people look for.
type Keep = fn(f64, f64) -> f64;

fn lines(runs: &[Named<'_>], of: impl Fn(&Value) -> Option<f64> + Copy, keep: Keep) -> Vec<Line> {
    let line = |(look, named): (usize, &Named<'_>)| Line {
        name: named.name.to_owned(),
        look,
        points: points(named.run, of, keep),
    };
    runs.iter().enumerate().map(line).collect()
}

/// A point in the middle of each second, or of each few seconds of a long run.
fn points(run: &Run, of: impl Fn(&Value) -> Option<f64>, keep: Keep) -> Vec<Option<(f64, f64)>> {
    let rows = run.intervals();
    let every = rows.len().div_ceil(SERIES_POINTS).max(1);
    let point = |rows: &[Value]| {
        let (first, last) = (rows.first()?, rows.last()?);
        let end = last["second"].as_f64()? + last["length_ns"].as_f64()? / 1e9;
        let value = rows.iter().filter_map(&of).reduce(keep)?;
        Some((first["second"].as_f64()?.midpoint(end), value))
    };
    rows.chunks(every).map(point).collect()
}

fn highest(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| line.points.iter().flatten()).map(|(_, y)| *y).fold(0.0, f64::max)
}

fn fitting(lines: &[Line]) -> Scale {
    Scale::fitting(lines.iter().flat_map(|line| line.points.iter().flatten()).map(|(_, y)| *y))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are between 0 and a minute"
)]
fn show_time(nanos: f64) -> String {
    match nanos.round() as u64 {
        0 => "0".to_owned(),
        // Round values are short.
        nanos => {
            let shown = format::time(nanos);
            let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
            let short = if number.contains('.') {
                number.trim_end_matches('0').trim_end_matches('.')
            } else {
                number
            };
            format!("{short} {unit}")
        }
    }
}

fn show_count(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format::count(value).replace(".0", "") }
}

fn show_plain(value: f64) -> String {
    format!("{}", (value * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{nine_ticks, points, show_count, show_time, spectrum};
    use crate::base::histogram::Times;
    use crate::present::report::axis::Scale;
    use crate::result::document::Run;

    #[test]
    fn nines_are_evenly_spaced() {
        let scale = Scale::Linear { low: 0.0, high: 4.0 };
        let ticks = nine_ticks(scale, 4.0, 10);
        let shown: Vec<_> = ticks.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(shown, ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((ticks[3].0 - 0.5).abs() < 1e-12);
        assert_eq!(nine_ticks(scale, 4.0, 4).len(), 5);
        assert_eq!(nine_ticks(scale, 7.0, 4).len(), 4);
    }

    #[test]
    fn long_runs_keep_their_spikes() {
        let row = |second: u64| {
            json!({ "second": second, "length_ns": 1_000_000_000,
            "max_ns": if second == 1234 { 99 } else { 1 } })
        };
        let rows: Vec<Value> = (0..2000).map(row).collect();
        let run = Run { name: String::new(), document: json!({ "intervals": rows }) };
        let points = points(&run, |row| row["max_ns"].as_f64(), f64::max);
        assert_eq!(points.len(), 667);
        assert_eq!(points[411], Some((1234.5, 99.0)), "three seconds, 1233 to 1236");
    }

    #[test]
    fn spectra_need_times() {
        let mut times = Times::new();
        assert_eq!(spectrum(&[("a".to_owned(), times.clone())]), None);
        times.record(1_000);
        let html = spectrum(&[("a".to_owned(), times)]).expect("a plot");
        assert!(html.contains("<polyline") && html.contains("<circle"), "{html}");
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!(show_time(20_000.0), "20 µs");
        assert_eq!(show_time(1_500_000.0), "1.5 ms");
        assert_eq!(show_time(100_000_000.0), "100 ms");
        assert_eq!((show_time(0.0), show_count(20_000.0)), ("0".to_owned(), "20,000".to_owned()));
        assert_eq!((show_count(2.0), show_count(0.5)), ("2".to_owned(), "0.5".to_owned()));
    }
}
