//! What every client tries against an echo server: text and binary at both sides of every form of the
//! length, fragments, pings, many at once, and the end with the codes of both sides.

use std::time::Duration;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Text,
    Binary,
}

/// What a client sends.
#[derive(Clone, Debug)]
pub enum Say {
    Text(String),
    Binary(Vec<u8>),
    /// A message in frames of these.
    Fragments(Kind, Vec<Vec<u8>>),
    Ping(Vec<u8>),
    Close(u16, &'static str),
}

/// What it hears.
#[derive(Clone, PartialEq, Eq)]
pub enum Heard {
    Text(String),
    Binary(Vec<u8>),
    Pong(Vec<u8>),
    /// A Close with a code, or the end behind ours.
    Close(Option<u16>),
}

impl std::fmt::Debug for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Binary(bytes) => write!(f, "{} bytes", bytes.len()),
            Self::Pong(bytes) => write!(f, "pong {bytes:?}"),
            Self::Close(code) => write!(f, "Close {code:?}"),
        }
    }
}

/// A client of one library.
#[expect(async_fn_in_trait, reason = "each is used on one thread, by the programs of this package")]
pub trait Client: Sized {
    /// Whether fragments of text go out as they are, even if they are none.
    const SENDS_BAD_TEXT: bool;

    /// Opens a connection to `ADDRESS:PORT`.
    async fn connect(address: &str) -> Self;
    async fn say(&mut self, say: Say);
    async fn hear(&mut self) -> Heard;
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("an answer within 20 seconds")
}

async fn expect<C: Client>(client: &mut C, say: Say, heard: Heard) {
    let what = format!("{heard:?}");
    within(client.say(say)).await;
    let got = within(client.hear()).await;
    assert!(got == heard, "wanted {what}, heard {got:?}");
}

async fn echoes<C: Client>(address: &str) {
    let mut client = within(C::connect(address)).await;
    let client = &mut client;
    for len in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
        let binary: Vec<u8> = (0..len).map(|n| (n * 7 % 256) as u8).collect();
        expect(client, Say::Binary(binary.clone()), Heard::Binary(binary)).await;
        let text = "Grüße, κόσμε, 世界 ".repeat(len / 30);
        expect(client, Say::Text(text.clone()), Heard::Text(text)).await;
    }
    // Cut inside letters.
    let parts = "zerstückelt, 世界".as_bytes().chunks(6).map(<[u8]>::to_vec).collect();
    let whole = Heard::Text("zerstückelt, 世界".to_owned());
    expect(client, Say::Fragments(Kind::Text, parts), whole).await;
    let parts = vec![vec![0xFF; 40_000], Vec::new(), vec![0; 40_000]];
    let whole = Heard::Binary(parts.concat());
    expect(client, Say::Fragments(Kind::Binary, parts), whole).await;
    let payload = b"are you there?".to_vec();
    expect(client, Say::Ping(payload.clone()), Heard::Pong(payload)).await;
    for n in 0..500 {
        within(client.say(Say::Text(format!("message {n}")))).await;
    }
    for n in 0..500 {
        assert_eq!(within(client.hear()).await, Heard::Text(format!("message {n}")));
    }
    expect(client, Say::Close(4001, "enough"), Heard::Close(Some(4001))).await;
}

/// The server says why it ends a connection.
async fn refusals<C: Client>(address: &str) {
    let mut client = within(C::connect(address)).await;
    let too_large = Say::Binary(vec![0; (1 << 20) + 1]);
    expect(&mut client, too_large, Heard::Close(Some(1009))).await;
    if C::SENDS_BAD_TEXT {
        let mut client = within(C::connect(address)).await;
        let bad = Say::Fragments(Kind::Text, vec![b"caf".to_vec(), vec![0xE9]]);
        expect(&mut client, bad, Heard::Close(Some(1007))).await;
    }
}

/// Tries everything with a client against the URL of the command line, which is that of an echo server
/// whose messages have at most 1 MiB.
///
/// # Panics
///
/// When anything is not as it should be.
pub fn run<C: Client>() {
    let url = std::env::args().nth(1).expect("a URL as ws://127.0.0.1:PORT/");
    let address = url.strip_prefix("ws://").expect("a URL as ws://127.0.0.1:PORT/");
    let address = address.trim_end_matches('/');
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        echoes::<C>(address).await;
        refusals::<C>(address).await;
    });
    println!("echo, fragments, ping and close codes ok");
}
