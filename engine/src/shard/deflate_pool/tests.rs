//! What a budget gives, and to whom.

use proptest::prelude::*;

use super::{DeflatePool, SPARE_INFLATERS};
use crate::config::Compression;
use crate::conn::{Deflater, Inflater};
use crate::handshake::Deflate;
use crate::memory::Ledger;
use crate::metrics::Counters;

const ONE: usize = Inflater::BYTES;

fn deflate_pool(budget: usize) -> DeflatePool {
    DeflatePool::new(
        Some(Compression::default().with_budget_bytes(budget)),
        Ledger::new(usize::MAX),
    )
}

#[test]
fn inflaters_are_lent_up_to_the_budget() {
    let mut deflate_pool = deflate_pool(3 * ONE + ONE / 2);
    let lent: Vec<_> = std::iter::from_fn(|| deflate_pool.take_inflater()).collect();
    assert_eq!((lent.len(), deflate_pool.used()), (3, 3 * ONE));
    lent.into_iter().for_each(|inflater| deflate_pool.recycle_inflater(inflater));
    assert_eq!(deflate_pool.used(), 3 * ONE, "spare ones are counted");
    assert!(deflate_pool.take_inflater().is_some(), "and lent again");
}

#[test]
fn few_inflaters_are_spared_and_they_make_room() {
    let mut deflate_pool = deflate_pool(100 * ONE);
    let lent: Vec<_> = (0..40).map(|_| deflate_pool.take_inflater().unwrap()).collect();
    lent.into_iter().for_each(|inflater| deflate_pool.recycle_inflater(inflater));
    assert_eq!(deflate_pool.used(), SPARE_INFLATERS * ONE);
    for bits in 9..=15 {
        assert!(deflate_pool.deflater(bits, 3).is_some(), "{bits}");
    }
    let most = deflate_pool.used();
    assert!(most <= 100 * ONE);
    assert!(deflate_pool.deflater(15, 3).is_some());
    assert_eq!(deflate_pool.used(), most, "one per window");
}

#[test]
fn no_budget_compresses_nothing() {
    let mut deflate_pool = deflate_pool(0);
    let mut counters = Counters::default();
    assert!(deflate_pool.take_inflater().is_none());
    assert!(deflate_pool.deflater(15, 3).is_none());
    assert_eq!(deflate_pool.agree(Deflate::of(15, true, true), &mut counters), None);
    assert_eq!((counters.compression_declined, deflate_pool.used()), (1, 0));
}

#[test]
fn what_is_kept_takes_half_and_the_others_open_without() {
    let mut deflate_pool = deflate_pool(8 * ONE);
    let mut counters = Counters::default();
    let asked = Deflate::of(15, false, true);
    let given: Vec<_> = (0..6).map(|_| deflate_pool.agree(asked, &mut counters).unwrap()).collect();
    let takeover: Vec<_> = given.iter().map(|agreed| agreed.peer_takeover).collect();
    assert_eq!(takeover, [true, true, true, true, false, false]);
    assert_eq!((counters.takeover_declined, counters.compression_declined), (2, 0));
    // The other half is for messages under way; when that is used up, too, none more is agreed on.
    let lent: Vec<_> = std::iter::from_fn(|| deflate_pool.take_inflater()).collect();
    assert_eq!(lent.len(), 4);
    assert_eq!(deflate_pool.agree(asked, &mut counters), None);
    deflate_pool.release(ONE);
    assert!(deflate_pool.agree(asked, &mut counters).is_some_and(|agreed| agreed.peer_takeover));
}

#[test]
fn a_direction_that_finds_room_is_agreed_on_without_the_other() {
    let mut deflate_pool = deflate_pool(4 * ONE);
    let mut counters = Counters::default();
    let given = deflate_pool.agree(Deflate::of(15, true, true), &mut counters).unwrap();
    assert_eq!((given.takeover, given.peer_takeover), (false, true), "a deflater is large");
    assert_eq!(deflate_pool.used(), ONE);
}

#[test]
fn a_client_follows_its_server_or_fails() {
    let mut counters = Counters::default();
    let both = Deflate::of(9, true, true);
    let mut small = deflate_pool(2 * ONE);
    let given = small.follow(both, &mut counters).unwrap();
    assert_eq!((given.takeover, given.peer_takeover), (false, true));
    assert_eq!(small.follow(both, &mut counters), None, "it could not read the second message");
    let plain = small.follow(Deflate::of(9, true, false), &mut counters).unwrap();
    assert!(!plain.takeover, "what it sends need not refer to anything");
    assert_eq!((counters.takeover_declined, counters.compression_declined), (2, 1));
}

proptest! {
    /// Whatever happens in whatever order, no more than the budget is used, and all comes back.
    #[test]
    fn the_budget_holds(
        budget in 0_usize..60,
        steps in proptest::collection::vec((0_u8..6, 9_u8..=15), 0..200),
    ) {
        let budget = budget * ONE / 2;
        let mut deflate_pool = deflate_pool(budget);
        let mut counters = Counters::default();
        let (mut lent, mut kept) = (Vec::new(), Vec::new());
        for (step, bits) in steps {
            match step {
                0 => lent.extend(deflate_pool.take_inflater()),
                1 => {
                    if let Some(inflater) = lent.pop() {
                        deflate_pool.recycle_inflater(inflater);
                    }
                }
                2 => {
                    let _ = deflate_pool.deflater(bits, 1);
                }
                3 | 4 => kept.extend(deflate_pool.agree(Deflate::of(bits, step == 3, true), &mut counters)),
                _ => {
                    if let Some(agreed) = kept.pop() {
                        for (keeps, bytes) in [
                            (agreed.peer_takeover, ONE),
                            (agreed.takeover, Deflater::bytes(agreed.window_bits)),
                        ] {
                            if keeps {
                                deflate_pool.release(bytes);
                            }
                        }
                    }
                }
            }
            prop_assert!(deflate_pool.used() <= budget);
            prop_assert!(deflate_pool.kept <= budget / 2);
        }
        for agreed in kept {
            if agreed.peer_takeover {
                deflate_pool.release(ONE);
            }
            if agreed.takeover {
                deflate_pool.release(Deflater::bytes(agreed.window_bits));
            }
        }
        lent.into_iter().for_each(|inflater| deflate_pool.recycle_inflater(inflater));
        let shared: usize = (9..=15)
            .filter(|bits| deflate_pool.deflaters[usize::from(*bits)].is_some())
            .map(Deflater::bytes)
            .sum();
        prop_assert_eq!(deflate_pool.used(), deflate_pool.spare.len() * ONE + shared);
        prop_assert_eq!(deflate_pool.kept, 0);
    }
}
