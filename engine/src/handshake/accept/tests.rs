use super::super::request::tests::{V1, V4, changed, read};
use super::super::{
    AcceptError, RequestError, ServerPolicy, Terms, accept, accept_with, refuse, refuse_request,
};

const NO_EXTRA: &[(&str, &str)] = &[];

fn answer(bytes: &[u8], policy: &ServerPolicy, extra: &[(&str, &str)]) -> String {
    let request = read(bytes).unwrap().unwrap();
    policy.judge(&request).unwrap();
    let mut out = Vec::new();
    let subprotocol = policy.choose_subprotocol(&request);
    accept(&request, policy, subprotocol, extra, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_draft_s_answers() {
    // covers: HS-S-22, HS-S-23, HS-S-30, HS-S-31, HS-S-32, HS-S-33, HS-S-35, AMB-19, REG-02
    assert_eq!(
        answer(V1.as_bytes(), &ServerPolicy::new().subprotocols(["sample"]).unwrap(), NO_EXTRA),
        "HTTP/1.1 101 WebSocket Protocol Handshake\r\n\
         Upgrade: WebSocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Origin: http://example.com\r\n\
         Sec-WebSocket-Location: ws://example.com/demo\r\n\
         Sec-WebSocket-Protocol: sample\r\n\
         \r\n\
         8jKS'y:G*Co,Wxa-"
    );
    assert_eq!(
        answer(V4.as_bytes(), &ServerPolicy::new(), NO_EXTRA),
        "HTTP/1.1 101 WebSocket Protocol Handshake\r\n\
         Upgrade: WebSocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Origin: http://example.com\r\n\
         Sec-WebSocket-Location: ws://example.com/\r\n\
         \r\n\
         n`9eBk9z$R8pOtVb"
    );
}

/// The value of a field of an answer.
fn value<'a>(answer: &'a str, name: &str) -> &'a str {
    let line = answer.lines().find(|line| line.starts_with(name)).unwrap();
    line.strip_prefix(name).unwrap().strip_prefix(": ").unwrap()
}

#[test]
fn the_location_is_lower_case_and_without_the_scheme_s_own_port() {
    // covers: HS-S-22, HS-S-23, URL-10
    let policy = ServerPolicy::new().subprotocols(["sample"]).unwrap();
    let secure = policy.clone().secure(true);
    for (host, plain, encrypted) in [
        ("example.com", "ws://example.com/demo", "wss://example.com/demo"),
        ("EXAMPLE.Com", "ws://example.com/demo", "wss://example.com/demo"),
        ("example.com:80", "ws://example.com/demo", "wss://example.com:80/demo"),
        ("example.com:443", "ws://example.com:443/demo", "wss://example.com/demo"),
        ("example.com:8080", "ws://example.com:8080/demo", "wss://example.com:8080/demo"),
        ("example.com:08080", "ws://example.com:8080/demo", "wss://example.com:8080/demo"),
        ("example.com:", "ws://example.com/demo", "wss://example.com/demo"),
        ("[::1]:9001", "ws://[::1]:9001/demo", "wss://[::1]:9001/demo"),
        ("127.0.0.1:9001", "ws://127.0.0.1:9001/demo", "wss://127.0.0.1:9001/demo"),
    ] {
        let bytes = changed("Host: example.com", &format!("Host: {host}"));
        let location = |policy| value(&answer(&bytes, policy, NO_EXTRA), LOCATION).to_owned();
        assert_eq!(location(&policy), plain);
        assert_eq!(location(&secure), encrypted);
    }
}

const LOCATION: &str = "Sec-WebSocket-Location";

#[test]
fn a_trusted_proxy_says_whether_the_location_is_wss() {
    // covers: HS-S-23
    let base = ServerPolicy::new().subprotocols(["sample"]).unwrap();
    let trusting = base.clone().trust_forwarded_proto(true);
    let secure = trusting.clone().secure(true);
    // What the field says; the location's scheme if it is not trusted, if it is, and if it is and
    // the policy says that TLS ends in front.
    for (field, without, trusted, in_front) in [
        ("", "ws", "ws", "wss"),
        ("X-Forwarded-Proto: https\r\n", "ws", "wss", "wss"),
        ("x-forwarded-proto: WSS\r\n", "ws", "wss", "wss"),
        ("X-Forwarded-Proto: http\r\n", "ws", "ws", "ws"),
        ("X-Forwarded-Proto: ws\r\n", "ws", "ws", "ws"),
        ("X-Forwarded-Proto: https , http\r\n", "ws", "wss", "wss"),
        ("X-Forwarded-Proto: http, https\r\n", "ws", "ws", "ws"),
        ("X-Forwarded-Proto: \r\n", "ws", "ws", "wss"),
        ("X-Forwarded-Proto: httpsx\r\n", "ws", "ws", "wss"),
        ("X-Forwarded-Proto: \u{e9}\r\n", "ws", "ws", "wss"),
    ] {
        let bytes = changed("Upgrade: W", &format!("{field}Upgrade: W"));
        for (policy, scheme) in [(&base, without), (&trusting, trusted), (&secure, in_front)] {
            let text = answer(&bytes, policy, NO_EXTRA);
            assert_eq!(value(&text, LOCATION), format!("{scheme}://example.com/demo"), "{field}");
        }
    }
}

