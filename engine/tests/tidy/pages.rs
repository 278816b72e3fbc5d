//! The pages that people read: short enough, in short sentences, without dead links, and with the
//! figures of the committed results.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::none;
use crate::source::{sources, workspace};

const MARK: &str = "<!-- table: ";
const END: &str = "<!-- table end -->";

/// Lines of the README.
const README_MAX: usize = 220;
/// Words of a sentence.
const SENTENCE_MAX: usize = 30;

/// The folders of the pages that people read.
const FOLDERS: [&str; 5] = ["", "docs/", "benches/", "benches/peers/", "results/"];

/// The pages in these folders, by their path from the top.
fn pages() -> BTreeMap<String, String> {
    let root = workspace();
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(root.join(folder)).expect("a folder") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            if Path::new(&name).extension().is_some_and(|extension| extension == "md") {
                let path = format!("{folder}{name}");
                let text = fs::read_to_string(root.join(&path)).expect("a page");
                found.insert(path, text);
            }
        }
    }
    found
}

/// The page with the tables that `file` gives for their paths.
fn spliced(page: &str, file: impl Fn(&str) -> String) -> String {
    let mut parts = page.split(MARK);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (path, rest) = part.split_once(" -->").expect("the end of the mark");
        let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("{path}: no {END}"));
        out += &format!("{MARK}{path} -->\n\n{}\n\n{END}{after}", file(path).trim());
    }
    out
}

#[test]
fn tables_are_those_of_the_results() {
    let root = workspace();
    let file = |path: &str| {
        fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let bless = std::env::var_os("RINGBOLT_BLESS").is_some();
    let mut stale = Vec::new();
    let mut seen = 0;
    for (page, text) in pages() {
        seen += text.matches(MARK).count();
        let fresh = spliced(&text, file);
        if fresh != text && bless {
            fs::write(root.join(&page), fresh).expect("the page can be written");
        } else if fresh != text {
            stale.push(page);
        }
    }
    assert!(seen > 2, "only {seen} marks `{MARK}`");
    none(
        &stale,
        "pages with other tables than their files; put them in with \
         `RINGBOLT_BLESS=1 cargo test -p ringbolt --test tidy`",
    );
}

#[test]
fn a_stale_table_is_replaced() {
    let page = format!("a\n{MARK}x.md -->\n\n| 1 |\n\n{END}\nb\n{MARK}y.md -->\n{END}\nc\n");
    let fresh = spliced(&page, |path| format!("| of {path} |\n"));
    let table = |path: &str| format!("{MARK}{path} -->\n\n| of {path} |\n\n{END}\n");
    assert_eq!(fresh, format!("a\n{}b\n{}c\n", table("x.md"), table("y.md")));
    assert_eq!(spliced(&fresh, |path| format!("| of {path} |\n")), fresh);
}

#[test]
fn the_readme_is_short_and_leads_to_every_page() {
    let pages = pages();
    let readme = &pages["README.md"];
    let lines = readme.lines().count();
    assert!(lines <= README_MAX, "README.md has {lines} lines, {README_MAX} at most");
    let lost = pages.keys().filter(|page| !page.ends_with("README.md"));
    let lost = lost.filter(|page| !readme.contains(&format!("]({page})"))).cloned();
    none(&lost.collect::<Vec<_>>(), "pages that README.md does not link to");
    let figures: Vec<_> = pages["docs/figures.md"].lines().map(cells).collect();
    let known = |row: &[&str]| figures.iter().any(|all| row.iter().all(|cell| all.contains(cell)));
    let rows = readme.lines().filter(|line| line.contains(" µs |")).map(cells);
    let rows: Vec<_> = rows.collect();
    assert!(!rows.is_empty(), "README.md shows no figures");
    let stale = rows.iter().filter(|row| !known(row)).map(|row| row.join(", "));
    none(&stale.collect::<Vec<_>>(), "figures of README.md that docs/figures.md does not have");
}

/// How no doc comment begins: it would say nothing to a reader who sees it alone, as in an index.
const DEPENDENT: [&str; 4] = ["The same ", "Of ", "Those ", "See the module"];

#[test]
fn doc_comments_make_sense_alone() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines: Vec<_> = source.text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            let first = number == 0 || !lines[number - 1].starts_with("///");
            let Some(doc) = line.strip_prefix("/// ").filter(|_| first) else { continue };
            if DEPENDENT.iter().any(|beginning| doc.starts_with(beginning)) {
                findings.push(format!("{}:{}: {doc}", source.path, number + 1));
            }
        }
    }
    none(&findings, "doc comments that say nothing alone; name what each is about");
}

