//! Who hears whom: one room per path, a queue per connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

type Members<M> = Rc<RefCell<Vec<(u64, UnboundedSender<M>)>>>;

/// All rooms of a server of one thread.
#[derive(Debug)]
pub struct Rooms<M> {
    rooms: Rc<RefCell<HashMap<String, Members<M>>>>,
    joined: Rc<RefCell<u64>>,
}

impl<M> Default for Rooms<M> {
    fn default() -> Self {
        Self { rooms: Rc::default(), joined: Rc::default() }
    }
}

impl<M> Clone for Rooms<M> {
    fn clone(&self) -> Self {
        Self { rooms: Rc::clone(&self.rooms), joined: Rc::clone(&self.joined) }
    }
}

impl<M> Rooms<M> {
    /// A place in the room of `path` until it is dropped.
    #[must_use]
    pub fn join(&self, path: &str) -> Seat<M> {
        let mut joined = self.joined.borrow_mut();
        *joined += 1;
        let (sender, queue) = unbounded_channel();
        let members = Rc::clone(self.rooms.borrow_mut().entry(path.to_owned()).or_default());
        members.borrow_mut().push((*joined, sender));
        Seat { rooms: self.clone(), path: path.to_owned(), id: *joined, members, queue }
    }
}

/// A connection's place in a room.
#[derive(Debug)]
pub struct Seat<M> {
    rooms: Rooms<M>,
    path: String,
    id: u64,
    members: Members<M>,
    queue: UnboundedReceiver<M>,
}

impl<M: Clone> Seat<M> {
    /// Tells all others.
    pub fn tell(&self, message: &M) {
        for (_, other) in self.members.borrow().iter().filter(|(id, _)| *id != self.id) {
            // Whoever is gone has left the room by the next time.
            let _ = other.send(message.clone());
        }
    }

    /// The next message of another; may be dropped and called again.
    ///
    /// # Panics
    ///
    /// Never: the room holds the other end of the queue.
    pub async fn hear(&mut self) -> M {
        self.queue.recv().await.expect("the room holds a sender")
    }

    /// A message of another that is there already.
    pub fn heard(&mut self) -> Option<M> {
        self.queue.try_recv().ok()
    }
}

impl<M> Drop for Seat<M> {
    fn drop(&mut self) {
        let mut members = self.members.borrow_mut();
        if let Some(at) = members.iter().position(|(id, _)| *id == self.id) {
            members.swap_remove(at);
        }
        if members.is_empty() {
            self.rooms.rooms.borrow_mut().remove(&self.path);
        }
    }
}
