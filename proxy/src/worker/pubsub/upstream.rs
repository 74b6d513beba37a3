//! The connections on which a worker is subscribed, one a node: what is asked on them, how they
//! are found silent, what happens when they are lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Source;
use crate::command::Channels;
use crate::events::Event;
use crate::node::{Backoff, ClientKey, Connection, Expected, Kind as Use};
use crate::routing::{Outcome as Fate, Rejection, outcome_of_error};
use crate::time::Moment;
use crate::worker::rejections::text;
use crate::worker::{Action, WishReason, Worker};

/// A connection that is silent for so long is asked for a sign of life, which must come within
/// the same time.
const SILENCE: Duration = Duration::from_secs(1);

/// One that lived for so long did not fail.
const LONG_LIFE: Duration = Duration::from_secs(1);

/// What a node refuses for good is asked for again after so long, if somebody still wants it.
const REFUSED_AGAIN: Duration = Duration::from_secs(1);

/// One node, as the subjects of a worker know it.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    /// The connection, open or being opened.
    connection: Option<u32>,
    /// Since when it can be used.
    ready: Option<Moment>,
    /// The last attempt failed: nothing is asked of it before one succeeds.
    failed: bool,
    /// When it is dialed next, if it has no connection.
    next_try: Moment,
    backoff: Backoff,
    /// What is asked and not answered, in order.
    asked: VecDeque<Asked>,
    /// Since when it owes a sign of life.
    pinged: Option<Moment>,
}

#[derive(Debug)]
pub(super) enum Asked {
    Subscribe {
        channels: Channels,
        name: Arc<[u8]>,
        ask: u64,
    },
    Unsubscribe {
        channels: Channels,
        name: Arc<[u8]>,
    },
    Ping,
    /// A sign that all was heard that was said before, for this client.
    Heard(ClientKey),
}

impl Upstream {
    pub(super) fn next_event(&self) -> Option<Moment> {
        self.connection.is_none().then_some(self.next_try)
    }
}

impl Worker {
    /// Whether subjects can be asked for at this node now.
    pub(super) fn is_upstream_usable(&self, pool: u16) -> bool {
        match self.pubsub.upstreams.get(&pool) {
            Some(upstream) => upstream.connection.is_some() && !upstream.failed,
            None => self.pools.get(usize::from(pool)).is_some_and(|n| n.listed && n.is_open()),
        }
    }

    /// Whether this node owes a sign of life.
    pub(super) fn is_upstream_quiet(&self, pool: u16) -> bool {
        self.pubsub.upstreams.get(&pool).is_some_and(|upstream| upstream.pinged.is_some())
    }

    /// Subjects belong to this node, which is away: it is dialed until it is there.
    pub(super) fn want_upstream(&mut self, pool: u16) {
        if self.pools.contains(usize::from(pool)) {
            let now = self.now;
            self.pubsub.upstreams.entry(pool).or_insert_with(|| Upstream {
                failed: true,
                next_try: now,
                ..Upstream::default()
            });
        }
    }

    /// Asks a node for a subject.
    pub(super) fn ask_upstream(&mut self, id: u32, pool: u16) {
        if self.pubsub.upstreams.get(&pool).is_none_or(|upstream| upstream.connection.is_none()) {
            self.dial_upstream(pool);
        }
        self.pubsub.last_ask += 1;
        let ask = self.pubsub.last_ask;
        let Some(subject) = self.pubsub.get(id) else { return };
        let (channels, name) = (subject.channels, subject.name.clone());
        subject.sources.push(Source { pool, ask, confirmed: false });
        let word: &[u8] = [&b"SUBSCRIBE"[..], b"PSUBSCRIBE", b"SSUBSCRIBE"][channels as usize];
        let words = [word, &name];
        self.say_upstream(pool, &words, Asked::Subscribe { channels, name: name.clone(), ask });
    }

    /// Tells a node that a name is not wanted any more.
    pub(super) fn tell_upstream_end(&mut self, pool: u16, channels: Channels, name: Arc<[u8]>) {
        let word: &[u8] =
            [&b"UNSUBSCRIBE"[..], b"PUNSUBSCRIBE", b"SUNSUBSCRIBE"][channels as usize];
        let asked = Asked::Unsubscribe { channels, name: name.clone() };
        self.say_upstream(pool, &[word, &name], asked);
    }

