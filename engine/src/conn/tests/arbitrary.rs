//! Arbitrary bytes: no panic, no endless loop, no more events or memory than the input allows.

use proptest::prelude::*;

use super::{Seen, Side};
use crate::conn::{Event, InvalidUtf8, Limits, Role};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes from nowhere; most streams end soon.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..2000), reads in reads(), role in role()) {
        // covers: SEC-01, SEC-06
        assert_bounded(&bytes, &reads, role);
    }

    /// Bytes that look like headers more often than not, so that streams go deep.
    #[test]
    fn likely_bytes(bytes in prop::collection::vec(likely(), 0..2000), reads in reads(), role in role()) {
        // covers: SEC-01, SEC-06
        assert_bounded(&bytes, &reads, role);
    }
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Server), Just(Role::Client)]
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1_usize..200, 1..8)
}

fn likely() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(vec![0x00, 0x80, 0x84, 0x85, 0x02, 0x03, 0x04, 0x05]),
        1 => prop::sample::select(vec![0x01, 0x7E, 0x7F, 0x0A]),
        1 => any::<u8>(),
    ]
}

/// A frame is at least two bytes, so a stream cannot bring more events than half its bytes, and
/// one more for a failure; an answer is a frame that came.
fn assert_bounded(bytes: &[u8], reads: &[usize], role: Role) {
    let limits = Limits::default()
        .with_max_frame_bytes(u64::MAX)
        .with_max_message_bytes(u64::MAX)
        .with_invalid_utf8(InvalidUtf8::Replace);
    let mut side = Side::new(role, limits);
    let mut rest = bytes;
    let mut calls = 0;
    for read in reads.iter().cycle() {
        let (part, tail) = rest.split_at((*read).min(rest.len()));
        rest = tail;
        let mut input = part.to_vec();
        let mut events = side.inbound.receive(&side.limits, &mut input);
        while let Some(event) = events.next_event(&mut side.outbound, &mut side.wire) {
            calls += 1;
            assert!(calls <= bytes.len() / 2 + 1, "{calls} events of {} bytes", bytes.len());
            if let Event::Failed(_) = event {
                assert!(side.outbound.state().is_over());
            }
            side.seen.push(Seen::of(&event));
        }
        let held = side.inbound.capacity();
        assert!(held <= 2 * (4096 + 16 + bytes.len()), "{held} bytes held of {}", bytes.len());
        if rest.is_empty() {
            break;
        }
    }
    assert!(side.wire.bytes.len() <= bytes.len(), "answers are never longer than what came");
}
