//! Which shards have subscribers of which topic, so that nobody else gets mail of it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use super::mailbox::ShardSet;

/// The topics are spread over so many locks.
const STRIPES: usize = 16;

/// A topic that a shard knows.
#[derive(Debug)]
struct Known {
    /// The shards that have subscribers of it.
    subscribed: Arc<ShardSet>,
    /// How many shards know it.
    shards: usize,
}

type Stripe = HashMap<Arc<str>, Known>;

/// The topics that any shard knows. A shard locks it when it makes a topic or forgets one; between that
/// it has the topic's set at hand, and a publication of a connection takes no lock.
#[derive(Debug)]
pub(crate) struct Interests {
    stripes: [RwLock<Stripe>; STRIPES],
    hasher: RandomState,
    shards: usize,
}

impl Interests {
    pub(crate) fn new(shards: usize) -> Self {
        let stripes = std::array::from_fn(|_| RwLock::default());
        Self { stripes, hasher: RandomState::new(), shards }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any part of the hash will do")]
    fn stripe(&self, name: &str) -> &RwLock<Stripe> {
        &self.stripes[self.hasher.hash_one(name) as usize % STRIPES]
    }

    fn write(&self, name: &str) -> RwLockWriteGuard<'_, Stripe> {
        self.stripe(name).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard knows a topic from now on; it enters itself in the set while it has subscribers.
    pub(crate) fn join(&self, name: &Arc<str>) -> Arc<ShardSet> {
        let mut stripe = self.write(name);
        let known = stripe.entry(Arc::clone(name)).or_insert_with(|| Known {
            subscribed: Arc::new(ShardSet::new(self.shards)),
            shards: 0,
        });
        known.shards += 1;
        Arc::clone(&known.subscribed)
    }

    /// A shard has forgotten a topic. What no shard knows takes no memory here.
    pub(crate) fn leave(&self, name: &str) {
        let mut stripe = self.write(name);
        let Some(known) = stripe.get_mut(name) else { return };
        known.shards -= 1;
        if known.shards == 0 {
            stripe.remove(name);
            if stripe.capacity() > 64 && stripe.len() < stripe.capacity() / 8 {
                stripe.shrink_to_fit();
            }
        }
    }

    /// The shards that have subscribers of a topic, and its name to send along; `None` if there are
    /// none.
    pub(crate) fn subscribed(&self, name: &str) -> Option<(Arc<str>, Vec<usize>)> {
        let stripe = self.stripe(name).read().unwrap_or_else(PoisonError::into_inner);
        let (name, known) = stripe.get_key_value(name)?;
        let shards: Vec<_> = known.subscribed.iter().collect();
        (!shards.is_empty()).then(|| (Arc::clone(name), shards))
    }

    /// How many topics there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        let count = |stripe: &RwLock<Stripe>| stripe.read().map_or(0, |stripe| stripe.len());
        self.stripes.iter().map(count).sum()
    }
}
