//! Opening connections: as fast as they are accepted, or at a rate.

use std::sync::Arc;

use ringbolt::wire::CloseCode;
use ringbolt::{CloseReason, ConnectionId, Fleet};

use crate::base::clock::{BatchClock, Nanos};
use crate::plan::Plan;
use crate::run::stats::ErrorClass;
use crate::spec::arrivals::Schedule;

/// Handshakes that one worker has under way at once: below the backlog of any sane server.
const PENDING: u64 = 256;

/// Opens a worker's connections.
#[derive(Debug)]
pub(crate) struct Dialler {
    plan: Arc<Plan>,
    worker: usize,
    total: u64,
    started: u64,
    settled: u64,
    schedule: Option<Schedule>,
}

impl Dialler {
    pub(crate) fn new(plan: Arc<Plan>, worker: usize, start: Nanos) -> Self {
        let total = plan.share(plan.connections, worker);
        let turns = plan.turns(plan.connections, worker);
        let schedule = plan.connect_rate.map(|rate| Schedule::steady(start, rate, turns));
        Self { plan, worker, total, started: 0, settled: 0, schedule }
    }

    /// Starts what is due, `connection` giving each connection its data; says when to come again.
    pub(crate) fn turn<D>(
        &mut self,
        fleet: &mut Fleet<'_, D>,
        clock: &mut BatchClock,
        mut connection: impl FnMut(usize, Nanos) -> D,
        mut opened: impl FnMut(ConnectionId),
    ) -> Option<Nanos> {
        let now = clock.read();
        while self.started < self.total && self.started - self.settled < PENDING {
            if let Some(schedule) = &mut self.schedule {
                if let Some(due) = schedule.due().filter(|due| *due > now) {
                    return Some(due);
                }
                schedule.take();
            }
            let place = usize::try_from(self.started).unwrap_or(usize::MAX);
            let number = self.number(place);
            let from = self.plan.sources.address(number);
            let data = connection(place, clock.stamp());
            let request = Arc::clone(&self.plan.request);
            match fleet.connect(request, from, self.plan.route.clone(), data) {
                Ok(id) => opened(id),
                // `max_connections` is set to what the plan needs.
                Err(_) => self.settled += 1,
            }
            self.started += 1;
        }
        None
    }

    /// The number of a worker's connection among all of the run.
    pub(crate) fn number(&self, place: usize) -> u64 {
        place as u64 * self.plan.threads.len() as u64 + self.worker as u64
    }

    /// A handshake succeeded or failed.
    pub(crate) const fn settle(&mut self) {
        self.settled += 1;
    }

    /// Whether every connection is established or has failed.
    pub(crate) const fn is_done(&self) -> bool {
        self.settled >= self.total
    }
}

/// What it means that a connection ended, before or after it was established.
pub(crate) fn classify(reason: CloseReason, established: bool) -> (ErrorClass, String) {
    match (reason, established) {
        (CloseReason::Transport(error), false) => {
            (ErrorClass::Connect, std::io::Error::from_raw_os_error(error).to_string())
        }
        (CloseReason::Transport(error), true) => {
            (ErrorClass::Closed, std::io::Error::from_raw_os_error(error).to_string())
        }
        (CloseReason::Tls(error), false) => (ErrorClass::Tls, error.to_string()),
        (CloseReason::Tls(error), true) => (ErrorClass::Closed, error.to_string()),
        (CloseReason::Proxy(error), _) => (ErrorClass::Connect, error.to_string()),
        (CloseReason::Response(error), _) => (ErrorClass::Handshake, error.to_string()),
        (CloseReason::HungUp, false) => {
            (ErrorClass::Handshake, "the server ended TCP during the opening handshake".to_owned())
        }
        (CloseReason::TimedOut, false) => {
            (ErrorClass::TimedOut, "the opening handshake did not end in time".to_owned())
        }
        (CloseReason::Protocol(error), _) => (ErrorClass::Protocol, error.to_string()),
        (CloseReason::HungUp, true) => {
            (ErrorClass::Closed, "the server ended TCP without a closing handshake".to_owned())
        }
        (CloseReason::Clean(CloseCode::NO_STATUS), true) => {
            (ErrorClass::Closed, "the server started the closing handshake".to_owned())
        }
        (CloseReason::Clean(code), true) => (
            ErrorClass::Closed,
            format!("the server started the closing handshake with code {code}"),
        ),
        (other, false) => (ErrorClass::Handshake, name(other)),
        (other, true) => (ErrorClass::Closed, name(other)),
    }
}

fn name(reason: CloseReason) -> String {
    CloseReason::NAMES[reason.index()].replace('_', " ")
}
