//! Offers and answers of permessage-deflate (RFC 7692 §7.1).

use proptest::prelude::*;

use super::{Deflate, DeflateTerms, choose};

const NONE: DeflateTerms =
    DeflateTerms { takeover: false, peer_takeover: false, window_bits: 15, peer_window_bits: 15 };
const BOTH: DeflateTerms = NONE.with_takeover(true, true);

/// The answer to a field, if a server of these terms takes one of its offers.
fn answered(field: &str, terms: DeflateTerms) -> Option<String> {
    let mut out = Vec::new();
    choose([field].into_iter(), terms)?.write_answer(&mut out);
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
        &NONE.offer(),
        &BOTH.offer(),
    ] {
        assert_eq!(answered(offer, NONE).as_deref(), Some(PLAIN), "{offer}");
    }
    let bits = "permessage-deflate; server_max_window_bits=10; client_max_window_bits";
    assert_eq!(answered(bits, NONE), Some(format!("{PLAIN}; server_max_window_bits=10")));
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
        for terms in [NONE, BOTH] {
            assert_eq!(answered(offer, terms), None, "{offer}");
        }
    }
}

#[test]
fn takeover_is_agreed_on_in_each_direction() {
    // §7.1.1: what the server wants and what the client lets it; the client's own is as the client
    // hints, and confirmed.
    let rows = [
        ("", BOTH, ""),
        ("", NONE.with_takeover(true, false), "; client_no_context_takeover"),
        ("", NONE.with_takeover(false, true), "; server_no_context_takeover"),
        ("; server_no_context_takeover", BOTH, "; server_no_context_takeover"),
        ("; client_no_context_takeover", BOTH, "; client_no_context_takeover"),
        (
            "; client_no_context_takeover; server_no_context_takeover",
            BOTH,
            "; server_no_context_takeover; client_no_context_takeover",
        ),
        (
            "; server_no_context_takeover",
            NONE.with_takeover(true, false),
            "; server_no_context_takeover; client_no_context_takeover",
        ),
    ];
    for (offer, terms, answer) in rows {
        let offer = format!("permessage-deflate{offer}");
        assert_eq!(answered(&offer, terms), Some(format!("permessage-deflate{answer}")), "{offer}");
        let agreed = choose([&*offer].into_iter(), terms).unwrap();
        assert_eq!(agreed.takeover, !answer.contains("server_no"), "{offer}");
        assert_eq!(agreed.peer_takeover, !answer.contains("client_no"), "{offer}");
        // A server without the memory for it may take both back.
        let mut out = Vec::new();
        agreed.without_takeover().without_peer_takeover().write_answer(&mut out);
        assert_eq!(out, PLAIN.as_bytes());
    }
}

#[test]
fn windows_are_agreed_on_in_each_direction() {
    let terms = BOTH.with_window_bits(12, 10);
    let rows = [
        // Without client_max_window_bits nothing may be asked of the client (§7.1.2.2).
        ("", "; server_max_window_bits=12"),
        ("; client_max_window_bits", "; server_max_window_bits=12; client_max_window_bits=10"),
        ("; client_max_window_bits=15", "; server_max_window_bits=12; client_max_window_bits=10"),
        // It keeps to less than that anyway.
        ("; client_max_window_bits=9", "; server_max_window_bits=12"),
        ("; client_max_window_bits=10", "; server_max_window_bits=12"),
        ("; server_max_window_bits=15", "; server_max_window_bits=12"),
        ("; server_max_window_bits=9", "; server_max_window_bits=9"),
    ];
    for (offer, answer) in rows {
        let answer = format!("permessage-deflate{answer}");
        let offer = format!("permessage-deflate{offer}");
        assert_eq!(answered(&offer, terms).as_deref(), Some(&*answer), "{offer}");
    }
}

#[test]
fn what_is_offered() {
    let rows = [
        (NONE, "; server_no_context_takeover; client_no_context_takeover; client_max_window_bits"),
        (BOTH, "; client_max_window_bits"),
        (NONE.with_takeover(true, false), "; server_no_context_takeover; client_max_window_bits"),
        (BOTH.with_window_bits(11, 8), "; server_max_window_bits=8; client_max_window_bits=11"),
        // Our compressor has no window of 8 bits.
        (BOTH.with_window_bits(8, 15), "; client_max_window_bits=9"),
    ];
    for (terms, offer) in rows {
        assert_eq!(terms.offer(), format!("permessage-deflate{offer}"));
    }
}

