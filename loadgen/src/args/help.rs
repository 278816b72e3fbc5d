//! Words that several options share.

pub(super) const SEED: &str =
    "What random times, payloads and the keys of opening handshakes are made from";

pub(super) const PLAN: &str = "\
Take what is not given on the command line or in the environment from this file. It is TOML; its keys \
are `scenario`, `url` and the long options without their dashes, and unknown ones are errors:

  scenario = \"echo\"
  url = \"ws://127.0.0.1:9000/\"
  connections = \"5k\"
  stage = [\"30s:1k..10k\", \"2m:10k\"]
  fail-if = [\"p99>5ms\"]

`loadgen run FILE` runs it; options behind FILE go before what it says.";

pub(super) const CALIBRATE: &str = "\
Three runs against a server of this process that sends back what it gets: one connection alone, a \
hundred in a closed loop, and a hundred on a schedule. No latency that is measured here can be below \
that of the first. The floor is kept below $XDG_STATE_HOME (or ~/.local/state) for this machine, \
kernel, program, --driver and --spin, and from then on stands beside every result of theirs.";

pub(super) const SOURCE: &str =
    "Connect from these addresses in turn, such as 10.0.0.8/29; chosen by itself on loopback";

pub(super) const DEPTH: &str = "Most messages in flight per connection: 1 if not given, with --rate any number. Messages that are \
     due beyond it wait, and their latency counts from when they were due";

pub(super) const TRACE: &str = "Also write every message due in the measurement to this file, as CSV: its connection and number, \
     when it was due, sent and answered, on the kernel's monotonic clock. Takes 32 bytes of memory \
     per message";
