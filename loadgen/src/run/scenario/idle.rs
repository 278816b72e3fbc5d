//! The idle scenario: connections are held, and pinged if asked for.

use std::collections::VecDeque;

use ringbolt::{Fleet, Message, WebSocket};

use crate::base::clock::Nanos;
use crate::run::context::Desk;
use crate::run::stats::{Class, Sent};
use crate::run::worker::{Member, Scenario};
use crate::spec::arrivals::Schedule;

/// Holds connections.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    schedule: Option<Schedule>,
    /// Pings without a pong.
    in_flight: u64,
}

/// A connection: its pings without a pong. Each ping carries when it was due.
pub(crate) type Lane = VecDeque<Sent>;

impl Scenario for Idle {
    type Lane = Lane;

    fn lane(&mut self, _: usize) -> Lane {
        Lane::new()
    }

    fn begin(&mut self, desk: &mut Desk, _: &mut Fleet<'_, Member<Lane>>, begin: Nanos) {
        let turns = desk.plan.turns(desk.plan.connections, desk.worker);
        let schedule = |arrivals| Schedule::new(begin, arrivals, turns);
        self.schedule = desk.plan.arrivals().map(schedule);
    }

    fn turn(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) -> Option<Nanos> {
        let schedule = self.schedule.as_mut()?;
        loop {
            let now = desk.clock.stamp();
            let due = schedule.due()?;
            if due > now || due >= desk.window.end {
                return Some(due);
            }
            let (place, due) = schedule.take()?;
            let Some(mut ws) = fleet.socket(desk.ids[place]).filter(WebSocket::is_open) else {
                desk.error(Class::NotSent, 1, || "its connection had ended".to_owned());
                continue;
            };
            let sent = Sent { due, at: now };
            ws.ping(&due.to_be_bytes());
            ws.data_mut().lane.push_back(sent);
            self.in_flight += 1;
            desk.record.tried(due, now, &desk.window);
            desk.record.sent(sent, &desk.window);
        }
    }

    fn message(&mut self, _: &mut Desk, _: &mut WebSocket<'_, Member<Lane>>, _: Message<'_>) {
        // What the server has to say of its own accord is its business.
    }

    fn pong(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Lane>>, payload: &[u8]) {
        let now = desk.clock.stamp();
        let lane = &mut ws.data_mut().lane;
        // A pong may come unasked, and one may answer the last of several pings only (RFC 6455 §5.5.3).
        let answers = |sent: &Sent| sent.due.to_be_bytes() == *payload;
        let Some(at) = lane.iter().position(answers) else { return };
        self.in_flight -= at as u64 + 1;
        // Those that were passed over waited as long.
        for sent in lane.drain(..=at) {
            desk.reply(sent, now, payload.len());
        }
    }

    fn drained(&mut self, _: &mut Desk, _: &mut WebSocket<'_, Member<Lane>>) {}

    fn lost(&mut self, _: &mut Desk, lane: Lane) -> u64 {
        self.in_flight -= lane.len() as u64;
        lane.len() as u64
    }

    fn in_flight(&self) -> u64 {
        self.in_flight
    }

    fn give_up(&mut self, desk: &mut Desk, _: &mut Fleet<'_, Member<Lane>>) {
        let waited = desk.plan.timeout;
        desk.error(Class::Unanswered, self.in_flight, || {
            format!("no pong within {waited:?} of the end of the run")
        });
    }
}
