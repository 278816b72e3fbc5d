//! The churn: connections that live for a random time, each of which is replaced when it ends.

use std::fmt::{self, Write as _};

use clap::Args;
use serde_json::{Value, json};

use crate::base::clock::nanos;
use crate::base::failure::Failure;
use crate::base::units;
use crate::plan::Parts;
use crate::plan::workload::{Connections, Window, Workload};
use crate::run::job::{Job, Keys, Scenario, ScenarioArgs};
use crate::run::outcome::Outcome;
use crate::run::scenario::storm::Cycles;
use crate::run::worker::{Launch, Thread};
use crate::spec::lifetime::{self, Lifetime};
use crate::spec::options::{DialArgs, MachineArgs, OutputArgs, TargetArgs, WindowArgs, help};

#[derive(Debug, Clone, Args)]
#[command(
    about = "Keep a number of connections open, each of which lives for a random time",
    after_help = EXAMPLES
)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Number of connections to keep open [suffixes: k, m]
    #[arg(short, long, env = "LOADGEN_CONNECTIONS", value_name = "N", default_value = "100",
          value_parser = units::positive, help_heading = "Load")]
    connections: u64,
    /// How long connections live: 10s, each as long; exponential:10s, on average, as if each could end
    /// at any time; or uniform:5s..15s
    #[arg(long, env = "LOADGEN_LIFETIME", value_name = "TIME", default_value = "exponential:10s",
          value_parser = lifetime::parse, help_heading = "Load")]
    lifetime: Lifetime,
    #[command(flatten)]
    window: WindowArgs,
    #[arg(long, env = "LOADGEN_SEED", value_name = "N", default_value = "1", help_heading = "Load",
          help = help::SEED)]
    seed: u64,
    #[arg(long, env = "LOADGEN_SOURCE", value_name = "CIDR", help_heading = "Connecting",
          help = help::SOURCE)]
    source: Option<String>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const EXAMPLES: &str = "\
Each connection lives for a random time and ends with a closing handshake. It is replaced at once, so
that the number of open connections is steady. The first ones begin in the middle of their lives, so
that the rate is steady from the start. The latency is that of opening a connection.

Examples:
  loadgen churn ws://127.0.0.1:9000/ -c 1000 --lifetime exponential:10s
  loadgen churn ws://127.0.0.1:9000/ -c 1000 --lifetime uniform:1s..5s -d 30s";

impl ScenarioArgs for ChurnArgs {
    fn job(self) -> Result<Job, Failure> {
        let Self { target, connections, lifetime, window, seed, source, machine, output } = self;
        let dial = DialArgs { connect_rate: None, ramp: None, source };
        let window = Window::new(&window, &[], None);
        let parts = Parts { target, connections, window, seed, dial, machine, output };
        let workload = Workload::of_connections(Connections::Replaced, connections, None);
        Ok(Job::new(parts.plan(workload)?, Churn { lifetime }))
    }
}

/// Each connection is replaced when it has lived.
#[derive(Debug)]
struct Churn {
    lifetime: Lifetime,
}

pub(super) const KEYS: Keys = Keys { workload: &["lifetime", "lifetime_mean_ns"], outcome: &[] };

impl Scenario for Churn {
    fn name(&self) -> &'static str {
        "churn"
    }

    fn unit(&self) -> (&'static str, &'static str) {
        ("connection", "connections")
    }

    fn latency_name(&self) -> &'static str {
        "opening"
    }

    fn headline(&self) -> String {
        format!("churn, lifetimes {}", self.lifetime)
    }

    fn workload(&self) -> Vec<(&'static str, Value)> {
        let mean = nanos(self.lifetime.mean());
        vec![("lifetime", json!(self.lifetime.to_string())), ("lifetime_mean_ns", json!(mean))]
    }

    fn write_counts(&self, out: &mut String, outcome: &Outcome) -> fmt::Result {
        let Some(open) = outcome.open_range else { return Ok(()) };
        writeln!(out, "  {:<12} {} to {} connections at once", "open", open.least, open.most)
    }

    fn tells_handshakes(&self) -> bool {
        false
    }

    fn start(&self, launch: Launch) -> std::io::Result<Thread> {
        let lifetime = self.lifetime;
        launch.spawn(move |context| Cycles::new(context, Some(lifetime)))
    }
}
