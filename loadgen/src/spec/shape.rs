//! What messages are like: of one size or of many, a file, or a text with numbers filled in.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::units;

/// What `--payload` asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Messages that are made up, of these sizes.
    Sizes(Sizes),
    /// The contents of a file, each time.
    File(PathBuf, Arc<[u8]>),
    /// A text that is filled in for each message.
    Template(Template),
}

/// Sizes of messages: each message has one of the table's, by its numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sizes {
    asked: String,
    /// One, or [`QUANTILES`] that stand for a distribution, in order.
    pub(crate) table: Arc<[u32]>,
}

/// How many sizes stand for a distribution: each for the same share of it.
const QUANTILES: u32 = 1 << QUANTILE_BITS;
pub(crate) const QUANTILE_BITS: u32 = 12;

/// A text in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    asked: String,
    pub(crate) pieces: Arc<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    /// The message's number on its connection, from 0.
    Sequence,
    /// The connection's number in the run, from 0.
    Connection,
    /// When the message was due, in nanoseconds since 1970.
    Time,
}

/// What the parser says after what is wrong.
const ALLOWED: &str = "write it like 64, 16KiB, uniform:64..4KiB, normal:1KiB,256 (mean, deviation), \
    lognormal:1KiB,0.5 (median, sigma), list:64*70,1KiB*25,64KiB*5 (size*weight), @FILE or \
    'tmpl:{\"n\":{seq}}'";

/// Reads `--payload`.
pub(crate) fn parse(text: &str) -> Result<Shape, String> {
    let made = if let Some(path) = text.strip_prefix('@') {
        file(path)
    } else if let Some(template) = text.strip_prefix("tmpl:") {
        Template::parse(template).map(Shape::Template)
    } else {
        Sizes::parse(text).map(Shape::Sizes)
    };
    made.map_err(|why| format!("`{text}` is not a payload: {why}; {ALLOWED}"))
}

fn file(path: &str) -> Result<Shape, String> {
    let path = PathBuf::from(path);
    let bytes = std::fs::read(&path).map_err(|e| e.to_string())?;
    if bytes.len() as u64 > units::SIZE_MAX {
        return Err("a message is at most 1GiB".to_owned());
    }
    Ok(Shape::File(path, bytes.into()))
}

impl Shape {
    /// The length of the longest message.
    pub(crate) fn largest(&self) -> usize {
        match self {
            Self::Sizes(sizes) => sizes.table.iter().max().map_or(0, |size| *size as usize),
            Self::File(_, bytes) => bytes.len(),
            Self::Template(template) => template.largest(),
        }
    }

    /// The length of the shortest; of a template, of what is always in it.
    pub(crate) fn smallest(&self) -> usize {
        match self {
            Self::Sizes(sizes) => sizes.table.iter().min().map_or(0, |size| *size as usize),
            Self::File(_, bytes) => bytes.len(),
            Self::Template(template) => template.smallest(),
        }
    }

    /// Whether it can be sent as text.
    pub(crate) fn is_text(&self) -> bool {
        !matches!(self, Self::File(_, bytes) if std::str::from_utf8(bytes).is_err())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sizes(sizes) if sizes.table.len() == 1 => {
                f.write_str(&crate::base::format::bytes(self.largest()))
            }
            Self::Sizes(sizes) => f.write_str(&sizes.asked),
            Self::File(path, bytes) => {
                write!(f, "{} ({})", path.display(), crate::base::format::bytes(bytes.len()))
            }
            Self::Template(template) => write!(f, "tmpl:{}", template.asked),
        }
    }
}

