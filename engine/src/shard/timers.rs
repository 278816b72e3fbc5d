//! Timeouts and keep-alive pings.

use std::time::Duration;

use super::slot::{Ending, Slot};
use super::table::ConnectionId;
use super::turn::Turn;
use super::wheel::{Tick, ticks};
use super::{Application, Shard, TurnOutput};
use crate::config::Config;
use crate::conn::State;
use crate::handler::CloseReason;
use crate::wire::CloseCode;

/// What is due next on a connection.
enum Due {
    /// The phase has lasted too long.
    TimedOut,
    /// The peer has been silent too long.
    Idle,
    /// The peer has been silent for a while.
    Ping,
}

/// When the next thing is due, and what.
fn deadline<D>(slot: &Slot<D>, settings: &Config) -> Option<(Tick, Due)> {
    // The tick it began in had partly passed.
    let after = |start: Tick, timeout: Duration| start + ticks(timeout) + 1;
    if slot.ending != Ending::No || slot.closing {
        return Some((after(slot.since, settings.close_timeout), Due::TimedOut));
    }
    if slot.state() == State::Opening {
        return Some((after(slot.since, settings.handshake_timeout), Due::TimedOut));
    }
    let heard = slot.last_heard;
    let idle = (!settings.idle_timeout.is_zero())
        .then(|| (after(heard, settings.idle_timeout), Due::Idle));
    // One ping per interval of silence, counted from the last ping, too: a lost pong costs nothing
    // while there is time for another.
    let ping = (!settings.ping_interval.is_zero())
        .then(|| (after(heard.max(slot.since), settings.ping_interval), Due::Ping));
    match (idle, ping) {
        (Some(idle), Some(ping)) => Some(if ping.0 <= idle.0 { ping } else { idle }),
        (idle, ping) => idle.or(ping),
    }
}

impl<A: Application> Shard<A> {
    /// Puts the connection's next deadline into the wheel, unless an entry comes up before it: that
    /// one will put itself back. An entry that was overtaken is ignored when it comes up.
    pub(super) fn schedule(&mut self, id: ConnectionId) {
        let Some(slot) = self.table.find(id) else { return };
        // With keep-alive off nothing is due, but a later phase will schedule again.
        if let Some((at, _)) = deadline(slot, &self.world.settings)
            && at < slot.scheduled
        {
            slot.scheduled = self.wheel.schedule(id, at);
        }
    }

    pub(super) fn run_timers(&mut self, turn: &mut Turn) {
        let mut expired = std::mem::take(&mut self.expired);
        while let Some(at) = self.wheel.expired(self.tick, &mut expired) {
            for id in expired.drain(..) {
                self.check(id, at, turn);
            }
        }
        self.expired = expired;
        self.attend();
    }

    fn check(&mut self, id: ConnectionId, at: Tick, turn: &mut Turn) {
        let tick = self.tick;
        let Some(slot) = self.table.find(id) else { return };
        if slot.scheduled != at {
            return;
        }
        slot.scheduled = Tick::MAX;
        let Some((due, what)) = deadline(slot, &self.world.settings) else { return };
        if tick < due {
            slot.scheduled = self.wheel.schedule(id, due);
            return;
        }
        match what {
            Due::TimedOut => self.finish(id, CloseReason::TimedOut, Ending::Now),
            Due::Idle => {
                // It may live and only have been silent.
                let mut out = TurnOutput {
                    id,
                    send: &mut slot.side.send,
                    turn,
                    codec: &mut self.world.codec,
                };
                slot.side.outbound.tell(CloseCode::GOING_AWAY, "silent for too long", &mut out);
                self.finish(id, CloseReason::Idle, Ending::Now);
            }
            Due::Ping => {
                slot.since = tick;
                self.world.counters.pings_out += 1;
                let mut out = TurnOutput {
                    id,
                    send: &mut slot.side.send,
                    turn,
                    codec: &mut self.world.codec,
                };
                slot.side.outbound.ping(&[], &mut out);
                self.schedule(id);
            }
        }
    }
}
