//! Words that several options share.

pub(crate) const SEED: &str = "Seed for random times, payloads and the keys of opening handshakes";

pub(crate) const PLAN: &str = "\
Read options that are not given on the command line or in the environment from this file. It is TOML; its \
keys are `scenario`, `url` and the long options without their dashes, and unknown keys are errors:

  scenario = \"echo\"
  url = \"ws://127.0.0.1:9000/\"
  connections = \"5k\"
  stage = [\"30s:1k..10k\", \"2m:10k\"]
  fail-if = [\"p99>5ms\"]

`loadgen run FILE` runs it; options after FILE take precedence over it.";

pub(crate) const CALIBRATE: &str = "\
Makes three runs against a server inside this process that sends back what it gets: one connection \
alone, a hundred in a closed loop, and a hundred on a schedule. No latency measured on this machine can \
be below that of the first. The floor is kept below $XDG_STATE_HOME (or ~/.local/state) for this \
machine, kernel, program, --driver and --spin. From then on it stands beside every result that has \
these in common.";

pub(crate) const SOURCE: &str = "Addresses to connect from, in turn, such as 10.0.0.8/29 [default: as many as needed on loopback]";

pub(crate) const DEPTH: &str = "Most messages in flight per connection. Messages that are due beyond that wait, and their latency \
     counts from when they were due [default: 1, or any number with --rate]";

pub(crate) const TRACE: &str = "Also write every message due in the measurement to this file, as CSV: its connection and number, \
     when it was due, sent and answered, on the kernel's monotonic clock. Takes 32 bytes of memory \
     per message";
