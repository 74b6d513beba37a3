//! What is worth telling the operator, noticed where it happens and told once: a node that is
//! away, requests that begin to wait, the first success after a loss. Nothing here is on the way
//! of a request that succeeds straight; what comes in storms is counted and told twice a second.

use std::time::Duration;

use super::pool::Pool;
use super::{Deadlines, NO_POOL, Worker};
use crate::events::{Event, Place};
use crate::node::{Connection, Phase, Replies, Ticket};
use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::{Endpoint, NodeId, SlotRange};

/// A lost connection that nobody missed for so long was not the beginning of an outage; and when
/// nobody has asked for so long, nothing is known of when what was away came back.
const RECENT: Duration = Duration::from_secs(5);

/// Different things counted before they are told; with more of them they are told earlier.
const TALLIES_MAX: usize = 64;

/// What is to be told about the worker as a whole.
#[derive(Debug, Default)]
pub(super) struct Diary {
    outages: Vec<Outage>,
    tallies: Vec<Tally>,
    /// Requests that wait for slots.
    slots: Option<(Slot, Wait)>,
}

/// What was told about one node.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// Since when it is away.
    away: Option<Moment>,
    /// When it was last found so.
    found: Moment,
    /// Why, as it was told last; empty: only that a connection was lost.
    why: &'static str,
    /// Requests that wait for it.
    wait: Option<Wait>,
}

/// Slots whose primary is away, until the first success there.
#[derive(Debug)]
struct Outage {
    id: NodeId,
    node: Endpoint,
    slots: Vec<SlotRange>,
    /// From the first to the last request that was lost with it or had to wait for it, without a
    /// time between in which nobody asked. `None`: nobody has missed it.
    met: Option<(Moment, Moment)>,
}

/// Requests that wait at one place, from the first to the last.
#[derive(Debug)]
struct Wait {
    /// When the oldest was read.
    oldest: Moment,
    requests: u64,
    /// The longest that one of them may wait.
    within: Duration,
    /// The highest number of a request that was counted: one that has tried in vain comes back
    /// and is no other one.
    newest: u64,
}

/// Something that may happen a hundred thousand times a second.
#[derive(Debug)]
struct Tally {
    what: What,
    from: u16,
    to: u16,
    first: Moment,
    count: u64,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A reply that sent a request elsewhere, by its first word.
    Redirect(&'static str),
    /// An unknown result, with the reason that its client was told.
    Unknown(&'static str),
    /// A request that waited until its deadline.
    GaveUp,
}

impl Wait {
    /// Of those that wait already, in the order in which they were read.
    fn of<'a>(
        deadlines: &Deadlines,
        mut tickets: impl Iterator<Item = &'a Ticket>,
    ) -> Option<Wait> {
        let first = tickets.next()?;
        let Ticket { received, arrival, patience, .. } = *first;
        let within = deadlines.of(patience);
        let mut wait = Wait { oldest: received, requests: 1, within, newest: arrival };
        tickets.for_each(|ticket| wait.more(deadlines, ticket));
        Some(wait)
    }

    fn more(&mut self, deadlines: &Deadlines, ticket: &Ticket) {
        self.within = self.within.max(deadlines.of(ticket.patience));
        self.oldest = self.oldest.min(ticket.received);
        if ticket.arrival > self.newest {
            self.newest = ticket.arrival;
            self.requests += 1;
        }
    }
}

impl Outage {
    fn covers(&self, slot: Slot) -> bool {
        self.slots.iter().any(|range| (range.first..=range.last).contains(&slot))
    }

    /// A request has met it at this moment. `on`: others have waited until then.
    fn meet(&mut self, at: Moment, on: bool) {
        match &mut self.met {
            Some((_, last)) if on || at <= *last + RECENT => *last = at.max(*last),
            met => *met = Some((at, at)),
        }
    }

    /// How long those who asked for it have missed it, now that this request has succeeded.
    fn missed(&self, ticket: &Ticket, now: Moment) -> Option<Duration> {
        let (first, last) = self.met?;
        (ticket.received <= last + RECENT).then(|| now.since(first))
    }
}

impl Worker {
    pub(super) fn tell(&self, event: Event) {
        (self.around.operator.tell)(self.now, event);
    }

