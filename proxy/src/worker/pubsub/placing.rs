//! At which node a subject is subscribed to: at first, when nodes come and go, when slots move.

use std::time::Duration;

use super::echoes::{ECHO, LAG};
use super::{Moved, Source, Subject};
use crate::command::Channels;
use crate::events::Event;
use crate::time::Moment;
use crate::worker::{NO_POOL, WishReason, Worker};

/// How much later than others a node may tell, at the end of a handover.
const LATE: Duration = Duration::from_millis(100);

impl Worker {
    /// Brings a subject to where it belongs now: it is asked for there, and what it has elsewhere
    /// ends as soon as that is confirmed.
    pub(super) fn place(&mut self, id: u32) {
        let Some(subject) = self.pubsub.subjects.get(id as usize) else { return };
        if subject.everywhere {
            return self.place_everywhere(id);
        }
        let (slot, channels) = (subject.slot, subject.channels);
        let mut home = self.routes[slot.index()];
        if home == NO_POOL {
            self.outbox.wish(WishReason::NoOwner);
        } else if !self.is_upstream_usable(home) {
            // It is tried again and again, so that the subject comes home once it is there.
            self.want_upstream(home);
            if channels == Channels::Shard {
                home = NO_POOL;
            }
        }
        let there = if channels == Channels::Shard { home } else { self.home_or_other(home) };
        if there == NO_POOL {
            if channels != Channels::Shard {
                // Whoever is there first gets it.
                for pool in self.pubsub.primaries.clone() {
                    self.want_upstream(pool);
                }
            }
            return;
        }
        if !self.pubsub.subjects.get(id as usize).is_some_and(|subject| subject.is_at(there)) {
            self.ask_upstream(id, there);
        }
        self.end_elsewhere(id, there);
    }

    /// The owner of the slot if it can be asked, else another primary, the same one each time.
    fn home_or_other(&self, home: u16) -> u16 {
        let primaries = &self.pubsub.primaries;
        let at = primaries.iter().position(|&pool| pool == home).unwrap_or(0);
        let (before, from) = primaries.split_at(at);
        let mut all = from.iter().chain(before).copied();
        all.find(|&pool| self.is_upstream_usable(pool)).unwrap_or(NO_POOL)
    }

    /// Ends what is not at `there`, if it is not needed any more.
    fn end_elsewhere(&mut self, id: u32, there: u16) {
        let Some(subject) = self.pubsub.get(id) else { return };
        if subject.sources.len() < 2 {
            return;
        }
        let mut arrived = subject.sources.iter().any(|s| s.pool == there && s.confirmed);
        let heard = subject.heard_at();
        // Nodes tell one another nothing of shard channels.
        let tells_others = subject.channels != Channels::Shard;
        if let Some(from) = heard
            && arrived
            && from != there
        {
            if tells_others && self.hands_over(id, from, there) {
                arrived = false;
            } else {
                if tells_others && self.is_upstream_quiet(from) {
                    self.cells.pubsub_gaps.add(1); // as if it were lost: it may be frozen
                }
                let since = self.repeated_since(id, from, there);
                self.end_handover(id, there, since);
            }
        }
        let Some(subject) = self.pubsub.get(id) else { return };
        let ends =
            |source: &Source| source.pool != there && (arrived || Some(source.pool) != heard);
        let ended: Vec<u16> = subject.sources.iter().filter(|s| ends(s)).map(|s| s.pool).collect();
        for pool in ended {
            self.end_source(id, pool, true);
        }
    }

    /// Since when this subject's messages from the old node may come from the new one again, now
    /// that the new one is heard; `None`: they do not.
    fn repeated_since(&mut self, id: u32, from: u16, to: u16) -> Option<Moment> {
        let now = self.now;
        let shard = |pool: u16| {
            let id = self.pools.get(usize::from(pool))?.id;
            self.topology.node(self.topology.node_by_id(&id)?).shard
        };
        let in_one_shard = shard(from) == shard(to) || shard(from).is_none();
        let subject = self.pubsub.get(id)?;
        if subject.channels == Channels::Shard {
            // Only the nodes of one shard tell one another of them.
            return in_one_shard.then(|| now.before(LAG));
        }
        // After both were heard for so long there is little left that only one has told.
        let is_over = subject.handover.as_ref().is_some_and(|handover| handover.is_over(to, now));
        Some(now.before(if is_over { LATE } else { ECHO }))
    }

    fn place_everywhere(&mut self, id: u32) {
        for pool in self.pubsub.primaries.clone() {
            if self.pubsub.subjects.get(id as usize).is_none_or(|subject| subject.is_at(pool)) {
                continue;
            }
            if self.is_upstream_usable(pool) {
                self.ask_upstream(id, pool);
            } else {
                self.want_upstream(pool);
            }
        }
        // One that is no primary any more tells what its primary tells.
        let Some(subject) = self.pubsub.subjects.get(id as usize) else { return };
        let pools = subject.sources.iter().map(|source| source.pool);
        let demoted: Vec<u16> =
            pools.filter(|pool| !self.pubsub.primaries.contains(pool)).collect();
        for pool in demoted {
            self.end_source(id, pool, true);
        }
        // Those that waited for one that has gone may be done.
        self.confirmed(id);
    }

