//! The opening handshake, both roles: finding the fields, the whole judgement, the answer.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ringbolt::handshake::scan::{FIELDS_MAX, Head, Strictness};
use ringbolt::handshake::{
    ClientHandshake, ClientRequest, HeadLimits, ServerHandshake, ServerPolicy, Url, accept, hybi02,
};

/// The example of draft-02 section 1.2, with the field that section 5.1 asks for.
const EXAMPLE: &[u8] = b"GET /demo HTTP/1.1\r\n\
    Host: example.com\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key2: 12998 5 Y3 1  .P00\r\n\
    Sec-WebSocket-Protocol: sample\r\n\
    Upgrade: WebSocket\r\n\
    Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5\r\n\
    Sec-WebSocket-Draft: 2\r\n\
    Origin: http://example.com\r\n\r\n\
    ^n:ds[4U";

/// The request with the fields that a browser of today sends.
fn browser() -> Vec<u8> {
    let more = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Example/128.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
        Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n\
        Accept-Encoding: gzip, deflate, br, zstd\r\n\
        Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\n\
        Cache-Control: no-cache\r\n\
        Pragma: no-cache\r\n";
    let text = String::from_utf8(EXAMPLE.to_vec()).expect("the example is ASCII");
    text.replacen("Connection:", &format!("{more}Connection:"), 1).into_bytes()
}

fn heads(c: &mut Criterion) {
    let browser = browser();
    let limits = HeadLimits::default();
    for (name, bytes) in [("example", EXAMPLE), ("browser", &*browser)] {
        let mut group = c.benchmark_group(format!("head/{name}"));
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("scan", |b| {
            b.iter(|| {
                let mut head = Head::new(Strictness::Strict);
                let len = head.scan(&limits, black_box(bytes)).expect("legal").expect("complete");
                black_box(head.field(0));
                len
            });
        });
        group.bench_function("httparse", |b| {
            b.iter(|| {
                let mut fields = [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX];
                let mut request = httparse::Request::new(&mut []);
                let status = request
                    .parse_with_uninit_headers(black_box(bytes), &mut fields)
                    .expect("legal");
                black_box(request.headers.first().map(|field| field.value));
                status.unwrap()
            });
        });
        // What a server does with it: judge everything, and write the whole answer.
        group.bench_function("handshake", |b| {
            let policy = ServerPolicy::new().subprotocols(["sample"]).expect("names");
            let mut out = Vec::with_capacity(512);
            b.iter(|| {
                out.clear();
                let request = ServerHandshake::new()
                    .read(&limits, black_box(bytes))
                    .expect("legal")
                    .expect("complete");
                policy.judge(&request).expect("welcome");
                let choice = policy.choose_subprotocol(&request);
                accept(&request, &policy, choice, &[] as &[(&str, &str)], &mut out)
                    .expect("nothing extra");
                black_box(out.len())
            });
        });
        group.finish();
    }
}

fn answer(c: &mut Criterion) {
    c.bench_function("answer/md5", |b| {
        b.iter(|| hybi02::answer(black_box(155_712_099), black_box(173_347_027), *b"Tm[K T2u"));
    });
}

fn client(c: &mut Criterion) {
    let url = Url::parse("ws://example.com/demo").expect("a legal URL");
    let request = ClientRequest::builder(url, "http://example.com").build().expect("legal");
    let request = Arc::new(request);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut out = Vec::with_capacity(512);
    c.bench_function("client/request", |b| {
        b.iter(|| {
            out.clear();
            black_box(ClientHandshake::start(&request, &mut rng, &mut out));
        });
    });
    let limits = HeadLimits::default();
    c.bench_function("client/both sides", |b| {
        let policy = ServerPolicy::new();
        let mut reply = Vec::with_capacity(512);
        b.iter(|| {
            out.clear();
            reply.clear();
            let mut handshake = ClientHandshake::start(&request, &mut rng, &mut out);
            let asked =
                ServerHandshake::new().read(&limits, &out).expect("legal").expect("complete");
            accept(&asked, &policy, None, &[] as &[(&str, &str)], &mut reply)
                .expect("nothing extra");
            let response = handshake.read(&limits, &reply).expect("right").expect("complete");
            black_box(response.len())
        });
    });
}

criterion_group!(benches, heads, answer, client);
criterion_main!(benches);
