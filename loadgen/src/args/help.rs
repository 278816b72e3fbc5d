//! Words that several options share.

pub(super) const SEED: &str =
    "What random times, payloads and the keys of opening handshakes are made from";

pub(super) const SOURCE: &str =
    "Connect from these addresses in turn, such as 10.0.0.8/29; chosen by itself on loopback";

pub(super) const DEPTH: &str = "Most messages in flight per connection: 1 if not given, with --rate any number. Messages that are \
     due beyond it wait, and their latency counts from when they were due";

pub(super) const TRACE: &str = "Also write every message due in the measurement to this file, as CSV: its connection and number, \
     when it was due, sent and answered, on the kernel's monotonic clock. Takes 32 bytes of memory \
     per message";
