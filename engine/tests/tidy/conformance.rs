//! Which test holds which rule: `// covers: ID, ID` in the tests against the list of rules, and
//! the table made of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::source::{Source, body_ranges, sources, workspace};

/// Rules that are a must for a server or a client and yet are named by no test, with the reason.
const EXEMPT: &[(&str, &str)] = &[(
    "HS-C-49",
    "the client keeps no cookies; all are handed to the application, as deferred ones are (HS-C-51)",
)];

const LEVELS: &[&str] = &["must", "should", "may", "note", "open", "policy"];
const BOUND: &[&str] = &["server", "client", "both", "intermediary", "nobody"];
const TABLE: &str = "engine/CONFORMANCE.md";

/// One line of the list of rules.
struct Rule {
    id: String,
    section: String,
    level: String,
    who: String,
    text: String,
}

impl Rule {
    /// Whether a server or a client that breaks it is not conforming.
    fn binds(&self) -> bool {
        self.level == "must" && matches!(self.who.as_str(), "server" | "client" | "both")
    }
}

/// Where a rule is named: the file and the test.
type Tests = BTreeMap<String, Vec<(String, String)>>;

/// The list, in its own order.
fn rules() -> Vec<Rule> {
    let path = workspace().join("engine/tests/conformance/requirements.txt");
    let text = fs::read_to_string(path).expect("the list of rules");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let mut fields = line.split(" | ").map(str::to_owned);
            let mut field = || fields.next().unwrap_or_else(|| panic!("five fields in {line:?}"));
            let (id, section, level, who) = (field(), field(), field(), field());
            let rule = Rule { id, section, level, who, text: field() };
            assert_eq!(fields.next(), None, "five fields in {line:?}");
            rule
        })
        .collect()
}

/// The identifiers of rules in a text, such as FR-01 or HS-C-05.
pub(crate) fn ids(text: &str) -> Vec<&str> {
    let parts = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    parts
        .filter(|part| {
            let Some((name, number)) = part.rsplit_once('-') else { return false };
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'-')
                && number.len() == 2
                && number.bytes().all(|b| b.is_ascii_digit())
        })
        .collect()
}

/// What the tests say they hold; and what is wrong with how they say it.
fn covered() -> (Tests, Vec<String>) {
    let mut tests = Tests::new();
    let mut wrong = Vec::new();
    for source in sources() {
        let folders = ["engine/src/", "engine/tests/", "loadgen/src/", "loadgen/tests/"];
        let tidy = source.path.starts_with("engine/tests/tidy/");
        if tidy || !folders.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        read(&source, &mut tests, &mut wrong);
    }
    (tests, wrong)
}

fn read(source: &Source, tests: &mut Tests, wrong: &mut Vec<String>) {
    let bodies = body_ranges(&source.code);
    let mut at = 0;
    for (number, text) in source.text.split_inclusive('\n').enumerate() {
        let start = at;
        at += text.len();
        let Some(list) = text.trim().strip_prefix("// covers:") else { continue };
        let place = format!("{}:{}", source.path, number + 1);
        // The innermost function around the comment.
        let inside = bodies.iter().filter(|body| body.range.contains(&start));
        let Some(body) = inside.max_by_key(|body| body.range.start) else {
            wrong.push(format!("{place}: stands in no function"));
            continue;
        };
        if !body.is_test {
            wrong.push(format!("{place}: `{}` is no test", body.name));
            continue;
        }
        for id in list.split(',').map(str::trim) {
            if ids(id) != [id] {
                wrong.push(format!("{place}: {id:?} is no identifier"));
                continue;
            }
            let named = tests.entry(id.to_owned()).or_default();
            let test = (source.path.clone(), body.name.clone());
            if !named.contains(&test) {
                named.push(test);
            }
        }
    }
}

#[test]
fn the_list_of_rules_is_sound() {
    let rules = rules();
    assert_eq!(rules.len(), 187, "a rule was added or lost; the draft did not change");
    for (at, rule) in rules.iter().enumerate() {
        assert_eq!(ids(&rule.id), [&rule.id], "not an identifier");
        assert!(LEVELS.contains(&rule.level.as_str()), "{}: level {:?}", rule.id, rule.level);
        assert!(BOUND.contains(&rule.who.as_str()), "{}: who {:?}", rule.id, rule.who);
        assert!(rule.text.ends_with('.') && !rule.text.contains('|'), "{}: {}", rule.id, rule.text);
        assert!(rules[..at].iter().all(|other| other.id != rule.id), "{} is there twice", rule.id);
    }
    for (id, _) in EXEMPT {
        let rule = rules.iter().find(|rule| rule.id == *id).expect("an exemption for a rule");
        assert!(rule.binds(), "{id} needs no exemption");
    }
}

