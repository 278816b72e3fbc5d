//! `loadgen report`: runs as one page that can be passed on, looked at anywhere and printed.

mod axis;
mod facts;
pub(crate) mod figures;
pub(crate) mod html;
mod plot;
mod tables;

use std::path::Path;
use std::process::ExitCode;

use crate::base::failure::Failure;
use crate::base::output;
use crate::present::arguments::ReportArgs;
use crate::result::document::{Run, read_all};

use figures::Named;
use html::escape;

/// More runs than this in one plot cannot be told apart.
const MOST: usize = plot::LOOKS;

/// Reads the runs and writes the page.
pub(crate) fn run(args: &ReportArgs) -> Result<ExitCode, Failure> {
    let runs = read_all(&args.runs)?;
    let parts = if args.by_folder { by_folder(runs) } else { vec![(None, runs)] };
    if let Some((_, runs)) = parts.iter().find(|(_, runs)| runs.len() > MOST) {
        return Err(Failure::usage(
            format!("cannot show {} runs in one plot", runs.len()),
            format!("more than {MOST} lines cannot be told apart"),
            "give fewer runs, sum them up with `loadgen compare` or `loadgen merge`, or show those \
             of each folder apart with --by-folder",
        ));
    }
    let page = page(&args.title, &parts);
    match &args.output {
        Some(path) => output::write(path, &page)?,
        None => output::print(&page)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs that are shown together, and what they are called where there are several such parts.
type Part = (Option<String>, Vec<Run>);

/// The runs of each folder, in the order in which the folders are named.
fn by_folder(runs: Vec<Run>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for run in runs {
        let folder = Path::new(&run.name).parent().map_or_else(String::new, |folder| {
            folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned()
        });
        let name = if folder.is_empty() { ".".to_owned() } else { folder };
        match parts.iter_mut().find(|(known, _)| known.as_ref() == Some(&name)) {
            Some((_, runs)) => runs.push(run),
            None => parts.push((Some(name), vec![run])),
        }
    }
    parts
}

fn page(title: &str, parts: &[Part]) -> String {
    if let [(None, runs)] = parts {
        return html::page(title, &part(runs, "h2"));
    }
    let mut body = "<ul>\n".to_owned();
    for (number, (name, _)) in parts.iter().enumerate() {
        let name = escape(name.as_deref().unwrap_or_default());
        body += &format!("<li><a href=\"#part-{number}\">{name}</a></li>\n");
    }
    body += "</ul>\n";
    for (number, (name, runs)) in parts.iter().enumerate() {
        let name = escape(name.as_deref().unwrap_or_default());
        body += &format!("<h2 id=\"part-{number}\">{name}</h2>\n");
        body += &part(runs, "h3");
    }
    html::page(title, &body)
}

/// All that is shown of some runs, under headings of this rank.
fn part(runs: &[Run], rank: &str) -> String {
    let names = names(runs);
    let named: Vec<Named<'_>> =
        names.iter().zip(runs).map(|(name, run)| Named { name, run }).collect();
    let section = |title: &str, plot, otherwise| section(rank, title, plot, otherwise);
    let mut body = lead(runs);
    body += &format!("<{rank}>Result</{rank}>\n");
    body += &tables::results(&named);
    body += &notes(&named);
    let times: Vec<_> = named
        .iter()
        .filter_map(|named| Some((named.name.to_owned(), named.run.times("outcome", "latency")?)))
        .collect();
    body +=
        &section("Latency by percentile", figures::spectrum(&times), "No latency was measured.");
    body += &section(
        "Throughput",
        figures::throughput(&named),
        "The window was too short for a time series.",
    );
    if let [_] = named.as_slice() {
        body += &section(
            "Latency over time",
            figures::latencies(&named, None),
            "No latency was measured.",
        );
    } else {
        for (name, key) in [("p50", "p50_ns"), ("p99", "p99_ns")] {
            let title = format!("Latency over time, {name}");
            let plot = figures::latencies(&named, Some((name, key)));
            body += &section(&title, plot, "No latency was measured.");
        }
    }
    body += &format!("<{rank}>Errors</{rank}>\n");
    body += &figures::errors(&named).unwrap_or_default();
    body += &tables::errors(&named);
    body += &format!("<{rank}>Workload and environment</{rank}>\n");
    body + &facts::tables(&named)
}

fn section(rank: &str, title: &str, plot: Option<String>, otherwise: &str) -> String {
    let content = plot.unwrap_or_else(|| format!("<p class=\"soft\">{otherwise}</p>\n"));
    format!("<section>\n<{rank}>{}</{rank}>\n{content}</section>\n", escape(title))
}

/// What was measured, as far as it is the same in all runs.
fn lead(runs: &[Run]) -> String {
    let Some(first) = runs.first() else { return String::new() };
    let common = |path: &str| {
        first.text(path).filter(|text| runs.iter().all(|run| run.text(path) == Some(text)))
    };
    let mut of = match runs.len() {
        1 => "One run".to_owned(),
        n => format!("{n} runs"),
    };
    for (before, path, after) in [
        (" of the scenario ", "workload.scenario", ""),
        (" against ", "workload.url", ""),
        (" (", "workload.protocol", ")"),
        (", ", "identity.started_utc", ""),
    ] {
        if let Some(text) = common(path) {
            of += &format!("{before}{text}{after}");
        }
    }
    format!("<p class=\"soft\">{}. Latency counts from the intended time.</p>\n", escape(&of))
}

/// What speaks against the numbers.
fn notes(runs: &[Named<'_>]) -> String {
    let flaws = [
        ("outcome.void", "no result: more than 1 % of what was attempted went wrong"),
        ("outcome.interrupted", "the run was interrupted"),
    ];
    let mut out = String::new();
    for named in runs {
        let flaws = flaws.iter().filter(|(path, _)| *named.run.value(path) == true);
        let told = named.run.value("trust.notes").as_array().into_iter().flatten();
        let told = told.filter_map(serde_json::Value::as_str);
        for note in flaws.map(|(_, note)| *note).chain(told) {
            let text = if runs.len() == 1 {
                format!("{note}.")
            } else {
                format!("{}: {note}.", named.name)
            };
            out += &format!("<p class=\"note\">{}</p>\n", escape(&text));
        }
    }
    out
}

/// A short name for each run: that of its file, or of its folder, as far as they differ.
pub(crate) fn names(runs: &[Run]) -> Vec<String> {
    let short = |run: &Run| {
        let path = Path::new(&run.name);
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let parent = path.parent().and_then(|parent| parent.file_name());
        match (stem.as_deref(), parent) {
            (Some("result"), Some(folder)) => folder.to_string_lossy().into_owned(),
            (Some(stem), _) => stem.to_owned(),
            _ => run.name.clone(),
        }
    };
    let shorts: Vec<String> = runs.iter().map(short).collect();
    let once = |name: &String| shorts.iter().filter(|other| *other == name).count() == 1;
    shorts
        .iter()
        .zip(runs)
        .map(|(short, run)| if once(short) { short.clone() } else { run.name.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Run, by_folder, names, page};
    use crate::result::document::sample::run;

    #[test]
    fn names_are_short_where_they_differ() {
        let named =
            |paths: &[&str]| names(&paths.iter().map(|path| run(path, 1.0)).collect::<Vec<_>>());
        assert_eq!(named(&["a/x.json", "b/y.json"]), ["x", "y"]);
        assert_eq!(named(&["a/x.json", "b/x.json"]), ["a/x.json", "b/x.json"]);
        assert_eq!(named(&["a/result.json", "b/result.json"]), ["a", "b"]);
    }

    #[test]
    fn a_run_that_the_generator_limited_has_no_rate_and_an_unknown_floor_is_called_so() {
        let rate = |parts: &[(Option<String>, Vec<Run>)]| {
            let page = page("x", parts);
            (page.contains("none; \u{2265} "), page.contains("not calibrated"))
        };
        let mut parts = [(None, vec![run("x", 10.0)])];
        parts[0].1[0].document["trust"]["floor"] = json!({ "round_trip_p50_ns": 5_000 });
        assert_eq!(rate(&parts), (false, false));
        parts[0].1[0].document["trust"]["limited_by"] = json!("generator");
        parts[0].1[0].document["trust"]["floor"] = json!(null);
        assert_eq!(rate(&parts), (true, true));
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'></td></style>";
        let mut bad = run(hostile, 10.0);
        bad.document["workload"]["url"] = json!(hostile);
        bad.document["workload"]["scenario"] = json!(hostile);
        bad.document["workload"][hostile] = json!(hostile);
        bad.document["trust"]["notes"] = json!([hostile]);
        bad.document["outcome"]["errors"] =
            json!({ hostile: { "count": 3, "examples": [hostile] } });
        bad.document["outcome"]["errors_total"] = json!(3);
        bad.document["outcome"]["void"] = json!(true);
        bad.document["environment"]["cpu"]["model"] = json!(hostile);
        bad.document["intervals"] = json!([
            { "second": 0, "length_ns": 1_000_000_000, "received": 5, "errors": 3, "p50_ns": 7 },
        ]);
        let page = page(hostile, &[(None, vec![bad, run("other", 5.0)])]);
        for markup in ["<script", "<img", "onerror='", "</td></style>"] {
            assert!(!page.contains(markup), "{markup} in {page}");
        }
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(page.contains("&lt;script&gt;"), "it is shown");
        assert!(page.contains("no result: more than 1 %") && page.contains("3: no result"));
        assert!(!page.contains("http://") && !page.contains("https://"), "nothing is fetched");
    }

    #[test]
    fn folders_are_parts_in_their_order() {
        let paths = ["x/b/one.json", "x/a/two.json", "y/b/three.json", "four.json"];
        let parts = by_folder(paths.iter().map(|path| run(path, 1.0)).collect());
        let found: Vec<_> = parts
            .iter()
            .map(|(name, runs)| (name.as_deref().expect("a name"), runs.len()))
            .collect();
        assert_eq!(found, [("b", 2), ("a", 1), (".", 1)]);
        let page = page("title", &parts);
        for shown in ["<h2 id=\"part-1\">a</h2>", "href=\"#part-2\"", ">one<", ">three<"] {
            assert!(page.contains(shown), "{shown} in {page}");
        }
        assert_eq!(page.matches("<h3>Result</h3>").count(), 3);
    }
}
