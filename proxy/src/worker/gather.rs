//! Requests of several parts: one a slot where the keys are in several, one a shard or a node
//! where the command concerns all of them. All parts are under way at once; each has a ticket of
//! its own and is masked like any request. When the last is settled the one reply is made.

mod joined;

use super::random_key::Sizes;
use super::requests::Step;
use super::scan::Scan;
use super::settle::Clients;
use super::{NO_POOL, Worker};
use crate::command::{self, Class, Refusal, Row};
use crate::metrics::Outcome;
use crate::node::{ClientKey, Ticket};
use crate::resp::{Args, write};
use crate::routing::{self, Merge, NoSplit, merge, merge_of};
use crate::slot::Slot;
use crate::topology::Health;
use joined::{Joined, Large, take_large};

/// What all parts of a request were asked for.
#[derive(Debug)]
pub(super) enum How {
    /// One part a slot. For each key in order: which part has it.
    Slots { order: Vec<u16> },
    /// One part a shard, each sent to the owner of a slot of it.
    Shards {
        /// The request, to be sent to shards that have come meanwhile.
        frame: Vec<u8>,
        /// The nodes (pools) that were the primaries when it was sent.
        primaries: Vec<u16>,
    },
    /// One part a node.
    Nodes,
    /// One part at a time, each told by the reply to the one before.
    Scan(Box<Scan>),
    /// The sizes of all shards, then a key of one of them.
    RandomKey(Sizes),
}

#[derive(Debug)]
struct Part {
    slot: Option<Slot>,
    /// Where its reply lies among the gathered ones.
    start: usize,
    len: usize,
    /// It is too large to lie there.
    large: Option<Large>,
    outcome: Option<Outcome>,
    /// The process that replied.
    process: u8,
}

impl Part {
    fn open(slot: Option<Slot>) -> Part {
        Part { slot, start: 0, len: 0, large: None, outcome: None, process: 0 }
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
    replies: Vec<u8>,
    /// Parts without a reply, those left out that are large and have begun.
    open: usize,
    joined: Joined,
}

pub(super) const TOO_LARGE: &[u8] =
    b"-OVERLOADED not executed: the replies of its parts come to more than client-output-max\r\n";

impl Gather {
    /// A part was settled.
    fn take(&mut self, ticket: &Ticket, reply: &[u8], outcome: Outcome, bytes_max: usize) {
        let Some(part) = self.parts.get_mut(usize::from(ticket.part)) else { return };
        if part.outcome.is_some() {
            return;
        }
        let fits = self.replies.len() + reply.len() <= bytes_max;
        let (reply, outcome) =
            if fits { (reply, outcome) } else { (TOO_LARGE, Outcome::Overloaded) };
        part.start = self.replies.len();
        part.len = reply.len();
        part.outcome = Some(outcome);
        if self.replies.is_empty() {
            // They are of about the same length, mostly.
            self.replies.reserve((reply.len() * self.open).min(GATHERED_AT_FIRST));
        }
        part.process = ticket.process;
        self.replies.extend_from_slice(reply);
        self.open -= 1;
    }

    /// The replies, with the slots of their parts and the processes that gave them; `None` if one
    /// of them is an error.
    pub(super) fn all_well(&self) -> Option<impl Iterator<Item = (Option<Slot>, u8, &[u8])>> {
        let all_well = self.parts.iter().all(|part| part.outcome == Some(Outcome::Ok));
        let reply = |part| (part, self.reply_of(part));
        let told = |(part, reply): (&Part, _)| (part.slot, part.process, reply);
        all_well.then(|| self.parts.iter().map(reply).map(told))
    }

    /// What was gathered has been used: one more part is sent, for this slot.
    pub(super) fn open_one(&mut self, slot: Option<Slot>) {
        (self.replies, self.parts, self.open) = (Vec::new(), vec![Part::open(slot)], 1);
    }

    /// What was gathered has been used: this is the reply.
    pub(super) fn put(&mut self, reply: Vec<u8>, outcome: Outcome) {
        self.parts = vec![Part { len: reply.len(), outcome: Some(outcome), ..Part::open(None) }];
        self.replies = reply;
    }

    fn reply_of(&self, part: &Part) -> &[u8] {
        &self.replies[part.start..part.start + part.len]
    }

