//! Parts that follow each other on one node's connection: sent and taken together, so that what is
//! the same for all of them is looked at once. A part of one key is all that a request of many
//! keys pays for each of them, so every instruction here counts as many times.

use super::{GATHERED_AT_FIRST, Gather, part_of};
use crate::metrics::Outcome;
use crate::node::{Kind as Use, Phase, Replies, Run, Stream};
use crate::resp::Args;
use crate::resp::reply::Alike;
use crate::routing::{PartWriter, SlotKeys, Split};
use crate::worker::requests::ready;
use crate::worker::settle::Clients;
use crate::worker::{NO_POOL, Worker};

impl Worker {
    /// The parts of a split request: what goes to a node that is there is written straight away,
    /// and what cannot takes the way of any part.
    pub(super) fn send_split(&mut self, gather: u32, split: &Split, args: &Args<'_>) {
        let writer = split.writer(args);
        let mut frame = std::mem::take(&mut self.part_frame);
        let is_small = args.frame().len() <= self.settings.large_request;
        let (parts, mut number) = (split.parts(), 0);
        while let Some(&part) = parts.get(number) {
            let written = if is_small { self.write_run(gather, parts, number, &writer) } else { 0 };
            if written == 0 {
                frame.clear();
                writer.write(&parts[number..=number], usize::MAX, &mut frame);
                self.send_part(gather, number as u16, Some(part.slot), NO_POOL, &frame);
            }
            number += written.max(1);
        }
        frame.shrink_to(self.settings.large_request);
        self.part_frame = frame;
    }

    /// Writes the part of this number to its node, and those that follow and are for the same
    /// node, as far as they can go there now. Returns how many they are.
    fn write_run(
        &mut self,
        gather: u32,
        parts: &[SlotKeys],
        number: usize,
        writer: &PartWriter<'_>,
    ) -> usize {
        let Some(Gather { whole, .. }) = self.clients.gathers.get_mut(gather as usize) else {
            return 0; // the client was closed over an earlier part
        };
        let base = self.routes[parts[number].slot.index()];
        let pool = match self.pools.get(usize::from(base)) {
            Some(node) if !whole.mode.is_base() => node.twin(whole.mode).unwrap_or(NO_POOL),
            _ => base,
        };
        let Some((shared, connection, node)) = ready(&self.pools, &mut self.connections, pool)
        else {
            return 0;
        };
        if whole.way.is_own() || connection.unsent_bytes() > self.settings.park_max_bytes {
            return 0;
        }
        let room = self.settings.park_max_bytes.saturating_sub(connection.unsent_bytes());
        let parts = &parts[number..];
        let elsewhere = |part: &SlotKeys| self.routes[part.slot.index()] != base;
        let parts = &parts[..parts.iter().position(elsewhere).unwrap_or(parts.len())];
        let first = parts.first().map(|part| part.slot);
        let ticket = part_of(whole, gather, number as u16, first, self.next_arrival);
        let (count, bytes) = connection.push_run(ticket, |out| writer.write(parts, room, out));
        self.next_arrival += count as u64;
        node.cells.requests_total.add(count as u64);
        if !connection.dirty {
            connection.dirty = true;
            self.outbox.dirty_nodes.push(shared);
        }
        if !whole.reads_only {
            let client = whole.client.index;
            self.clients.note_write(client, base);
        }
        self.clients.charge(gather, bytes);
        count
    }

    /// Takes the replies at the start of what was read from this connection, as long as they
    /// answer parts that were written together and nothing about them is special. Returns how many
    /// bytes they are.
    #[inline(never)]
    pub(in crate::worker) fn take_parts(&mut self, index: u32, chunk: &[u8]) -> usize {
        let Some(connection) = self.connections.get_mut(index as usize) else { return 0 };
        if !matches!(connection.phase, Phase::Ready)
            || connection.stream != Stream::Whole
            || !connection.scanner.is_fresh()
            || connection.replies != Replies::Pass
            || connection.kind != Use::Shared
            || connection.retiring
        {
            return 0;
        }
        let mut used = 0;
        while let Some(run) = connection.head_run() {
            let left = run.left();
            let (count, bytes) = self.clients.take_run(run, &chunk[used..]);
            used += bytes;
            connection.drop_parts(count);
            if count < left {
                break;
            }
        }
        used
    }
}

impl Clients {
    /// Takes the replies to parts that were written together. Returns how many they are, and how
    /// many bytes: not all if one is not there in full, or has to be looked at closely.
    fn take_run(&mut self, run: &Run, chunk: &[u8]) -> (usize, usize) {
        let ticket = run.ticket();
        let bytes_max = self.gathered_max(ticket.sequence, chunk.len());
        let of_client = |gather: &&mut Gather| gather.whole.client == ticket.client;
        let gather = self.gathers.get_mut(ticket.sequence as usize).filter(of_client);
        let (Some(gather), false) = (gather, ticket.strict) else { return (0, 0) };
        let taken = gather.take_run(run, chunk, bytes_max);
        if gather.open == 0 && taken.0 > 0 {
            self.news.gathered.push(ticket.sequence);
        }
        taken
    }
}

impl Gather {
    fn take_run(&mut self, run: &Run, chunk: &[u8], bytes_max: usize) -> (usize, usize) {
        let Gather { parts, replies, open, .. } = self;
        let (first, before) = (usize::from(run.ticket().part), replies.len());
        let parts = parts.get_mut(first..first + run.left()).unwrap_or_default();
        let (mut count, mut used, mut alike) = (0, 0, Alike::default());
        let room = bytes_max.saturating_sub(before);
        let process = run.ticket().process;
        for part in parts {
            let Some(end) = alike.end(chunk, used) else { break };
            if end > room || part.outcome.is_some() {
                break;
            }
            (part.start, part.len) = (before + used, end - used);
            (part.outcome, part.process) = (Some(Outcome::Ok), process);
            used = end;
            count += 1;
        }
        if before == 0 && count > 0 {
            // They are of about the same length, mostly.
            replies.reserve((used / count * *open).clamp(used, GATHERED_AT_FIRST.max(used)));
        }
        replies.extend_from_slice(&chunk[..used]);
        *open -= count;
        (count, used)
    }
}
