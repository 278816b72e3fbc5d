//! What other shards and threads want of this one, and what waits to go to other shards.
//!
//! A publication that was taken is never dropped for want of room. What finds the mailbox of its shard
//! full waits here, in order, and while anything does, nothing is read from connections that publish:
//! so no more waits than they had sent before. A command that finds too much waiting on its topic stays
//! where it is, and what came after it, too.
//!
//! Shards cannot wait for each other in a circle. A command waits only for its own shard's fan-out, and
//! a fan-out waits for nobody: what it delivers is queued to each subscriber, or the subscriber is too
//! slow and closed or passed over. So each shard empties its box at its own pace, whatever waits for
//! room in others'.

use std::collections::VecDeque;
use std::time::Instant;

use super::machine::Action;
use super::send_batch::SendBatch;
use super::slot::Hold;
use super::topics::Arrived;
use super::{Application, Shard};
use crate::conn::State;
use crate::fault::{self, Fault};
use crate::hub::{Command, Hub, Mailbox, PublishCommand, Reservation, Seat, Weight};
use crate::wire::CloseCode;

/// What a command costs beside its frames.
const COMMAND_BYTES: usize = 64;

/// Publish commands that wait for room in other shards' mailboxes.
#[derive(Debug)]
pub(super) struct Outboxes {
    /// By shard.
    boxes: Box<[VecDeque<PublishCommand>]>,
    /// What they hold all together.
    bytes: usize,
}

impl Outboxes {
    fn new(shards: usize) -> Self {
        Self { boxes: (0..shards).map(|_| VecDeque::new()).collect(), bytes: 0 }
    }

    const fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Sends a command, now or when there is room. Says how many messages are lost by that: none,
    /// unless a fault is back.
    fn send(&mut self, seat: &Seat, to: usize, command: PublishCommand) -> u64 {
        let Some((mailbox, waiting)) = seat.hub.mailboxes.get(to).zip(self.boxes.get_mut(to))
        else {
            return 0;
        };
        let place =
            if waiting.is_empty() { place(mailbox, seat, &command) } else { Reservation::Full };
        match place {
            Reservation::Made => mailbox.post(command),
            Reservation::Gone => {}
            Reservation::Full if fault::is_back(Fault::MailDroppedWhenBoxFull) => {
                mailbox.wait_no_more(seat.index);
                return command.messages();
            }
            Reservation::Full => {
                self.bytes += cost(&command);
                waiting.push_back(command);
            }
        }
        0
    }

    /// Sends what there is room for now.
    fn flush(&mut self, seat: &Seat) {
        if self.is_empty() {
            return;
        }
        for (mailbox, waiting) in seat.hub.mailboxes.iter().zip(&mut self.boxes) {
            if waiting.is_empty() {
                continue;
            }
            while let Some(command) = waiting.front() {
                let place = place(mailbox, seat, command);
                if place == Reservation::Full {
                    break;
                }
                let Some(command) = waiting.pop_front() else { break };
                self.bytes -= cost(&command);
                if place == Reservation::Made {
                    mailbox.post(command);
                }
            }
            if waiting.is_empty() {
                mailbox.wait_no_more(seat.index);
            }
        }
    }

    /// Gives everything up; says how many messages that were.
    fn abandon(&mut self, seat: &Seat) -> u64 {
        self.bytes = 0;
        let mut lost = 0;
        for (mailbox, waiting) in seat.hub.mailboxes.iter().zip(&mut self.boxes) {
            lost += waiting.drain(..).map(|command| command.messages()).sum::<u64>();
            mailbox.wait_no_more(seat.index);
        }
        lost
    }
}

fn cost(command: &PublishCommand) -> usize {
    match command {
        PublishCommand::Publication { frames, .. } => COMMAND_BYTES + frames.len(),
        PublishCommand::Flushed { .. } => COMMAND_BYTES,
    }
}

/// A place for a command; if there is none, this shard will be called when there is.
fn place(mailbox: &Mailbox, seat: &Seat, command: &PublishCommand) -> Reservation {
    let place = mailbox.reserve(command.weight());
    if place != Reservation::Full {
        return place;
    }
    mailbox.wait(seat.index);
    // Room that was made before that.
    let place = mailbox.reserve(command.weight());
    if place != Reservation::Full {
        mailbox.wait_no_more(seat.index);
    }
    place
}

