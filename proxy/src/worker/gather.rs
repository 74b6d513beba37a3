//! Requests of several parts: one a slot where the keys are in several, one a shard or a node
//! where the command concerns all of them. All parts are under way at once; each has a ticket of
//! its own and is masked like any request. When the last is settled the one reply is made.

mod conclusion;
mod joined;
mod keys;
mod left_out;
mod pieces;
mod run;

use super::pubsub::Question;
use super::random_key::Sizes;
use super::requests::{Step, way};
use super::scan::Scan;
use super::settle::Clients;
use super::wait::Wait;
use super::{NO_POOL, Worker};
use crate::command::{self, Class, Refusal, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket};
use crate::resp::{Args, write};
use crate::routing::{self, Merge, NoSplit, merge_of};
use crate::session::Special;
use crate::slot::Slot;
use crate::topology::Health;
use joined::{Joined, Large, take_large};
use pieces::learn_merged;

/// What all parts of a request were asked for.
#[derive(Debug)]
pub(super) enum How {
    /// One part a slot. For each key in order: which part has it.
    Slots { order: Vec<u16> },
    /// One part a shard, each sent to the owner of a slot of it.
    Shards {
        /// The request, to be sent to shards that have come meanwhile.
        frame: Vec<u8>,
    },
    /// One part a node.
    Nodes,
    /// One part at a time, each told by the reply to the one before.
    Scan(Box<Scan>),
    /// The sizes of all shards, then a key of one of them.
    RandomKey(Sizes),
    /// One part a shard that the client has written to.
    Wait(Wait),
    /// Subscribers are counted by what each part says.
    Count(Question),
    /// One part: the question where the keys of this request are.
    Keys { frame: Vec<u8>, class: Class },
}

#[derive(Debug)]
struct Part {
    slot: Option<Slot>,
    /// The owner of the slot (its pool) when this was asked for a shard.
    owner: u16,
    /// Where its reply lies among the gathered ones.
    start: usize,
    len: usize,
    /// It is too large to lie there.
    large: Option<Large>,
    outcome: Option<Outcome>,
    /// The process that replied.
    process: u8,
    /// Its node is away, and the others answer without it.
    left_out: bool,
}

impl Part {
    fn open(slot: Option<Slot>, owner: u16) -> Part {
        Part {
            slot,
            owner,
            start: 0,
            len: 0,
            large: None,
            outcome: None,
            process: 0,
            left_out: false,
        }
    }
}

/// A request of several parts.
#[derive(Debug)]
pub(super) struct Gather {
    /// The request as a whole: where its reply goes.
    pub(super) whole: Ticket,
    row: &'static Row,
    merge: Merge,
    pub(super) how: How,
    parts: Vec<Part>,
    /// The replies of the parts, in the order in which they came.
    pub(super) replies: Vec<u8>,
    /// Parts without a reply, those left out that are large and have begun.
    pub(super) open: usize,
    joined: Joined,
}

pub(super) const TOO_LARGE: &[u8] =
    b"-OVERLOADED not executed: the replies of its parts come to more than client-output-max\r\n";

/// Room for replies of parts that is made when the first comes, at most.
const GATHERED_AT_FIRST: usize = 16 * 1024;

impl Clients {
    /// So many bytes of parts of this request are under way. They count until the whole is
    /// settled: to give them back part by part would cost each a look at its client.
    fn charge(&mut self, gather: u32, bytes: usize) {
        let Some(Gather { whole, .. }) = self.gathers.get_mut(gather as usize) else { return };
        let before = whole.len;
        whole.len = before.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let (client, added) = (whole.client, whole.len - before);
        if let Some(session) = self.find(client) {
            session.in_flight_bytes += added as usize;
        }
    }

    /// A part of a request was settled. Nobody waits for that alone, unless it stood in the way of
    /// others of its slot.
    #[inline(never)]
    pub(super) fn settle_part(&mut self, ticket: &Ticket, reply: &[u8], outcome: Outcome) {
        if ticket.strict | ticket.diverted {
            self.after_settling(ticket);
        }
        let bytes_max = self.gathered_max(ticket.sequence, reply.len());
        let Some(gather) = self.gathers.get_mut(ticket.sequence as usize) else {
            return self.cells.stale_replies_dropped.add(1);
        };
        if gather.whole.client != ticket.client {
            return self.cells.stale_replies_dropped.add(1);
        }
        gather.take(ticket, reply, outcome, bytes_max);
        if gather.open == 0 {
            self.news.gathered.push(ticket.sequence);
        }
    }

