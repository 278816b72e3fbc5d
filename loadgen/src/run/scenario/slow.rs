//! Connections that stop reading: what they go on sending, and what happens to them.

use ringbolt::wire::CloseCode;
use ringbolt::{CloseReason, Fleet, WebSocket};

use crate::base::clock::Nanos;
use crate::plan::workload::Stalls;
use crate::run::context::Desk;
use crate::run::dialler::classify;
use crate::run::scenario::echo::{Echo, Lane};
use crate::run::worker::Member;
use crate::spec::arrivals::{Schedule, Turns};

/// The slow connections of a worker: the last ones among its places.
#[derive(Debug)]
pub(crate) struct Slow {
    stalls: Stalls,
    /// The place of the first.
    first: usize,
    schedule: Option<Schedule>,
    /// Replies that are to come when they read again.
    awaited: u64,
    released: bool,
}

/// What is known of one slow connection.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Stalled {
    begun: Nanos,
    sent: u64,
    received: u64,
    refused: u64,
    code: Option<CloseCode>,
    noted: bool,
}

impl Slow {
    pub(crate) fn new(stalls: Stalls, desk: &Desk) -> Self {
        let quick = desk.plan.share(desk.plan.senders(), desk.worker);
        let first = usize::try_from(quick).unwrap_or(usize::MAX);
        Self { stalls, first, schedule: None, awaited: 0, released: false }
    }

    /// What the connection at this place keeps, if it is slow.
    pub(crate) fn lane(&self, place: usize) -> Option<Box<Stalled>> {
        (place >= self.first).then(Box::default)
    }

    /// They stop reading.
    pub(crate) fn begin(
        &mut self,
        desk: &mut Desk,
        fleet: &mut Fleet<'_, Member<Lane>>,
        begin: Nanos,
    ) {
        let lanes = desk.ids.len().saturating_sub(self.first);
        let connections = self.stalls.connections;
        let (offset, stride) = (desk.worker as u64, desk.plan.threads.len() as u64);
        let turns = Turns { offset, stride, connections, lanes: lanes as u64 };
        #[expect(clippy::cast_precision_loss, reason = "counts of connections are below 2^53")]
        let rate = self.stalls.rate * connections as f64;
        self.schedule = Some(Schedule::steady(begin, rate, turns));
        for id in desk.ids.iter().skip(self.first) {
            let Some(mut ws) = fleet.socket(*id) else { continue };
            ws.hold_reading(true);
            if let Some(stalled) = &mut ws.data_mut().lane.stalled {
                stalled.begun = begin;
                desk.record.slow.connections += 1;
            }
        }
    }

    /// Says whether another message is due at `now`, and where; else when the next is.
    pub(crate) fn next(&mut self, now: Nanos, end: Nanos) -> Result<usize, Option<Nanos>> {
        let Some(schedule) = &mut self.schedule else { return Err(None) };
        match schedule.due() {
            Some(due) if due <= now && due < end => {
                let (lane, _) = schedule.take().ok_or(None)?;
                Ok(self.first.saturating_add(lane))
            }
            due => Err(due),
        }
    }

    /// A message of a slow connection was sent, or found no room.
    pub(crate) fn tried(&mut self, desk: &mut Desk, stalled: &mut Stalled, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => {
                stalled.sent += 1;
                self.awaited += 1;
                desk.record.slow.sent += 1;
                desk.record.slow.sent_bytes += bytes as u64;
            }
            None => {
                stalled.refused += 1;
                desk.record.slow.refused += 1;
            }
        }
    }

    /// A reply came: it had been on its way, or they read again.
    pub(crate) fn received(&mut self, desk: &mut Desk, stalled: &mut Stalled) {
        if stalled.received < stalled.sent {
            self.awaited -= 1;
        }
        stalled.received += 1;
        desk.record.slow.received += 1;
    }

    /// They read again, and what they have missed comes.
    pub(crate) fn release(&mut self, desk: &Desk, fleet: &mut Fleet<'_, Member<Lane>>) {
        if std::mem::replace(&mut self.released, true) {
            return;
        }
        for id in desk.ids.iter().skip(self.first) {
            if let Some(mut ws) = fleet.socket(*id) {
                ws.hold_reading(false);
            }
        }
    }

    /// Replies that are awaited now.
    pub(crate) const fn awaited(&self) -> u64 {
        if self.released { self.awaited } else { 0 }
    }

    /// A slow connection has ended.
    pub(crate) fn ended(&mut self, desk: &mut Desk, stalled: &mut Stalled, reason: CloseReason) {
        self.awaited -= stalled.sent.saturating_sub(stalled.received);
        let how = match (reason, stalled.code) {
            (_, Some(code)) if code != CloseCode::NO_STATUS => {
                format!("closed by the server with code {code}")
            }
            (CloseReason::Clean(_), _) => "closed by the server, without a code".to_owned(),
            (reason, _) => format!("cut: {}", classify(reason, true).1),
        };
        if !self.released {
            let now = desk.clock.stamp();
            desk.record.slow.cut.record(now.saturating_sub(stalled.begun));
        }
        note(desk, stalled, how);
    }

    /// What became of those that are still there.
    pub(crate) fn judge(&self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) {
        for place in self.first..desk.ids.len() {
            let Some(mut ws) = fleet.socket(desk.ids[place]) else { continue };
            let Some(stalled) = &mut ws.data_mut().lane.stalled else { continue };
            let missing = stalled.received < stalled.sent;
            let how = match (missing, stalled.refused > 0) {
                (true, _) => "kept, with replies left out",
                (false, true) => {
                    "kept and held back: the server stopped reading, and left nothing out"
                }
                (false, false) => "kept: the server took everything, and left nothing out",
            };
            note(desk, stalled, how.to_owned());
        }
    }
}

fn note(desk: &mut Desk, stalled: &mut Stalled, how: String) {
    if !std::mem::replace(&mut stalled.noted, true) {
        *desk.record.slow.ends.entry(how).or_default() += 1;
    }
}

impl Stalled {
    /// The server closes, and says why.
    pub(crate) const fn closing(&mut self, code: CloseCode) {
        self.code = Some(code);
    }
}

impl Echo {
    /// Sends what is due on the slow connections; says when to come again.
    pub(crate) fn turn_slow(
        &mut self,
        desk: &mut Desk,
        fleet: &mut Fleet<'_, Member<Lane>>,
    ) -> Option<Nanos> {
        let mut slow = self.slow.take()?;
        let mut next = None;
        for _ in 0..TURN_MAX {
            let place = match slow.next(desk.clock.stamp(), desk.window.end) {
                Ok(place) => place,
                Err(due) => {
                    next = due;
                    break;
                }
            };
            let socket = desk.ids.get(place).and_then(|id| fleet.socket(*id));
            if let Some(mut ws) = socket.filter(WebSocket::is_open) {
                self.send_slow(&mut slow, desk, &mut ws);
            }
            next = Some(desk.clock.stamp());
        }
        self.slow = Some(slow);
        next
    }

    fn send_slow(
        &mut self,
        slow: &mut Slow,
        desk: &mut Desk,
        ws: &mut WebSocket<'_, Member<Lane>>,
    ) {
        let due = desk.clock.stamp();
        let bytes = self.send_on(ws, due);
        if let Some(stalled) = &mut ws.data_mut().lane.stalled {
            slow.tried(desk, stalled, bytes);
        }
    }
}

/// Most messages of slow connections in one turn of the loop.
const TURN_MAX: usize = 4096;
