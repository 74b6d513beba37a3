//! SCAN: one node at a time, in the order of the slots. The client's cursor holds all that is
//! known of it ([`Cursor`]), so nothing stays here between two requests, and any slotway can go on.
//!
//! Each part is masked like any request: it waits for its slot's owner and goes to the one that
//! there is by then. Who has answered in the end is seen afterwards; a page of a process that did
//! not give the cursor is thrown away, and its stretch begun again.

use super::gather::How;
use super::requests::Step;
use super::{NO_POOL, WishReason, Worker};
use crate::command::{self, Row};
use crate::metrics::Outcome;
use crate::node::{Identity, Phase};
use crate::resp::{Args, write};
use crate::routing::{
    After, Cursor, Holdings, Merge, Stretch, Surprise, slot_of_pattern, write_page,
};
use crate::slot::Slot;
use crate::topology::NodeId;

/// Parts sent for one request; then it gets the keys that there are, perhaps none, and a cursor.
const PARTS_MAX: u8 = 16;

/// A SCAN that is under way.
#[derive(Debug)]
pub(super) struct Scan {
    /// Its words behind the cursor: how many, and their bytes.
    options: (usize, Vec<u8>),
    /// Only keys of this slot can match.
    only: Option<Slot>,
    /// Where it is.
    cursor: Cursor,
    asked: Asked,
    /// Keys for the client, raw, and how many.
    keys: Vec<u8>,
    count: usize,
    parts: u8,
}

/// What the part that is under way asks.
#[derive(Debug)]
enum Asked {
    /// A node that there is no connection to: who it is.
    Identity,
    /// The owner of the slot: who takes the slot over.
    Target,
    /// For keys.
    Page(Reading),
    /// The owner of the stretch, which was read to its end: which slots it has now.
    Holdings(Reading),
}

/// The stretch that is being read.
#[derive(Clone, Copy, Debug)]
struct Reading {
    stretch: Stretch,
    /// The fingerprint for the next cursor.
    fingerprint: u16,
    /// The process that the cursor is for, and its node's base pool.
    process: u8,
    base: u16,
    /// It is read at this node, which takes its only slot over.
    target: Option<NodeId>,
}

impl Worker {
    /// A SCAN.
    pub(super) fn scan(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let Some(mut cursor) = args.get(1).and_then(Cursor::parse) else {
            self.cells.request_done(row.id.index(), Outcome::Refused, 0);
            self.answer(index, |out| write::error(out, "ERR invalid cursor"));
            return Step::Taken;
        };
        let only = slot_of_pattern(args);
        if let Some(only) = only
            && cursor.first != only
        {
            cursor = Cursor::start(only); // one behind it is of no scan with this pattern
        }
        let mut options = Vec::new();
        args.iter().skip(2).for_each(|word| write::bulk(&mut options, word));
        let scan = Box::new(Scan {
            options: (args.len() - 2, options),
            only,
            cursor,
            asked: Asked::Identity,
            keys: Vec::new(),
            count: 0,
            parts: 0,
        });
        let (class, how) = (command::class(row, args), How::Nodes);
        let slots = [Some(cursor.first)];
        let Some(gather) =
            self.begin_gather(index, row, class, args, Merge::Any, how, slots.into_iter())
        else {
            return Step::Later;
        };
        self.read_on(gather, scan);
        Step::Taken
    }