    fn node_mut(&mut self, pool: u16) -> Option<&mut Pool> {
        self.pools.get_mut(usize::from(pool))
    }

    // ---- nodes that come and go ----

    /// A connection has ended. `closed`: by us.
    pub(super) fn note_lost(&mut self, connection: &Connection, closed: bool) {
        if closed || connection.retiring || !matches!(connection.phase, Phase::Ready) {
            return;
        }
        let (now, requests) = (self.now, connection.in_flight() as u64);
        let Some(node) = self.node_mut(connection.pool) else { return };
        node.story.away.get_or_insert(now);
        let node = node.endpoint.clone();
        self.tell(Event::Lost { node, requests });
        if requests > 0 {
            self.begin_outage(connection.pool);
            self.meet_outage(connection.pool, now, false);
        }
    }

    /// A node is found away or not serving; called at each attempt that finds it so.
    pub(super) fn note_away(&mut self, pool: u16, why: &'static str) {
        let now = self.now;
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        let story = &mut node.story;
        story.found = now;
        if story.why == why {
            return;
        }
        if story.why.is_empty() && story.away.is_some_and(|since| since + RECENT < now) {
            story.away = None;
        }
        let away = *story.away.get_or_insert(now);
        story.why = why;
        let asked = node.lot.oldest();
        let endpoint = node.endpoint.clone();
        // Until now they waited for its connection, which is nothing to tell.
        let begins = node.story.wait.is_none() && asked.is_some();
        if begins {
            node.story.wait = Wait::of(&self.settings.deadlines, node.lot.tickets());
        }
        self.tell(Event::Away { node: endpoint.clone(), why });
        if begins {
            self.tell(Event::ParkingBegan { place: Place::Node(endpoint), why });
        }
        self.begin_outage(pool);
        let has_some = |c: &Connection| c.pool == pool && c.in_flight() > 0;
        if asked.is_some() || self.connections.iter().any(|(_, c)| has_some(c)) {
            let asked = asked.unwrap_or(now).max(away);
            self.meet_outage(pool, asked, !begins && asked < now);
        }
    }

    fn begin_outage(&mut self, pool: u16) {
        let Some(node) = self.pools.get(usize::from(pool)) else { return };
        let mut shards = self.topology.shards().map(|(_, shard)| shard);
        let shard = shards.find(|shard| self.topology.node(shard.primary).id == node.id);
        if let Some(shard) = shard
            && !self.diary.outages.iter().any(|outage| outage.id == node.id)
        {
            self.diary.outages.push(Outage {
                id: node.id,
                node: node.endpoint.clone(),
                slots: shard.ranges.clone(),
                met: None,
            });
        }
    }

    /// A request was lost with this node, or has to wait for it ([`Outage::meet`]).
    fn meet_outage(&mut self, pool: u16, at: Moment, on: bool) {
        let id = self.pools.get(usize::from(pool)).map(|node| node.id);
        let outages = self.diary.outages.iter_mut().filter(|outage| Some(outage.id) == id);
        outages.for_each(|outage| outage.meet(at, on));
    }

    /// A node answers, by a greeting or otherwise.
    pub(super) fn note_back(&mut self, pool: u16) {
        let now = self.now;
        let Some(node) = self.node_mut(pool) else { return };
        let missed = !node.story.why.is_empty();
        node.story.why = "";
        if let Some(since) = node.story.away.take()
            && (missed || since + RECENT >= now)
        {
            let is_recent = since.max(node.story.found) + RECENT >= now;
            let after = is_recent.then(|| now.since(since));
            let node = node.endpoint.clone();
            self.tell(Event::Back { node, after });
        }
    }

    /// A node that was silent answers: it was listened to until now.
    pub(super) fn note_heard(&mut self, pool: u16) {
        let now = self.now;
        if let Some(node) = self.node_mut(pool) {
            node.story.found = now;
        }
        self.note_back(pool);
    }

