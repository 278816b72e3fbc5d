//! The README shows what the committed results say.

use std::fs;

use crate::none;
use crate::source::workspace;

const MARK: &str = "<!-- table: ";
const END: &str = "<!-- table end -->";

/// The tables of a README: the file that each is of, and the text that is shown.
fn tables(readme: &str) -> Vec<(&str, &str)> {
    readme
        .split(MARK)
        .skip(1)
        .map(|rest| {
            let (path, rest) = rest.split_once(" -->").expect("the end of the mark");
            (path, rest.split_once(END).unwrap_or_else(|| panic!("{path}: no {END}")).0)
        })
        .collect()
}

#[test]
fn readme_tables_are_those_of_the_results() {
    let root = workspace();
    let readme = fs::read_to_string(root.join("README.md")).expect("a README");
    let shown = tables(&readme);
    assert!(!shown.is_empty(), "the README has no `{MARK}`");
    let mut findings = Vec::new();
    for (path, text) in shown {
        let file = fs::read_to_string(root.join(path));
        if file.as_deref().map(str::trim).ok() != Some(text.trim()) {
            findings.push(format!(
                "{path}: {}",
                file.err().map_or_else(|| "other text".into(), |e| e.to_string())
            ));
        }
    }
    none(&findings, "tables of the README that are not their file's; scripts/splice puts them in");
}

#[test]
fn a_stale_table_is_seen() {
    let readme = format!("a\n{MARK}results/x.md -->\n\n| 1 |\n\n{END}\nb\n{MARK}y.md -->\n{END}\n");
    assert_eq!(tables(&readme), [("results/x.md", "\n\n| 1 |\n\n"), ("y.md", "\n")]);
}
