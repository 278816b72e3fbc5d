//! Servers to run against: right ones, and ones that are wrong in one way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ringbolt::handshake::{DeflateTerms, ServerPolicy, UpgradeRequest};
use ringbolt::wire::CloseCode;
use ringbolt::{
    Accept, CloseReason, Compression, Config, Handler, Message, Reject, Server, Topic, WebSocket,
};

/// A server on a free port, ended when dropped.
pub(crate) struct Running {
    server: Option<Server>,
    pub(crate) url: String,
}

impl Running {
    fn start<H: Handler<Data: 'static> + 'static>(
        handler: impl Fn() -> H + Send + Clone + 'static,
    ) -> Self {
        Self::start_with(Config::new(), handler)
    }

    fn start_with<H: Handler<Data: 'static> + 'static>(
        config: Config,
        handler: impl Fn() -> H + Send + Clone + 'static,
    ) -> Self {
        let policy = ServerPolicy::new().subprotocols(["chat"]).expect("names");
        let config = config.with(|config| config.policy = policy);
        let builder = Server::builder().shards(1).config(config);
        let server = builder.start(move |_| handler()).expect("a free port");
        let url = format!("ws://{}/room", server.address());
        Self { server: Some(server), url }
    }

    /// Every message comes back as `change` makes it: it is told how many came before.
    pub(crate) fn echo(change: fn(u64, &mut Vec<u8>) -> Answer) -> Self {
        let seen = Arc::new(AtomicU64::new(0));
        Self::start(move || Echo { change, seen: Arc::clone(&seen) })
    }

    /// An echo that compresses, with takeover both ways.
    pub(crate) fn compressing() -> Self {
        let terms = DeflateTerms::default().with_takeover(true, true);
        let compression = Compression::default().with_terms(terms);
        let config = Config::new().with(|config| config.compression = Some(compression));
        let echo = || Echo { change: |_, _| Answer::Send, seen: Arc::default() };
        Self::start_with(config, echo)
    }

    /// Opening handshakes that agreed on compression, and those of them on takeover.
    pub(crate) fn compressed(&self) -> (u64, u64) {
        let counters = self.server.as_ref().map(|server| server.snapshot().counters);
        counters.map_or((0, 0), |all| (all.opened_compressed, all.opened_takeover))
    }

    /// Opening handshakes that have succeeded.
    pub(crate) fn connections(&self) -> u64 {
        self.server.as_ref().map_or(0, |server| server.snapshot().counters.opened)
    }

    /// Pings whoever says nothing for 100 ms.
    pub(crate) fn pinging() -> Self {
        let config = Config::new().with(|config| config.ping_interval = Duration::from_millis(100));
        Self::start_with(config, || Bounded { closes: true })
    }

    /// An echo that keeps at most 192 KiB for a client: more is dropped, or `closes` the connection with
    /// the code 1013.
    pub(crate) fn bounded(closes: bool) -> Self {
        let config = Config::new().with(|config| config.max_outbound_bytes = 192 << 10);
        Self::start_with(config, move || Bounded { closes })
    }

    /// An echo of messages of at most so many frames.
    pub(crate) fn of_fragments(most: u32) -> Self {
        let config = Config::new().with(|config| {
            config.limits = config.limits.with_max_fragments(most);
        });
        Self::start_with(config, || Bounded { closes: true })
    }

    /// Every message goes to the others of its topic; of each hundred messages the last `lost`
    /// are not passed on.
    pub(crate) fn relay(lost: u64) -> Self {
        Self::start(move || Relay { lost, seen: 0, forges: false })
    }

    /// A relay that also delivers one of each publisher's that it never sent.
    pub(crate) fn forging() -> Self {
        Self::start(|| Relay { lost: 0, seen: 0, forges: true })
    }

    /// Only clients with this origin and cookie that speak "chat" are accepted.
    pub(crate) fn demanding(origin: &'static str, cookie: &'static str) -> Self {
        Self::start(move || Demand { origin, cookie })
    }

    /// No upgrade is accepted.
    pub(crate) fn refusing() -> Self {
        Self::start(|| Refuse)
    }
}

