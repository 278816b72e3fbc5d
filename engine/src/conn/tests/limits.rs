//! Limits: the exact bound passes, one more does not, and memory follows the bytes that arrived.

use super::{Seen, Side, announce, frame, pattern, text};
use crate::conn::{Limits, Reassembly, Role, State};
use crate::wire::ProtocolError;

#[test]
fn frame_limit() {
    // covers: CONF-03, SEC-06, DATA-03
    let limits = Limits::default().with_max_frame_bytes(1000);
    assert_fits(limits, &frame(0x05, &pattern(1000)));
    assert_refused(limits, &frame(0x05, &pattern(1001)), ProtocolError::FrameTooLarge);
    let second = [frame(0x85, b"x"), frame(0x00, &pattern(1001))].concat();
    assert_refused(limits, &second, ProtocolError::FrameTooLarge);
}

#[test]
fn message_limit() {
    // covers: CONF-03, SEC-06, DATA-03
    let limits = Limits::default().with_max_message_bytes(1000);
    assert_fits(limits, &frame(0x05, &pattern(1000)));
    assert_refused(limits, &frame(0x05, &pattern(1001)), ProtocolError::MessageTooLarge);
    let fits = [frame(0x84, b"ab"), frame(0x80, &[b'x'; 998]), frame(0x00, b"")].concat();
    assert_fits(limits, &fits);
    let over = [frame(0x84, b"ab"), frame(0x80, &[b'x'; 998]), frame(0x00, b"y")].concat();
    assert_refused(limits, &over, ProtocolError::MessageTooLarge);
    // Each message counts anew.
    assert_fits(limits, &[fits.clone(), fits].concat());
}

#[test]
fn fragment_limit() {
    // covers: CONF-03, SEC-06
    let limits = Limits::default().with_max_fragments(4);
    let fits = [frame(0x84, b""), frame(0x80, b""), frame(0x80, b""), frame(0x00, b"")].concat();
    // Control frames between them and the message before do not count.
    let pinged = [frame(0x84, b""), frame(0x02, b""), frame(0x80, b""), frame(0x00, b"")].concat();
    assert_fits(limits, &[fits, pinged].concat());
    let over = [frame(0x84, b""), [0x80, 0x00].repeat(3), frame(0x00, b"")].concat();
    assert_refused(limits, &over, ProtocolError::TooManyFragments);
}

#[test]
fn control_limit() {
    // covers: CONF-03, CTL-10, AMB-06
    let limits = Limits::default().with_max_control_bytes(200);
    for first in [0x01, 0x02, 0x03] {
        assert_fits(limits, &frame(first, &pattern(200)));
        assert_refused(limits, &frame(first, &pattern(201)), ProtocolError::ControlTooLarge);
    }
    // The frame limit counts too; by default far more than 125 bytes are accepted.
    let limits = Limits::default().with_max_frame_bytes(150);
    assert_fits(limits, &frame(0x02, &pattern(150)));
    assert_refused(limits, &frame(0x02, &pattern(151)), ProtocolError::ControlTooLarge);
    assert_fits(Limits::default(), &frame(0x02, &pattern(64 << 10)));
}

#[test]
fn the_header_alone_is_judged() {
    // covers: CONF-03, SEC-06, DATA-03
    // The largest length of all, header only.
    let largest = announce(0x04, i64::MAX as u64);
    assert_refused(Limits::default(), &largest, ProtocolError::FrameTooLarge);
    let limits = Limits::default().with_max_frame_bytes(u64::MAX);
    assert_refused(limits, &largest, ProtocolError::MessageTooLarge);
    let (seen, _, _) = Side::serve(&announce(0x02, i64::MAX as u64));
    assert_eq!(seen, [Seen::Failed(ProtocolError::ControlTooLarge)]);
    // A sum over 2^64 does not wrap round to a small one.
    let limits = limits.with_max_message_bytes(u64::MAX);
    let stream = [frame(0x85, b"ab"), announce(0x80, i64::MAX as u64)].concat();
    let mut side = Side::new(Role::Server, limits);
    side.feed(&stream);
    assert_eq!(side.seen, []);
    assert_eq!(side.inbound.remaining(), i64::MAX as u64);
}