    /// Returns whether there is a connection on which it can be said.
    pub(super) fn say_upstream(&mut self, pool: u16, words: &[&[u8]], asked: Asked) -> bool {
        let Some(upstream) = self.pubsub.upstreams.get_mut(&pool) else { return false };
        let Some(index) = upstream.connection else { return false };
        let Some(connection) = self.connections.get_mut(index as usize) else { return false };
        connection.push_own(words, |len| Expected::Abandoned { len });
        upstream.asked.push_back(asked);
        self.touch(index);
        true
    }

    /// What was asked on a connection that is no more is not answered.
    fn forget_asked(&mut self, asked: VecDeque<Asked>) {
        for asked in asked {
            if let Asked::Heard(client) = asked {
                self.heard_out(client);
            }
        }
    }

    fn dial_upstream(&mut self, pool: u16) {
        let index = self.open(pool, Use::Subscriber);
        let upstream = self.pubsub.upstreams.entry(pool).or_default();
        upstream.connection = Some(index);
        upstream.asked.clear();
    }

    pub(super) fn dial_upstreams_again(&mut self) {
        let now = self.now;
        let due = |upstream: &super::Upstream| upstream.next_event().is_some_and(|at| at <= now);
        let due: Vec<u16> =
            self.pubsub.upstreams.iter().filter(|(_, u)| due(u)).map(|(&pool, _)| pool).collect();
        for pool in due {
            if self.is_wanted(pool) {
                self.dial_upstream(pool);
            } else {
                self.pubsub.upstreams.remove(&pool);
            }
        }
    }

    /// Whether some subject belongs to this node.
    fn is_wanted(&self, pool: u16) -> bool {
        let is_primary = self.pubsub.primaries.contains(&pool);
        self.pools.contains(usize::from(pool))
            && self.pubsub.subjects.iter().any(|(_, subject)| {
                let anywhere = subject.sources.is_empty() && subject.channels != Channels::Shard;
                self.routes[subject.slot.index()] == pool
                    || (is_primary && (subject.everywhere || anywhere))
            })
    }

