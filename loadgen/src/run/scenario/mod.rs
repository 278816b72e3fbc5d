//! The scenarios: one file each, with its arguments, their checks, what its connections do, its part of
//! the document and its lines of text.

pub(crate) mod broadcast;
pub(crate) mod churn;
pub(crate) mod echo;
pub(crate) mod idle;
pub(crate) mod slow;
pub(crate) mod storm;

use crate::base::failure::Failure;
use crate::run::job::{Job, Keys, ScenarioArgs as _};
use crate::spec::rate::Rate;

/// Makes of the table of scenarios what the command line, the plan and the document ask of it.
macro_rules! scenarios {
    ($($name:ident: $module:ident::$args:ident),+ $(,)?) => {
        /// The scenarios, as they were typed.
        #[derive(Debug, Clone, clap::Subcommand)]
        pub(crate) enum Measure {
            $($name($module::$args)),+
        }

        impl Measure {
            /// The rate that was asked for, where the scenario has one.
            pub(crate) fn rate(&mut self) -> Option<&mut Rate> {
                match self {
                    $(Self::$name(args) => args.rate()),+
                }
            }

            /// Makes a job of it, or says why it makes none.
            pub(crate) fn job(self) -> Result<Job, Failure> {
                match self {
                    $(Self::$name(args) => args.job()),+
                }
            }
        }

        /// The keys that scenarios add to documents.
        pub(crate) const KEYS: &[Keys] = &[$($module::KEYS),+];
    };
}

scenarios! {
    Echo: echo::EchoArgs,
    Broadcast: broadcast::BroadcastArgs,
    Storm: storm::StormArgs,
    Idle: idle::IdleArgs,
    Churn: churn::ChurnArgs,
    Slow: slow::SlowArgs,
}