/// What is on its way into the shard and out of it.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) seat: Seat,
    outboxes: Outboxes,
    /// A command for a topic on which too much waits. Its place in the mailbox is still taken.
    stalled: Option<PublishCommand>,
    /// There was more in the mailbox than one turn takes.
    left: bool,
    /// Shards that have sent everything that was published there.
    flushed: Box<[bool]>,
    /// Until when the drain under way waits for publications to be delivered; `None` when it does not.
    pub(super) flushing: Option<Instant>,
}

impl Post {
    pub(super) fn new(seat: Seat) -> Self {
        let shards = seat.hub.mailboxes.len();
        Self {
            seat,
            outboxes: Outboxes::new(shards),
            stalled: None,
            left: false,
            flushed: vec![false; shards].into(),
            flushing: None,
        }
    }

    /// Bytes that wait for room in other shards' mailboxes.
    pub(super) const fn waiting_bytes(&self) -> usize {
        self.outboxes.bytes
    }

    fn hub(&self) -> &Hub {
        &self.seat.hub
    }

    /// All shards but this one.
    fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let own = self.seat.index;
        (0..self.flushed.len()).filter(move |shard| *shard != own)
    }

    /// Whether no publication comes from another shard any more.
    fn all_have_flushed(&self) -> bool {
        self.others().all(|shard| self.flushed[shard] || self.hub().mailboxes[shard].is_closed())
    }

    fn call_waiting(&self, waiting: impl Iterator<Item = usize>) {
        for shard in waiting {
            if let Some(mailbox) = self.hub().mailboxes.get(shard) {
                mailbox.call();
            }
        }
    }
}

impl<A: Application> Shard<A> {
    /// Tells the other shards what was published here since the last turn: one command per topic and
    /// shard with subscribers of it, whatever the number of messages.
    pub(super) fn forward_publications(&mut self) {
        let Post { seat, outboxes, .. } = &mut self.post;
        if seat.hub.mailboxes.len() == 1 {
            return self.context.topics.skip_forwarding();
        }
        outboxes.flush(seat);
        let lost = &mut self.context.counters.publications_lost;
        self.context.topics.forward(|to, command| *lost += outboxes.send(seat, to, command));
        self.context.topics.note_outbox(outboxes.bytes);
    }

    /// Reads again from connections that had to wait, once nothing waits any more.
    pub(super) fn resume_publishers(&mut self) {
        if self.context.slowed.is_empty() || self.context.topics.is_crowded() {
            return;
        }
        for id in std::mem::take(&mut self.context.slowed) {
            let Some(slot) = self.table.find(id) else { continue };
            slot.side.hold.set(Hold::PUBLISHER, false);
            // From now on it is listened to again.
            slot.heard = self.tick;
            let pause = self.context.settings.pause_reading_bytes;
            self.context.counters.read_pauses += slot.note_pause(pause);
            self.requested.push(Action::Receive(id));
            self.unpark(id);
        }
    }

    /// Whether mail was left for the next turn.
    pub(super) const fn has_mail_left(&self) -> bool {
        self.post.left
    }

    /// Does what others ask for; `called` if any of them said so.
    pub(super) fn read_mail(&mut self, called: bool, sends: &mut SendBatch, now: Instant) {
        if !called && !self.post.left {
            return;
        }
        // No more than what was there when we looked: a busy sender cannot keep us here.
        let most = self.context.settings.mailbox_entries.max(1);
        let mut left = most;
        while let Some(order) = self.context.mailbox.take_order() {
            self.obey(order, sends, now);
        }
        while left > 0
            && let Some(mail) = self.context.mailbox.take_command()
        {
            left -= 1;
            self.obey(mail, sends, now);
        }
        self.post.left = left == 0;
        self.take_letters(most);
    }

    fn obey(&mut self, mail: Command, sends: &mut SendBatch, now: Instant) {
        match mail {
            Command::Send { to, opcode, payload } => self.send_mail(to, opcode, &payload, sends),
            Command::Close { to, code, reason } => self.close_one(to, code, &reason, sends),
            Command::Drain { deadline } => self.start_drain(deadline.max(now), now, sends),
            Command::Snapshot { reply } => {
                // Whoever asked may have gone.
                drop(reply.send(self.snapshot()));
            }
        }
    }