    /// The one reply, and how the request ended.
    fn conclude(&self, out: &mut Vec<u8>) -> (Outcome, bool) {
        let of = |part: &Part| part.outcome.unwrap_or(Outcome::Unknown);
        let mut replies: Vec<&[u8]> = Vec::with_capacity(self.parts.len());
        let applied = |part: &&Part| of(part) == Outcome::Ok;
        replies.extend(self.parts.iter().filter(applied).map(|part| self.reply_of(part)));
        let failed = self.parts.iter().find(|part| of(part) != Outcome::Ok);
        let enough = self.merge == Merge::FirstSuccess && !replies.is_empty();
        match failed {
            Some(failed) if !enough => {
                let unknown = self.parts.iter().any(|part| of(part) == Outcome::Unknown);
                if self.whole.reads_only || (replies.is_empty() && !unknown) {
                    out.extend_from_slice(self.reply_of(failed));
                    return (of(failed), false);
                }
                self.tell_parts(replies.len(), out);
                (Outcome::Unknown, false)
            }
            _ => {
                let order = match &self.how {
                    How::Slots { order } => order.as_slice(),
                    _ => &[],
                };
                if merge(self.merge, &replies, order, out).is_ok() {
                    return (Outcome::Ok, false);
                }
                let name = self.row.name.replace('|', " ");
                let text = format!("ERR the nodes' replies to '{name}' cannot be made into one");
                write::error(out, text);
                (Outcome::ServerError, true)
            }
        }
    }