    /// The part of a SCAN that was under way is settled. Returns whether another one is now.
    pub(super) fn scan_on(&mut self, index: u32) -> bool {
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return false };
        let How::Scan(_) = gather.how else { return false };
        let Some((_, process, reply)) = gather.all_well().and_then(|mut parts| parts.next()) else {
            return false;
        };
        let reply = reply.to_vec();
        let How::Scan(scan) = std::mem::replace(&mut gather.how, How::Nodes) else { return false };
        self.take_in(index, scan, process, &reply).unwrap_or_else(|Surprise| {
            self.cells.merge_surprises.add(1);
            let mut text = Vec::new();
            write::error(&mut text, "ERR a node's reply to 'scan' cannot be made into one");
            self.put_reply(index, text, Outcome::ServerError)
        })
    }

    /// As [`Worker::scan_on`], with the reply to what was asked.
    fn take_in(
        &mut self,
        index: u32,
        mut scan: Box<Scan>,
        process: u8,
        reply: &[u8],
    ) -> Result<bool, Surprise> {
        let first = scan.cursor.first;
        match scan.asked {
            Asked::Identity => Ok(self.read_on(index, scan)),
            Asked::Target => {
                let has = Holdings::read(reply)?;
                let Some(target) = has.target_of(first) else {
                    scan.cursor = Cursor::start(first);
                    return Ok(self.read_on(index, scan));
                };
                Ok(self.read_target(index, scan, target, has.epoch()))
            }
            Asked::Page(reading) if !self.is_read_at(index, &reading, process) => {
                scan.cursor = Cursor { server: 0, ..scan.cursor };
                Ok(self.read_on(index, scan))
            }
            Asked::Page(reading) => {
                let (server, count) = reading.stretch.page(reply, &mut scan.keys)?;
                scan.count += count;
                if reading.stretch.is_over(server) {
                    return Ok(self.ask_owner(index, scan, Asked::Holdings(reading)));
                }
                let fingerprint = reading.fingerprint;
                let cursor = Cursor { server, fingerprint, ..scan.cursor };
                self.end_page(index, &scan, Some(cursor))
            }
            Asked::Holdings(reading) => {
                let has = Holdings::read(reply)?;
                let after = match reading.target {
                    Some(target) if has.target_of(first) == Some(target) => {
                        After::From(first.number() + 1)
                    }
                    None if self.is_read_at(index, &reading, process) => {
                        reading.stretch.after(&has)
                    }
                    _ => After::Again,
                };
                self.go_on_behind(index, scan, reading.stretch, after)
            }
        }
    }

    /// A stretch was read to its end.
    fn go_on_behind(
        &mut self,
        index: u32,
        mut scan: Box<Scan>,
        stretch: Stretch,
        after: After,
    ) -> Result<bool, Surprise> {
        let next = match after {
            After::Again => Some(stretch.first),
            After::Target(slot) => Some(slot),
            After::From(next) => {
                Slot::new(next).filter(|slot| scan.only.is_none_or(|o| *slot <= o))
            }
        };
        let as_mapped = match after {
            After::Again => false,
            After::Target(_) => true,
            After::From(next) => next > stretch.last.number(),
        };
        if !as_mapped {
            self.outbox.wish(WishReason::Scan);
        }
        let Some(next) = next else { return self.end_page(index, &scan, None) };
        scan.cursor =
            Cursor { at_target: matches!(after, After::Target(_)), ..Cursor::start(next) };
        if as_mapped && scan.count == 0 {
            return Ok(self.read_on(index, scan));
        }
        let cursor = scan.cursor;
        self.end_page(index, &scan, Some(cursor))
    }

    /// Sends the next part of a SCAN, from where its cursor is. Returns whether one was sent.
    fn read_on(&mut self, index: u32, scan: Box<Scan>) -> bool {
        let first = scan.cursor.first;
        if scan.cursor.at_target {
            return self.ask_owner(index, scan, Asked::Target);
        }
        let base = self.routes[first.index()];
        let Some(identity) = self.identity_of(index, base).cloned() else {
            return self.ask_owner(index, scan, Asked::Identity);
        };
        let is_its = |slot: Slot| self.routes[slot.index()] == base && scan.only.is_none();
        let stretch = Stretch::from(first, self.epoch_of(base), identity.scans_by_slot, is_its);
        self.read_page(index, scan, stretch, None, (base, &identity))
    }

    /// Sends for a page of the slot that the cursor is at, at the node that takes it over.
    fn read_target(&mut self, index: u32, scan: Box<Scan>, target: NodeId, epoch: u64) -> bool {
        let first = scan.cursor.first;
        let Some(base) = self.pool_of(&target) else {
            self.outbox.wish(WishReason::UnknownNode);
            let cursor = Some(scan.cursor);
            return self.end_page(index, &scan, cursor).unwrap_or_default();
        };
        let Some(identity) = self.identity_of(index, base).cloned() else {
            return self.send_scan_part(index, scan, Asked::Identity, None, base, &cluster_nodes());
        };
        let stretch = Stretch::from(first, epoch, identity.scans_by_slot, |_| false);
        self.read_page(index, scan, stretch, Some(target), (base, &identity))
    }

    fn read_page(
        &mut self,
        index: u32,
        scan: Box<Scan>,
        stretch: Stretch,
        target: Option<NodeId>,
        (base, identity): (u16, &Identity),
    ) -> bool {
        let run_id = identity.run_id.as_deref().unwrap_or_default();
        let (fingerprint, process) = (stretch.fingerprint(run_id), identity.process());
        let server = stretch.server_cursor(&scan.cursor, run_id);
        if stretch.is_lost(&scan.cursor, run_id) {
            // Perhaps it is our map that is old, and another slotway's that is not: without a look
            // each would begin again what the other has begun, and a demoted node answers SCAN.
            self.outbox.wish(WishReason::Scan);
        }
        let mut frame = Vec::new();
        write::array_header(&mut frame, 2 + scan.options.0);
        write::bulk(&mut frame, "SCAN");
        write::bulk(&mut frame, server.to_string());
        frame.extend_from_slice(&scan.options.1);
        let asked = Asked::Page(Reading { stretch, fingerprint, process, base, target });
        let (slot, pinned) = match target {
            Some(_) => (None, base),
            None => (Some(stretch.first), NO_POOL),
        };
        self.send_scan_part(index, scan, asked, slot, pinned, &frame)
    }

    /// Asks the owner of the slot that the cursor is at for the slots that it has.
    fn ask_owner(&mut self, index: u32, scan: Box<Scan>, asked: Asked) -> bool {
        let slot = Some(scan.cursor.first);
        self.send_scan_part(index, scan, asked, slot, NO_POOL, &cluster_nodes())
    }

    fn send_scan_part(
        &mut self,
        index: u32,
        mut scan: Box<Scan>,
        asked: Asked,
        slot: Option<Slot>,
        pinned: u16,
        frame: &[u8],
    ) -> bool {
        // What was read to its end is asked after, or its keys would have to be read again.
        if scan.parts >= PARTS_MAX && !matches!(asked, Asked::Holdings(_)) {
            let cursor = Some(scan.cursor);
            return self.end_page(index, &scan, cursor).unwrap_or_default();
        }
        scan.parts += 1;
        scan.asked = asked;
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return false };
        gather.how = How::Scan(scan);
        gather.open_one(slot);
        self.send_part(index, 0, slot, pinned, frame);
        true
    }

    /// The client's reply: what was found, and where to go on if it is not over.
    fn end_page(
        &mut self,
        index: u32,
        scan: &Scan,
        cursor: Option<Cursor>,
    ) -> Result<bool, Surprise> {
        let number = cursor.map_or(Some(0), |cursor| cursor.number()).ok_or(Surprise)?;
        let mut reply = Vec::with_capacity(scan.keys.len() + 64);
        write_page(number, scan.count, &scan.keys, &mut reply);
        Ok(self.put_reply(index, reply, Outcome::Ok))
    }

    fn put_reply(&mut self, index: u32, reply: Vec<u8>, outcome: Outcome) -> bool {
        if let Some(gather) = self.clients.gathers.get_mut(index as usize) {
            gather.put(reply, outcome);
        }
        false
    }

    /// Whether this process, which has answered, is the one that the cursor is for. It may have
    /// been restarted in between, or another node may have taken over; a byte alone would take
    /// one process in 256 for another.
    fn is_read_at(&self, index: u32, reading: &Reading, process: u8) -> bool {
        process == reading.process
            && self.identity_of(index, reading.base).is_some_and(|identity| {
                let run_id = identity.run_id.as_deref().unwrap_or_default();
                reading.stretch.fingerprint(run_id) == reading.fingerprint
            })
    }

    /// Who answers at the node of this base pool in the mode of the request's client, if there is
    /// a connection that requests can go out on.
    fn identity_of(&self, gather: u32, base: u16) -> Option<&Identity> {
        let mode = self.clients.gathers.get(gather as usize)?.whole.mode;
        let node = self.pools.get(usize::from(base))?;
        let pool = if mode.is_base() { Some(base) } else { node.twin(mode) };
        let shared = self.pools.get(usize::from(pool?))?.shared?;
        let connection = self.connections.get(shared as usize)?;
        matches!(connection.phase, Phase::Ready).then_some(&connection.identity)
    }

    /// The config epoch of a node, as the map has it.
    fn epoch_of(&self, base: u16) -> u64 {
        let node = self.pools.get(usize::from(base));
        let node = node.and_then(|node| self.topology.node_by_id(&node.id));
        node.map_or(0, |node| self.topology.node(node).config_epoch)
    }
}

fn cluster_nodes() -> Vec<u8> {
    let mut frame = Vec::new();
    write::command(&mut frame, &[b"CLUSTER", b"NODES"]);
    frame
}