    /// A subject is not subscribed to at this node any more; `tell`: the node is told so.
    pub(super) fn end_source(&mut self, id: u32, pool: u16, tell: bool) {
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        let Some(at) = subject.sources.iter().position(|source| source.pool == pool) else {
            return;
        };
        let source = subject.sources.remove(at);
        let hands_over = subject.handover.is_some() && source.confirmed;
        let (channels, name) = (subject.channels, subject.name.clone());
        if source.confirmed
            && let Some(node) = self.pools.get(usize::from(pool))
        {
            self.settings.audience.end(channels, &name, node.id);
        }
        if hands_over {
            self.end_handover_without(id, pool);
        }
        if tell {
            self.tell_upstream_end(pool, channels, name);
        }
    }

    /// A node has taken its subscription away, or is lost with it: a gap begins if nobody else
    /// tells what it would have told.
    pub(super) fn lose_source(&mut self, id: u32, pool: u16) {
        let Some(subject) = self.pubsub.get(id) else { return };
        let was_heard = subject.sources.iter().any(|s| s.pool == pool && s.confirmed);
        let hands_over = subject.handover.is_some() && subject.heard_at() == Some(pool);
        self.end_source(id, pool, false);
        if hands_over {
            // It may have had something to tell that nobody else does.
            self.cells.pubsub_gaps.add(1);
        }
        let now = self.now;
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        if !was_heard || (!subject.everywhere && subject.heard_at().is_some()) {
            return;
        }
        self.cells.pubsub_gaps.add(1);
        let gaps = &mut self.pubsub.gaps;
        if gaps.open == 0 {
            gaps.since = now;
        }
        gaps.lost += 1;
        if !std::mem::replace(&mut subject.gap, true) {
            gaps.open += 1;
        }
    }

    /// A subject is somewhere again, or nobody wants it any more.
    fn end_gap(&mut self, id: u32) {
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        if !std::mem::replace(&mut subject.gap, false) {
            return;
        }
        // Nobody knows how long the old one was not heard.
        subject.moved = Some(Moved { at: self.now, since: self.now.before(ECHO) });
        let gaps = &mut self.pubsub.gaps;
        gaps.open -= 1;
        if gaps.open == 0 {
            let (subscriptions, after) =
                (std::mem::take(&mut gaps.lost), self.now.since(gaps.since));
            tracing::info!(subscriptions, ?after, "subscribed again after a gap");
            self.tell(Event::Resubscribed { subscriptions, after });
        }
    }

    /// Something about a subject was confirmed, or is not waited for any more.
    pub(super) fn confirmed(&mut self, id: u32) {
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        if !subject.is_confirmed() {
            return;
        }
        subject.backoff.reset();
        let pending = std::mem::take(&mut subject.pending);
        let is_at = |pool: &u16| subject.sources.iter().any(|s| s.pool == *pool && s.confirmed);
        let is_whole = !subject.everywhere || self.pubsub.primaries.iter().all(is_at);
        if is_whole {
            self.end_gap(id);
        }
        for number in pending {
            self.go_on_subscribing(number);
        }
    }

    /// Takes a subject that nobody wants any more out, here and upstream.
    pub(super) fn end_if_unused(&mut self, id: u32) {
        let unused = |subject: &Subject| subject.clients.is_empty() && subject.holds == 0;
        if !self.pubsub.subjects.get(id as usize).is_some_and(unused) {
            return;
        }
        self.end_gap(id);
        while let Some(pool) =
            self.pubsub.get(id).and_then(|subject| subject.sources.first().map(|s| s.pool))
        {
            self.end_source(id, pool, true);
        }
        if let Some(subject) = self.pubsub.subjects.try_remove(id as usize) {
            let names = &mut self.pubsub.names[subject.channels as usize];
            names.remove(&subject.name);
            if names.is_empty() {
                names.shrink_to_fit();
            }
            if self.pubsub.subjects.is_empty() {
                self.pubsub.subjects.shrink_to_fit();
            }
        }
    }

    /// Slots have other owners, or nodes have come and gone.
    pub(in crate::worker) fn place_subjects(&mut self) {
        let mut primaries: Vec<u16> = self.shards().into_iter().map(|(_, pool)| pool).collect();
        primaries.retain(|&pool| pool != NO_POOL);
        self.pubsub.primaries = primaries;
        for id in self.pubsub.ids(|_| true) {
            self.place(id);
        }
        self.close_unlisted_upstreams();
    }
}