    /// The greeting is over: what was asked meanwhile goes out, and what belongs here comes home.
    pub(in crate::worker) fn upstream_ready(&mut self, index: u32) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let pool = connection.pool;
        connection.ready(now);
        self.touch(index);
        self.note_back(pool);
        let Some(upstream) = self.pubsub.upstreams.get_mut(&pool) else { return };
        (upstream.ready, upstream.failed, upstream.pinged) = (Some(now), false, None);
        let routes = &self.routes;
        let concerned = self.pubsub.ids(|subject| {
            subject.everywhere || subject.sources.is_empty() || routes[subject.slot.index()] == pool
        });
        for id in concerned {
            self.place(id);
        }
    }

    /// The connection could not be opened, or broke, or was found silent.
    pub(in crate::worker) fn upstream_lost(
        &mut self,
        index: u32,
        connection: &Connection,
        close: bool,
    ) {
        let (pool, random, now) = (connection.pool, (self.around.random)(), self.now);
        if close {
            self.outbox.push(Action::CloseNode { connection: index });
        }
        if let Some(upstream) = self.pubsub.upstreams.get_mut(&pool)
            && upstream.connection == Some(index)
        {
            if upstream.ready.is_some_and(|since| since + LONG_LIFE <= now) {
                upstream.backoff.reset();
            }
            let mut backoff = upstream.backoff;
            let next_try = now + backoff.delay(random);
            let asked = std::mem::take(&mut upstream.asked);
            *upstream = Upstream { failed: true, next_try, backoff, ..Upstream::default() };
            self.forget_asked(asked);
        }
        let lost = self.pubsub.ids(|subject| subject.is_at(pool));
        let endpoint = self.pools.get(usize::from(pool)).map(|node| node.endpoint.clone());
        let gaps = self.cells.pubsub_gaps.get();
        for &id in &lost {
            self.lose_source(id, pool);
        }
        let gaps = self.cells.pubsub_gaps.get() - gaps;
        if let Some(node) = endpoint
            && gaps > 0
        {
            tracing::warn!(%node, subscriptions = gaps, "subscriptions lost with their connection");
            self.tell(Event::SubscriptionsLost { node, subscriptions: gaps });
        }
        self.outbox.wish(WishReason::ConnectionLost);
        self.forget_connection(index, connection);
        for id in lost {
            self.place(id);
            self.confirmed(id);
        }
    }

    /// A node answers nothing at all, or is dialed at another address from now on.
    pub(in crate::worker) fn drop_upstream(&mut self, pool: u16) {
        let upstream = self.pubsub.upstreams.get(&pool);
        if let Some(index) = upstream.and_then(|upstream| upstream.connection) {
            self.drop_connection(index, true);
        }
    }

    /// Looks for connections that are silent; called about twice a second.
    pub(in crate::worker) fn watch_upstreams(&mut self) {
        let now = self.now;
        let (mut silent, mut quiet, mut idle) = (Vec::new(), Vec::new(), Vec::new());
        for (&pool, upstream) in &self.pubsub.upstreams {
            let (Some(since), Some(index)) = (upstream.ready, upstream.connection) else {
                continue;
            };
            let Some(connection) = self.connections.get(index as usize) else { continue };
            // A piece of a large message, too, is a sign of life.
            let heard = connection.heard;
            match upstream.pinged {
                Some(pinged) if heard.max(pinged) + SILENCE <= now => silent.push(pool),
                None if heard + SILENCE <= now => quiet.push(pool),
                _ => {}
            }
            if since + self.settings.node_idle_timeout <= now {
                idle.push(pool);
            }
        }
        for pool in silent {
            if let Some(node) = self.pools.get(usize::from(pool)) {
                tracing::warn!(node = %node.endpoint, "no sign of life of a node with subscriptions");
            }
            self.drop_upstream(pool);
        }
        for pool in quiet {
            if let Some(upstream) = self.pubsub.upstreams.get_mut(&pool) {
                upstream.pinged = Some(now);
            }
            self.say_upstream(pool, &[b"PING"], Asked::Ping);
        }
        for pool in idle {
            self.close_upstream_if_unused(pool);
        }
    }

    /// Nodes that have left the cluster are left as soon as nothing is subscribed to there.
    pub(super) fn close_unlisted_upstreams(&mut self) {
        let pools = &self.pools;
        self.pubsub.upstreams.retain(|&pool, upstream| {
            upstream.connection.is_some() || pools.get(usize::from(pool)).is_some_and(|n| n.listed)
        });
        let unlisted = |pool: u16| pools.get(usize::from(pool)).is_some_and(|n| !n.listed);
        let unlisted: Vec<u16> =
            self.pubsub.upstreams.keys().copied().filter(|&pool| unlisted(pool)).collect();
        for pool in unlisted {
            self.close_upstream_if_unused(pool);
        }
    }

    fn close_upstream_if_unused(&mut self, pool: u16) {
        if self.pubsub.subjects.iter().any(|(_, subject)| subject.is_at(pool)) {
            return;
        }
        let Some(upstream) = self.pubsub.upstreams.remove(&pool) else { return };
        if let Some(index) = upstream.connection {
            self.close_connection(index);
        }
        self.forget_asked(upstream.asked);
    }

    /// Something came on this connection: its pool, if it is still the one of its node.
    pub(super) fn heard_upstream(&mut self, index: u32) -> Option<u16> {
        let pool = self.connections.get(index as usize)?.pool;
        let upstream = self.pubsub.upstreams.get_mut(&pool)?;
        upstream.pinged = None;
        (upstream.connection == Some(index)).then_some(pool)
    }

    fn pop_asked(&mut self, index: u32, pool: u16) -> Option<Asked> {
        let connection = self.connections.get_mut(index as usize)?;
        connection.head()?;
        let asked = self.pubsub.upstreams.get_mut(&pool)?.asked.pop_front()?;
        connection.pop();
        Some(asked)
    }

    /// A node says that a subscription has begun.
    pub(super) fn upstream_began(&mut self, index: u32, pool: u16, name: &[u8]) {
        let Some(Asked::Subscribe { channels, name: asked, ask }) = self.pop_asked(index, pool)
        else {
            return self.bad_node(index, "it confirms a subscription that nobody asked for");
        };
        if *asked != *name {
            return self.bad_node(index, "it confirms another subscription than was asked for");
        }
        let Some(id) = self.pubsub.find(channels, name) else { return };
        let Some(subject) = self.pubsub.subjects.get_mut(id as usize) else { return };
        let Some(source) = subject.sources.iter_mut().find(|source| source.ask == ask) else {
            return; // it is not wanted any more
        };
        source.confirmed = true;
        if let Some(node) = self.pools.get(usize::from(pool)) {
            self.settings.audience.begin(channels, &subject.name, node.id);
        }
        self.confirmed(id);
        self.place(id);
    }

    /// A node says that a subscription has ended: because it was told to, or because the slot of
    /// a shard channel has left it.
    pub(super) fn upstream_ended(
        &mut self,
        index: u32,
        pool: u16,
        channels: Channels,
        name: &[u8],
    ) {
        let asked = self.pubsub.upstreams.get(&pool).and_then(|upstream| upstream.asked.front());
        let as_told = matches!(asked, Some(Asked::Unsubscribe { channels: c, name: n })
            if *c == channels && **n == *name);
        if as_told {
            self.pop_asked(index, pool);
            return;
        }
        let Some(id) = self.pubsub.find(channels, name) else { return };
        let is_confirmed = |source: &Source| source.pool == pool && source.confirmed;
        let heard = self.pubsub.get(id).is_some_and(|s| s.sources.iter().any(is_confirmed));
        if heard {
            self.outbox.wish(WishReason::Moved);
            self.lose_source(id, pool);
            self.place(id);
        }
    }

    /// A node answers with an error.
    pub(super) fn upstream_error(&mut self, index: u32, pool: u16, error: &[u8]) {
        let (channels, name, ask) = match self.pop_asked(index, pool) {
            Some(Asked::Subscribe { channels, name, ask }) => (channels, name, ask),
            Some(Asked::Heard(client)) => return self.heard_out(client),
            Some(Asked::Unsubscribe { .. } | Asked::Ping) => return,
            None => return self.bad_node(index, "it sends an error that nobody asked for"),
        };
        let Some(id) = self.pubsub.find(channels, &name) else { return };
        let Some(subject) = self.pubsub.get(id) else { return };
        if !subject.sources.iter().any(|source| source.ask == ask) {
            return;
        }
        let slot = subject.slot;
        subject.sources.retain(|source| source.ask != ask);
        let fate = outcome_of_error(text(error), Some(slot), false, false);
        let Fate::Rejected(rejection) = fate else { return self.upstream_refuses(id, pool, error) };
        let target = match &rejection {
            Rejection::Moved(to) => self.target(pool, to),
            _ => None,
        };
        self.note_rejection(pool, &rejection, target, false);
        let random = (self.around.random)();
        let Some(subject) = self.pubsub.get(id) else { return };
        let is_first = subject.backoff.failures() == 0;
        let delay = subject.backoff.delay(random);
        if is_first && self.routes[slot.index()] != pool {
            self.place(id);
        } else {
            self.pubsub.again.insert((self.now + delay, id));
        }
    }

    /// A node does not permit a subscription, or does not know what it is: the client is told in
    /// its words. One that was confirmed before is tried again.
    fn upstream_refuses(&mut self, id: u32, pool: u16, error: &[u8]) {
        if let Some(node) = self.pools.get(usize::from(pool)) {
            let error = String::from_utf8_lossy(text(error)).into_owned();
            tracing::warn!(node = %node.endpoint, %error, "a node refuses a subscription");
        }
        let Some(subject) = self.pubsub.get(id) else { return };
        let pending = std::mem::take(&mut subject.pending);
        self.refuse_subscribing(pending, error);
        if self.pubsub.subjects.contains(id as usize) {
            self.pubsub.again.insert((self.now + REFUSED_AGAIN, id));
        }
    }

    /// A sign of life that was asked for.
    pub(super) fn upstream_pong(&mut self, index: u32, pool: u16) {
        match self.pop_asked(index, pool) {
            Some(Asked::Ping) => {}
            Some(Asked::Heard(client)) => self.heard_out(client),
            _ => self.bad_node(index, "it answers what nobody asked"),
        }
    }
}