#[test]
fn memory_follows_bytes_received() {
    // covers: SEC-06, DATA-03
    for fragment in [false, true] {
        for read in [1, 1000, 4096, 50_000] {
            let limits = unlimited();
            let mut side = Side::new(Role::Server, limits);
            side.feed(&announce(if fragment { 0x85 } else { 0x05 }, 1 << 62));
            let mut received = 0;
            while received < 200_000.min(read * 3000) {
                assert_bounded(side.inbound.capacity(), received);
                side.feed(&pattern(read));
                received += read;
            }
            assert_bounded(side.inbound.capacity(), received);
        }
    }
}

#[test]
fn memory_follows_bytes_received_directly() {
    // covers: SEC-06
    for read in [1, 1000, 4096, 50_000] {
        let mut side = Side::new(Role::Server, unlimited());
        side.feed(&announce(0x05, 1 << 62));
        let (mut received, mut capacities) = (0, Vec::new());
        while received < 200_000.min(read * 10_000) {
            let (mut assembly, remaining) = side.inbound.take_direct().unwrap();
            let n = assembly.spare(remaining).len().min(read);
            assert!(n > 0);
            assert_bounded(assembly.capacity(), received);
            capacities.push(assembly.capacity());
            side.inbound.return_direct(assembly, n);
            side.feed(&[]);
            received += n;
        }
        assert_eq!(side.seen, []);
        capacities.dedup();
        assert!(capacities.len() <= 8, "doubled, not crept: {capacities:?}");
    }
}

#[test]
fn small_fragments_do_not_move_the_message_each_time() {
    // covers: SEC-06
    let mut side = Side::new(Role::Server, unlimited());
    side.feed(&frame(0x84, b"x"));
    let mut capacities = Vec::new();
    for _ in 0..20_000 {
        side.feed(&frame(0x80, b"1234567"));
        capacities.push(side.inbound.capacity());
    }
    capacities.dedup();
    assert!(capacities.len() <= 8, "doubled, not crept: {capacities:?}");
}

#[test]
fn a_short_message_takes_what_it_needs() {
    let mut assembly = Reassembly::default();
    assembly.append(b"ab", Some(3));
    assert!(assembly.capacity() <= 32, "{}", assembly.capacity());
    assembly.append(b"cde", Some(0));
    assert_eq!(assembly.split().1, b"abcde");
    assert_eq!(&assembly.framed()[assembly.start()..], b"abcde");
    assembly.clear();
    assert!(assembly.is_empty());
    assert_eq!(assembly.spare(7).len(), 7);
    assert_eq!(assembly.spare(0).len(), 0);
}

#[test]
fn an_idle_connection_owns_no_buffer() {
    // covers: SEC-06
    let mut side = Side::server();
    side.feed(&frame(0x04, b"whole"));
    side.feed(b"\x84\x03Hel\x02\x05pi");
    assert_eq!(side.wire.on_loan, 2, "one for the message, one for the ping");
    side.feed(b"ng!\x00\x02lo");
    assert_eq!(side.wire.on_loan, 0);
    assert_eq!(side.seen, [text("whole"), Seen::Ping(b"ping!".to_vec()), text("Hello")]);
    assert!(side.inbound.capacity() == 0);
    assert!(size_of::<crate::conn::Inbound>() <= 104);
}

const fn unlimited() -> Limits {
    Limits {
        max_frame_bytes: u64::MAX,
        max_message_bytes: u64::MAX,
        max_fragments: u32::MAX,
        max_control_bytes: u64::MAX,
        invalid_utf8: crate::conn::InvalidUtf8::Close,
        part_bytes: 0,
    }
}

/// At most one small buffer and its headroom, or twice what arrived.
fn assert_bounded(capacity: usize, received: usize) {
    let bound = (4096 + 16).max(2 * received + 64);
    assert!(capacity <= bound, "{capacity} after {received}");
}

fn assert_fits(limits: Limits, stream: &[u8]) {
    let mut side = Side::new(Role::Server, limits);
    side.feed(stream);
    assert!(!side.seen.is_empty());
    assert!(!side.seen.iter().any(|seen| matches!(seen, Seen::Failed(_))), "{:?}", side.seen);
}

/// Refused in one read, and byte by byte as soon as the header is complete.
fn assert_refused(limits: Limits, stream: &[u8], error: ProtocolError) {
    let mut side = Side::new(Role::Server, limits);
    side.feed(stream);
    assert_eq!(side.seen.last(), Some(&Seen::Failed(error)));
    assert_eq!(side.outbound.state(), State::Failed);
    let mut side = Side::new(Role::Server, limits);
    for byte in stream {
        side.feed(&[*byte]);
    }
    assert_eq!(side.seen.last(), Some(&Seen::Failed(error)));
}
