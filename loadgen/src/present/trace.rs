//! Every message of the window, one line each: for whoever wants to check the histograms, or to match
//! them with what the server saw.

use std::fmt::Write as _;

use crate::base::clock::Clock;
use crate::run::stats::Traced;

/// The table, in order of when messages were due. Times are those of the kernel's monotonic clock,
/// which all processes of a machine share.
pub(crate) fn table(mut traced: Vec<Traced>, clock: Clock) -> String {
    traced.sort_unstable_by_key(|one| (one.sent.due, one.connection, one.message));
    let mut out = String::from("connection,message,due_ns,sent_ns,answered_ns\n");
    for one in &traced {
        let [due, at, answered] =
            [one.sent.due, one.sent.at, one.answered].map(|time| clock.monotonic(time));
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{},{},{due},{at},{answered}", one.connection, one.message);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::base::clock::Clock;
    use crate::run::stats::{Sent, Traced};

    #[test]
    fn the_table_is_in_order_and_on_the_machines_clock() {
        let clock = Clock::new();
        let before = ringbolt::monotonic_nanos();
        let now = clock.now();
        let after = ringbolt::monotonic_nanos();
        let one = |message, due| Traced {
            connection: 7,
            message,
            sent: Sent { due, at: due + 5 },
            answered: now,
        };
        let text = table(vec![one(2, now - 10), one(1, now - 20)], clock);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "connection,message,due_ns,sent_ns,answered_ns");
        let fields = |line: &str| -> Vec<u64> {
            line.split(',').map(|field| field.parse().expect("a number")).collect()
        };
        let (first, second) = (fields(lines[1]), fields(lines[2]));
        assert_eq!((first[..2].to_vec(), second[..2].to_vec()), (vec![7, 1], vec![7, 2]));
        assert_eq!((first[4] - first[2], first[3] - first[2]), (20, 5));
        // Both clocks are read one after the other when the run's begins.
        assert!((before.saturating_sub(100_000)..=after + 100_000).contains(&first[4]));
    }
}