    /// Requests go out on a connection from now on.
    pub(super) fn note_ready(&mut self, index: u32) {
        let Some(pool) = self.connections.get(index as usize).map(|c| c.pool) else { return };
        self.note_back(pool);
        self.watch(Some(index));
    }

    /// The circuit of a node has opened.
    pub(super) fn note_circuit(&self, pool: usize) {
        if let Some(node) = self.pools.get(pool) {
            self.tell(Event::CircuitOpened { node: node.endpoint.clone() });
        }
    }

    /// A node serves again, and those that waited for it follow. `circuit`: since when its circuit
    /// was open.
    pub(super) fn note_open(&mut self, pool: u16, circuit: Option<Moment>) {
        if let Some(since) = circuit
            && let Some(node) = self.pools.get(usize::from(pool))
        {
            let (node, after) = (node.endpoint.clone(), self.now.since(since));
            self.tell(Event::CircuitClosed { node, after });
        }
        self.note_back(pool);
        self.end_waits();
    }

    // ---- the first success after a loss ----

    /// While slots are away the next reply on this connection is looked at: it may be the first
    /// success. One that has nothing to do with them costs that one look.
    fn watch(&mut self, index: Option<u32>) {
        if !self.diary.outages.is_empty()
            && let Some(index) = index
            && let Some(connection) = self.connections.get_mut(index as usize)
            && matches!(connection.phase, Phase::Ready)
            && connection.replies == Replies::Pass
        {
            connection.replies = Replies::Watch;
        }
    }

    /// Slots have another way, to this node.
    pub(super) fn watch_node(&mut self, pool: u16) {
        for pool in self.pools_of_node(pool) {
            self.watch(self.pools.get(usize::from(pool)).and_then(|node| node.shared));
        }
    }

    /// The map has changed: those who have the slots of nodes that were lost are watched.
    pub(super) fn watch_routes(&mut self) {
        let first = |outage: &Outage| outage.slots.first().map(|range| range.first);
        let slots: Vec<Slot> = self.diary.outages.iter().filter_map(first).collect();
        for slot in slots {
            self.watch_node(self.routes[slot.index()]);
        }
    }

    /// A request succeeded on a connection that was watched, or as the first to try.
    pub(super) fn note_success(&mut self, index: u32, ticket: &Ticket) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        let (now, pool) = (self.now, connection.pool);
        let base = self.pools.get(usize::from(pool)).map_or(pool, |node| node.base);
        let waited = ticket.diverted || ticket.received < connection.ready_since;
        let covers = |outage: &mut Outage| ticket.slot.is_some_and(|slot| outage.covers(slot));
        let over: Vec<Outage> = self.diary.outages.extract_if(.., covers).collect();
        let owns = |outage: &Outage| {
            outage.slots.first().is_some_and(|range| self.routes[range.first.index()] == base)
        };
        if connection.replies == Replies::Watch && !self.diary.outages.iter().any(owns) {
            connection.replies = Replies::Pass;
        }
        let Some(node) = self.pools.get(usize::from(pool)) else { return };
        for outage in over {
            let Some(after) = outage.missed(ticket, now) else { continue };
            let lost = outage.node;
            if waited {
                node.cells.recovered(after);
            }
            self.tell(Event::FirstSuccess { lost, node: node.endpoint.clone(), after, waited });
        }
    }

    // ---- parking ----

    /// A request waits for its node.
    pub(super) fn note_parked(&mut self, pool: u16, ticket: &Ticket, why: &'static str) {
        let deadlines = &self.settings.deadlines;
        let Some(node) = self.pools.get_mut(usize::from(pool)) else { return };
        if let Some(wait) = &mut node.story.wait {
            wait.more(deadlines, ticket);
            return self.meet_outage(pool, ticket.received, true);
        }
        if node.is_open() {
            return; // its connection is being opened
        }
        node.story.wait = Wait::of(deadlines, [ticket].into_iter());
        let place = Place::Node(node.endpoint.clone());
        self.tell(Event::ParkingBegan { place, why });
        self.meet_outage(pool, ticket.received, false);
    }

