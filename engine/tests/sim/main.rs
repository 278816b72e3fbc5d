//! Seeds of the simulator that once failed, and a few that nobody has seen; `scripts/sim` runs as many as
//! one likes. With the feature `sim` only.

use ringbolt::fault::Fault;
use ringbolt::sim::{self, Cuts};

/// Seeds that failed before the engine was mended, one a line, with what was wrong.
const SEEDS: &str = include_str!("seeds.txt");

fn seeds() -> impl Iterator<Item = u64> {
    let lines = SEEDS.lines().filter(|line| !line.starts_with('#'));
    let first = lines.filter_map(|line| line.split_whitespace().next());
    first.map(|word| word.parse().expect("a seed"))
}

fn fails(seed: u64, fault: Fault) -> bool {
    sim::run(seed, fault, &Cuts::default(), false).violation.is_some()
}

#[test]
fn seeds_that_once_failed_do_so_no_more() {
    assert!(seeds().count() > 5);
    for seed in seeds() {
        let outcome = sim::run(seed, Fault::None, &Cuts::default(), false);
        assert_eq!(outcome.violation, None, "scripts/sim --seed {seed} --shrink");
    }
}

#[test]
fn a_seed_comes_to_the_same_each_time() {
    for seed in (0..40).chain(seeds()) {
        let [one, other] =
            [true, true].map(|trace| sim::run(seed, Fault::None, &Cuts::default(), trace));
        assert_eq!(one, other, "seed {seed}");
        assert_eq!(one.violation, None, "scripts/sim --seed {seed} --shrink");
        assert!(one.events > 0 && !one.trace.is_empty());
    }
}

#[test]
fn faults_that_are_put_back_are_found_and_shrunk() {
    for fault in [Fault::PongAfterCloseMissing, Fault::ProgressOnlyWhenAllLeft] {
        let seed = (0..1000).find(|seed| fails(*seed, fault)).expect("it is found");
        let whole = sim::run(seed, fault, &Cuts::default(), false);
        let (cuts, less) = sim::shrink(seed, fault);
        let promise = |outcome: &sim::Outcome| outcome.violation.as_ref().map(|one| one.promise);
        assert_eq!(promise(&whole), promise(&less));
        assert!(less.events <= whole.events && cuts != Cuts::default(), "{cuts:?}");
        assert!(!fails(seed, Fault::None), "the fault is gone again");
    }
}
