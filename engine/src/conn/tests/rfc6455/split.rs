//! However a stream of RFC 6455 is cut into reads, events and answers are the same.

use proptest::prelude::*;

use super::super::split::assert_same;
use super::super::{Seen, Side, key, pattern};
use super::{BINARY, CLOSE, MORE, PING, PONG, ROLES, TEXT, masked, peer, side};
use crate::conn::{Role, State};

/// Fragments, empty ones, control frames between them, text cut inside characters, each form of
/// length, a Close, and bytes after it.
fn small_stream(role: Role) -> Vec<u8> {
    let frames: [(u8, &[u8]); 15] = [
        (TEXT, b"one"),
        (TEXT & MORE, b"\xE6\xBC"),
        (PING, b"in between"),
        (0, b"\xA2\xE5"),
        (0, b""),
        (PONG, b""),
        (PING, &[b'p'; 125]),
        (0x80, b"\xAD\x97"),
        (BINARY, &[7; 126]),
        (TEXT, b""),
        (BINARY & MORE, &[9; 200]),
        (0x80, b""),
        (PING, b""),
        (CLOSE, b"\x03\xE8bye"),
        (TEXT, b"unheard"),
    ];
    (1..).zip(frames).flat_map(|(n, (first, payload))| peer(role, n, first, payload)).collect()
}

fn uncut(role: Role, stream: &[u8]) -> Side {
    let mut side = side(role);
    side.feed(stream);
    side
}

#[test]
fn every_single_cut_and_byte_by_byte() {
    for role in ROLES {
        let stream = small_stream(role);
        let whole = uncut(role, &stream);
        assert_eq!(whole.seen.len(), 10);
        assert_eq!(whole.outbound.state(), State::Closed);
        for cut in 0..=stream.len() {
            assert_same(&whole, &stream, &[cut], &[]);
            assert_same(&whole, &stream, &[cut], &[true]);
        }
        let bytewise: Vec<usize> = (0..stream.len()).collect();
        for direct in [&[][..], &[true], &[false, true, true]] {
            assert_same(&whole, &stream, &bytewise, direct);
        }
    }
}

#[test]
fn every_cut_near_the_edges_of_large_frames() {
    for role in ROLES {
        let mut stream = Vec::new();
        let mut edges = vec![0];
        for (n, len) in (1..).zip([126, 65_535, 65_536]) {
            stream.extend(peer(role, n, BINARY, &pattern(len)));
            edges.push(stream.len());
            stream.extend(peer(role, n + 10, BINARY & MORE, &pattern(len)));
            stream.extend(peer(role, n + 20, PING, &pattern(100)));
            edges.push(stream.len());
            stream.extend(peer(role, n + 30, 0x80, &pattern(len)));
            edges.push(stream.len());
        }
        let whole = uncut(role, &stream);
        assert_eq!(whole.seen.len(), 9);
        for edge in edges {
            for cut in edge.saturating_sub(2)..(edge + 17).min(stream.len()) {
                assert_same(&whole, &stream, &[cut], &[false]);
                assert_same(&whole, &stream, &[cut], &[true]);
            }
        }
        for read in [7, 1400, 4096, 65_536] {
            let cuts: Vec<usize> = (0..stream.len()).step_by(read).collect();
            assert_same(&whole, &stream, &cuts, &[false]);
            assert_same(&whole, &stream, &cuts, &[true]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Legal streams, cut at random places, some reads going straight into the assembly.
    #[test]
    fn any_cuts_of_any_stream(
        messages in prop::collection::vec(message(), 1..6),
        close in prop::option::of(1000_u16..1016),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        direct in prop::collection::vec(any::<bool>(), 1..8),
        client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let mut frames = messages.concat();
        frames.extend(close.map(|code| (CLOSE, code.to_be_bytes().to_vec())));
        assert_cuts(role, &frames, &cuts, &direct);
    }

    /// Frames that need not make sense together fail alike, however they are cut.
    #[test]
    fn any_cuts_of_nonsense(
        frames in prop::collection::vec(
            (likely(), prop::collection::vec(any::<u8>(), 0..40)), 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
        direct in prop::collection::vec(any::<bool>(), 1..8),
        client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        assert_cuts(role, &frames, &cuts, &direct);
    }

    /// Arbitrary bytes: no panic, no endless loop, and memory follows what arrived.
    #[test]
    fn any_bytes(
        bytes in prop::collection::vec(prop_oneof![likely(), any::<u8>()], 0..2000),
        read in 1_usize..200,
        client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let whole = uncut(role, &bytes);
        let cuts: Vec<usize> = (0..bytes.len()).step_by(read).collect();
        assert_same(&whole, &bytes, &cuts, &[]);
        assert!(whole.seen.len() <= bytes.len() / 2 + 1);
        assert!(whole.inbound.capacity() <= 2 * (4096 + 16 + bytes.len()));
        // An answer is no longer than what came, but for masks and the reason of a failure.
        assert!(whole.wire.bytes.len() <= 3 * bytes.len() + 140);
    }
}

fn assert_cuts(
    role: Role,
    frames: &[(u8, Vec<u8>)],
    cuts: &[prop::sample::Index],
    direct: &[bool],
) {
    let stream: Vec<u8> = (1..)
        .zip(frames)
        .flat_map(|(n, (first, payload))| peer(role, n, *first, payload))
        .collect();
    let whole = uncut(role, &stream);
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    assert_same(&whole, &stream, &cuts, direct);
}

/// First bytes of frames, most of them legal.
fn likely() -> impl Strategy<Value = u8> {
    prop_oneof![
        8 => prop::sample::select(vec![0x00, 0x80, 0x01, TEXT, 0x02, BINARY, PING, PONG]),
        1 => Just(CLOSE),
        1 => any::<u8>(),
    ]
}

/// One message in one to five frames, control frames between them.
fn message() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let text = prop::collection::vec(any::<char>(), 0..80)
        .prop_map(|chars| (0x01, chars.into_iter().collect::<String>().into_bytes()));
    let binary = prop_oneof![8 => 0_usize..300, 1 => 65_534_usize..65_538]
        .prop_map(|len| (0x02, pattern(len)));
    let control = (prop_oneof![Just(PING), Just(PONG)], prop::collection::vec(any::<u8>(), 0..126));
    let cut = (any::<prop::sample::Index>(), prop::option::of(control));
    (prop_oneof![text, binary], prop::collection::vec(cut, 0..5)).prop_map(
        |((opcode, payload), mut cuts)| {
            cuts.sort_unstable_by_key(|(cut, _)| cut.index(payload.len() + 1));
            let mut frames = Vec::new();
            let (mut from, mut opcode) = (0, opcode);
            for (cut, between) in cuts {
                let to = cut.index(payload.len() + 1);
                frames.push((opcode, payload[from..to].to_vec()));
                frames.extend(between);
                (from, opcode) = (to, 0);
            }
            frames.push((0x80 | opcode, payload[from..].to_vec()));
            frames
        },
    )
}

#[test]
fn a_header_that_comes_byte_by_byte_among_others() {
    // The longest header: eight bytes of length and the key.
    let stream = masked(key(1), BINARY, &pattern(70_000));
    let mut side = side(Role::Server);
    for byte in &stream[..14] {
        side.feed(&[*byte]);
        assert_eq!(side.seen, []);
    }
    assert_eq!(side.inbound.remaining(), 70_000);
    side.feed(&stream[14..]);
    assert_eq!(side.seen, [Seen::Binary(pattern(70_000))]);
}
