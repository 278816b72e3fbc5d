//! The central property: however a stream is cut into reads, the events and the answers are the
//! same; also when a driver receives part of a payload straight into the assembly.

use proptest::prelude::*;

use super::{Seen, Side, frame, pattern};
use crate::conn::{Limits, Role, State};
use crate::wire::ProtocolError;

#[test]
fn every_single_cut_and_byte_by_byte() {
    // covers: FR-01, FR-11, FR-12, FR-14, FR-17, CTL-02, CTL-04, CTL-06, UTF8-03, AMB-01
    for role in [Role::Server, Role::Client] {
        let stream = small_stream();
        let whole = uncut(role, &stream);
        assert_eq!(whole.seen.len(), 11);
        assert_eq!(whole.outbound.state(), State::Closed);
        for cut in 0..=stream.len() {
            assert_same(&whole, &stream, &[cut], &[]);
            assert_same(&whole, &stream, &[cut], &[true]);
        }
        let bytewise: Vec<usize> = (0..stream.len()).collect();
        assert_same(&whole, &stream, &bytewise, &[]);
        assert_same(&whole, &stream, &bytewise, &[true]);
        assert_same(&whole, &stream, &bytewise, &[false, true, true]);
    }
}

#[test]
fn in_slices_of_any_size() {
    for role in [Role::Server, Role::Client] {
        let stream = small_stream();
        let whole = uncut(role, &stream);
        for steps in 1..20 {
            let mut side = Side::new(role, Limits::default());
            let slices = side.feed_in_slices(&stream, steps);
            assert_eq!(side.seen, whole.seen, "{steps}");
            assert_eq!(side.wire.bytes, whole.wire.bytes, "{steps}");
            let events = u32::try_from(whole.seen.len()).expect("a few");
            assert!(slices >= events.div_ceil(steps) as usize, "{steps}: {slices}");
        }
    }
}

#[test]
fn every_double_cut() {
    // covers: FR-01, FR-11, FR-12, FR-14
    let stream =
        [b"\x84\x03Hel\x02\x01!\x00\x02lo\x05\x7E\x00\x02ab".as_slice(), b"\x01\x01x"].concat();
    let whole = uncut(Role::Server, &stream);
    assert_eq!(whole.seen.len(), 4);
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            assert_same(&whole, &stream, &[first, second], &[]);
            assert_same(&whole, &stream, &[first, second], &[true]);
        }
    }
}

#[test]
fn every_cut_near_the_edges_of_large_frames() {
    // covers: FR-01, FR-05, FR-08, FR-12
    let mut stream = Vec::new();
    let mut edges = vec![0];
    for len in [126, 65_535, 65_536] {
        stream.extend(frame(0x05, &pattern(len)));
        edges.push(stream.len());
        stream.extend(frame(0x85, &pattern(len)));
        stream.extend(frame(0x02, &pattern(300)));
        edges.push(stream.len());
        stream.extend(frame(0x00, &pattern(len)));
        edges.push(stream.len());
    }
    stream.extend(frame(0x01, b"bye"));
    let whole = uncut(Role::Server, &stream);
    assert_eq!(whole.seen.len(), 10);
    for edge in edges {
        for cut in edge.saturating_sub(2)..(edge + 13).min(stream.len()) {
            assert_same(&whole, &stream, &[cut], &[false]);
            assert_same(&whole, &stream, &[cut], &[true]);
        }
    }
    for read in [1, 7, 1400, 4096, 65_536] {
        let cuts: Vec<usize> = (0..stream.len()).step_by(read).collect();
        assert_same(&whole, &stream, &cuts, &[false]);
        assert_same(&whole, &stream, &cuts, &[true]);
    }
}

