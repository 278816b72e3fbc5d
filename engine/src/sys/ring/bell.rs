//! Doorbells by messages from ring to ring.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Ring, to_key};
use crate::sys::batch::{Fill, Gather};
use crate::sys::doorbell::{self, Bell, Doorbell};
use crate::sys::features::RingFeature;
use crate::sys::operation::{Completion, Operation, UserData};

/// The doorbells that a ring has to do with.
#[derive(Debug, Default)]
pub(super) struct Bells {
    /// The ring's own bell, while it answers messages.
    own: Option<Arc<Bell>>,
    /// The bells that this ring has rung, by the keys of its messages.
    peers: Vec<Arc<Bell>>,
}

impl<S: Gather, R: Fill> Ring<S, R> {
    /// From now on messages to this ring wake its thread as the doorbell does, and this thread wakes
    /// others in that way, where the ring has that feature.
    pub(crate) fn answer(&mut self, doorbell: &Doorbell) {
        if self.features.contains(RingFeature::MsgRing) && self.bells.own.is_none() {
            let own = doorbell.bell();
            own.answer_by(Some(self.ring.as_raw_fd()));
            self.bells.own = Some(own);
            doorbell::collect();
        }
    }

    /// Sends the messages that are due. The rings they go to live at least until the kernel has
    /// looked them up, which it has when it has taken the messages.
    pub(super) fn ring_bells(&mut self) -> io::Result<()> {
        if self.bells.own.is_none() {
            return Ok(());
        }
        let due = doorbell::due();
        if due.is_empty() {
            return Ok(());
        }
        let mut targets = Vec::with_capacity(due.len());
        for bell in &due {
            let target = bell.target();
            let Some(fd) = target.as_deref().copied().flatten() else {
                bell.strike();
                continue;
            };
            let key = self.peer(bell);
            let nudge = UserData::key(Operation::Nudge, 0);
            let message = opcode::MsgRingData::new(Fd(fd), 0, nudge.0, None).build();
            let message = self.unreported(message);
            self.push(message, UserData::key(Operation::Bell, to_key(key)))?;
            targets.push(target);
        }
        self.submit_all()
    }

    fn peer(&mut self, bell: &Arc<Bell>) -> usize {
        let peers = &mut self.bells.peers;
        peers.iter().position(|peer| Arc::ptr_eq(peer, bell)).unwrap_or_else(|| {
            peers.push(Arc::clone(bell));
            peers.len() - 1
        })
    }

    /// Looks for messages that did not arrive: their sleepers are woken the other way.
    pub(super) fn ring_again(&self, completions: &[Completion]) {
        if self.bells.peers.is_empty() {
            return;
        }
        for completion in completions {
            let failed =
                completion.user_data.operation() == Operation::Bell && completion.result < 0;
            if failed && let Some(peer) = self.bells.peers.get(completion.user_data.low() as usize)
            {
                peer.strike();
            }
        }
    }

    /// The ring goes: nobody sends it messages any more, and what it was to send goes another way.
    pub(super) fn answer_no_more(&mut self) {
        if let Some(own) = self.bells.own.take() {
            own.answer_by(None);
            doorbell::collect_no_more().iter().for_each(|bell| bell.strike());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use crate::sys::doorbell::Doorbell;
    use crate::sys::features::{FeatureSet, RingConfig, RingFeature, RingFeatures};
    use crate::sys::operation::Operation;
    use crate::sys::ring::Wait;
    use crate::sys::ring::tests::{Batch, Ring};

    fn ring() -> Ring {
        let features = RingFeatures::default().require(RingFeature::MsgRing);
        let config = RingConfig { features, ..RingConfig::default() };
        Ring::new(&config).expect("this kernel has it")
    }

    /// The operations that complete before the deadline, or the first of them.
    fn next(ring: &mut Ring, patience: Duration) -> Vec<Operation> {
        let mut out = Vec::new();
        let deadline = Instant::now() + patience;
        ring.exchange(&Batch::default(), |_| None, Wait::Until(deadline), &mut out)
            .expect("it enters");
        out.iter().map(|completion| completion.user_data.operation()).collect()
    }

    #[test]
    fn a_message_wakes_a_sleeping_ring_and_the_counter_is_silent() {
        let (named, names) = mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            let mut ring = ring();
            let doorbell = Doorbell::new().expect("a doorbell");
            ring.watch(doorbell.as_raw_fd()).expect("room");
            ring.answer(&doorbell);
            named.send(Doorbell::of(doorbell.bell())).expect("they wait for it");
            next(&mut ring, Duration::from_secs(20))
        });
        let target = names.recv().expect("a doorbell");
        let mut ring = ring();
        ring.answer(&Doorbell::new().expect("a doorbell"));
        target.ring();
        next(&mut ring, Duration::from_millis(1));
        assert_eq!(sleeper.join().expect("it woke"), [Operation::Nudge]);
        // Its ring is gone: the counter serves.
        target.ring();
        let mut watcher = Ring::new(&RingConfig::default()).expect("a ring");
        watcher.watch(target.as_raw_fd()).expect("room");
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Doorbell]);
    }

    #[test]
    fn a_message_that_goes_nowhere_or_was_not_sent_is_made_up_for() {
        let target = Doorbell::new().expect("a doorbell");
        let mut watcher = Ring::new(&RingConfig::default()).expect("a ring");
        watcher.watch(target.as_raw_fd()).expect("room");
        let mut ring = ring();
        ring.answer(&Doorbell::new().expect("a doorbell"));
        // No ring, but open: the kernel refuses.
        target.bell().answer_by(Some(target.as_raw_fd()));
        target.ring();
        next(&mut ring, Duration::from_millis(1));
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Doorbell]);
        target.ring();
        drop(ring);
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Doorbell]);
        target.bell().answer_by(None);
    }

    #[test]
    fn without_the_feature_nothing_changes() {
        let features = RingFeatures::want(FeatureSet::ALL.without(RingFeature::MsgRing));
        let config = RingConfig { features, ..RingConfig::default() };
        let mut ring = Ring::new(&config).expect("a ring");
        let doorbell = Doorbell::new().expect("a doorbell");
        ring.answer(&doorbell);
        ring.watch(doorbell.as_raw_fd()).expect("room");
        doorbell.ring();
        assert_eq!(next(&mut ring, Duration::from_secs(20)), [Operation::Doorbell]);
    }
}