    /// A write of which a part was applied and another not, or perhaps.
    fn tell_parts(&self, applied: usize, out: &mut Vec<u8>) {
        let what = match self.how {
            How::Slots { .. } => "slots",
            How::Shards { .. } => "shards",
            How::Nodes | How::Scan(_) | How::RandomKey(_) => "nodes",
        };
        let of_kind = |unknown: bool| {
            let concerned = move |part: &&Part| match part.outcome {
                Some(Outcome::Ok) => false,
                Some(Outcome::Unknown) | None => unknown,
                Some(_) => !unknown,
            };
            self.parts.iter().filter(concerned)
        };
        let names = |unknown: bool| {
            let mut names: Vec<String> = of_kind(unknown)
                .take(NAMED_MAX)
                .map(|part| part.slot.map_or_else(|| "?".to_owned(), |slot| slot.to_string()))
                .collect();
            let more = of_kind(unknown).count() - names.len();
            if more > 0 {
                names.push(format!("and {more} more"));
            }
            names.join(", ")
        };
        let why = of_kind(false).chain(of_kind(true)).next().map_or("", |part| {
            let text = std::str::from_utf8(self.reply_of(part)).unwrap_or_default();
            let text = text.trim_start_matches('-').trim_end();
            text.split_once("not executed: ").map_or(text, |(_, why)| why)
        });
        let total = self.parts.len();
        let mut text =
            format!("UNKNOWNRESULT partly executed: {applied} of {total} {what} applied");
        for (unknown, word) in [(false, "not executed"), (true, "unknown")] {
            let named = names(unknown);
            match (named.is_empty(), what) {
                (true, _) => {}
                (false, "slots") => text.push_str(&format!(", slots {named} {word}")),
                (false, _) => {
                    text.push_str(&format!(", {} {word}", of_kind(unknown).count()));
                }
            }
        }
        write::error(out, format!("{text}: {why}"));
    }
}

/// Room for replies of parts that is made when the first comes, at most.
const GATHERED_AT_FIRST: usize = 16 * 1024;

/// Slots named in an error; of more than these only the number is given.
const NAMED_MAX: usize = 10;

impl Clients {
    /// A part of a request was settled.
    pub(super) fn settle_part(&mut self, ticket: &Ticket, reply: &[u8], outcome: Outcome) {
        self.after_settling(ticket);
        let bytes_max = self.output_max;
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
        let gather = self.gathers.get(ticket.sequence as usize);
        gather.is_some_and(|gather| {
            gather.whole.client == ticket.client
                && gather.replies.len().saturating_add(bytes) <= self.output_max
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

impl Worker {
    /// A request whose keys are in several slots: one part a slot.
    pub(super) fn split(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        if !self.settings.split {
            return self.refuse_cross_slot(index, row);
        }
        let split = match routing::split(row, args) {
            Ok(split) => split,
            Err(NoSplit::Whole) => return self.refuse_cross_slot(index, row),
            Err(NoSplit::Arity) => return self.refuse(index, &Refusal::WrongArity(row), args),
        };
        let Some(merge) = merge_of(row) else { return self.refuse_cross_slot(index, row) };
        let mut order = vec![0; if merge == Merge::ByKey { split.keys() } else { 0 }];
        let mut parts = Vec::with_capacity(split.keys());
        for (slot, range) in split.parts() {
            if merge == Merge::ByKey {
                for place in split.places(range) {
                    order[place as usize] = parts.len() as u16;
                }
            }
            parts.push(Some(slot));
        }
        let class = command::class(row, args);
        let how = How::Slots { order };
        let Some(gather) = self.begin_gather(index, row, class, args, merge, how, &parts) else {
            return Step::Later;
        };
        let mut frame = std::mem::take(&mut self.part_frame);
        for (part, (slot, range)) in split.parts().enumerate() {
            frame.clear();
            split.write_part(args, range, &mut frame);
            self.send_part(gather, part as u16, Some(slot), NO_POOL, &frame);
        }
        frame.shrink_to(self.settings.large_request);
        self.part_frame = frame;
        Step::Taken
    }

    /// A request for every shard.
    pub(super) fn ask_shards(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let Some(merge) = merge_of(row) else {
            return self.refuse(index, &Refusal::Unknown, args);
        };
        let class = command::class(row, args);
        let shards = self.shards();
        let slots: Vec<Option<Slot>> = shards.iter().map(|&(slot, _)| Some(slot)).collect();
        let primaries = shards.iter().map(|&(_, pool)| pool).collect();
        let how = How::Shards { frame: args.frame().to_vec(), primaries };
        let Some(gather) = self.begin_gather(index, row, class, args, merge, how, &slots) else {
            return Step::Later;
        };
        for (part, &slot) in slots.iter().enumerate() {
            self.send_part(gather, part as u16, slot, NO_POOL, args.frame());
        }
        Step::Taken
    }

    /// A request for every node that is not known to be away.
    pub(super) fn ask_nodes(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let Some(merge) = merge_of(row) else {
            return self.refuse(index, &Refusal::Unknown, args);
        };
        let class = command::class(row, args);
        let there = self.topology.nodes().filter(|(_, node)| node.health != Health::Failed);
        let pools: Vec<u16> = there.filter_map(|(_, node)| self.pool_of(&node.id)).collect();
        if pools.is_empty() {
            self.cells.request_done(row.id.index(), Outcome::NotExecuted, 0);
            let why = "CLUSTERDOWN not executed: nothing is known of the cluster yet";
            self.answer(index, |out| write::error(out, why));
            return Step::Taken;
        }
        let parts = vec![None; pools.len()];
        let Some(gather) = self.begin_gather(index, row, class, args, merge, How::Nodes, &parts)
        else {
            return Step::Later;
        };
        for (part, &pool) in pools.iter().enumerate() {
            self.send_part(gather, part as u16, None, pool, args.frame());
        }
        Step::Taken
    }

    /// A slot of each shard, and the pool of its primary. If nothing is known of the cluster, one
    /// that waits until something is: it is found out at the end who was not asked.
    pub(super) fn shards(&self) -> Vec<(Slot, u16)> {
        let first_slot = |shard: &crate::topology::Shard| {
            let slot = shard.ranges.first()?.first;
            Some((slot, self.routes[slot.index()]))
        };
        let mut shards: Vec<(Slot, u16)> =
            self.topology.shards().filter_map(|(_, shard)| first_slot(shard)).collect();
        shards.sort_unstable_by_key(|&(_, pool)| pool);
        shards.dedup_by_key(|&mut (_, pool)| pool);
        if shards.is_empty() {
            shards.push((Slot::default(), NO_POOL));
        }
        shards
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
        parts: &[Option<Slot>],
    ) -> Option<u32> {
        let len = args.frame().len();
        let session = self.clients.get_with_flow(index)?;
        let is_write = self.settings.strict_order && class != Class::R;
        let overtakes = parts.iter().any(|&slot| session.would_overtake(slot));
        let flow = session.flow.as_mut()?;
        let alone = flow.in_flight() == 0;
        let writes = is_write && parts.iter().flatten().any(|slot| flow.writes.contains(slot));
        let (client, mode) = (ClientKey { index, generation: session.generation }, session.mode);
        let is_large = len > self.settings.large_request;
        if is_large {
            self.large_reads.finished(client); // it is here: nothing of it is waited for
        }
        if overtakes || writes || (is_large && !alone) {
            session.blocked = true;
            return None;
        }
        if is_write {
            flow.writes.extend(parts.iter().flatten());
        }
        if is_large {
            session.large_request = true;
            self.cells.large_requests.add(1);
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
            ..Ticket::new(client, mode, row.id, self.now)
        };
        let gather = Gather {
            whole,
            row,
            merge,
            how,
            parts: parts.iter().map(|&slot| Part::open(slot)).collect(),
            replies: Vec::new(),
            open: parts.len(),
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
        let Some(whole) = self.clients.gathers.get(gather as usize).map(|gather| &gather.whole)
        else {
            return; // the client was closed over an earlier part
        };
        let ticket = Ticket {
            sequence: gather,
            part,
            slot,
            pinned,
            len: frame.len() as u32,
            arrival: self.next_arrival,
            strict: whole.strict,
            replayable: whole.replayable,
            reads_only: whole.reads_only,
            forgeable: whole.forgeable,
            ..Ticket::new(whole.client, whole.mode, whole.command, whole.received)
        };
        self.next_arrival += 1;
        if let Some(session) = self.clients.get(ticket.client.index) {
            session.in_flight_bytes += frame.len();
        }
        self.send(ticket, frame);
    }

    /// All parts of a request are settled.
    pub(super) fn finish_gather(&mut self, index: u32) {
        if self.ask_the_others(index)
            || self.scan_on(index)
            || self.pick_on(index)
            || self.begin_join(index)
        {
            return;
        }
        let Some(gather) = self.clients.gathers.try_remove(index as usize) else { return };
        let client = gather.whole.client;
        if let Some(session) = self.clients.find(client)
            && let Some(flow) = &mut session.flow
        {
            flow.gathers = flow.gathers.saturating_sub(1);
        }
        let mut reply = Vec::with_capacity(gather.replies.len());
        let (outcome, surprise) = gather.conclude(&mut reply);
        if surprise {
            self.cells.merge_surprises.add(1);
            tracing::warn!(command = gather.row.name, "the nodes' replies cannot be made into one");
        }
        let whole = Ticket { strict: false, ..gather.whole };
        self.clients.settle(&whole, &reply, outcome, self.now);
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
        let late = gather.whole.received + self.settings.mask_deadline <= self.now;
        let is_well = |part: &Part| part.outcome == Some(Outcome::Ok) || part.large.is_some();
        let all_well = gather.parts.iter().all(is_well);
        let How::Shards { frame, primaries } = &mut gather.how else { return false };
        if late || !all_well {
            return false;
        }
        let missing: Vec<Slot> = now
            .iter()
            .filter(|(_, pool)| !primaries.contains(pool))
            .map(|&(slot, _)| slot)
            .collect();
        let whole_again = matches!(gather.merge, Merge::Sum | Merge::Join)
            && (!missing.is_empty() || primaries.len() != now.len());
        let mut unwanted = Vec::new();
        let slots = if whole_again {
            unwanted = take_large(&mut gather.parts);
            gather.parts.clear();
            gather.replies.clear();
            now.iter().map(|&(slot, _)| slot).collect()
        } else {
            missing
        };
        if slots.is_empty() {
            return false;
        }
        *primaries = now.iter().map(|&(_, pool)| pool).collect();
        let frame = frame.clone();
        let first = gather.parts.len();
        gather.parts.extend(slots.iter().map(|&slot| Part::open(Some(slot))));
        gather.open = slots.len();
        self.discard_parts(index, unwanted);
        for (n, &slot) in slots.iter().enumerate() {
            self.send_part(index, (first + n) as u16, Some(slot), NO_POOL, &frame);
        }
        true
    }
}
