//! Subscriptions. All clients of a worker that are subscribed to the same name share one
//! subscription upstream, on a connection of its own to one node: the owner of the name's slot
//! if that is there, because PUBLISH goes there too and a publisher's order is kept so; another
//! primary if it is not. Shard channels are at the owner of their slot and nowhere else.
//! Keyspace notifications never leave the node that they are about, so those are subscribed to
//! at all primaries.
//!
//! A client's SUBSCRIBE is answered when all of it is confirmed upstream. From then on it sees
//! nothing of what becomes of nodes: a subscription that is lost with its connection is made
//! again elsewhere at once, one whose slot has another owner is made there before it is ended
//! here, and both are heard for a while ([`handover`]). What is published in such a gap is lost, as for any subscriber that must connect again:
//! a message is delivered once or not at all. Gaps are counted.

mod counts;
mod echoes;
mod handover;
mod hearing;
mod messages;
mod placing;
mod subscribing;
mod upstream;

pub(super) use counts::Question;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hashbrown::HashMap;
use slab::Slab;
use smallvec::SmallVec;

use super::Worker;
use crate::command::Channels;
use crate::node::{Backoff, ClientKey};
use crate::slot::Slot;
use crate::time::Moment;
use echoes::{ECHO, Echo, Echoes};
use handover::Handover;
use subscribing::Waiting;
use upstream::Upstream;

/// What is known of all subscriptions of a worker.
#[derive(Debug, Default)]
pub(super) struct PubSub {
    subjects: Slab<Subject>,
    names: [HashMap<Arc<[u8]>, u32>; 3],
    /// By base pool.
    upstreams: BTreeMap<u16, Upstream>,
    /// SUBSCRIBEs that are not confirmed, by their numbers.
    waiting: BTreeMap<u64, Waiting>,
    /// How long those wait at most, with their numbers.
    deadlines: BTreeSet<(Moment, u64)>,
    /// The primaries (their base pools) that own slots.
    primaries: Vec<u16>,
    /// What is to be placed again, and when.
    again: BTreeSet<(Moment, u32)>,
    /// Clients that have left, with those of their subscriptions that are not ended yet.
    leaving: VecDeque<(ClientKey, Vec<u32>)>,
    /// Clients in the middle of an UNSUBSCRIBE.
    unfinished: VecDeque<ClientKey>,
    gaps: Gaps,
    /// Bytes that all handovers keep.
    pub(super) kept_bytes: usize,
    echoes: Echoes,
    last_ask: u64,
}

/// Subscriptions that are nowhere.
#[derive(Debug, Default)]
struct Gaps {
    open: u64,
    /// Since one was.
    since: Moment,
    /// How many were lost since then.
    lost: u64,
}

/// A name that clients are subscribed to, or are about to be.
#[derive(Debug)]
struct Subject {
    channels: Channels,
    name: Arc<[u8]>,
    /// The slot that says where it belongs.
    slot: Slot,
    /// Each primary tells of other messages.
    everywhere: bool,
    clients: BTreeSet<ClientKey>,
    /// SUBSCRIBEs that name it and are not answered: how many.
    holds: u32,
    /// Those of them that wait for it at this moment.
    pending: BTreeSet<u64>,
    /// Where it is subscribed to, or asked for; the first that is confirmed counts.
    sources: SmallVec<[Source; 1]>,
    /// It was at another node before: that one may have told what the new one tells again.
    moved: Option<Moved>,
    /// It is about to go over to another node.
    handover: Option<Box<Handover>>,
    /// It is nowhere, and was somewhere before.
    gap: bool,
    backoff: Backoff,
}

/// A subject that has gone over to a node.
#[derive(Clone, Copy, Debug)]
struct Moved {
    at: Moment,
    /// What the old node has told since then may come from the new one again.
    since: Moment,
}

/// One node's subscription to a subject.
#[derive(Clone, Copy, Debug)]
struct Source {
    pool: u16,
    /// Tells this one from those before at the same node.
    ask: u64,
    confirmed: bool,
}

impl Subject {
    fn new(channels: Channels, name: &[u8]) -> Subject {
        // A pattern that can only match the channels of notifications, or one of these.
        let everywhere = channels != Channels::Shard && name.starts_with(messages::NOTIFICATIONS);
        Subject {
            channels,
            name: name.into(),
            slot: Slot::of_key(name),
            everywhere,
            clients: BTreeSet::new(),
            holds: 0,
            pending: BTreeSet::new(),
            sources: SmallVec::new(),
            moved: None,
            handover: None,
            gap: false,
            backoff: Backoff::default(),
        }
    }

    /// What is an echo, if another node may have told the same.
    fn echo(&self, now: Moment) -> Option<Echo> {
        match (&self.handover, self.moved) {
            (Some(handover), _) => Some(handover.echo()),
            (None, Some(Moved { at, since })) if now < at + ECHO => Some(Echo::Once(since)),
            _ => None,
        }
    }

    /// Who subscribes is told so.
    fn is_confirmed(&self) -> bool {
        let mut confirmed = self.sources.iter().map(|source| source.confirmed);
        if self.everywhere {
            !self.sources.is_empty() && confirmed.all(|confirmed| confirmed)
        } else {
            confirmed.any(|confirmed| confirmed)
        }
    }

    fn is_at(&self, pool: u16) -> bool {
        self.sources.iter().any(|source| source.pool == pool)
    }

    /// The node whose messages are delivered.
    fn heard_at(&self) -> Option<u16> {
        self.sources.iter().find(|source| source.confirmed).map(|source| source.pool)
    }
}

impl PubSub {
    fn find(&self, channels: Channels, name: &[u8]) -> Option<u32> {
        self.names[channels as usize].get(name).copied()
    }

    fn get(&mut self, id: u32) -> Option<&mut Subject> {
        self.subjects.get_mut(id as usize)
    }

    /// Those for which `pick` says so.
    fn ids(&self, pick: impl Fn(&Subject) -> bool) -> Vec<u32> {
        let picked = self.subjects.iter().filter(|(_, subject)| pick(subject));
        picked.map(|(id, _)| id as u32).collect()
    }
}

impl Worker {
    /// When [`Worker::tick_pubsub`] wants to be called, if nothing happens before.
    pub(super) fn next_pubsub_event(&self) -> Option<Moment> {
        if !self.pubsub.leaving.is_empty() || !self.pubsub.unfinished.is_empty() {
            return Some(self.now); // with the next turn
        }
        let again = self.pubsub.again.first().map(|&(at, _)| at);
        let upstream = self.pubsub.upstreams.values().filter_map(Upstream::next_event).min();
        let deadline = self.pubsub.deadlines.first().map(|&(at, _)| at);
        [again, upstream, deadline].into_iter().flatten().min()
    }

    /// Tries again what failed, ends what waited too long.
    pub(super) fn tick_pubsub(&mut self) {
        self.go_on_ending();
        self.end_overdue_subscribing();
        self.dial_upstreams_again();
        while let Some(&(at, id)) = self.pubsub.again.first()
            && at <= self.now
        {
            self.pubsub.again.pop_first();
            self.place(id);
        }
    }
}
