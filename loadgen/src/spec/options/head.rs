//! The limits of what a server answers.

use clap::Args;
use ringbolt::handshake::{HeadLimits, scan};

use crate::base::units;

/// How long the head of an answer may be.
#[derive(Debug, Clone, Args)]
pub(crate) struct HeadArgs {
    /// Largest head of the server's answer to the opening handshake, up to 65535 bytes
    #[arg(long, env = "LOADGEN_MAX_HANDSHAKE", value_name = "SIZE", default_value = "16KiB",
          value_parser = bytes, help_heading = "Target")]
    max_handshake: usize,
    /// Longest line of the head of that answer, up to 65535 bytes
    #[arg(long, env = "LOADGEN_MAX_LINE", value_name = "SIZE", default_value = "8KiB",
          value_parser = bytes, help_heading = "Target")]
    max_line: usize,
    /// Most fields in the head of that answer, up to 128
    #[arg(long, env = "LOADGEN_MAX_FIELDS", value_name = "N", default_value = "100",
          value_parser = fields, help_heading = "Target")]
    max_fields: usize,
}

impl HeadArgs {
    pub(crate) fn limits(&self) -> HeadLimits {
        HeadLimits::default()
            .with_max_bytes(self.max_handshake)
            .with_max_line_bytes(self.max_line)
            .with_max_fields(self.max_fields)
    }
}

/// A size that fits.
fn bytes(text: &str) -> Result<usize, String> {
    let most = usize::from(u16::MAX);
    let size = units::size(text)?;
    if size > most { Err(format!("at most {most} bytes")) } else { Ok(size) }
}

/// A number of fields that fits.
fn fields(text: &str) -> Result<usize, String> {
    let most = scan::FIELDS_MAX;
    let count = usize::try_from(units::count(text)?).unwrap_or(usize::MAX);
    if count > most { Err(format!("at most {most}")) } else { Ok(count) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use ringbolt::handshake::HeadLimits;

    use super::HeadArgs;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        head: HeadArgs,
    }

    fn limits(options: &str) -> Option<HeadLimits> {
        let words = std::iter::once("loadgen").chain(options.split_whitespace());
        Line::try_parse_from(words).ok().map(|line| line.head.limits())
    }

    #[test]
    fn limits_are_the_librarys_unless_they_are_given() {
        assert_eq!(limits(""), Some(HeadLimits::default()));
        let given = limits("--max-handshake 1KiB --max-line 99 --max-fields 7").expect("limits");
        assert_eq!((given.max_bytes(), given.max_line_bytes(), given.max_fields()), (1024, 99, 7));
        assert!(limits("--max-handshake 65535 --max-fields 128").is_some());
        for wrong in ["--max-handshake 65536", "--max-line 64KiB", "--max-fields 129"] {
            assert_eq!(limits(wrong), None, "{wrong}");
        }
    }
}
