//! `loadgen compare`: whether one set of runs is better than another. A run is one sample, for
//! messages within a run are not independent of each other.

mod comparison;
mod fingerprint;
mod page;
mod statistics;
mod table;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::base::failure::Failure;
use crate::base::output;
use crate::present::arguments::{CompareArgs, Format};
use crate::present::metric::{self, DEFAULT, Metric};
use crate::result::document::{Run, read_all};

use comparison::{Cell, Change, Comparison, Row};
pub(crate) use fingerprint::unlike;
use fingerprint::{Difference, Standing};
use statistics::{ALPHA, CONFIDENCE};

/// Fewer runs on a side tell nothing.
const ENOUGH: usize = 5;

/// Compares, prints, and gives the exit code.
pub(crate) fn run(args: &CompareArgs) -> Result<ExitCode, Failure> {
    let option = |path: &&PathBuf| path.to_string_lossy().starts_with("--") && !path.exists();
    if let Some(option) = args.new.iter().find(option) {
        return Err(Failure::usage(
            format!("`{}` stands after `--`", option.display()),
            "only files of the new side stand there",
            "put the options before the first file",
        ));
    }
    let (base, new) = (read_all(&args.base)?, read_all(&args.new)?);
    each_once(&base, &new)?;
    for name in &args.allow_diff {
        if !fingerprint::is_known(&[&base, &new], name) {
            return Err(Failure::usage(
                format!("`--allow-diff {name}` allows nothing"),
                "no run tells of anything of this name",
                "take a name that the comparison shows, such as cpu.governor or workload",
            ));
        }
    }
    let comparison = Comparison::new(base, new, args);
    let text = match args.format {
        Format::Text => table::text(&comparison),
        Format::Markdown => table::markdown(&comparison),
        Format::Html => page::html(&comparison),
        Format::Json => format!("{:#}\n", table::json(&comparison)),
    };
    match &args.output {
        Some(path) => output::write(path, &text)?,
        None => output::print(&text)?,
    }
    let refused = comparison.refused();
    if !refused.is_empty() {
        return Err(Failure::not_comparable(
            format!("cannot compare: the runs differ in {}", refused.join(", ")),
            "then a difference may come from there",
            "measure again under the same conditions, or allow it with --allow-diff NAME",
        ));
    }
    if !comparison.has_enough() {
        return Err(Failure::not_comparable(
            "not enough runs",
            format!("a difference can be told from chance with {ENOUGH} on each side"),
            "measure more, base and new in turn",
        ));
    }
    if !comparison.missing.is_empty() {
        return Err(Failure::not_comparable(
            format!("cannot compare: {}", comparison.missing.join("; ")),
            "a run without it would be left out, and what is left would pass for all",
            "measure those again, or ask for other --metric; for server-cpu runs need --pid",
        ));
    }
    let regressions = comparison.regressions();
    if regressions.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    output::complain(&format!("worse than the base: {}", regressions.join(", ")));
    Ok(ExitCode::FAILURE)
}

/// A run that is given twice would count as two samples.
fn each_once(base: &[Run], new: &[Run]) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for run in base.iter().chain(new) {
        if let Some(id) = run.text("identity.run_id").filter(|id| !seen.insert(*id)) {
            return Err(Failure::usage(
                format!("the run {id} is given twice, the second time as {}", run.name),
                "each run is one sample",
                "leave one of them out",
            ));
        }
    }
    Ok(())
}

impl Comparison {
    fn new(base: Vec<Run>, new: Vec<Run>, args: &CompareArgs) -> Self {
        let named = !args.metric.is_empty();
        let metrics: Vec<Metric> = if named {
            args.metric.clone()
        } else {
            DEFAULT.iter().filter_map(|name| metric::parse(name).ok()).collect()
        };
        let measured =
            |metric: &&Metric| base.iter().chain(&new).any(|run| metric.of(run).is_some());
        // What nobody has measured is missed only by whoever asks for it.
        let looked_at: Vec<Metric> =
            metrics.iter().filter(|metric| named || measured(metric)).cloned().collect();
        let missing = missing(&base, &new, &looked_at);
        let differences = fingerprint::differences(&base, &new, &args.allow_diff);
        let rows = rows(&base, &new, metrics, args.noise);
        let mut warnings = warnings(&base, &new);
        if !named {
            warnings.extend(missing.iter().map(|what| format!("{what}, and is not compared")));
        }
        let least = least_p(base.len(), new.len());
        #[expect(clippy::cast_precision_loss, reason = "metrics are few")]
        let hopeless = least * rows.len() as f64 > ALPHA;
        if hopeless && base.len().min(new.len()) >= ENOUGH {
            warnings.push(format!(
                "with so few runs nothing could be shown for {} metrics at once; take more runs \
                 or fewer --metric",
                rows.len()
            ));
        }
        let missing = if named { missing } else { Vec::new() };
        Self { base, new, differences, rows, warnings, missing, threshold: args.threshold }
    }

    /// The names of what makes the sides unequal.
    fn refused(&self) -> Vec<&str> {
        let refused = |difference: &&Difference| difference.standing == Standing::Refused;
        self.differences.iter().filter(refused).map(|difference| difference.name.as_str()).collect()
    }

