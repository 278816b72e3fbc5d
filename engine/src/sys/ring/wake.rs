//! Wakers by messages from ring to ring.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use io_uring::opcode;
use io_uring::types::Fd;

use super::{Ring, to_key};
use crate::sys::batch::{Fill, Gather};
use crate::sys::features::RingFeature;
use crate::sys::operation::{Completion, Operation, UserData};
use crate::sys::waker::{self, Waker, WakerShared};

/// The wakers that a ring has to do with.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    /// The ring's own waker, while it answers messages.
    own: Option<Arc<WakerShared>>,
    /// The wakers of other threads that this ring has woken, by the keys of its messages.
    peers: Vec<Arc<WakerShared>>,
}

impl<S: Gather, R: Fill> Ring<S, R> {
    /// From now on messages to this ring wake its thread as the waker does, and this thread wakes
    /// others in that way, where the ring has that feature.
    pub(crate) fn answer(&mut self, waker: &Waker) {
        if self.features.contains(RingFeature::MsgRing) && self.wakers.own.is_none() {
            let own = waker.shared();
            own.answer_by(Some(self.ring.as_raw_fd()));
            self.wakers.own = Some(own);
            waker::collect();
        }
    }

    /// Sends the messages that are due. The rings they go to live at least until the kernel has
    /// looked them up, which it has when it has taken the messages.
    pub(super) fn wake_peers(&mut self) -> io::Result<()> {
        if self.wakers.own.is_none() {
            return Ok(());
        }
        let due = waker::due();
        if due.is_empty() {
            return Ok(());
        }
        let mut targets = Vec::with_capacity(due.len());
        for waker in &due {
            let target = waker.target();
            let Some(fd) = target.as_deref().copied().flatten() else {
                waker.strike();
                continue;
            };
            let key = self.peer(waker);
            let nudge = UserData::key(Operation::Nudge, 0);
            let message = opcode::MsgRingData::new(Fd(fd), 0, nudge.0, None).build();
            let message = self.unreported(message);
            self.push(message, UserData::key(Operation::WakePeer, to_key(key)))?;
            targets.push(target);
        }
        self.submit_all()
    }

    fn peer(&mut self, waker: &Arc<WakerShared>) -> usize {
        let peers = &mut self.wakers.peers;
        peers.iter().position(|peer| Arc::ptr_eq(peer, waker)).unwrap_or_else(|| {
            peers.push(Arc::clone(waker));
            peers.len() - 1
        })
    }

    /// Looks for messages that did not arrive: their sleepers are woken the other way.
    pub(super) fn wake_again(&self, completions: &[Completion]) {
        if self.wakers.peers.is_empty() {
            return;
        }
        for completion in completions {
            let failed =
                completion.user_data.operation() == Operation::WakePeer && completion.result < 0;
            if failed && let Some(peer) = self.wakers.peers.get(completion.user_data.low() as usize)
            {
                peer.strike();
            }
        }
    }

    /// The ring goes: nobody sends it messages any more, and what it was to send goes another way.
    pub(super) fn answer_no_more(&mut self) {
        if let Some(own) = self.wakers.own.take() {
            own.answer_by(None);
            waker::collect_no_more().iter().for_each(|waker| waker.strike());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    use crate::sys::features::{FeatureSet, RingConfig, RingFeature, RingFeatures};
    use crate::sys::operation::Operation;
    use crate::sys::ring::Wait;
    use crate::sys::ring::tests::{Batch, Ring};
    use crate::sys::waker::Waker;

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
            let waker = Waker::new().expect("a waker");
            ring.watch(waker.as_raw_fd()).expect("room");
            ring.answer(&waker);
            named.send(Waker::of(waker.shared())).expect("they wait for it");
            next(&mut ring, Duration::from_secs(20))
        });
        let target = names.recv().expect("a waker");
        let mut ring = ring();
        ring.answer(&Waker::new().expect("a waker"));
        target.wake();
        next(&mut ring, Duration::from_millis(1));
        assert_eq!(sleeper.join().expect("it woke"), [Operation::Nudge]);
        // Its ring is gone: the counter serves.
        target.wake();
        let mut watcher = Ring::new(&RingConfig::default()).expect("a ring");
        watcher.watch(target.as_raw_fd()).expect("room");
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Waker]);
    }

    #[test]
    fn a_message_that_goes_nowhere_or_was_not_sent_is_made_up_for() {
        let target = Waker::new().expect("a waker");
        let mut watcher = Ring::new(&RingConfig::default()).expect("a ring");
        watcher.watch(target.as_raw_fd()).expect("room");
        let mut ring = ring();
        ring.answer(&Waker::new().expect("a waker"));
        // No ring, but open: the kernel refuses.
        target.shared().answer_by(Some(target.as_raw_fd()));
        target.wake();
        next(&mut ring, Duration::from_millis(1));
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Waker]);
        target.wake();
        drop(ring);
        assert_eq!(next(&mut watcher, Duration::from_secs(20)), [Operation::Waker]);
        target.shared().answer_by(None);
    }

    #[test]
    fn without_the_feature_nothing_changes() {
        let features = RingFeatures::want(FeatureSet::ALL.without(RingFeature::MsgRing));
        let config = RingConfig { features, ..RingConfig::default() };
        let mut ring = Ring::new(&config).expect("a ring");
        let waker = Waker::new().expect("a waker");
        ring.answer(&waker);
        ring.watch(waker.as_raw_fd()).expect("room");
        waker.wake();
        assert_eq!(next(&mut ring, Duration::from_secs(20)), [Operation::Waker]);
    }
}