    /// Whether this much more may be gathered for a part that is being read.
    pub(super) fn has_room_for(&self, ticket: &Ticket, bytes: u64) -> bool {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes_max = self.gathered_max(ticket.sequence, bytes);
        let gather = self.gathers.get(ticket.sequence as usize);
        gather.is_some_and(|gather| {
            gather.whole.client == ticket.client
                && gather.replies.len().saturating_add(bytes) <= bytes_max
        })
    }

    /// The client has gone: its parts are still settled, for nobody.
    pub(super) fn forget_gathers(&mut self, client: ClientKey) {
        self.gathers.retain(|_, gather| {
            let is_its_own = gather.whole.client == client;
            if is_its_own {
                self.cells.request_done(gather.whole.command.index(), Outcome::Dropped, 0);
            }
            !is_its_own
        });
    }
}

/// The ticket of one part.
#[inline(always)]
fn part_of(whole: &Ticket, gather: u32, part: u16, slot: Option<Slot>, arrival: u64) -> Ticket {
    Ticket {
        sequence: gather,
        part,
        slot,
        arrival,
        strict: whole.strict,
        replayable: whole.replayable,
        reads_only: whole.reads_only,
        forgeable: whole.forgeable,
        way: whole.way,
        ..Ticket::new(whole.client, whole.mode, whole.patience, whole.command, whole.received)
    }
}

impl Worker {
    /// A request whose keys are in several slots: one part a slot.
    pub(super) fn split(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        if self.clients.get(index).is_some_and(|session| !session.manners.split) {
            return self.refuse_cross_slot(index, row);
        }
        let mut split = match routing::split(row, args) {
            Ok(split) => split,
            Err(NoSplit::Whole) => return self.refuse_cross_slot(index, row),
            Err(NoSplit::Arity) => return self.refuse(index, &Refusal::WrongArity(row), args),
        };
        let Some(merge) = merge_of(row, args) else { return self.refuse_cross_slot(index, row) };
        let class = command::class(row, args);
        let how = How::Slots { order: split.take_order() };
        let slots = split.parts().iter().map(|part| Some(part.slot));
        let Some(gather) = self.begin_gather(index, row, class, args, merge, how, slots) else {
            return Step::Later;
        };
        self.send_split(gather, &split, args);
        Step::Taken
    }

    /// A request for every shard.
    pub(super) fn ask_shards(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let Some(merge) = merge_of(row, args) else {
            return self.refuse(index, &Refusal::Unknown, args);
        };
        let class = command::class(row, args);
        let shards = self.shards();
        let slots: Vec<Option<Slot>> = shards.iter().map(|&(slot, _)| Some(slot)).collect();
        let how = How::Shards { frame: args.frame().to_vec() };
        self.seen_scripts.note(&self.settings.scripts, row, args);
        let each = slots.iter().copied();
        let Some(gather) = self.begin_gather(index, row, class, args, merge, how, each) else {
            return Step::Later;
        };
        for (part, &slot) in slots.iter().enumerate() {
            self.send_part(gather, part as u16, slot, NO_POOL, args.frame());
        }
        Step::Taken
    }

    /// A request for every node that is not known to be away.
    pub(super) fn ask_nodes(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        match merge_of(row, args) {
            Some(merge) => self.ask_all_nodes(index, row, args, merge, How::Nodes),
            None => self.refuse(index, &Refusal::Unknown, args),
        }
    }

    /// As [`Worker::ask_nodes`]; `how` tells what becomes of the replies.
    pub(super) fn ask_all_nodes(
        &mut self,
        index: u32,
        row: &'static Row,
        args: &Args<'_>,
        merge: Merge,
        how: How,
    ) -> Step {
        let class = command::class(row, args);
        let there = self.topology.nodes().filter(|(_, node)| node.health != Health::Failed);
        let pools: Vec<u16> = there.filter_map(|(_, node)| self.pool_of(&node.id)).collect();
        if pools.is_empty() {
            self.cells.request_done(row.id.index(), Outcome::NotExecuted, 0);
            let why = "CLUSTERDOWN not executed: nothing is known of the cluster yet";
            self.answer(index, |out| write::error(out, why));
            return Step::Taken;
        }
        let parts = pools.iter().map(|_| None);
        let Some(gather) = self.begin_gather(index, row, class, args, merge, how, parts) else {
            return Step::Later;
        };
        for (part, &pool) in pools.iter().enumerate() {
            self.send_part(gather, part as u16, None, pool, args.frame());
        }
        Step::Taken
    }