#[test]
fn failures_show_at_the_same_place() {
    // covers: FR-03, FR-04, FR-06, FR-11, AMB-02, AMB-03
    let bad: [(&[u8], ProtocolError); 7] = [
        (b"\x44\x05Hello", ProtocolError::ReservedBit),
        (b"\x04\x85Hello", ProtocolError::ReservedBit),
        (b"\x06\x05Hello", ProtocolError::ReservedOpcode),
        (b"\x04\x7F\x80\x00\x00\x00\x00\x00\x00\x05Hello", ProtocolError::LengthTopBit),
        (b"\x82\x05Hello", ProtocolError::FragmentedControl),
        (b"\x00\x05Hello", ProtocolError::UnexpectedContinuation),
        (b"\x84\x01a\x04\x05Hello", ProtocolError::ExpectedContinuation),
    ];
    for (bytes, error) in bad {
        let stream = [b"\x04\x02ok\x02\x01!", bytes, b"\x04\x00"].concat();
        let whole = uncut(Role::Server, &stream);
        assert_eq!(whole.seen.last(), Some(&Seen::Failed(error)));
        let bytewise: Vec<usize> = (0..stream.len()).collect();
        for cut in 0..=stream.len() {
            assert_same(&whole, &stream, &[cut], &[]);
        }
        assert_same(&whole, &stream, &bytewise, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Legal streams, cut at random places, some reads going straight into the assembly.
    #[test]
    fn any_cuts_of_any_stream(
        messages in prop::collection::vec(message(), 1..6),
        tail in prop::option::of(control(0x01)),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        direct in prop::collection::vec(any::<bool>(), 1..8),
        client in any::<bool>(),
    ) {
        // covers: FR-01, FR-05, FR-11, FR-12, FR-13, FR-14, FR-17, CTL-02, CTL-04, UTF8-03, AMB-01
        let mut stream = messages.concat();
        stream.extend(tail.unwrap_or_default());
        let role = if client { Role::Client } else { Role::Server };
        let whole = uncut(role, &stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        assert_same(&whole, &stream, &cuts, &direct);
    }

    /// Streams of frames that need not make sense together fail alike, however they are cut.
    #[test]
    fn any_cuts_of_nonsense(
        frames in prop::collection::vec(
            (0_u8..0x90, prop::collection::vec(any::<u8>(), 0..40)), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        direct in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        // covers: FR-03, FR-04, FR-11, AMB-02
        let stream: Vec<u8> =
            frames.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
        let whole = uncut(Role::Server, &stream);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        assert_same(&whole, &stream, &cuts, &direct);
    }
}

/// Fragments, an empty one, pings and a pong between them, text cut inside characters, each form
/// of length, a close, and bytes after it.
fn small_stream() -> Vec<u8> {
    [
        frame(0x04, b"one"),
        frame(0x84, b"\xE6\xBC"),
        frame(0x02, b"in between"),
        frame(0x80, b"\xA2\xE5"),
        frame(0x80, b""),
        frame(0x03, b""),
        frame(0x02, &pattern(130)),
        frame(0x00, b"\xAD\x97"),
        frame(0x05, &pattern(126)),
        b"\x05\x7F\x00\x00\x00\x00\x00\x00\x00\x02ok".to_vec(),
        frame(0x04, b""),
        frame(0x85, &pattern(200)),
        frame(0x00, b""),
        frame(0x02, b""),
        frame(0x01, b"bye"),
        frame(0x04, b"unheard"),
    ]
    .concat()
}

fn uncut(role: Role, stream: &[u8]) -> Side {
    let mut side = Side::new(role, Limits::default());
    side.feed(stream);
    side
}

/// Feeds `stream` cut at `cuts`, which ascend; `direct` says in turn which reads are received
/// into the assembly when a payload is in progress, as a driver may choose.
pub(super) fn assert_same(whole: &Side, stream: &[u8], cuts: &[usize], direct: &[bool]) {
    let mut side = Side::like(whole);
    let mut from = 0;
    for (i, &to) in cuts.iter().chain(&[stream.len()]).enumerate() {
        let read = &stream[from..to];
        from = to;
        match direct.get(i % direct.len().max(1)) {
            Some(true) => feed_direct(&mut side, read),
            _ => side.feed(read),
        }
    }
    assert_eq!(side.seen, whole.seen, "events, cuts {cuts:?}, direct {direct:?}");
    assert_eq!(side.wire.bytes, whole.wire.bytes, "answers, cuts {cuts:?}, direct {direct:?}");
    assert_eq!(side.outbound.state(), whole.outbound.state());
}

/// Receives as much of `read` as the assembly may take, and the rest the usual way.
pub(super) fn feed_direct(side: &mut Side, mut read: &[u8]) {
    while !read.is_empty() {
        let Some((mut assembly, remaining)) = side.inbound.take_direct() else {
            return side.feed(read);
        };
        let spare = assembly.spare(remaining);
        let n = spare.len().min(read.len());
        assert!(n > 0 && n as u64 <= remaining, "room, and only for this frame");
        spare[..n].copy_from_slice(&read[..n]);
        side.inbound.return_direct(assembly, n);
        read = &read[n..];
        side.feed(&[]);
    }
}

/// One message in one to five frames, control frames between them.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::collection::vec(any::<char>(), 0..80)
        .prop_map(|chars| (0x04, chars.into_iter().collect::<String>().into_bytes()));
    let binary = prop_oneof![
        8 => 0_usize..300,
        1 => 65_534_usize..65_538,
    ]
    .prop_map(|len| (0x05, pattern(len)));
    let between = prop::option::of(prop_oneof![control(0x02), control(0x03)]);
    (
        prop_oneof![text, binary],
        prop::collection::vec((any::<prop::sample::Index>(), between), 0..5),
    )
        .prop_map(|((opcode, payload), mut cuts)| {
            cuts.sort_unstable_by_key(|(cut, _)| cut.index(payload.len() + 1));
            let mut bytes = Vec::new();
            let (mut from, mut opcode) = (0, opcode);
            for (cut, between) in cuts {
                let to = cut.index(payload.len() + 1);
                bytes.extend(frame(0x80 | opcode, &payload[from..to]));
                bytes.extend(between.unwrap_or_default());
                (from, opcode) = (to, 0);
            }
            bytes.extend(frame(opcode, &payload[from..]));
            bytes
        })
}

fn control(first: u8) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..140).prop_map(move |payload| frame(first, &payload))
}
