//! Why there is no result: what, why, and what to do.

use std::fmt;

use ringbolt::StartError;

/// The run did not happen.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: Kind,
    what: String,
    why: String,
    remedy: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usage,
    Preflight,
    NotComparable,
    Unreachable,
    Config,
    Interrupted,
}

impl Failure {
    /// The command line asks for what makes no sense.
    pub(crate) fn usage(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::Usage, what: what.into(), why: why.into(), remedy }
    }

    /// A file cannot be used; the engine has said all about it.
    pub(crate) fn start(error: &StartError) -> Self {
        Self {
            kind: Kind::Usage,
            what: error.what().to_owned(),
            why: error.why().to_owned(),
            remedy: error.remedy(),
        }
    }

    /// This machine cannot do it.
    pub(crate) fn preflight(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::Preflight, what: what.into(), why: why.into(), remedy }
    }

    /// The runs cannot be set side by side.
    pub(crate) fn not_comparable(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::NotComparable, what: what.into(), why: why.into(), remedy }
    }

    /// Nobody answers.
    pub(crate) fn unreachable(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::Unreachable, what: what.into(), why: why.into(), remedy }
    }

    /// A signal came before there was anything to tell.
    pub(crate) fn interrupted(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::Interrupted, what: what.into(), why: why.into(), remedy }
    }

    /// A file of settings is wrong.
    pub(crate) fn config(
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind: Kind::Config, what: what.into(), why: why.into(), remedy }
    }

    /// The process's exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Usage => 2,
            Kind::Preflight | Kind::NotComparable => 3,
            Kind::Unreachable => 69,
            Kind::Config => 78,
            Kind::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. To fix it: {}.", self.what, self.why, self.remedy)
    }
}
