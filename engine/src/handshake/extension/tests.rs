//! Offers and answers of permessage-deflate (RFC 7692 §7.1).

use super::{Deflate, OFFER, choose};

/// The answer to a field, if the server takes one of its offers.
fn answered(field: &str) -> Option<String> {
    let mut out = Vec::new();
    choose([field].into_iter())?.write_answer(&mut out);
    Some(String::from_utf8(out).unwrap())
}

const PLAIN: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[test]
fn offers_that_can_be_taken() {
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate;client_max_window_bits=8",
        "permessage-deflate; client_max_window_bits=\"10\"",
        "permessage-deflate ; server_no_context_takeover ; client_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate",
        "permessage-deflate; unknown, permessage-deflate",
        "permessage-deflate; server_max_window_bits=8, permessage-deflate",
        OFFER,
    ] {
        assert_eq!(answered(offer).as_deref(), Some(PLAIN), "{offer}");
    }
    let bits = answered("permessage-deflate; server_max_window_bits=10; client_max_window_bits");
    assert_eq!(bits, Some(format!("{PLAIN}; server_max_window_bits=10")));
}

#[test]
fn offers_that_are_declined() {
    for offer in [
        "",
        "permessage-bzip2",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+10",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
        "permessage-deflate; client_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=",
    ] {
        assert_eq!(answered(offer), None, "{offer}");
    }
}

#[test]
fn a_client_judges_the_answer() {
    let judged = |answer: &str| Deflate::judge_answer(answer).map(|agreed| agreed.window_bits);
    assert_eq!(judged(PLAIN), Some(15));
    assert_eq!(judged(&format!("{PLAIN}; client_max_window_bits=11")), Some(11));
    assert_eq!(judged(&format!("{PLAIN}; server_max_window_bits=8")), Some(15));
    for wrong in [
        "",
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover",
        "other",
        &format!("{PLAIN}, {PLAIN}"),
        &format!("{PLAIN}; unknown"),
        &format!("{PLAIN}; server_no_context_takeover"),
        &format!("{PLAIN}; client_max_window_bits"),
        &format!("{PLAIN}; client_max_window_bits=8"),
        &format!("{PLAIN}; server_max_window_bits=16"),
    ] {
        assert_eq!(judged(wrong), None, "{wrong}");
    }
}

#[test]
fn our_offer_and_our_answer_fit() {
    assert_eq!(Deflate::judge_answer(&answered(OFFER).unwrap()).map(|d| d.window_bits), Some(15));
}
