//! A subscription goes over from one node to another that is there all the time. What is published
//! at the new one was told by it to the old one only, if that was before it was subscribed to
//! there, and the word of it takes a while between nodes. So for a time both are heard: messages
//! are delivered as the old node tells them, and what only the new one has told yet is kept. At the
//! end of it that is delivered, and the old node is left. Nothing is lost, nothing comes twice, and
//! a publisher's order is kept.

use std::collections::VecDeque;
use std::time::Duration;

use super::Moved;
use super::echoes::{ECHO, Echo, LAG};
use crate::time::Moment;
use crate::worker::Worker;

/// How long both nodes are heard: much longer than nodes need to tell one another.
const OVERLAP: Duration = Duration::from_millis(500);

/// Messages kept for one subject at most; with more, or more bytes than a client's output pauses at,
/// or more for all subjects than a client may have unread, the new node takes over at once.
const KEPT_MAX: usize = 4 * 1024;

/// What the new node has told and the old one has not.
#[derive(Debug)]
pub(super) struct Handover {
    /// The new node.
    to: u16,
    until: Moment,
    kept: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Handover {
    /// What the new node tells as often as the old one is the same.
    pub(super) fn echo(&self) -> Echo {
        Echo::Counted(self.until.before(OVERLAP + LAG))
    }

    /// Both have been heard long enough, and the new node is this one.
    pub(super) fn is_over(&self, to: u16, now: Moment) -> bool {
        self.to == to && self.until <= now
    }

    /// The old node tells this: if the new one has told it already, that is the same message.
    pub(super) fn take(&mut self, message: &[u8]) -> bool {
        let Some(at) = self.kept.iter().position(|kept| **kept == *message) else { return false };
        self.kept.remove(at);
        self.bytes -= message.len();
        true
    }
}

impl Worker {
    /// The new node tells a message that the old one has not told.
    pub(super) fn keep_for_handover(&mut self, id: u32, message: &[u8]) {
        let Some(handover) = self.pubsub.get(id).and_then(|subject| subject.handover.as_mut())
        else {
            return;
        };
        handover.kept.push_back(message.to_vec());
        handover.bytes += message.len();
        let is_full = handover.kept.len() > KEPT_MAX || handover.bytes > self.settings.output_pause;
        let to = handover.to;
        self.pubsub.kept_bytes += message.len();
        if is_full || self.pubsub.kept_bytes > self.settings.output_max {
            self.end_handover(id, to, Some(self.now.before(ECHO)));
        }
    }

    /// Both nodes have confirmed the subscription. Returns whether the old one, `from`, is still
    /// to be heard.
    pub(super) fn hands_over(&mut self, id: u32, from: u16, to: u16) -> bool {
        let now = self.now;
        // Others tell nothing to a node that has left the cluster.
        let listed = self.pools.get(usize::from(from)).is_some_and(|node| node.listed);
        let Some(subject) = self.pubsub.get(id) else { return false };
        match &subject.handover {
            Some(handover) if handover.to == to => return listed && now < handover.until,
            _ if !listed => return false,
            _ => {}
        }
        let until = now + OVERLAP;
        self.take_kept(id);
        let Some(subject) = self.pubsub.get(id) else { return false };
        subject.handover = Some(Box::new(Handover { to, until, kept: VecDeque::new(), bytes: 0 }));
        self.pubsub.again.insert((until, id));
        true
    }

    /// From now on the node `to` is heard: what only it has told comes first. It may repeat what the
    /// old one has told since the moment that is given.
    pub(super) fn end_handover(&mut self, id: u32, to: u16, since: Option<Moment>) {
        let at = self.now;
        let Some(subject) = self.pubsub.get(id) else { return };
        subject.moved = since.map(|since| Moved { at, since });
        if let Some(at) = subject.sources.iter().position(|source| source.pool == to) {
            subject.sources.swap(0, at);
        }
        for message in self.take_kept(id) {
            self.pass_on(id, to, &message);
        }
    }

    /// The end of a handover: what was kept for it.
    fn take_kept(&mut self, id: u32) -> VecDeque<Vec<u8>> {
        let handover = self.pubsub.get(id).and_then(|subject| subject.handover.take());
        let Some(handover) = handover else { return VecDeque::new() };
        self.pubsub.kept_bytes -= handover.bytes;
        handover.kept
    }

    /// One of the two nodes is not subscribed at any more.
    pub(super) fn end_handover_without(&mut self, id: u32, pool: u16) {
        let Some(subject) = self.pubsub.get(id) else { return };
        let Some(to) = subject.handover.as_ref().map(|handover| handover.to) else { return };
        if to == pool {
            self.take_kept(id); // the old node goes on telling all of it
        } else {
            self.end_handover(id, to, Some(self.now.before(ECHO)));
        }
    }
}