/// The cells of a table's row.
fn cells(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[test]
fn pages_begin_with_what_they_are_for() {
    let vague = pages().into_iter().filter(|(page, text)| {
        let opening = text.split("\n\n").nth(1).unwrap_or_default();
        page.contains('/') && !opening.contains("This page ")
    });
    none(
        &vague.map(|(page, _)| page).collect::<Vec<_>>(),
        "pages that do not begin with what `This page ...` is for",
    );
}

/// The prose of a page, block by block, without code, tables and comments.
fn prose(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut code = false;
    for line in page.lines() {
        let text = line.trim();
        let fence = text.starts_with("```");
        code ^= fence;
        if fence || code || text.is_empty() || text.starts_with(['|', '#', '<']) {
            blocks.push(String::new());
            continue;
        }
        if text.starts_with("- ") || text.starts_with(|c: char| c.is_ascii_digit()) {
            blocks.push(String::new());
        }
        let block = blocks.last_mut().expect("never empty");
        block.push_str(text);
        block.push(' ');
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

/// The sentences of a block. What stands in backticks is one word, and of a link only its text
/// counts.
fn sentences(block: &str) -> Vec<String> {
    let quoted = block.split('`').enumerate();
    let plain: String = quoted.map(|(at, part)| if at % 2 == 0 { part } else { "Code" }).collect();
    let mut text = String::new();
    let mut rest = plain.as_str();
    while let Some((before, target)) = rest.split_once("](") {
        text.push_str(before);
        rest = target.split_once(')').map_or("", |(_, after)| after);
    }
    text.push_str(rest);
    let mut found = vec![String::new()];
    let mut ended = false;
    for word in text.split_whitespace() {
        let begins = word.trim_start_matches(['*', '[', '(', '"']).starts_with(char::is_uppercase);
        if ended && begins {
            found.push(String::new());
        }
        ended = word.trim_end_matches(['*', ')', '"']).ends_with(['.', '?', '!', ':']);
        if word.contains(char::is_alphanumeric) {
            let sentence = found.last_mut().expect("never empty");
            sentence.push_str(word);
            sentence.push(' ');
        }
    }
    found
}

#[test]
fn sentences_are_short() {
    let mut findings = Vec::new();
    for (page, text) in pages() {
        // A list of facts, each of which says all about itself.
        if page == "CHANGELOG.md" {
            continue;
        }
        for sentence in prose(&text).iter().flat_map(|block| sentences(block)) {
            let words = sentence.split_whitespace().count();
            if words > SENTENCE_MAX {
                findings.push(format!("{page}: {words} words: {sentence}"));
            }
        }
    }
    none(&findings, &format!("sentences of more than {SENTENCE_MAX} words"));
}

#[test]
fn a_long_sentence_is_seen() {
    let page = "# A b\n\nOne `two three` four. Five [six](seven.md) 8!\n\n```\nx\n```\n- Nine\n  ten.\n| a |\n";
    let found: Vec<_> = prose(page).iter().flat_map(|block| sentences(block)).collect();
    assert_eq!(found, ["One Code four. ", "Five [six 8! ", "Nine ten. "]);
}

#[test]
fn links_lead_somewhere() {
    let root = workspace();
    let pages = pages();
    let mut findings = Vec::new();
    let mut seen = 0;
    for (page, text) in &pages {
        let folder = Path::new(page).parent().expect("a folder");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.starts_with("http") {
                continue;
            }
            seen += 1;
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { root.join(page) } else { root.join(folder).join(file) };
            let known = anchor.is_empty() && path.exists()
                || fs::read_to_string(&path)
                    .is_ok_and(|text| anchors(&text).any(|it| it == anchor));
            if !known {
                findings.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(seen > 20, "only {seen} links found");
    none(&findings, "links to nothing");
}

/// The anchors of a page's headings, as forges make them.
fn anchors(page: &str) -> impl Iterator<Item = String> {
    let headings = page.lines().filter_map(|line| line.strip_prefix('#'));
    headings.map(|heading| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text.chars().filter(|c| c.is_alphanumeric() || "- _".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}