    fn has_enough(&self) -> bool {
        self.base.len().min(self.new.len()) >= ENOUGH
    }

    /// The metrics that are shown to be worse by more than the threshold.
    pub(crate) fn regressions(&self) -> Vec<&str> {
        let regressed = |row: &&Row| match row.change {
            Change::Shown { worse: true, ratio: Some((ratio, _)), .. } => {
                (ratio - 1.0).abs() > self.threshold
            }
            // From nothing to something is more than any share.
            Change::Shown { worse: true, ratio: None, .. } => true,
            _ => false,
        };
        self.rows.iter().filter(regressed).map(|row| row.metric.name.as_str()).collect()
    }
}

/// The smallest p that so many runs can have.
fn least_p(base: usize, new: usize) -> f64 {
    statistics::mann_whitney(&vec![0.0; base], &vec![1.0; new])
}

/// What of these metrics some runs lack that others have.
fn missing(base: &[Run], new: &[Run], metrics: &[Metric]) -> Vec<String> {
    let all = base.len() + new.len();
    let tell = |metric: &Metric| {
        let lack = base.iter().chain(new).filter(|run| metric.of(run).is_none()).count();
        (lack > 0).then(|| format!("{} is missing in {lack} of the {all} runs", metric.name))
    };
    metrics.iter().filter_map(tell).collect()
}

/// The metrics that every run has measured.
fn rows(base: &[Run], new: &[Run], metrics: Vec<Metric>, noise: f64) -> Vec<Row> {
    let measured = metrics.into_iter().filter_map(|metric| {
        let of = |runs: &[Run]| runs.iter().map(|run| metric.of(run)).collect::<Option<Vec<_>>>();
        let (base, new) = (of(base)?, of(new)?);
        Some((metric, base, new))
    });
    let measured: Vec<_> = measured.collect();
    let p_values: Vec<f64> =
        measured.iter().map(|(_, base, new)| statistics::mann_whitney(base, new)).collect();
    let adjusted = statistics::holm(&p_values);
    let row = |((metric, base, new), p): ((Metric, Vec<f64>, Vec<f64>), f64)| {
        let change = change(&metric, &base, &new, p, noise);
        Some(Row { base: cell(&base)?, new: cell(&new)?, metric, change })
    };
    measured.into_iter().zip(adjusted).filter_map(row).collect()
}

fn cell(values: &[f64]) -> Option<Cell> {
    let (median, interval) =
        (statistics::median(values)?, statistics::median_interval(values, CONFIDENCE)?);
    Some(Cell { runs: values.len(), median, interval })
}

/// `p` is adjusted for the number of metrics.
fn change(metric: &Metric, base: &[f64], new: &[f64], p: f64, noise: f64) -> Change {
    if base.len().min(new.len()) < ENOUGH {
        return Change::NotEnoughRuns;
    }
    let (Some(before), Some(after)) = (statistics::median(base), statistics::median(new)) else {
        return Change::NotEnoughRuns;
    };
    if p >= ALPHA {
        return Change::Nothing { p };
    }
    let worse = if metric.more_is_better() { after < before } else { after > before };
    match statistics::ratio_interval(base, new, SEED) {
        Some(interval) if interval.low <= 1.0 + noise && interval.high >= 1.0 - noise => {
            Change::Nothing { p }
        }
        Some(interval) => Change::Shown { p, ratio: Some((after / before, interval)), worse },
        None => Change::Shown { p, ratio: None, worse },
    }
}

/// The seed of the resampling: the same runs give the same table.
const SEED: u64 = 1;

/// What speaks against the comparison without forbidding it.
fn warnings(base: &[Run], new: &[Run]) -> Vec<String> {
    let mut warnings = Vec::new();
    let span = |runs: &[Run]| {
        let opened = runs.iter().filter_map(|run| run.number("clock.window_opened_unix_ns"));
        opened.fold((f64::INFINITY, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)))
    };
    let (first, second) = (span(base), span(new));
    if base.len().min(new.len()) > 1 && (first.1 < second.0 || second.1 < first.0) {
        warnings.push(
            "all runs of one side were before all of the other: what changed meanwhile looks like \
             a difference; measure base and new in turn"
                .to_owned(),
        );
    }
    for (side, runs) in [("base", base), ("new", new)] {
        let noted =
            |run: &&Run| run.value("trust.notes").as_array().is_some_and(|notes| !notes.is_empty());
        let noted = runs.iter().filter(noted).count();
        let limited = runs.iter().filter(|run| run.text("trust.limited_by") == Some("generator"));
        let limited = limited.count();
        let failed =
            runs.iter().filter(|run| run.number("outcome.errors_total") > Some(0.0)).count();
        if failed > 0 {
            warnings.push(format!(
                "{failed} of the {} runs of {side} had errors: what was not answered has no latency",
                runs.len()
            ));
        }
        if limited > 0 {
            warnings.push(format!(
                "the generator limited {limited} of the {} runs of {side}: what is compared is its \
                 own speed",
                runs.len()
            ));
        }
        if noted > 0 {
            warnings.push(format!(
                "{noted} of the {} runs of {side} have notes about how far they can be trusted",
                runs.len()
            ));
        }
    }
    warnings
}

#[cfg(test)]
pub(crate) mod tests;
