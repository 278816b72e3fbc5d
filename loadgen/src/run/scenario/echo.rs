//! The echo scenario: every message comes back, in order on each connection.

use std::collections::VecDeque;

use ringbolt::wire::CloseCode;
use ringbolt::{CloseReason, Fleet, Message, WebSocket};

use crate::base::clock::Nanos;
use crate::plan::workload::{Pace, Scenario as Planned, Traffic};
use crate::run::context::Desk;
use crate::run::payload::Payload;
use crate::run::scenario::slow::{Slow, Stalled};
use crate::run::stats::{Class, Sent, Traced};
use crate::run::worker::{Member, Scenario, send};
use crate::spec::arrivals::Schedule;

/// Sends messages and judges their echoes.
#[derive(Debug)]
pub(crate) struct Echo {
    payload: Payload<2>,
    fragments: Option<u64>,
    pace: Pace,
    /// Most messages in flight on a connection.
    depth: usize,
    schedule: Option<Schedule>,
    /// Whether every message is to be told of.
    traces: bool,
    /// Messages that are due or sent and have no reply yet.
    in_flight: u64,
    worker: usize,
    workers: usize,
    /// Connections that stop reading, if there are to be some.
    pub(crate) slow: Option<Slow>,
}

/// One connection's messages in flight.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The connection's number in the run, which its messages carry.
    number: u32,
    next: u32,
    expected: u32,
    sent: VecDeque<Sent>,
    /// When messages were due that found no room; they leave as soon as there is.
    waiting: VecDeque<Nanos>,
    /// Set for one that stops reading.
    pub(crate) stalled: Option<Box<Stalled>>,
}

impl Echo {
    pub(crate) fn new(traffic: &Traffic, desk: &Desk) -> Self {
        let depth = match traffic.pace {
            Pace::Closed { depth } | Pace::Open { depth: Some(depth), .. } => depth,
            Pace::Open { depth: None, .. } => u64::MAX,
        };
        let slow = match &desk.plan.scenario {
            Planned::Slow(_, stalls) => Some(Slow::new(*stalls, desk)),
            _ => None,
        };
        Self {
            slow,
            depth: usize::try_from(depth).unwrap_or(usize::MAX),
            payload: Payload::new(&traffic.payload, traffic.text, traffic.seed, desk.clock.clock()),
            fragments: traffic.fragments,
            pace: traffic.pace.clone(),
            schedule: None,
            traces: desk.plan.output.trace.is_some(),
            in_flight: 0,
            worker: desk.worker,
            workers: desk.plan.threads.len(),
        }
    }

    /// Sends a message that is due, and says whether there was room.
    #[inline]
    fn send(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Lane>>, sent: Sent) -> bool {
        if self.send_on(ws, sent.due).is_none() {
            return false;
        }
        ws.data_mut().lane.sent.push_back(sent);
        self.in_flight += 1;
        desk.record.sent(sent, &desk.window);
        true
    }

    /// Sends what is due on the schedule of an open loop; says when the next is.
    fn turn_open(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) -> Option<Nanos> {
        let mut schedule = self.schedule.take()?;
        // No more in one turn: replies, and whoever wants to stop the run, have their turn, too.
        for _ in 0..TURN_MAX {
            let now = desk.clock.stamp();
            let is_due = |due: &Nanos| *due < desk.window.end && *due <= now;
            if schedule.due().filter(is_due).is_none() {
                break;
            }
            let Some((place, due)) = schedule.take() else { break };
            let Some(mut ws) = fleet.socket(desk.ids[place]) else {
                desk.error(Class::NotSent, 1, || "its connection had ended".to_owned());
                continue;
            };
            if self.in_flight >= OVERDUE_MAX {
                desk.error(Class::NotSent, 1, || TOO_LATE.to_owned());
                continue;
            }
            desk.record.tried(due, now, &desk.window);
            let lane = &ws.data().lane;
            let behind = !lane.waiting.is_empty() || lane.sent.len() >= self.depth;
            if behind || !self.send(desk, &mut ws, Sent { due, at: now }) {
                ws.data_mut().lane.waiting.push_back(due);
                self.in_flight += 1;
                desk.record.queued += u64::from(desk.window.contains(&due));
            }
        }
        let next = schedule.due();
        self.schedule = Some(schedule);
        next
    }

    /// Sends the connection's next message; says how long it was, `None` if there was no room.
    #[inline]
    pub(crate) fn send_on(
        &mut self,
        ws: &mut WebSocket<'_, Member<Lane>>,
        due: Nanos,
    ) -> Option<usize> {
        let lane = &ws.data().lane;
        let message = self.payload.write([lane.next, lane.number], due);
        let bytes = message.payload().len();
        if !send(ws, message, self.fragments) {
            return None;
        }
        let lane = &mut ws.data_mut().lane;
        lane.next = lane.next.wrapping_add(1);
        Some(bytes)
    }

    /// Sends the next message of a closed loop.
    #[inline]
    fn send_next(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Lane>>, now: Nanos) {
        if desk.may_send(now) && !self.send(desk, ws, Sent { due: now, at: now }) {
            // There is room for what is in flight: the server is closing the connection.
            desk.error(Class::NotSent, 1, || NO_ROOM.to_owned());
        }
    }
}