impl Sizes {
    fn parse(text: &str) -> Result<Self, String> {
        let table = match text.split_once(':') {
            None => vec![checked(units::size(text)?)],
            Some(("uniform", range)) => uniform(range)?,
            Some(("normal", pair)) => {
                let (mean, deviation) = pair_of(pair, "a mean and a deviation")?;
                let (mean, deviation) = (bytes(mean)?, bytes(deviation)?);
                quantiles(|share| deviation.mul_add(normal(share), mean))
            }
            Some(("lognormal", pair)) => {
                let (median, sigma) = pair_of(pair, "a median and a sigma")?;
                let median = bytes(median)?;
                let sigma: f64 = sigma.parse().map_err(|_| format!("`{sigma}` is not a number"))?;
                if !(0.0..=10.0).contains(&sigma) {
                    return Err(format!("`{sigma}` is not a sigma between 0 and 10"));
                }
                quantiles(|share| median * (sigma * normal(share)).exp())
            }
            Some(("list", list)) => weighted(list)?,
            Some((name, _)) => return Err(format!("there are no sizes named `{name}`")),
        };
        Ok(Self { asked: text.to_owned(), table: table.into() })
    }
}

fn pair_of<'t>(text: &'t str, what: &str) -> Result<(&'t str, &'t str), String> {
    text.split_once(',').ok_or_else(|| format!("`{text}` is not {what}"))
}

/// Sizes from one to another, all alike.
fn uniform(range: &str) -> Result<Vec<u32>, String> {
    let (from, to) = range.split_once("..").ok_or_else(|| format!("`{range}` is not a range"))?;
    let (from, to) = (bytes(from)?, bytes(to)?);
    if from > to {
        return Err(format!("`{range}` ends before it begins"));
    }
    // The last one is as frequent as the others.
    Ok(quantiles(|share| (from + share * (to + 1.0 - from)).floor().min(to)))
}

/// Sizes with weights, each as often in the table as its weight says, to within one.
#[expect(clippy::cast_precision_loss, reason = "weights of a command line are small")]
fn weighted(list: &str) -> Result<Vec<u32>, String> {
    let one = |item: &str| {
        let (size, weight) = item.split_once('*').unwrap_or((item, "1"));
        let weight = units::count(weight)?;
        Ok::<_, String>((checked(units::size(size)?), weight as f64))
    };
    let items = list.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
    let total: f64 = items.iter().map(|(_, weight)| weight).sum();
    if total <= 0.0 {
        return Err("its weights are all 0".to_owned());
    }
    Ok(quantiles(|share| {
        let mut left = share * total;
        let at = items.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        at.or_else(|| items.last()).map_or(0.0, |(size, _)| f64::from(*size))
    }))
}

#[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
fn bytes(text: &str) -> Result<f64, String> {
    units::size(text).map(|size| size as f64)
}

/// A size that [`units::size`] has bounded.
fn checked(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// The sizes at the middle of each of [`QUANTILES`] equal shares.
fn quantiles(size: impl Fn(f64) -> f64) -> Vec<u32> {
    let middle = |index| (f64::from(index) + 0.5) / f64::from(QUANTILES);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the largest message"
    )]
    (0..QUANTILES)
        .map(|index| size(middle(index)).round().clamp(0.0, units::SIZE_MAX as f64) as u32)
        .collect()
}

/// The value that this share of a standard normal distribution lies below, to within 0.00045
/// (Abramowitz and Stegun, 26.2.23): far finer than a quantile of the table is wide.
fn normal(share: f64) -> f64 {
    let tail = share.min(1.0 - share);
    let t = (-2.0 * tail.ln()).sqrt();
    let over = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let under = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    let value = t - over / under;
    if share < 0.5 { -value } else { value }
}