    /// Each node that owns slots (its pool), and one of them. By what routes say: a slot that has
    /// moved does not speak for the rest of its shard; and amid the longest stretch of slots, where
    /// none is likely to move while the request is under way. If nothing is known of the cluster, a
    /// slot that waits until something is: it is found out at the end who was not asked.
    pub(super) fn shards(&self) -> Vec<(Slot, u16)> {
        // The pool, the slots of its longest stretch, and the one amid them.
        let mut stretches: Vec<(u16, usize, usize)> = Vec::new();
        let mut start = 0;
        for stretch in self.routes.chunk_by(|a, b| a == b) {
            let (pool, len) = (stretch[0], stretch.len());
            match stretches.iter_mut().find(|(known, ..)| *known == pool) {
                Some(longest) if longest.1 >= len => {}
                Some(longest) => *longest = (pool, len, start + len / 2),
                None => stretches.push((pool, len, start + len / 2)),
            }
            start += len;
        }
        stretches.retain(|&(pool, ..)| pool != NO_POOL);
        let asked: Vec<u16> = stretches.iter().map(|&(pool, ..)| pool).collect();
        stretches.retain(|&(pool, ..)| self.replaced_by(pool, &asked).is_none());
        stretches.sort_unstable();
        if stretches.is_empty() {
            stretches.push((NO_POOL, 0, 0));
        }
        let slot = |amid: usize| Slot::new(amid as u16).unwrap_or_default();
        stretches.into_iter().map(|(pool, _, amid)| (slot(amid), pool)).collect()
    }

    /// The replica of this primary that a redirect has named (one of `owners`), before any map did:
    /// the primary is a replica itself now, which would answer for the same keys a second time.
    pub(super) fn replaced_by(&self, primary: u16, owners: &[u16]) -> Option<u16> {
        let node = |pool: u16| self.topology.node_by_id(&self.pools.get(usize::from(pool))?.id);
        let shard = self.topology.shard(self.topology.node(node(primary)?).shard?);
        let is_replica = |&pool: &u16| node(pool).is_some_and(|n| shard.replicas.contains(&n));
        let replica = owners.iter().copied().find(is_replica);
        replica.filter(|_| node(primary) == Some(shard.primary))
    }

    fn owner(&self, slot: Option<Slot>) -> u16 {
        slot.map_or(NO_POOL, |slot| self.routes[slot.index()])
    }

    /// A place for the replies of all parts; `None` if the client has to wait.
    #[allow(clippy::too_many_arguments)] // a request in all its aspects
    pub(super) fn begin_gather(
        &mut self,
        index: u32,
        row: &'static Row,
        class: Class,
        args: &Args<'_>,
        merge: Merge,
        how: How,
        parts: impl ExactSizeIterator<Item = Option<Slot>> + Clone,
    ) -> Option<u32> {
        let len = args.frame().len();
        let session = self.clients.get_with_flow(index)?;
        let manners = session.manners;
        let is_write = manners.strict_order && class != Class::R;
        let overtakes =
            !session.unsettled.is_empty() && parts.clone().any(|slot| session.would_overtake(slot));
        let flow = session.flow.as_mut()?;
        let alone = flow.in_flight() == 0;
        let writes = is_write && parts.clone().flatten().any(|slot| flow.writes.contains(&slot));
        let (client, mode) = (ClientKey { index, generation: session.generation }, session.mode);
        let way = way(row, args, &self.settings);
        let is_large = len > self.settings.large_request || way.is_own();
        if is_large {
            self.large_reads.finished(client); // it is here: nothing of it is waited for
        }
        let is_too_early = merge.is_of_all() && flow.gathers as usize >= session.merged.requests();
        if overtakes || writes || (is_large && !alone) || is_too_early {
            session.blocked = true;
            return None;
        }
        if is_write {
            flow.writes.extend(parts.clone().flatten());
        }
        if is_large {
            session.special.set(Special::ALONE, true);
            self.cells.large_requests.add(u64::from(len > self.settings.large_request));
        }
        let muted = session.take_mute();
        session.last_command = Some(row.id);
        let flow = session.flow.as_mut()?;
        let sequence = if muted { flow.push_muted() } else { flow.push() };
        flow.gathers += 1;
        let whole = Ticket {
            sequence,
            strict: is_write,
            replayable: command::repeatable(row, class, self.settings.retry_unknown),
            reads_only: class == Class::R,
            forgeable: row.may_forge_errors(),
            way,
            ..Ticket::new(client, mode, manners.patience, row.id, self.now)
        };
        let gather = Gather {
            whole,
            row,
            merge,
            how,
            open: parts.len(),
            parts: parts.map(|slot| Part::open(slot, self.owner(slot))).collect(),
            replies: Vec::new(),
            joined: Joined::No,
        };
        Some(self.clients.gathers.insert(gather) as u32)
    }