#[test]
fn tests_name_rules_that_exist() {
    let (tests, mut wrong) = covered();
    let rules = rules();
    for (id, named) in &tests {
        if !rules.iter().any(|rule| rule.id == *id) {
            wrong.push(format!("{id} is no rule, named by {named:?}"));
        }
        for (exempt, _) in EXEMPT.iter().filter(|(exempt, _)| exempt == id) {
            wrong.push(format!("{exempt} is exempt and yet named by {named:?}"));
        }
    }
    assert!(wrong.is_empty(), "in `covers` comments:\n  {}", wrong.join("\n  "));
    assert!(tests.len() > 10, "only {} rules are named", tests.len());
}

#[test]
fn every_must_is_held_by_a_test() {
    let (tests, _) = covered();
    let rules = rules();
    let open = |rule: &&Rule| {
        let exempt = EXEMPT.iter().any(|(id, _)| *id == rule.id);
        rule.binds() && !exempt && !tests.contains_key(&rule.id)
    };
    let open: Vec<_> = rules.iter().filter(open).collect();
    let lines: Vec<_> =
        open.iter().map(|rule| format!("{:8} ({}) {}", rule.id, rule.who, rule.text)).collect();
    let all = rules.iter().filter(|rule| rule.binds()).count();
    let (missing, lines) = (open.len(), lines.join("\n  "));
    assert!(open.is_empty(), "{missing} of {all} musts are named by no test:\n  {lines}");
}

/// The identifiers that a text names, those between the ends of "HS-C-08 to HS-C-13" among them.
fn cited(text: &str) -> Vec<String> {
    let mut all: Vec<String> = ids(text).into_iter().map(str::to_owned).collect();
    for (at, _) in text.match_indices(" to ") {
        let before = ids(text[..at].rsplit([' ', '(']).next().unwrap_or_default());
        let behind = ids(text[at + 4..].split([' ', ')', ',', ';']).next().unwrap_or_default());
        if let ([from], [to]) = (&*before, &*behind)
            && let (Some((name, from)), Some((other, to))) =
                (from.rsplit_once('-'), to.rsplit_once('-'))
            && let (true, Ok(from), Ok(to)) = (name == other, from.parse(), to.parse::<u32>())
        {
            all.extend((from..=to).map(|number: u32| format!("{name}-{number:02}")));
        }
    }
    all
}

#[test]
fn every_must_is_cited_where_the_code_does_it() {
    let code = sources();
    let code = code.iter().filter(|s| s.path.starts_with("engine/src/") && !s.is_test());
    let without_tests = |text: &str| text.split("\n#[cfg(test)]\nmod tests {").next().map(cited);
    let named: Vec<_> = code.filter_map(|source| without_tests(&source.text)).flatten().collect();
    assert_eq!(cited("(HS-C-08 to HS-C-10, FR-01)").len(), 3 + 3, "ranges count");
    let missing: Vec<_> = rules()
        .into_iter()
        .filter(|rule| rule.binds() && !EXEMPT.iter().any(|(id, _)| *id == rule.id))
        .filter(|rule| !named.contains(&rule.id))
        .map(|rule| format!("{}: {}", rule.id, rule.text))
        .collect();
    crate::none(&missing, "rules that no code in engine/src cites, but for its tests");
}