/// The digits of the largest sequence and connection number, and of the largest time.
const DIGITS: [usize; 2] = [10, 20];

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        let mut plain = String::new();
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let name = from[1..].find('}').map_or("", |end| &from[1..=end]);
            let piece = match name {
                "seq" => Piece::Sequence,
                "conn" => Piece::Connection,
                "time" => Piece::Time,
                _ if !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase()) => {
                    return Err(format!(
                        "there is no {{{name}}}, only {{seq}}, {{conn}}, {{time}}"
                    ));
                }
                // A brace of the text itself, as JSON has them.
                _ => {
                    plain.push('{');
                    rest = &from[1..];
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
            rest = &from[name.len() + 2..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { asked: text.to_owned(), pieces: pieces.into() })
    }

    fn largest(&self) -> usize {
        self.length(DIGITS)
    }

    fn smallest(&self) -> usize {
        self.length([1, 1])
    }

    fn length(&self, [number, time]: [usize; 2]) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Sequence | Piece::Connection => number,
            Piece::Time => time,
        };
        self.pieces.iter().map(length).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, Shape, normal, parse};

    fn table(text: &str) -> Vec<u32> {
        match parse(text).expect(text) {
            Shape::Sizes(sizes) => sizes.table.to_vec(),
            other => panic!("sizes, not {other:?}"),
        }
    }

    fn mean(table: &[u32]) -> f64 {
        table.iter().map(|size| f64::from(*size)).sum::<f64>() / table.len() as f64
    }

    #[test]
    fn sizes_are_distributed_as_asked() {
        assert_eq!(table("16KiB"), [16_384]);
        let uniform = table("uniform:10..19");
        for size in 10..=19 {
            let share = uniform.iter().filter(|is| **is == size).count();
            assert!((405..=415).contains(&share), "{size}: {share} of 4096");
        }
        let normal = table("normal:1000,100");
        assert!((mean(&normal) - 1000.0).abs() < 1.0, "{}", mean(&normal));
        let within = normal.iter().filter(|size| (900..=1100).contains(*size)).count();
        assert!((2780..=2820).contains(&within), "68.3 % within one deviation: {within}");
        let lognormal = table("lognormal:1000,0.5");
        assert!((995..=1005).contains(&lognormal[2048]), "the median: {}", lognormal[2048]);
        // exp(sigma^2 / 2), less what is beyond the last quantile.
        assert!((mean(&lognormal) / 1000.0 - 1.1331).abs() < 0.002, "{}", mean(&lognormal));
        let list = table("list:64*70,1KiB*25,64KiB*5");
        let count = |size| list.iter().filter(|is| **is == size).count();
        assert_eq!((count(64), count(1024), count(65_536)), (2867, 1024, 205));
        let (narrow, wide) = (parse("normal:10,0").expect("sizes"), parse("normal:10,1KiB"));
        assert_eq!((narrow.smallest(), narrow.largest()), (10, 10));
        assert_eq!(wide.expect("sizes").smallest(), 0, "no size is below 0");
    }

    #[test]
    fn the_normal_distribution_is_the_tables() {
        for (share, value) in [(0.5, 0.0), (0.975, 1.959_964), (0.001, -3.090_232)] {
            assert!((normal(share) - value).abs() < 5e-4, "{share}: {}", normal(share));
        }
    }

    #[test]
    fn templates_have_their_braces_and_their_numbers() {
        let Ok(Shape::Template(template)) =
            parse(r#"tmpl:{"a":{"n":{seq},"c":{conn}},"t":{time}}"#)
        else {
            panic!("a template");
        };
        let text = |text: &str| Piece::Text(text.to_owned());
        let expected = [
            text(r#"{"a":{"n":"#),
            Piece::Sequence,
            text(r#","c":"#),
            Piece::Connection,
            text(r#"},"t":"#),
            Piece::Time,
            text("}"),
        ];
        assert_eq!(*template.pieces, expected);
        assert_eq!((template.smallest(), template.largest()), (25, 25 + 9 + 9 + 19));
        let plain = parse("tmpl:hello").expect("a template");
        assert_eq!((plain.smallest(), plain.largest()), (5, 5));
        assert_eq!(parse("tmpl:").expect("nothing").largest(), 0);
    }

    #[test]
    fn nonsense_is_answered_with_what_is_allowed() {
        for text in [
            "",
            "big",
            "uniform:5",
            "uniform:5..1",
            "normal:5",
            "normal:5,x",
            "lognormal:5,-1",
            "lognormal:5,x",
            "list:",
            "list:5*0",
            "list:5*x",
            "list:x*5",
            "zipf:5",
            "tmpl:{sequence}",
            "@/no/such/file",
            "@/",
            "uniform:1..2GiB",
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.contains("lognormal:1KiB,0.5"), "{said}");
        }
    }
}