    fn take_letters(&mut self, most: usize) {
        let (mut places, mut weight) = (0, Weight::default());
        for taken in 0..=most {
            if taken == most {
                self.post.left = true;
                break;
            }
            let stalled = self.post.stalled.take();
            let Some(command) = stalled.or_else(|| self.context.mailbox.take_publish()) else {
                break;
            };
            let taken = command.weight();
            if let Some(command) = self.take_in(command) {
                self.post.stalled = Some(command);
                self.post.left = true;
                break;
            }
            places += 1;
            weight += taken;
        }
        if places > 0 {
            self.context.counters.publish_commands += places;
            self.post.call_waiting(self.context.mailbox.make_room(weight, places));
        } else {
            // Somebody may have given a place back.
            self.post.call_waiting(self.context.mailbox.waiting());
        }
    }

    /// Takes a command in, or gives it back if there is no room for it now.
    fn take_in(&mut self, command: PublishCommand) -> Option<PublishCommand> {
        match &command {
            PublishCommand::Flushed { from } => {
                if let Some(flushed) = self.post.flushed.get_mut(*from) {
                    *flushed = true;
                }
            }
            PublishCommand::Publication { topic, frames, messages } => {
                match self.context.topics.deliver(topic, frames, *messages) {
                    // The drain had no time for it: its subscribers are closed already.
                    Arrived::Queued if self.drain.is_some() && self.post.flushing.is_none() => {
                        self.context.counters.publications_lost += messages;
                    }
                    Arrived::Queued | Arrived::Unneeded => {}
                    Arrived::NoRoom if fault::is_back(Fault::LetterDroppedWhenTopicFull) => {
                        self.context.counters.publications_lost += messages;
                    }
                    Arrived::NoRoom => return Some(command),
                }
            }
        }
        None
    }

    // ---- the first part of a drain

    /// Stops accepting connections and publications, and tells the other shards that no more will
    /// come. The connections are closed when everything published before has been queued to its
    /// subscribers, or half of the drain's time is over.
    pub(super) fn start_drain(&mut self, deadline: Instant, now: Instant, sends: &mut SendBatch) {
        if self.cut {
            return;
        }
        let half = now + deadline.saturating_duration_since(now) / 2;
        if let Some(old) = self.drain {
            self.drain = Some(old.min(deadline));
            self.post.flushing = self.post.flushing.map(|until| until.min(half));
            return;
        }
        self.drain = Some(deadline);
        self.requested.push(Action::StopAccepting);
        self.context.topics.close();
        // Whoever is not open yet has been promised nothing.
        let ids: Vec<_> = self.table.ids().collect();
        for id in ids {
            if self.table.find(id).is_some_and(|slot| slot.state() == State::Opening) {
                self.close_one(id, CloseCode::GOING_AWAY, "", sends);
            }
        }
        let Post { seat, outboxes, .. } = &mut self.post;
        for to in (0..seat.hub.mailboxes.len()).filter(|to| *to != seat.index) {
            outboxes.send(seat, to, PublishCommand::Flushed { from: seat.index });
        }
        self.post.flushing = Some(if fault::is_back(Fault::DrainCutsFanOuts) { now } else { half });
    }

    /// Closes the connections when all that they were promised is queued to them, or its time is over.
    pub(super) fn finish_flushing(&mut self, sends: &mut SendBatch, now: Instant) {
        let Some(until) = self.post.flushing else { return };
        if !self.is_flushed() {
            if now < until {
                return;
            }
            self.give_publications_up();
        }
        self.post.flushing = None;
        let ids: Vec<_> = self.table.ids().collect();
        for id in ids {
            self.close_one(id, CloseCode::GOING_AWAY, "", sends);
        }
    }

    fn is_flushed(&self) -> bool {
        let delivered = || {
            !self.context.topics.is_busy()
                && self.post.all_have_flushed()
                && self.context.mailbox.has_no_letters()
        };
        self.post.outboxes.is_empty() && (self.table.len() == 0 || delivered())
    }

    /// Counts what the drain had no time for.
    #[cold]
    fn give_publications_up(&mut self) {
        let Post { seat, outboxes, stalled, .. } = &mut self.post;
        let mut lost = outboxes.abandon(seat) + self.context.topics.undelivered();
        let commands =
            std::iter::from_fn(|| stalled.take().or_else(|| self.context.mailbox.take_publish()));
        let (mut places, mut weight) = (0, Weight::default());
        for command in commands {
            places += 1;
            weight += command.weight();
            lost += command.messages();
        }
        self.context.counters.publications_lost += lost;
        self.context.topics.note_outbox(0);
        self.post.call_waiting(self.context.mailbox.make_room(weight, places));
    }
}

#[cfg(test)]
mod tests;