#[test]
fn the_table_is_up_to_date() {
    let path = workspace().join(TABLE);
    let (tests, _) = covered();
    let fresh = table(&rules(), &tests);
    if std::env::var_os("RINGBOLT_BLESS").is_some() {
        fs::write(&path, &fresh).expect("the table can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let stale = committed.lines().zip(fresh.lines()).position(|(old, new)| old != new);
    let shorter = committed.lines().count().min(fresh.lines().count());
    assert!(
        committed == fresh,
        "{TABLE} is stale from line {}; rewrite it with \
         `RINGBOLT_BLESS=1 cargo test -p ringbolt --test tidy`",
        stale.unwrap_or(shorter) + 1,
    );
}

fn table(rules: &[Rule], tests: &Tests) -> String {
    let held = |rule: &&Rule| rule.binds() && tests.contains_key(&rule.id);
    let musts = rules.iter().filter(|rule| rule.binds()).count();
    let mut out = format!(
        "# Conformance with draft-ietf-hybi-thewebsocketprotocol-02 and RFC 6455\n\n\
         Written by a test from `tests/conformance/requirements.txt` and the `covers` comments in \
         the tests; do not edit.\nRewrite it with \
         `RINGBOLT_BLESS=1 cargo test -p ringbolt --test tidy`.\n\n\
         Of {musts} rules that are a must for a server or a client, tests hold {}. Level `open` \
         means that the\ndraft has no rule, `policy` that the line is our decision.\n\n\
         | rule | section | level | who | what | tests |\n|---|---|---|---|---|---|\n",
        rules.iter().filter(held).count(),
    );
    for rule in rules {
        let Rule { id, section, level, who, text } = rule;
        let text = text.replace('<', "\\<");
        let named = named(id, tests);
        writeln!(out, "| {id} | {section} | {level} | {who} | {text} | {named} |")
            .expect("a String takes everything");
    }
    cases(&mut out);
    out
}

/// The cases of RFC 6455, group by group.
fn cases(out: &mut String) {
    let groups = super::table::all();
    let all: usize = groups.iter().map(|(_, cases)| cases.len()).sum();
    write!(
        out,
        "\n## RFC 6455\n\n### Servers\n\n{all} cases of `tests/rfc6455/table.rs` run against the engine over real \
         sockets; the client's side\nshares no code with it. A case begins with its section. The \
         opening handshake (§4.2) has tests of its own\nin `tests/rfc6455/opening.rs`, and so has compression (RFC 7692), on \
         every driver: `tests/rfc6455/deflate.rs`\nsends 60 messages on each of 12 offers that are \
         accepted, `tests/rfc6455/takeover.rs` has every\ncontext takeover of both sides with every \
         window from 9 to 15 bits. Which clients and servers of others it is\ntried with, says \
         `scripts/interop --help`.\n"
    )
    .expect("a String takes everything");
    for (group, cases) in groups {
        list(group, &cases.into_iter().map(|case| case.id).collect::<Vec<_>>(), out);
    }
    let groups = super::client_cases::all();
    let all: usize = groups.iter().map(|(_, cases)| cases.len()).sum();
    write!(
        out,
        "\n### Clients\n\n{all} cases of `tests/rfc6455_clients/cases.rs` run against `Clients` over \
         real sockets on every\ndriver, those that `loadgen` can tell of against the program, too; \
         the server's side shares no code with\nthe engine. They are the cases above with a server's \
         frames, but for masking, and those of the opening\nhandshake and of compression (RFC 7692).\n"
    )
    .expect("a String takes everything");
    for (group, cases) in groups {
        list(group, &cases.into_iter().map(|case| case.frames.id).collect::<Vec<_>>(), out);
    }
}

fn list(group: &str, names: &[String], out: &mut String) {
    let (count, names) = (names.len(), names.join("; "));
    write!(out, "\n<details><summary>{group}: {count} cases</summary>\n\n{names}\n\n</details>\n")
        .expect("a String takes everything");
}

/// The last column: each test as its file below the workspace and its name.
fn named(id: &str, tests: &Tests) -> String {
    if let Some((_, reason)) = EXEMPT.iter().find(|(exempt, _)| *exempt == id) {
        return format!("none: {reason}");
    }
    let Some(named) = tests.get(id) else { return "–".to_owned() };
    let mut lines = Vec::new();
    for (path, test) in named {
        let file = path.trim_start_matches("engine/").trim_end_matches(".rs");
        lines.push(format!("`{file}` {test}"));
    }
    lines.join("<br>")
}

#[test]
fn identifiers_are_told_from_other_words() {
    let text = "FR-01, HS-C-05: UTF8-03 (draft-02 §4.2) AMB-2 U-0041 x-01";
    assert_eq!(ids(text), ["FR-01", "HS-C-05", "UTF8-03"]);
}
