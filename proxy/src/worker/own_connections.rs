//! Connections of their own: some requests never share one, because of their size, because of what
//! their errors may do, because they hold it up for as long as they like, or because their client
//! keeps it from request to request.
//!
//! There is a bound for each node. At it they wait in the order in which they were read, and leave
//! the queue when their client leaves. Those that are lent to a client for a time that nobody
//! knows wait in a queue of their own and never take the last places, so that blocked clients
//! do not hold up large requests.
//!
//! A lent connection and its client know each other: when the client leaves, the connection is
//! closed at once, and what is on it ends there as it does for a client that is connected to the
//! node itself.

use super::lots::Parked;
use super::{Action, Worker};
use crate::command::holds_element;
use crate::node::{ClientKey, Connection, Kind, Phase, Stream, Ticket, Trial, Way};
use crate::session::OwnConnection;
use crate::time::Moment;

const ALL_LARGE: &str = "all connections for large requests to its node are taken";
const ALL_LENT: &str = "all connections to its node that clients can have for themselves are taken";

impl Worker {
    /// Gives a request a connection of its own, with ASKING before it if so told, or lets it wait
    /// for one.
    pub(super) fn dispatch_own(
        &mut self,
        pool: u16,
        mut ticket: Ticket,
        mut frame: Vec<u8>,
        asking: bool,
    ) {
        if ticket.way == Way::Barrier && !self.has_slots(ticket.pinned) {
            return self.not_there(&ticket);
        }
        if ticket.way.blocks() {
            match self.with_time_left(&mut ticket, frame) {
                Some(sent_now) => frame = sent_now,
                None => return,
            }
        }
        match self.free_own(pool, &ticket) {
            Some(free) => self.begin_own(free, ticket, frame, asking),
            None => {
                self.abandon_trial(pool, &ticket);
                let ticket = Ticket { trial: Trial::No, ..ticket };
                let is_lent = ticket.way.is_lent();
                let trouble = if is_lent { ALL_LENT } else { ALL_LARGE };
                if let Some(parked) = self.admit(trouble, ticket, frame)
                    && let Some(node) = self.pools.get_mut(usize::from(pool))
                {
                    let queue = if is_lent { &mut node.lent_queue } else { &mut node.brief_queue };
                    queue.trouble = trouble;
                    queue.insert(Parked { asking, ..parked });
                    self.dial_for_own(pool);
                }
            }
        }
    }

    /// A connection that this request may have now: the one that its client keeps, or one that has
    /// nothing to do.
    fn free_own(&mut self, pool: u16, ticket: &Ticket) -> Option<u32> {
        if ticket.way == Way::Kept
            && let Some(own) = self.kept_connection(ticket.client)
            && self.connections.get(own as usize).is_some_and(|c| c.pool == pool && c.is_idle())
        {
            return Some(own);
        }
        if ticket.way.is_lent() && self.lendable(pool) == 0 {
            return None;
        }
        self.pools.get_mut(usize::from(pool))?.idle.pop().map(|(free, _)| free)
    }

