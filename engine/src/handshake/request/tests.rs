use super::super::{HeadLimits, ServerHandshake, ServerPolicy, accept};

#[test]
fn v1() {
    let head = b"GET /demo HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nSec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\nSec-WebSocket-Protocol: sample\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\nOrigin: http://example.com\r\nSec-WebSocket-Draft: 2\r\n\r\n^n:ds[4U";
    let request = ServerHandshake::new().read(&HeadLimits::default(), head).unwrap().unwrap();
    let policy = ServerPolicy::new().subprotocols(["sample"]);
    policy.judge(&request).unwrap();
    let mut out = Vec::new();
    accept(
        &request,
        &policy,
        policy.choose_subprotocol(&request),
        &[] as &[(&str, &str)],
        &mut out,
    )
    .unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 101 WebSocket Protocol Handshake\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Origin: http://example.com\r\nSec-WebSocket-Location: ws://example.com/demo\r\nSec-WebSocket-Protocol: sample\r\n\r\n8jKS'y:G*Co,Wxa-"
    );
}
