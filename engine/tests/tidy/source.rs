//! The sources as the checks see them.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One Rust file.
pub(crate) struct Source {
    /// Below the workspace, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The text with the content of comments and literals blanked, line for line.
    pub(crate) code: String,
}

impl Source {
    /// The modules above this file's own, as `wire::hybi02` for `engine/src/wire/hybi02.rs`.
    pub(crate) fn module(&self) -> Option<Vec<&str>> {
        let inner = self.path.strip_prefix("engine/src/")?.strip_suffix(".rs")?;
        let mut module: Vec<_> = inner.split('/').collect();
        module.pop_if(|last| matches!(*last, "mod" | "lib" | "main"));
        Some(module)
    }

    /// Whether everything in the file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }
}

/// The folder of `Cargo.toml` with the members in it.
pub(crate) fn workspace() -> PathBuf {
    let engine = Path::new(env!("CARGO_MANIFEST_DIR"));
    engine.parent().expect("the engine is a folder of the workspace").to_path_buf()
}

/// Every Rust file of the workspace, in the order of their paths.
pub(crate) fn sources() -> Vec<Source> {
    let root = workspace();
    let mut paths = Vec::new();
    for member in ["engine", "loadgen", "benches"] {
        walk(&root.join(member), &mut paths);
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "rs"));
    paths.sort();
    let sources: Vec<_> = paths.into_iter().map(|path| read(&root, &path)).collect();
    assert!(sources.len() > 10, "only {} files found below {}", sources.len(), root.display());
    sources
}

/// Every file below `folder`, build products apart.
pub(crate) fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("a readable entry").path();
        if !path.is_dir() {
            found.push(path);
        } else if !path.ends_with("target") && !path.ends_with("corpus") {
            walk(&path, found);
        }
    }
}

fn read(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let path = path.strip_prefix(root).expect("below the workspace");
    let path = path.to_str().expect("a path in UTF-8").replace('\\', "/");
    let code = blank(&text);
    Source { path, text, code }
}

/// Replaces what stands in comments, strings and character literals by spaces.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = comment(rest)
            .or_else(|| raw_string(rest, out.chars().last()))
            .or_else(|| quoted(rest))
            .or_else(|| character(rest));
        if let Some(length) = skipped {
            out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = &rest[length..];
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    out
}

/// The length of the comment that `rest` begins with.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    rest.strip_prefix("/*")?;
    let (mut depth, mut at) = (1, 2);
    while depth > 0 && at < rest.len() {
        let (step, change) = match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (2, 1),
            [b'*', b'/', ..] => (2, -1),
            _ => (1, 0),
        };
        at += step;
        depth += change;
    }
    Some(at)
}

/// The length of the raw string that `rest` begins with, behind the character `before`.
fn raw_string(rest: &str, before: Option<char>) -> Option<usize> {
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') && before != Some('b') {
        return None;
    }
    let behind = rest.strip_prefix('r')?;
    let hashes = behind.len() - behind.trim_start_matches('#').len();
    let content = behind[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = content.find(&end)?;
    Some(1 + hashes + 1 + length + end.len())
}

/// The length of the string that `rest` begins with.
fn quoted(rest: &str) -> Option<usize> {
    let content = rest.strip_prefix('"')?;
    let mut escaped = false;
    let end = content.bytes().position(|byte| {
        let found = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        found
    });
    Some(end.map_or(rest.len(), |end| end + 2))
}

/// The length of the character literal that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let content = rest.strip_prefix('\'')?;
    if let Some(escape) = content.strip_prefix('\\') {
        let skip = escape.chars().next()?.len_utf8();
        return Some(2 + skip + escape[skip..].find('\'')? + 1);
    }
    let one = content.chars().next()?.len_utf8();
    content[one..].starts_with('\'').then_some(one + 2)
}

/// The index of the brace that closes the one at `open`, in blanked code.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    code.len()
}

/// A function with a body.
pub(crate) struct Body {
    pub(crate) name: String,
    /// From its opening brace to the closing one.
    pub(crate) range: Range<usize>,
    /// Whether `#[test]` stands among its attributes.
    pub(crate) is_test: bool,
}

/// The functions of a file, in blanked code.
pub(crate) fn body_ranges(code: &str) -> Vec<Body> {
    let mut bodies = Vec::new();
    for at in words(code, "fn") {
        let name = code[at + 2..].trim_start();
        let name = &name[..name.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(0)];
        let Some(open) = opening(code, at).filter(|_| !name.is_empty()) else { continue };
        // What stands between the end of the item in front and the `fn`: the attributes.
        let attributes = &code[code[..at].rfind(['{', '}', ';']).map_or(0, |end| end + 1)..at];
        let is_test = attributes.contains("#[test]");
        bodies.push(Body { name: name.to_owned(), range: open..closing(code, open), is_test });
    }
    bodies
}

/// The opening brace of the function whose `fn` is at `at`; a declaration has none.
fn opening(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (ahead, byte) in code[at..].bytes().enumerate() {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at + ahead),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The places where `word` stands by itself in blanked code.
pub(crate) fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = usize> + 'c {
    let joined = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].ends_with(joined) && !code[at + word.len()..].starts_with(joined)
    })
}

/// The line, counted from 1, that byte `at` of `text` stands in.
pub(crate) fn line(text: &str, at: usize) -> usize {
    1 + text[..at].matches('\n').count()
}

#[test]
fn blanking_keeps_code_and_lines_only() {
    let text =
        "a /* x /* y */ \n z */ 'b' \"un\\\"safe\" b\"\\\\\" r#\"q\"u\"# '\\'' &'a str // c\nd";
    let code = blank(text);
    let words: Vec<_> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "&'a", "str", "d"], "{code}");
    assert_eq!(code.matches('\n').count(), text.matches('\n').count());
}

#[test]
fn words_are_whole() {
    let found: Vec<_> = words("fn a() { fnord(); my_fn(); fn", "fn").collect();
    assert_eq!(found, [0, 27]);
    assert_eq!(closing("x { { } } }", 2), 8);
    assert_eq!(line("a\nb\nc", 2), 2);
}

#[test]
fn functions_are_found_with_their_attributes() {
    let code = "trait T { fn f(&self); } #[test] fn a(x: [u8; 4]) -> fn() { { 1 } } fn b() {}";
    let bodies = body_ranges(code);
    let found: Vec<_> =
        bodies.iter().map(|body| (&*body.name, &code[body.range.clone()], body.is_test)).collect();
    assert_eq!(found, [("a", "{ { 1 } ", true), ("b", "{", false)]);
}