    pub(super) fn begin_own(&mut self, index: u32, ticket: Ticket, frame: Vec<u8>, asking: bool) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if let Some(node) = self.pools.get(usize::from(connection.pool)) {
            node.cells.requests_total.add(1);
        }
        let (client, way) = (ticket.client, ticket.way);
        if way == Way::Kept {
            self.watches_by_asking(client, asking);
        }
        if ticket.names_scripts() {
            self.load_scripts(index, &frame);
        }
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        if way != Way::Barrier {
            connection.adopt(ticket, frame, asking);
        } else if !self.push_behind_barrier(index, ticket, &frame) {
            return;
        }
        if way.is_lent() {
            self.lend(index, client, way == Way::Kept);
        }
        self.touch(index);
    }

    /// A connection is this client's from now on.
    fn lend(&mut self, index: u32, client: ClientKey, keeps: bool) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.kept = keeps;
        let before = connection.lent_to.replace(client);
        let (pool, serial) = (connection.pool, connection.serial);
        if before.is_none() {
            self.count_lent(pool, 1);
        }
        if let Some(session) = self.clients.find(client) {
            let own = OwnConnection { index, serial };
            let stateful = session.stateful.get_or_insert_default();
            if !stateful.own_connections.contains(&own) {
                stateful.own_connections.push(own);
            }
        }
    }

    /// A connection is nobody's any more.
    fn take_back(&mut self, index: u32) {
        let Some(connection) = self.connections.get_mut(index as usize) else { return };
        connection.kept = false;
        let (pool, serial) = (connection.pool, connection.serial);
        if let Some(client) = connection.lent_to.take() {
            self.count_lent(pool, -1);
            self.forget_own(client, serial);
        }
    }

    /// A connection that was lent is no more.
    pub(super) fn forget_lent(&mut self, connection: &Connection) {
        if let Some(client) = connection.lent_to {
            self.count_lent(connection.pool, -1);
            self.forget_own(client, connection.serial);
        }
    }

    fn forget_own(&mut self, client: ClientKey, serial: u64) {
        if let Some(session) = self.clients.find(client)
            && let Some(stateful) = &mut session.stateful
        {
            stateful.own_connections.retain(|own| own.serial != serial);
            session.drop_state_if_over();
        }
    }

    fn count_lent(&mut self, pool: u16, by: isize) {
        let base = self.base_of(pool);
        if let Some(node) = self.pools.get_mut(usize::from(base)) {
            node.lent = node.lent.saturating_add_signed(by);
        }
    }

    /// How many more connections to this pool's node may be lent to clients: some of the last
    /// places, one at least if there is more than one, are for requests that are over soon.
    fn lendable(&self, pool: u16) -> usize {
        let max = self.settings.dedicated_max;
        let reserved = (max / 8).max(1).min(max.saturating_sub(1));
        let base = self.base_of(pool);
        let lent = self.pools.get(usize::from(base)).map_or(0, |node| node.lent);
        (max - reserved).saturating_sub(lent)
    }

    /// The connection that is lent to this client.
    pub(super) fn own_connection(&mut self, client: ClientKey) -> Option<u32> {
        let own = *self.clients.find(client)?.stateful.as_ref()?.own_connections.first()?;
        let connection = self.connections.get(own.index as usize)?;
        (connection.serial == own.serial).then_some(own.index)
    }

    /// The connection that this client keeps from request to request.
    pub(super) fn kept_connection(&mut self, client: ClientKey) -> Option<u32> {
        let mut own = self.own_connections(client).into_iter();
        own.find(|&own| self.connections.get(own as usize).is_some_and(|c| c.kept))
    }

    /// All connections that are lent to this client.
    pub(super) fn own_connections(&mut self, client: ClientKey) -> Vec<u32> {
        let stateful = self.clients.find(client).and_then(|session| session.stateful.as_ref());
        stateful.into_iter().flat_map(|s| &s.own_connections).map(|own| own.index).collect()
    }

    /// The client lets the connection that it keeps go: it is the next one's, or is closed if what
    /// is left on it (`WATCH`) must not be.
    pub(super) fn let_own_go(&mut self, client: ClientKey, is_clean: bool) {
        let Some(index) = self.kept_connection(client) else { return };
        self.take_back(index);
        if let Some(connection) = self.connections.get_mut(index as usize) {
            connection.retiring |= !is_clean;
        }
        self.after_extra(index);
    }

    /// Whether a request that blocks is under way for this client on a connection of its own.
    pub(super) fn is_blocking(&mut self, client: ClientKey) -> bool {
        self.own_connections(client).into_iter().any(|own| {
            let connection = self.connections.get_mut(own as usize);
            let mut tickets = connection.into_iter().flat_map(|c| c.tickets_mut());
            tickets.any(|ticket| ticket.way.blocks())
        })
    }

    /// The client leaves: its own connection is closed at once. Returns the request that was under
    /// way on it; what becomes of it at the node is not known if it was handed over.
    pub(super) fn end_own(&mut self, client: ClientKey) -> Option<Ticket> {
        let index = self.own_connection(client)?;
        let connection = self.connections.get_mut(index as usize)?;
        if connection.tickets_mut().any(|t| t.way == Way::Blocking && !t.reads_only) {
            if connection.stream != Stream::Whole || holds_element(&connection.partial) {
                self.cells.blocked_answers_late.add(1);
            } else {
                self.outbox.push(Action::HearOut { connection: index });
            }
        }
        self.end_own_at(index)
    }

    /// The client wants what is on this connection of its own no more: as [`Worker::end_own`].
    pub(super) fn end_own_at(&mut self, index: u32) -> Option<Ticket> {
        let connection = self.close_connection(index)?;
        let pool = connection.pool;
        let mut requests = connection.lose().requests;
        self.feed_own_queues(pool);
        requests.pop().map(|(ticket, ..)| ticket)
    }

    /// A connection beside the shared one may have become free: the next request takes it, in the
    /// order of the queue. If the node is away, they wait with the others.
    pub(super) fn feed_own_queues(&mut self, pool: u16) {
        while let Some(parked) = self.next_own(pool) {
            let asking = parked.asking;
            let (ticket, frame) = self.unpark(parked);
            if asking {
                self.dispatch_to(pool, ticket, frame, true);
            } else {
                self.dispatch(ticket, frame);
            }
        }
        for pool in self.pools_of_node(pool) {
            self.dial_for_own(pool);
        }
    }

    /// The next to have a connection of its own, or to wait with all others of its node.
    fn next_own(&mut self, pool: u16) -> Option<Parked> {
        let lendable = self.lendable(pool);
        let node = self.pools.get_mut(usize::from(pool))?;
        if node.is_open() && node.idle.is_empty() {
            return None;
        }
        let brief = node.brief_queue.pop();
        if brief.is_none() && (lendable > 0 || !node.is_open()) {
            return node.lent_queue.pop();
        }
        brief
    }

    /// Opens connections for the requests that wait for one, as many as there may be.
    fn dial_for_own(&mut self, pool: u16) {
        let Some(node) = self.pools.get(usize::from(pool)) else { return };
        let (brief, lent) = (node.brief_queue.len(), node.lent_queue.len());
        if brief + lent == 0 {
            return;
        }
        let is_coming = |&&index: &&u32| {
            let connection = self.connections.get(index as usize);
            connection.is_some_and(|c| {
                c.kind == Kind::Dedicated && !c.retiring && !matches!(c.phase, Phase::Ready)
            })
        };
        let coming = node.extra.iter().filter(is_coming).count();
        let wanted = (brief + lent.min(self.lendable(pool))).saturating_sub(coming);
        let mut free = self.extras_free(pool);
        if wanted > 0 && free == 0 && self.close_idle_extra_of_twins(pool) {
            free = 1;
        }
        for _ in 0..wanted.min(free) {
            self.open(pool, Kind::Dedicated);
        }
    }

    /// Connections beside the shared ones are counted over all pools of a node: closes one that
    /// has nothing to do in another pool. Returns whether there was one.
    fn close_idle_extra_of_twins(&mut self, pool: u16) -> bool {
        let mut others = self.pools_of_node(pool).into_iter().filter(|&other| other != pool);
        let idle = others.find_map(|other| self.pools.get(usize::from(other))?.idle.first());
        idle.copied().is_some_and(|(index, _)| self.close_connection(index).is_some())
    }

    /// After a reply on a connection that is not the shared one: what only finished is closed,
    /// what carried one request is free for the next, unless its client keeps it.
    pub(super) fn after_extra(&mut self, index: u32) {
        let Some(connection) = self.connections.get(index as usize) else { return };
        if !connection.is_idle() || connection.stream != Stream::Whole {
            return;
        }
        if connection.kept
            && !connection.retiring
            && let (Some(client), serial) = (connection.lent_to, connection.serial)
            && self.goes_on_watching(client, serial)
        {
            return;
        }
        let Some(connection) = self.connections.get(index as usize) else { return };
        let (pool, now) = (connection.pool, self.now);
        self.take_back(index);
        let Some(connection) = self.connections.get(index as usize) else { return };
        let listed = self.pools.get(usize::from(pool)).is_some_and(|node| node.listed);
        if connection.retiring || (connection.kind == Kind::Dedicated && !listed) {
            self.close_connection(index);
            self.feed_own_queues(pool);
        } else if connection.kind == Kind::Dedicated
            && let Some(node) = self.pools.get_mut(usize::from(pool))
        {
            node.idle.push((index, now));
            self.feed_own_queues(pool);
        }
    }

    /// Closes connections that only finished what they had and have nothing left. Nearly always
    /// [`Worker::after_extra`] has done so; but what was on one can also end otherwise than by its
    /// own reply (taken back, abandoned), and a place that is never given back is one less for
    /// those that need one.
    pub(super) fn close_finished(&mut self) {
        let finished: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| c.retiring && c.is_idle() && c.stream == Stream::Whole)
            .map(|(index, _)| index as u32)
            .collect();
        for index in finished {
            self.after_extra(index);
        }
    }

    /// When the first of the connections that have nothing to do has been so for long enough.
    pub(super) fn next_idle_event(&self) -> Option<Moment> {
        // The one that was used last is used first: those in front have been idle for longest.
        let oldest = self.pools.iter().filter_map(|(_, node)| node.idle.first());
        oldest.map(|&(_, since)| since + self.settings.node_idle_timeout).min()
    }

    pub(super) fn close_idle_extras(&mut self) {
        let (now, timeout) = (self.now, self.settings.node_idle_timeout);
        let idle: Vec<u32> = self
            .pools
            .iter()
            .flat_map(|(_, node)| &node.idle)
            .filter(|&&(_, since)| since + timeout <= now)
            .map(|&(index, _)| index)
            .collect();
        for index in idle {
            self.close_connection(index);
        }
    }
}