#[test]
fn a_connection_of_tls_has_a_wss_location_unless_a_trusted_proxy_says_otherwise() {
    // covers: HS-S-23
    let policy = ServerPolicy::new().subprotocols(["sample"]).unwrap();
    let plain = changed("Upgrade: W", "X-Forwarded-Proto: http\r\nUpgrade: W");
    for (bytes, policy, scheme) in [
        (V1.as_bytes(), policy.clone(), "wss"),
        (&plain, policy.clone(), "wss"),
        (&plain, policy.trust_forwarded_proto(true), "ws"),
    ] {
        let request = read(bytes).unwrap().unwrap();
        let mut out = Vec::new();
        let terms = Terms { secure: true, ..Terms::default() };
        accept_with(&request, &policy, Some("sample"), NO_EXTRA, terms, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(value(&text, LOCATION), format!("{scheme}://example.com/demo"));
    }
}

#[test]
fn the_origin_is_lower_case_and_empty_if_there_is_none() {
    // covers: HS-S-22, AMB-12
    let policy = ServerPolicy::new().subprotocols(["sample"]).unwrap().require_origin(false);
    let bytes = changed("Origin: http://example.com", "Origin: HTTP://Example.com:8080");
    let name = "Sec-WebSocket-Origin";
    assert_eq!(value(&answer(&bytes, &policy, NO_EXTRA), name), "http://example.com:8080");
    let bytes = changed("Origin: http://example.com\r\n", "");
    assert_eq!(value(&answer(&bytes, &policy, NO_EXTRA), name), "");
}

#[test]
fn the_answer_names_one_of_the_subprotocols_asked_for_or_none() {
    // covers: HS-S-12, HS-S-22, HS-S-31, AMB-08
    let policy = ServerPolicy::new().subprotocols(["b", "c"]).unwrap();
    for (asked, expected) in [("a b c", "b"), ("c, b", "c"), ("a c", "c")] {
        let bytes = changed(": sample", &format!(": {asked}"));
        assert_eq!(value(&answer(&bytes, &policy, NO_EXTRA), "Sec-WebSocket-Protocol"), expected);
    }
    assert!(!answer(V4.as_bytes(), &policy, NO_EXTRA).contains("Sec-WebSocket-Protocol"));
    let request = read(V1.as_bytes()).unwrap().unwrap();
    let mut out = Vec::new();
    let result = accept(&request, &policy, Some("b"), NO_EXTRA, &mut out);
    assert_eq!(result, Err(AcceptError::Subprotocol));
    assert!(out.is_empty());
}

#[test]
fn extra_fields_are_written_or_refused() {
    // covers: HS-S-31, HS-S-33, REG-03
    let extra = [("Set-Cookie", "a=b; HttpOnly"), ("X-Empty", "")];
    let text = answer(V4.as_bytes(), &ServerPolicy::new(), &extra);
    assert!(text.contains("\r\nSet-Cookie: a=b; HttpOnly\r\nX-Empty: \r\n\r\nn`9eBk9z$R8pOtVb"));
    let request = read(V4.as_bytes()).unwrap().unwrap();
    for (extra, expected) in [
        (("A", "b\r\nC: d"), AcceptError::Malformed),
        (("A", "b\nc"), AcceptError::Malformed),
        (("A", "b\0"), AcceptError::Malformed),
        (("A:", "b"), AcceptError::Malformed),
        (("A B", "b"), AcceptError::Malformed),
        (("", "b"), AcceptError::Malformed),
        (("upgrade", "WebSocket"), AcceptError::Reserved),
        (("Connection", "close"), AcceptError::Reserved),
        (("SEC-WEBSOCKET-ORIGIN", "x"), AcceptError::Reserved),
        (("Sec-WebSocket-Protocol", "x"), AcceptError::Reserved),
        (("Sec-WebSocket-Draft", "2"), AcceptError::Reserved),
        (("content-length", "16"), AcceptError::Reserved),
        (("Transfer-Encoding", "chunked"), AcceptError::Reserved),
    ] {
        let mut out = b"before".to_vec();
        let result = accept(&request, &ServerPolicy::new(), None, &[extra], &mut out);
        assert_eq!((result, out.as_slice()), (Err(expected), b"before".as_slice()), "{extra:?}");
    }
}

#[test]
fn the_policy_is_applied() {
    // covers: HS-S-10, HS-S-11, HS-S-12, HS-S-14, SEC-02, SEC-03, AMB-12, AMB-16
    use RequestError as E;
    let base = ServerPolicy::new().subprotocols(["sample"]).unwrap();
    let no_origin = changed("Origin: http://example.com\r\n", "");
    let no_protocol = changed("Sec-WebSocket-Protocol: sample\r\n", "");
    let any = V1.as_bytes().to_vec();
    let cases = [
        (&any, base.clone(), Ok(())),
        (&any, base.clone().hosts(["other", "example.com"]).unwrap(), Ok(())),
        (&any, base.clone().hosts(["*.com", "other"]).unwrap(), Ok(())),
        (&any, base.clone().hosts(["*.example.com"]).unwrap(), Err(E::HostRefused)),
        (&any, base.clone().hosts(["other", "*"]).unwrap(), Ok(())),
        (&any, base.clone().hosts(["other"]).unwrap(), Err(E::HostRefused)),
        (&any, base.clone().hosts([""; 0]).unwrap(), Err(E::HostRefused)),
        (&any, base.clone().origins(["http://other", "http://example.com"]).unwrap(), Ok(())),
        (&any, base.clone().origins(["http://example.com.evil"]).unwrap(), Err(E::OriginRefused)),
        (&any, base.clone().origins(["https://example.com"]).unwrap(), Err(E::OriginRefused)),
        (&any, base.clone().origins(["http://*.com"]).unwrap(), Ok(())),
        (&any, base.clone().origins(["http://*.example.com"]).unwrap(), Err(E::OriginRefused)),
        (&any, base.clone().origins(["http://x", "*"]).unwrap(), Ok(())),
        (&no_origin, base.clone().origins(["*"]).unwrap(), Err(E::OriginMissing)),
        (&no_origin, base.clone(), Err(E::OriginMissing)),
        (&no_origin, base.clone().require_origin(false), Ok(())),
        (&no_origin, base.clone().origins(["http://x"]).unwrap(), Err(E::OriginMissing)),
        (&no_origin, base.clone().require_origin(false).origins(["http://x"]).unwrap(), Ok(())),
        (
            &any,
            base.clone().require_origin(false).origins(["http://x"]).unwrap(),
            Err(E::OriginRefused),
        ),
        (&any, ServerPolicy::new(), Err(E::SubprotocolUnsupported)),
        (&any, base.clone().subprotocols(["Sample"]).unwrap(), Err(E::SubprotocolUnsupported)),
        (&changed(": sample", ": "), base.clone(), Err(E::SubprotocolUnsupported)),
        (&no_protocol, base.clone(), Ok(())),
        (&no_protocol, base.clone().require_subprotocol(true), Err(E::SubprotocolMissing)),
        (&any, base.clone().require_subprotocol(true), Ok(())),
        (&changed("Draft: 2", "Draft: 1"), base.clone(), Err(E::DraftUnsupported)),
        (&changed("Draft: 2", "Draft: 3"), base.clone(), Err(E::DraftUnsupported)),
        (&changed("Draft: 2", "Draft: 1"), base.clone().accept_draft_1(true), Ok(())),
        (&changed("Draft: 2", "Draft: 3"), base.clone().accept_draft_3(true), Ok(())),
        (
            &changed("Draft: 2", "Draft: 3"),
            base.clone().accept_draft_1(true),
            Err(E::DraftUnsupported),
        ),
    ];
    for (bytes, policy, expected) in cases {
        let request = read(bytes).unwrap().unwrap();
        assert_eq!(policy.judge(&request), expected, "{policy:?} {}", bytes.escape_ascii());
    }
    let with_port = changed("Host: example.com", "Host: example.com:8080");
    let request = read(&with_port).unwrap().unwrap();
    assert_eq!(base.clone().hosts(["example.com"]).unwrap().judge(&request), Ok(()), "any port");
    assert_eq!(base.clone().hosts(["example.com:8080"]).unwrap().judge(&request), Ok(()));
    assert_eq!(base.hosts(["example.com:81"]).unwrap().judge(&request), Err(E::HostRefused));
}

#[test]
fn refusals_are_http_with_the_sentence_as_body() {
    for rule in RequestError::ALL {
        let Some(status) = rule.status() else { continue };
        let mut out = Vec::new();
        refuse(status, rule.sentence(), &mut out);
        let mut places = [httparse::EMPTY_HEADER; 8];
        let mut response = httparse::Response::new(&mut places);
        let body = &out[response.parse(&out).unwrap().unwrap()..];
        assert_eq!(response.code, Some(status));
        assert_eq!(body, format!("{}\n", rule.sentence()).as_bytes());
        let field = |name: &str| {
            let field = response.headers.iter().find(|field| field.name == name);
            field.map(|field| std::str::from_utf8(field.value).unwrap())
        };
        assert_eq!(field("Content-Length"), Some(body.len().to_string().as_str()));
        assert!(field("Connection").unwrap().contains("close"));
        assert_eq!(field("Upgrade"), (status == 426).then_some("WebSocket"));
    }
    let mut out = Vec::new();
    refuse(405, "x", &mut out);
    assert!(out.starts_with(b"HTTP/1.1 405 Method Not Allowed\r\n"));
    assert!(out.windows(14).any(|line| line == b"\r\nAllow: GET\r\n"), "RFC 9110 section 15.5.6");
    let mut out = Vec::new();
    refuse(403, "a\r\n\r\nb", &mut out);
    assert!(out.ends_with(b"\r\n\r\na    b\n"));
}

#[test]
fn head_is_answered_as_get_would_be_but_for_the_body() {
    let refused = |request: &str| {
        let mut out = Vec::new();
        let error = read(request.as_bytes()).map(|request| request.is_some()).unwrap_err();
        refuse_request(error, request.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    };
    let get = refused("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n");
    let (head, body) = get.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 426 ") && body.len() > 20, "{get}");
    assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{get}");
    for before in ["", "\r\n"] {
        let request = format!("{before}HEAD / HTTP/1.1\r\nHost: example.com\r\n\r\n");
        assert_eq!(refused(&request), format!("{head}\r\n\r\n"));
    }
    let post = refused("POST / HTTP/1.1\r\n");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.ends_with("GET\n"), "{post}");
    let mut out = Vec::new();
    refuse_request(RequestError::NotHttp, b"SSH-2.0", &mut out);
    assert!(out.is_empty(), "nobody is there to read it");
}

#[test]
fn a_refusal_has_its_status_its_reason_and_the_fields_that_belong_to_it() {
    for (status, first) in [
        (400, "400 Bad Request"),
        (401, "401 Unauthorized"),
        (403, "403 Forbidden"),
        (404, "404 Not Found"),
        (405, "405 Method Not Allowed"),
        (408, "408 Request Timeout"),
        (414, "414 URI Too Long"),
        (426, "426 Upgrade Required"),
        (429, "429 Too Many Requests"),
        (431, "431 Request Header Fields Too Large"),
        (500, "500 Internal Server Error"),
        (503, "503 Service Unavailable"),
        (505, "505 HTTP Version Not Supported"),
        (418, "418 Refused"),
        (7, "100 Refused"),
        (u16::MAX, "999 Refused"),
    ] {
        let mut out = Vec::new();
        refuse(status, "x", &mut out);
        let answer = String::from_utf8(out).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {first}\r\n")), "{answer}");
        // Only with 426 are there other fields than these (RFC 9110 §15.5.22), and with 405.
        let upgrade = "\r\nConnection: Upgrade, close\r\nUpgrade: WebSocket\r\n\
            Sec-WebSocket-Version: 13\r\n";
        assert_eq!(answer.contains(upgrade), status == 426, "{answer}");
        assert_eq!(answer.contains("\r\nConnection: close\r\n"), status != 426, "{answer}");
        assert_eq!(answer.contains("Upgrade"), status == 426, "{answer}");
        assert_eq!(answer.contains("\r\nAllow: GET\r\n"), status == 405, "{answer}");
    }
}

#[test]
fn an_answer_that_cannot_be_written_is_told_apart() {
    let errors = [AcceptError::Subprotocol, AcceptError::Malformed, AcceptError::Reserved];
    let mut texts = errors.map(|error| error.to_string()).to_vec();
    texts.sort();
    texts.dedup();
    assert!(texts.len() == 3 && texts.iter().all(|text| text.contains(' ')), "{texts:?}");
}
