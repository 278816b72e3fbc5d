//! What a budget gives, and to whom.

use proptest::prelude::*;

use super::{Codec, SPARE_INFLATERS};
use crate::config::Compression;
use crate::conn::{Deflater, Inflater};
use crate::handshake::Deflate;
use crate::memory::Ledger;
use crate::metrics::Counters;

const ONE: usize = Inflater::BYTES;

fn codec(budget: usize) -> Codec {
    Codec::new(Some(Compression::default().with_budget_bytes(budget)), Ledger::new(usize::MAX))
}

#[test]
fn inflaters_are_lent_up_to_the_budget() {
    let mut codec = codec(3 * ONE + ONE / 2);
    let lent: Vec<_> = std::iter::from_fn(|| codec.take_inflater()).collect();
    assert_eq!((lent.len(), codec.used()), (3, 3 * ONE));
    lent.into_iter().for_each(|inflater| codec.recycle_inflater(inflater));
    assert_eq!(codec.used(), 3 * ONE, "spare ones are counted");
    assert!(codec.take_inflater().is_some(), "and lent again");
}

#[test]
fn few_inflaters_are_spared_and_they_make_room() {
    let mut codec = codec(100 * ONE);
    let lent: Vec<_> = (0..40).map(|_| codec.take_inflater().unwrap()).collect();
    lent.into_iter().for_each(|inflater| codec.recycle_inflater(inflater));
    assert_eq!(codec.used(), SPARE_INFLATERS * ONE);
    for bits in 9..=15 {
        assert!(codec.deflater(bits, 3).is_some(), "{bits}");
    }
    let most = codec.used();
    assert!(most <= 100 * ONE);
    assert!(codec.deflater(15, 3).is_some());
    assert_eq!(codec.used(), most, "one per window");
}

#[test]
fn no_budget_compresses_nothing() {
    let mut codec = codec(0);
    let mut counters = Counters::default();
    assert!(codec.take_inflater().is_none());
    assert!(codec.deflater(15, 3).is_none());
    assert_eq!(codec.agree(Deflate::of(15, true, true), &mut counters), None);
    assert_eq!((counters.compression_declined, codec.used()), (1, 0));
}

#[test]
fn what_is_kept_takes_half_and_the_others_open_without() {
    let mut codec = codec(8 * ONE);
    let mut counters = Counters::default();
    let asked = Deflate::of(15, false, true);
    let given: Vec<_> = (0..6).map(|_| codec.agree(asked, &mut counters).unwrap()).collect();
    let takeover: Vec<_> = given.iter().map(|agreed| agreed.peer_takeover).collect();
    assert_eq!(takeover, [true, true, true, true, false, false]);
    assert_eq!((counters.takeover_declined, counters.compression_declined), (2, 0));
    // The other half is for messages under way; when that is used up, too, none more is agreed on.
    let lent: Vec<_> = std::iter::from_fn(|| codec.take_inflater()).collect();
    assert_eq!(lent.len(), 4);
    assert_eq!(codec.agree(asked, &mut counters), None);
    codec.release(ONE);
    assert!(codec.agree(asked, &mut counters).is_some_and(|agreed| agreed.peer_takeover));
}

#[test]
fn a_direction_that_finds_room_is_agreed_on_without_the_other() {
    let mut codec = codec(4 * ONE);
    let mut counters = Counters::default();
    let given = codec.agree(Deflate::of(15, true, true), &mut counters).unwrap();
    assert_eq!((given.takeover, given.peer_takeover), (false, true), "a deflater is large");
    assert_eq!(codec.used(), ONE);
}

#[test]
fn a_client_follows_its_server_or_fails() {
    let mut counters = Counters::default();
    let both = Deflate::of(9, true, true);
    let mut small = codec(2 * ONE);
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
        let mut codec = codec(budget);
        let mut counters = Counters::default();
        let (mut lent, mut kept) = (Vec::new(), Vec::new());
        for (step, bits) in steps {
            match step {
                0 => lent.extend(codec.take_inflater()),
                1 => {
                    if let Some(inflater) = lent.pop() {
                        codec.recycle_inflater(inflater);
                    }
                }
                2 => {
                    let _ = codec.deflater(bits, 1);
                }
                3 | 4 => kept.extend(codec.agree(Deflate::of(bits, step == 3, true), &mut counters)),
                _ => {
                    if let Some(agreed) = kept.pop() {
                        for (keeps, bytes) in [
                            (agreed.peer_takeover, ONE),
                            (agreed.takeover, Deflater::bytes(agreed.window_bits)),
                        ] {
                            if keeps {
                                codec.release(bytes);
                            }
                        }
                    }
                }
            }
            prop_assert!(codec.used() <= budget);
            prop_assert!(codec.kept <= budget / 2);
        }
        for agreed in kept {
            if agreed.peer_takeover {
                codec.release(ONE);
            }
            if agreed.takeover {
                codec.release(Deflater::bytes(agreed.window_bits));
            }
        }
        lent.into_iter().for_each(|inflater| codec.recycle_inflater(inflater));
        let shared: usize = (9..=15)
            .filter(|bits| codec.deflaters[usize::from(*bits)].is_some())
            .map(Deflater::bytes)
            .sum();
        prop_assert_eq!(codec.used(), codec.spare.len() * ONE + shared);
        prop_assert_eq!(codec.kept, 0);
    }
}