    /// A request waits for its slot.
    pub(super) fn note_parked_at_slot(&mut self, slot: Slot, ticket: &Ticket, why: &'static str) {
        let deadlines = &self.settings.deadlines;
        if let Some((_, wait)) = &mut self.diary.slots {
            return wait.more(deadlines, ticket);
        }
        self.diary.slots = Wait::of(deadlines, [ticket].into_iter()).map(|wait| (slot, wait));
        self.tell(Event::ParkingBegan { place: Place::Slots(slot), why });
    }

    /// Tells where nobody waits any more.
    pub(super) fn end_waits(&mut self) {
        let mut over = Vec::new();
        if self.lots.values().all(|lot| lot.is_empty() && !lot.trying)
            && let Some((first, wait)) = self.diary.slots.take()
        {
            over.push((Place::Slots(first), wait));
        }
        for (_, node) in &mut self.pools {
            // One that tries may be on a connection; while that is being opened it is in the lot.
            let shared = node.shared.and_then(|shared| self.connections.get(shared as usize));
            let is_out =
                node.is_trying() && shared.is_some_and(|c| matches!(c.phase, Phase::Ready));
            if node.lot.is_empty()
                && !is_out
                && let Some(wait) = node.story.wait.take()
            {
                over.push((Place::Node(node.endpoint.clone()), wait));
                let outages = self.diary.outages.iter_mut().filter(|outage| outage.id == node.id);
                outages.for_each(|outage| outage.meet(self.now, true));
            }
        }
        for (place, wait) in over {
            // One that gave up did so at its deadline, however long the others waited after it.
            let longest = self.now.since(wait.oldest).min(wait.within);
            self.tell(Event::ParkingEnded { place, requests: wait.requests, longest });
        }
    }

    fn oldest_parked(&self) -> Option<Moment> {
        let of_nodes = self.pools.iter().flat_map(|(_, node)| [&node.lot, &node.brief_queue]);
        let lots = of_nodes.chain(self.lots.values()).chain([&self.behind]);
        lots.filter_map(super::lots::Lot::oldest).min()
    }

    // ---- what comes in storms ----

    /// Counts something about a node, to be told soon.
    pub(super) fn tally(&mut self, what: What, from: u16, to: Option<u16>) {
        let to = to.unwrap_or(NO_POOL);
        let same = |tally: &&mut Tally| (tally.what, tally.from, tally.to) == (what, from, to);
        if let Some(tally) = self.diary.tallies.iter_mut().find(same) {
            tally.count += 1;
            return;
        }
        if self.diary.tallies.len() == TALLIES_MAX {
            self.tell_tallies();
        }
        self.diary.tallies.push(Tally { what, from, to, first: self.now, count: 1 });
    }

    /// Counts something about whoever has the slot of a request.
    pub(super) fn tally_slot(&mut self, what: What, slot: Option<Slot>) {
        let owner = slot.map_or(NO_POOL, |slot| self.routes[slot.index()]);
        self.tally(what, owner, None);
    }

    /// Tells what was counted. Pools may change places after this.
    pub(super) fn tell_tallies(&mut self) {
        let pools = &self.pools;
        let name = |pool: u16| pools.get(usize::from(pool)).map(|node| node.endpoint.clone());
        for Tally { what, from, to, first, count } in self.diary.tallies.drain(..) {
            let (node, to) = (name(from), name(to));
            let event = match what {
                What::Redirect(kind) => Event::Redirects { kind, from: node, to, count },
                What::Unknown(why) => Event::UnknownResults { node, why, count },
                What::GaveUp => Event::GaveUp { node, count },
            };
            (self.around.operator.tell)(first, event);
        }
    }

    /// Brings everything up to date, twice a second.
    pub(super) fn write_diary(&mut self) {
        self.tell_tallies();
        self.end_waits();
        let oldest = self.oldest_parked().map(|oldest| self.now.since(oldest));
        self.cells.set_parked_oldest(oldest.unwrap_or_default());
    }
}
