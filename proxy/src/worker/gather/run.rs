//! Parts that follow each other on one node's connection: sent and taken together, so that what is
//! the same for all of them is looked at once. A part of one key is all that a request of many
//! keys pays for each of them, so every instruction here counts as many times.

use super::{Gather, part_of};
use crate::metrics::Outcome;
use crate::node::{Expected, Kind as Use, Phase, Replies, Stream, Trial, WHOLE};
use crate::resp::Args;
use crate::resp::reply::small_array;
use crate::routing::{PartWriter, SlotKeys, Split};
use crate::worker::requests::ready;
use crate::worker::{NO_POOL, Worker};

impl Worker {
    /// The parts of a split request: what goes to a node that is there is written straight away,
    /// and what cannot takes the way of any part.
    pub(super) fn send_split(&mut self, gather: u32, split: &Split, args: &Args<'_>) {
        let mut writer = split.writer(args);
        let mut frame = std::mem::take(&mut self.part_frame);
        let is_small = args.frame().len() <= self.settings.large_request;
        let (parts, mut number) = (split.parts(), 0);
        while let Some(&part) = parts.get(number) {
            let written =
                if is_small { self.write_run(gather, parts, number, &mut writer) } else { 0 };
            if written == 0 {
                frame.clear();
                writer.write(part, &mut frame);
                self.send_part(gather, number as u16, Some(part.slot), NO_POOL, &frame);
            }
            number += written.max(1);
        }
        frame.shrink_to(self.settings.large_request);
        self.part_frame = frame;
    }

    /// Writes the part of this number to its node, and those that follow and are for the same
    /// node, as far as they can go there now. Returns how many.
    fn write_run(
        &mut self,
        gather: u32,
        parts: &[SlotKeys],
        number: usize,
        writer: &mut PartWriter<'_>,
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
        if whole.way.is_own() {
            return 0;
        }
        let (mut end, mut bytes) = (number, 0);
        while let Some(&part) = parts.get(end)
            && self.routes[part.slot.index()] == base
            && connection.unsent_bytes() <= self.settings.park_max_bytes
        {
            let ticket = part_of(whole, gather, end as u16, Some(part.slot), self.next_arrival);
            self.next_arrival += 1;
            bytes += connection.push_with(ticket, |out| writer.write(part, out));
            end += 1;
        }
        node.cells.requests_total.add((end - number) as u64);
        if !connection.dirty {
            connection.dirty = true;
            self.outbox.dirty_nodes.push(shared);
        }
        if !whole.reads_only && end > number {
            let client = whole.client.index;
            self.clients.note_write(client, base);
        }
        self.clients.charge(gather, bytes);
        end - number
    }

    /// Takes the replies at the start of what was read from this connection, as long as they
    /// answer parts of requests and nothing about them is special. Returns how many bytes they
    /// are.
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
        while let Some(Expected::Request(ticket)) = connection.head()
            && ticket.part != WHOLE
            && ticket.trial == Trial::No
            && let Some(len) = small_array(&chunk[used..])
        {
            self.clients.take_part(ticket, &chunk[used..used + len], Outcome::Ok);
            connection.drop_head(ticket.len);
            used += len;
        }
        used
    }
}