#[test]
fn a_client_judges_the_answer() {
    let judged =
        |answer: &str| Deflate::judge_answer(answer, NONE).map(|agreed| agreed.window_bits);
    assert_eq!(judged(PLAIN), Some(15));
    assert_eq!(judged(&format!("{PLAIN}; client_max_window_bits=11")), Some(11));
    // Agreed to, and nothing is compressed.
    assert_eq!(judged(&format!("{PLAIN}; client_max_window_bits=8")), Some(8));
    assert_eq!(judged(&format!("{PLAIN}; server_max_window_bits=8")), Some(15));
    // Our own hint need not be repeated.
    assert_eq!(judged("permessage-deflate; server_no_context_takeover"), Some(15));
    for wrong in [
        "",
        "permessage-deflate",
        "permessage-deflate; client_no_context_takeover",
        "other",
        &format!("{PLAIN}, {PLAIN}"),
        &format!("{PLAIN}; unknown"),
        &format!("{PLAIN}; server_no_context_takeover"),
        &format!("{PLAIN}; client_max_window_bits"),
        &format!("{PLAIN}; client_max_window_bits=7"),
        &format!("{PLAIN}; server_max_window_bits=16"),
    ] {
        assert_eq!(judged(wrong), None, "{wrong}");
    }
}

#[test]
fn a_client_that_lets_messages_refer_to_others() {
    let judged = |answer: &str| {
        let answer = format!("permessage-deflate{answer}");
        let agreed = Deflate::judge_answer(&answer, BOTH.with_window_bits(12, 10))?;
        Some((agreed.takeover, agreed.peer_takeover, agreed.window_bits))
    };
    let rows = [
        ("; server_max_window_bits=10", Some((true, true, 12))),
        ("; server_max_window_bits=8", Some((true, true, 12))),
        ("; server_max_window_bits=10; server_no_context_takeover", Some((true, false, 12))),
        ("; server_max_window_bits=10; client_no_context_takeover", Some((false, true, 12))),
        ("; server_max_window_bits=10; client_max_window_bits=9", Some((true, true, 9))),
        ("; server_max_window_bits=10; client_max_window_bits=8", Some((false, true, 8))),
        ("; server_max_window_bits=10; client_max_window_bits=13", None),
        ("; server_max_window_bits=11", None),
        ("", None),
    ];
    for (answer, agreed) in rows {
        assert_eq!(judged(answer), agreed, "{answer}");
    }
}

fn terms() -> impl Strategy<Value = DeflateTerms> {
    (any::<(bool, bool)>(), 8_u8..=15, 8_u8..=15).prop_map(|((ours, peers), own, peer)| {
        NONE.with_takeover(ours, peers).with_window_bits(own, peer)
    })
}

proptest! {
    /// Our server's answer to our client's offer is right, and both understand the same by it.
    #[test]
    fn offer_and_answer_fit(client in terms(), server in terms()) {
        let offer = client.offer();
        match choose([&*offer].into_iter(), server) {
            // A window that our compressor has not.
            None => prop_assert_eq!(client.peer_window_bits, 8),
            Some(servers) => {
                let mut answer = Vec::new();
                servers.write_answer(&mut answer);
                let answer = String::from_utf8(answer).unwrap();
                let clients = Deflate::judge_answer(&answer, client);
                prop_assert!(clients.is_some(), "{} to {}", answer, offer);
                let clients = clients.unwrap();
                prop_assert_eq!(servers.takeover, clients.peer_takeover);
                prop_assert!(servers.takeover <= (server.takeover && client.peer_takeover));
                // Without a compressor of that window the client sends nothing to refer to.
                prop_assert!(clients.takeover <= servers.peer_takeover);
                prop_assert!(servers.window_bits <= client.peer_window_bits.max(9));
                prop_assert!(clients.window_bits <= server.peer_window_bits);
            }
        }
    }

    #[test]
    fn no_field_upsets_either_side(field in "[ -~]{0,80}", terms in terms()) {
        let _ = choose([&*field].into_iter(), terms);
        let _ = Deflate::judge_answer(&field, terms);
    }
}