    pub(super) fn send_part(
        &mut self,
        gather: u32,
        part: u16,
        slot: Option<Slot>,
        pinned: u16,
        frame: &[u8],
    ) {
        let Some(Gather { whole, .. }) = self.clients.gathers.get_mut(gather as usize) else {
            return; // the client was closed over an earlier part
        };
        let len = frame.len() as u32;
        let ticket =
            Ticket { pinned, len, ..part_of(whole, gather, part, slot, self.next_arrival) };
        self.next_arrival += 1;
        self.clients.charge(gather, frame.len());
        if ticket.is_of_node() {
            return self.dispatch(ticket, frame.to_vec()); // it notes no write
        }
        self.send(ticket, frame);
    }

    /// All parts of a request are settled.
    pub(super) fn finish_gather(&mut self, index: u32) {
        // Its client may have gone since, and another request have its place.
        let is_ready = |gather: &Gather| gather.open == 0 && !gather.joined.is_merged();
        if !self.clients.gathers.get(index as usize).is_some_and(is_ready) {
            return;
        }
        if self.keys_told(index)
            || self.ask_the_others(index)
            || self.scan_on(index)
            || self.pick_on(index)
            || self.begin_join(index)
        {
            return;
        }
        if let Some(gather) = self.clients.gathers.get_mut(index as usize) {
            gather.drop_left_out();
        }
        self.end_wait(index);
        self.count_subscribers(index);
        let Some(gather) = self.clients.gathers.get(index as usize) else { return };
        let mut reply = std::mem::take(&mut self.part_frame);
        reply.clear();
        let (outcome, surprise) = gather.conclude(&mut reply);
        if surprise {
            self.cells.merge_surprises.add(1);
            tracing::warn!(command = gather.row.name, "the nodes' replies cannot be made into one");
        }
        if self.is_to_wait(index, &reply) {
            return self.begin_pieces(index, reply, outcome);
        }
        let Some(gather) = self.clients.gathers.try_remove(index as usize) else { return };
        if let Some(session) = self.clients.find(gather.whole.client)
            && let Some(flow) = &mut session.flow
        {
            flow.gathers = flow.gathers.saturating_sub(1);
            if gather.merge.is_of_all() {
                learn_merged(session, reply.len(), outcome, &self.settings);
            }
        }
        let whole = Ticket { strict: false, ..gather.whole };
        self.clients.settle(&whole, &reply, outcome, self.now);
        reply.shrink_to(self.settings.large_request);
        self.part_frame = reply;
    }

    /// What every shard was asked for must have been asked of the shards that there are now: a
    /// failover or a new shard meanwhile would make a sum wrong, and leave keys after a FLUSHALL.
    /// Returns whether some are asked (again).
    fn ask_the_others(&mut self, index: u32) -> bool {
        let now: Vec<(Slot, u16)> = match self.clients.gathers.get(index as usize) {
            Some(Gather { how: How::Shards { .. }, .. }) => self.shards(),
            _ => return false,
        };
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return false };
        let late = self.settings.deadlines.is_over(&gather.whole, self.now);
        let is_well = |part: &Part| part.outcome == Some(Outcome::Ok) || part.large.is_some();
        let all_well = gather.parts.iter().all(is_well);
        let How::Shards { frame } = &gather.how else { return false };
        if late || !all_well {
            return false;
        }
        // A part whose slot has another owner since may have been answered by that one.
        let stands =
            |part: &&Part| part.slot.is_some_and(|slot| self.routes[slot.index()] == part.owner);
        let asked: Vec<u16> = gather.parts.iter().filter(stands).map(|part| part.owner).collect();
        let missing: Vec<(Slot, u16)> =
            now.iter().copied().filter(|(_, pool)| !asked.contains(pool)).collect();
        let whole_again =
            gather.merge.adds_up() && (!missing.is_empty() || gather.parts.len() != now.len());
        let mut unwanted = Vec::new();
        let slots = if whole_again {
            unwanted = take_large(&mut gather.parts);
            gather.parts.clear();
            gather.replies.clear();
            now
        } else {
            missing
        };
        if slots.is_empty() {
            return false;
        }
        let frame = frame.clone();
        let first = gather.parts.len();
        gather.parts.extend(slots.iter().map(|&(slot, pool)| Part::open(Some(slot), pool)));
        gather.open = slots.len();
        self.discard_parts(index, unwanted);
        for (n, &(slot, _)) in slots.iter().enumerate() {
            self.send_part(index, (first + n) as u16, Some(slot), NO_POOL, &frame);
        }
        true
    }
}
