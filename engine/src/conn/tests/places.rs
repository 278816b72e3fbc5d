//! Where a message lies: in the input when it is whole there, in an assembly otherwise.

use super::{Side, frame, pattern};
use crate::conn::{Event, Limits, Message, Origin, Role};

#[test]
fn a_whole_message_is_not_copied() {
    // covers: DATA-02
    let mut side = Side::server();
    let mut input = [frame(0x05, &pattern(64)), frame(0x04, b"Hello"), frame(0x05, b"")].concat();
    let range = input.as_ptr_range();
    let mut starts = Vec::new();
    let mut events = side.inbound.receive(&side.limits, &mut input);
    while let Some(event) = events.next_event(&mut side.outbound, &mut side.wire) {
        let Event::Message(message, place) = event else { panic!("{event:?}") };
        assert_eq!(place.origin, Origin::Input);
        let payload = message.payload();
        assert_eq!(payload.as_ptr(), range.start.wrapping_add(place.start), "the very bytes");
        assert_eq!(place.head.as_ptr_range().end, payload.as_ptr(), "the room ends at the payload");
        assert!(place.head.len() >= 2, "room for the header it came with");
        starts.push((place.start, payload.len()));
    }
    assert_eq!(starts, [(2, 64), (68, 5), (75, 0)]);
    assert_eq!(side.wire.on_loan, 0);
}

#[test]
fn a_whole_message_behind_a_cut_one_is_not_copied_either() {
    // covers: FR-12
    let mut side = Side::server();
    side.feed(b"\x04\x05He");
    let mut input = b"llo\x05\x03abc\x04".to_vec();
    let start = input.as_ptr();
    let mut events = side.inbound.receive(&side.limits, &mut input);
    match events.next_event(&mut side.outbound, &mut side.wire) {
        Some(Event::Message(Message::Text("Hello"), place)) => {
            assert_eq!(place.origin, Origin::Reassembly);
            assert!(place.head.len() >= crate::wire::HEADER_MAX);
        }
        other => panic!("{other:?}"),
    }
    match events.next_event(&mut side.outbound, &mut side.wire) {
        Some(Event::Message(Message::Binary(payload), place)) => {
            assert_eq!((place.origin, place.start), (Origin::Input, 5));
            assert_eq!(payload.as_ptr(), start.wrapping_add(5));
            assert_eq!(payload, b"abc");
        }
        other => panic!("{other:?}"),
    }
    assert!(events.next_event(&mut side.outbound, &mut side.wire).is_none());
    assert_eq!(side.wire.on_loan, 0);
}

#[test]
fn an_assembled_message_can_be_sent_from_its_assembly() {
    // covers: FR-12
    let mut side = Side::server();
    side.feed(b"\x85\x02ab");
    let mut input = b"\x00\x02cd".to_vec();
    let mut events = side.inbound.receive(&side.limits, &mut input);
    let Some(Event::Message(message, place)) =
        events.next_event(&mut side.outbound, &mut side.wire)
    else {
        panic!("a message");
    };
    assert_eq!(message.payload(), b"abcd");
    assert_eq!(place.head.len(), place.start);
    assert_eq!(place.head.as_ptr_range().end, message.payload().as_ptr());
}

#[test]
fn replaced_text_lies_elsewhere() {
    // covers: UTF8-01
    let mut side = Side::new(Role::Client, Limits::default());
    let mut input = b"\x04\x02\x80\x81".to_vec();
    let mut events = side.inbound.receive(&side.limits, &mut input);
    match events.next_event(&mut side.outbound, &mut side.wire) {
        Some(Event::Message(Message::Text("\u{FFFD}\u{FFFD}"), place)) => {
            assert_eq!(place.origin, Origin::Replaced);
        }
        other => panic!("{other:?}"),
    }
}
