//! Echo and broadcast on one shard: what a fan-out does to everybody else.
//!
//! Connections to `/echo` get their messages back; every other resource name is a topic. It prints
//! `listening on ADDRESS` and runs until it is ended. `loadgen broadcast` on a topic and
//! `loadgen echo` on `/echo`, at the same time, show how long an echo waits behind a fan-out.

use std::net::SocketAddr;

use clap::Parser;
use ringbolt::handshake::{ServerPolicy, UpgradeRequest};
use ringbolt::{Accept, Config, Handler, Message, Reject, Server, Topic, WebSocket};

/// Echo on /echo, topics on every other resource name.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// CPU to run on
    #[arg(long, default_value_t = 0)]
    cpu: usize,
}

struct Mixed;

/// What a connection is there for.
enum Purpose {
    Echo,
    /// Subscribed once it is open.
    Subscriber(String, Option<Topic>),
}

impl Handler for Mixed {
    type Data = Purpose;

    fn on_upgrade(&mut self, request: &UpgradeRequest<'_>) -> Result<Accept<Purpose>, Reject> {
        Ok(Accept::new(match request.resource_name() {
            "/echo" => Purpose::Echo,
            topic => Purpose::Subscriber(topic.to_owned(), None),
        }))
    }

    fn on_open(&mut self, ws: &mut WebSocket<'_, Purpose>) {
        let Purpose::Subscriber(name, _) = ws.data() else { return };
        let name = name.clone();
        if let Some(topic) = ws.topic(&name) {
            ws.subscribe(topic);
            *ws.data_mut() = Purpose::Subscriber(name, Some(topic));
        }
    }

    fn on_message(&mut self, ws: &mut WebSocket<'_, Purpose>, message: Message<'_>) {
        let done = match *ws.data() {
            Purpose::Echo => ws.send(message),
            Purpose::Subscriber(_, Some(topic)) => ws.publish(topic, message),
            Purpose::Subscriber(_, None) => Ok(()),
        };
        if done.is_err() {
            ws.close();
        }
    }
}

#[expect(clippy::print_stdout, reason = "scripts read where it listens")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let config =
        Config::new().with(|config| config.policy = ServerPolicy::new().require_origin(false));
    let server = Server::builder()
        .bind(arguments.listen)
        .cpus([arguments.cpu])
        .config(config)
        .start(|_| Mixed)?;
    println!("listening on {}", server.address());
    server.join()?;
    Ok(())
}
