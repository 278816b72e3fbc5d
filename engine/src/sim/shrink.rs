//! A failing seed made smaller: with fewer peers, fewer operations and less that goes wrong.

use super::{Cuts, Outcome, plan, run};
use crate::fault::Fault;

/// Leaves away what a seed fails without, and says what that is and what it fails with.
#[must_use]
pub fn shrink(seed: u64, fault: Fault) -> (Cuts, Outcome) {
    let mut cuts = Cuts::default();
    let mut outcome = run(seed, fault, &cuts, false);
    let Some(promise) = outcome.violation.as_ref().map(|violation| violation.promise) else {
        return (cuts, outcome);
    };
    loop {
        let before = cuts;
        let nuisances = (0..plan::Nuisances::NAMES.len())
            .map(|bit| Cuts { without: cuts.without | 1 << bit, ..cuts });
        let peers = (0..16).map(|peer| Cuts { absent: cuts.absent | 1 << peer, ..cuts });
        let most = if cuts.ops == usize::MAX { 256 } else { cuts.ops };
        let ops = [most / 2, most.saturating_sub(1)].map(|ops| Cuts { ops, ..cuts });
        for candidate in nuisances.chain(peers).chain(ops).collect::<Vec<_>>() {
            let merged = Cuts {
                absent: cuts.absent | candidate.absent,
                without: cuts.without | candidate.without,
                ops: cuts.ops.min(candidate.ops),
            };
            if merged == cuts {
                continue;
            }
            let tried = run(seed, fault, &merged, false);
            let same = tried.violation.as_ref().is_some_and(|found| found.promise == promise);
            if same && tried.events <= outcome.events {
                (cuts, outcome) = (merged, tried);
            }
        }
        if cuts == before {
            break;
        }
    }
    (cuts, run(seed, fault, &cuts, true))
}