/// Most messages that are sent in one turn of the loop.
const TURN_MAX: usize = 65_536;
/// Most messages of a worker that wait for their turn or their reply; what is due beyond them is
/// an error, so that a rate out of reach ends in a sentence and not in a lack of memory.
const OVERDUE_MAX: u64 = 4_000_000;
const TOO_LATE: &str = "4,000,000 messages were overdue: the rate is out of reach";

const NO_ROOM: &str = "the connection takes no more messages: it is closing";

impl Scenario for Echo {
    type Lane = Lane;

    fn lane(&mut self, place: usize) -> Lane {
        let number = u32::try_from(place * self.workers + self.worker).unwrap_or(u32::MAX);
        let sent = VecDeque::new();
        let stalled = self.slow.as_ref().and_then(|slow| slow.lane(place));
        Lane { number, next: 0, expected: 0, sent, waiting: VecDeque::new(), stalled }
    }

    fn begin(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>, begin: Nanos) {
        if let Some(slow) = &mut self.slow {
            slow.begin(desk, fleet, begin);
        }
        match &self.pace {
            Pace::Open { arrivals, .. } => {
                let turns = desk.plan.turns(desk.plan.senders(), self.worker);
                self.schedule = Some(Schedule::new(begin, arrivals, turns));
            }
            Pace::Closed { .. } => {
                for place in 0..desk.ids.len() {
                    let Some(mut ws) = fleet.socket(desk.ids[place]) else { continue };
                    if ws.data().lane.stalled.is_some() {
                        continue;
                    }
                    for _ in 0..self.depth {
                        let now = desk.clock.stamp();
                        self.send_next(desk, &mut ws, now);
                    }
                }
            }
        }
    }

    fn turn(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) -> Option<Nanos> {
        let slow = self.turn_slow(desk, fleet);
        let next = self.turn_open(desk, fleet);
        [slow, next].into_iter().flatten().min()
    }

    #[inline]
    fn message(
        &mut self,
        desk: &mut Desk,
        ws: &mut WebSocket<'_, Member<Lane>>,
        message: Message<'_>,
    ) {
        let now = desk.clock.stamp();
        let lane = &mut ws.data_mut().lane;
        if let (Some(slow), Some(stalled)) = (&mut self.slow, &mut lane.stalled) {
            return slow.received(desk, stalled);
        }
        let Some(sent) = lane.sent.pop_front() else {
            let number = lane.number;
            desk.error(Class::WrongPayload, 1, || {
                format!("connection {number}: a message arrived that answers none of those sent")
            });
            return;
        };
        let (expected, number) = (lane.expected, lane.number);
        lane.expected = expected.wrapping_add(1);
        self.in_flight -= 1;
        if self.payload.matches(message, [expected, number], sent.due) {
            desk.reply(sent, now, message.payload().len());
            if self.traces && desk.window.contains(&sent.due) {
                let traced = Traced { connection: number, message: expected, sent, answered: now };
                desk.record.traced.push(traced);
            }
        } else {
            let mut why = || self.payload.difference(message, [expected, number], sent.due);
            desk.error(Class::WrongPayload, 1, || {
                format!("connection {number}, message {expected}: {}", why())
            });
        }
        if self.schedule.is_none() {
            self.send_next(desk, ws, now);
        } else if !ws.data().lane.waiting.is_empty() {
            self.drained(desk, ws);
        }
    }

    fn drained(&mut self, desk: &mut Desk, ws: &mut WebSocket<'_, Member<Lane>>) {
        while ws.data().lane.sent.len() < self.depth
            && let Some(due) = ws.data_mut().lane.waiting.pop_front()
        {
            let at = desk.clock.stamp();
            self.in_flight -= 1;
            if !self.send(desk, ws, Sent { due, at }) {
                ws.data_mut().lane.waiting.push_front(due);
                self.in_flight += 1;
                return;
            }
        }
    }

    fn closing(&mut self, lane: &mut Lane, code: CloseCode) {
        if let Some(stalled) = &mut lane.stalled {
            stalled.closing(code);
        }
    }

    fn expected(&mut self, desk: &mut Desk, lane: &mut Lane, reason: CloseReason) -> bool {
        let (Some(slow), Some(stalled)) = (&mut self.slow, &mut lane.stalled) else { return false };
        slow.ended(desk, stalled, reason);
        true
    }

    fn lost(&mut self, desk: &mut Desk, lane: Lane) -> u64 {
        let (lost, waiting) = (lane.sent.len() as u64, lane.waiting.len() as u64);
        desk.error(Class::NotSent, waiting, || NO_ROOM.to_owned());
        self.in_flight -= lost + waiting;
        lost
    }

    fn in_flight(&self) -> u64 {
        self.in_flight + self.slow.as_ref().map_or(0, Slow::awaited)
    }

    fn settle(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) {
        if let Some(slow) = &mut self.slow {
            slow.release(desk, fleet);
        }
    }

    fn give_up(&mut self, desk: &mut Desk, fleet: &mut Fleet<'_, Member<Lane>>) {
        if let Some(slow) = &self.slow {
            slow.judge(desk, fleet);
        }
        let waited = desk.plan.timeout;
        desk.error(Class::Unanswered, self.in_flight, || {
            format!("no reply within {waited:?} of the end of the run")
        });
    }
}