/// A server as it is configured, that sends everything back; `origin` is the URL without the port.
pub(crate) fn greet(builder: ringbolt::Builder, origin: &str) -> Running {
    let echo = || Echo { change: |_, _| Answer::Send, seen: Arc::default() };
    let server = builder.start(move |_| echo()).expect("a free port");
    let url = format!("{origin}:{}/room", server.address().port());
    Running { server: Some(server), url }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.drain(Duration::from_secs(1));
            server.join().expect("an orderly end");
        }
    }
}

/// What a server does with a message.
pub(crate) enum Answer {
    Send,
    Nothing,
    Twice,
    HangUp,
    GoAway,
}

struct Echo {
    change: fn(u64, &mut Vec<u8>) -> Answer,
    seen: Arc<AtomicU64>,
}

impl Handler for Echo {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        let mut bytes = message.payload().to_vec();
        let answer = (self.change)(self.seen.fetch_add(1, Ordering::Relaxed), &mut bytes);
        let send = |ws: &mut WebSocket<'_, ()>| match message {
            Message::Text(_) => {
                let text = String::from_utf8(bytes.clone()).expect("still text");
                ws.send(text.as_str()).expect("room");
            }
            Message::Binary(_) => ws.send(bytes.as_slice()).expect("room"),
        };
        match answer {
            Answer::Send => send(ws),
            Answer::Nothing => {}
            Answer::Twice => {
                send(ws);
                send(ws);
            }
            Answer::HangUp => ws.end(),
            Answer::GoAway => ws.close_with(CloseCode::GOING_AWAY, ""),
        }
    }
}

struct Bounded {
    closes: bool,
}

impl Handler for Bounded {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Ok(Accept::new(()))
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        if ws.send(message).is_err() && self.closes {
            ws.close_with(CloseCode::TRY_AGAIN_LATER, "too slow");
        }
    }
}

struct Relay {
    lost: u64,
    seen: u64,
    forges: bool,
}

impl Handler for Relay {
    type Data = (String, Option<Topic>);

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Self::Data>, Reject> {
        Ok(Accept::new((request.resource_name().to_owned(), None)))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Self::Data>) {
        let name = ws.data().0.clone();
        let topic = ws.topic(&name).expect("below the limit");
        assert!(ws.subscribe(topic));
        ws.data_mut().1 = Some(topic);
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Self::Data>, message: Message<'_>) {
        self.seen += 1;
        if (self.seen - 1) % 100 < 100 - self.lost {
            let topic = ws.data().1.expect("opened");
            ws.publish(topic, message).expect("room");
            if self.forges {
                // Its number stands behind its publisher's.
                let mut forged = message.payload().to_vec();
                forged[8..16].copy_from_slice(b"0fffffff");
                ws.publish(topic, Message::Binary(&forged)).expect("room");
            }
        }
    }

    fn on_close(&mut self, _: Self::Data, _: CloseReason) {}
}

struct Refuse;

impl Handler for Refuse {
    type Data = ();

    fn on_upgrade(&mut self, _: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        Err(Reject::FORBIDDEN)
    }

    fn on_message(&mut self, _: &mut WebSocket<'_, ()>, _: Message<'_>) {}
}

struct Demand {
    origin: &'static str,
    cookie: &'static str,
}

impl Handler for Demand {
    type Data = ();

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        let has = |name, value: &str| request.field(name) == Some(value.as_bytes());
        if has("Origin", self.origin)
            && has("Cookie", self.cookie)
            && request.subprotocols().eq(["chat"])
        {
            Ok(Accept::new(()))
        } else {
            Err(Reject::FORBIDDEN)
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("room");
    }
}

/// Only clients with this Authorization field are accepted; theirs comes back.
pub(crate) fn authorized(value: &'static str) -> Running {
    Running::start(move || Authorized { value })
}

struct Authorized {
    value: &'static str,
}

impl Handler for Authorized {
    type Data = ();

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<()>, Reject> {
        let named = |field: &ringbolt::handshake::Field<'_>| field.is("Authorization");
        let all: Vec<_> = request.fields().filter(named).map(|field| field.value).collect();
        let bare = !request.host().contains('@')
            && !request.origin().is_some_and(|origin| origin.contains('@'));
        if all == [self.value.as_bytes()] && bare {
            Ok(Accept::new(()))
        } else {
            Err(Reject::FORBIDDEN)
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, ()>, message: Message<'_>) {
        ws.send(message).expect("room");
    }
}
