//! A comparison as a page.

use super::comparison::{Change, Comparison, Row};
use super::table::{cells, describe, legend, sides};
use crate::base::histogram::Times;
use crate::present::report::figures;
use crate::present::report::html::{Cell, escape, page, table};
use crate::result::document::Run;

/// Both sides in words, what differs, the table, and the spectra of all runs of each side.
pub(super) fn html(comparison: &Comparison) -> String {
    let mut body = String::new();
    for (side, runs) in sides(comparison) {
        body += &format!("<p><strong>{side}</strong>: {}</p>\n", escape(&describe(runs)));
    }
    if !comparison.differences.is_empty() {
        body += "<h2>Different between the runs</h2>\n";
        let rows: Vec<_> = comparison
            .differences
            .iter()
            .map(|difference| {
                let (base, new) = (difference.base.join(", "), difference.new.join(", "));
                let standing = Cell::Text(difference.standing.name().to_owned());
                (difference.name.clone(), vec![Cell::Text(base), Cell::Text(new), standing])
            })
            .collect();
        let titles = ["", "base", "new", "which is"].map(ToOwned::to_owned);
        body += &table("different", &titles, &rows);
    }
    body += "<h2>Comparison</h2>\n";
    let titles = ["", "base", "new", "change"].map(ToOwned::to_owned);
    body += &table("results", &titles, &comparison.rows.iter().map(row).collect::<Vec<_>>());
    body += &format!("<p class=\"soft\">{}</p>\n", escape(&legend(comparison)));
    for warning in &comparison.warnings {
        body += &format!("<p class=\"note\">{}.</p>\n", escape(warning));
    }
    let spectra: Vec<_> = sides(comparison)
        .into_iter()
        .filter_map(|(side, runs)| Some((side.to_owned(), merged(runs)?)))
        .collect();
    if let Some(plot) = figures::spectrum(&spectra) {
        body += "<h2>Latency by percentile, all runs of a side together</h2>\n";
        body += &plot;
    }
    page("loadgen comparison", &body)
}

fn row(row: &Row) -> (String, Vec<Cell>) {
    let [name, base, new, change] = cells(row);
    let class = match row.change {
        Change::Shown { worse: true, .. } => "change bad",
        Change::Shown { .. } => "change good",
        _ => "change",
    };
    (name, vec![Cell::Number(base), Cell::Number(new), Cell::Class(class, change)])
}

/// The latencies of all runs together.
fn merged(runs: &[Run]) -> Option<Times> {
    let times = runs.iter().filter_map(|run| run.times("outcome", "latency"));
    times.reduce(|mut all, one| {
        all.merge(&one);
        all
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::html;
    use crate::present::compare::comparison::Comparison;
    use crate::present::compare::tests::args;
    use crate::result::document::sample::run;

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "\"><script>alert(1)</script></td></style>";
        let mut bad = run(hostile, 10.0);
        bad.document["workload"]["scenario"] = json!(hostile);
        bad.document["identity"]["measured_commit"] = json!(hostile);
        bad.document["environment"]["cpu"][hostile] = json!(hostile);
        bad.document["trust"]["notes"] = json!([hostile]);
        let page = html(&Comparison::new(vec![bad], vec![run("other", 5.0)], &args(0.05)));
        assert!(!page.contains("<script") && !page.contains("</td></style>"), "{page}");
        assert_eq!(page.matches("</style>").count(), 1);
        assert!(page.contains("&lt;script&gt;") && page.contains("not enough runs"), "{page}");
    }
}
