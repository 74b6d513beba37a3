//! SCAN over the whole cluster: what its one cursor holds, which keys of a node's page count, and
//! where it goes on. It keeps Redis' guarantee, that every key is returned that is there for the
//! whole scan, while slots move, primaries fail over and nodes restart.
//!
//! The slots are scanned in order, a *stretch* at a time: consecutive slots of one owner. A node's
//! cursor means something only to the process that gave it, and only keys of the stretch count of
//! what it returns. So a stretch counts as read only if one process had all of its slots all the
//! time: the cursor holds a fingerprint of the process, of the stretch's end and of the owner's
//! config epoch (a slot that left and came back raises that), and when the node has no more, it is
//! asked for the slots that it has by then. What it has lost is begun again at its new owner. What
//! it is giving away was read at the source, and is then read at the target too: keys move one way
//! only.

use super::Surprise;
use super::merge::{elements, take_value};
use crate::resp::{Args, canonical_integer, write};
use crate::slot::Slot;
use crate::topology::NodeId;

/// Where a scan is, as the client's cursor tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The first slot that is not read yet.
    pub first: Slot,
    /// That slot was read at its owner, which is giving it away, and is being read at the target.
    pub at_target: bool,
    /// Of the stretch and the process that the server's cursor belongs to.
    pub fingerprint: u16,
    /// The server's cursor; 0: the stretch begins.
    pub server: u64,
}

impl Cursor {
    /// The cursor of a scan that goes on at the beginning of a stretch.
    pub fn start(first: Slot) -> Cursor {
        Cursor { first, at_target: false, fingerprint: 1, server: 0 }
    }

    /// The cursor that a client sent; 0 is the start of a scan. `None` if no slotway can have given
    /// it out.
    pub fn parse(text: &[u8]) -> Option<Cursor> {
        let number = u64::try_from(canonical_integer(text)?).ok()?;
        let first = Slot::new((number & SLOT_MASK) as u16)?;
        if number == 0 {
            return Some(Cursor::start(first));
        }
        let at_target = number >> SLOT_BITS & 1 == 1;
        let fingerprint = (number >> (SLOT_BITS + 1)) as u16 % (1 << FINGERPRINT_BITS);
        let server = number >> SERVER_SHIFT;
        (fingerprint > 0).then_some(Cursor { first, at_target, fingerprint, server })
    }

    /// The number for the client: never 0, which would be the end, never above 2^63 − 1, and at
    /// most 2^53 − 1 (clients read it as a double) as long as the server's cursor is below 2^28.
    /// `None` if that has no room: 2^38 buckets in a table, or 2^24 in one of a slot.
    pub fn number(&self) -> Option<u64> {
        let ours = u64::from(self.first.number())
            | u64::from(self.at_target) << SLOT_BITS
            | u64::from(self.fingerprint) << (SLOT_BITS + 1);
        (self.server < 1 << SERVER_BITS).then_some(self.server << SERVER_SHIFT | ours)
    }
}

const SLOT_BITS: u32 = 14;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const FINGERPRINT_BITS: u32 = 10;
const SERVER_SHIFT: u32 = SLOT_BITS + 1 + FINGERPRINT_BITS;
const SERVER_BITS: u32 = 63 - SERVER_SHIFT;

/// Where nodes keep a table for each slot, a stretch can be short: a page begins at any slot. What
/// has to be begun again is then little.
const BY_SLOT_STRETCH: u16 = 1024;

/// Slots that are read at one process, from its first cursor to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first slot.
    pub first: Slot,
    /// Its last slot.
    pub last: Slot,
    /// The config epoch of the owner, as the map has it.
    pub epoch: u64,
    /// The process keeps a table for each slot: its cursors hold the slot in their low bits, and a
    /// slot's number is the cursor of its beginning (Redis 7.4, Valkey 8).
    pub by_slot: bool,
}

impl Stretch {
    /// The stretch from this slot to the last one in a row that `is_its` says the owner has.
    pub fn from(first: Slot, epoch: u64, by_slot: bool, is_its: impl Fn(Slot) -> bool) -> Stretch {
        let mut last = first;
        while let Some(next) = Slot::new(last.number() + 1)
            && is_its(next)
            && !(by_slot && next.number() % BY_SLOT_STRETCH == 0)
        {
            last = next;
        }
        Stretch { first, last, epoch, by_slot }
    }

    /// What a cursor holds of this stretch and the process (by its `run_id`) that is read: two of
    /// them agree by chance once in a thousand.
    pub fn fingerprint(&self, run_id: &str) -> u16 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64; // FNV-1a: the same in every slotway
        let (last, epoch) = (self.last.number().to_le_bytes(), self.epoch.to_le_bytes());
        for byte in run_id.bytes().chain(last).chain(epoch) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        (1 + (hash >> 20) % ((1 << FINGERPRINT_BITS) - 1)) as u16
    }

    /// The server's cursor to go on with at this process: the client's if it is of this stretch
    /// and process, else that of the beginning.
    pub fn server_cursor(&self, cursor: &Cursor, run_id: &str) -> u64 {
        if cursor.server != 0 && !self.is_lost(cursor, run_id) {
            return cursor.server;
        }
        if self.by_slot { u64::from(self.first.number()) } else { 0 }
    }

    /// Whether a server's cursor is of another stretch or process, so that it is of no use.
    pub fn is_lost(&self, cursor: &Cursor, run_id: &str) -> bool {
        cursor.server != 0 && cursor.fingerprint != self.fingerprint(run_id)
    }

    /// Whether a server that gave this cursor has nothing more of the stretch.
    pub fn is_over(&self, server: u64) -> bool {
        let slot = (server & SLOT_MASK) as u16;
        server == 0 || (self.by_slot && slot > self.last.number())
    }

    /// Appends the keys of a server's page that lie in the stretch, as they are, and returns the
    /// server's next cursor and how many they are.
    ///
    /// # Errors
    /// [`Surprise`] if that is no reply to SCAN.
    pub fn page(&self, reply: &[u8], keys: &mut Vec<u8>) -> Result<(u64, usize), Surprise> {
        let (2, mut rest) = elements(reply)? else { return Err(Surprise) };
        let cursor = str::from_utf8(bulk(take_value(&mut rest)?)?).map_err(|_| Surprise)?;
        let cursor = cursor.parse().map_err(|_| Surprise)?;
        let (count, mut rest) = elements(rest)?;
        let mut kept = 0;
        for _ in 0..count {
            let key = take_value(&mut rest)?;
            let slot = Slot::of_key(bulk(key)?);
            if (self.first..=self.last).contains(&slot) {
                keys.extend_from_slice(key);
                kept += 1;
            }
        }
        Ok((cursor, kept))
    }

    /// Where the scan goes on once the owner had nothing more of the stretch; `has` is what it
    /// said of itself then.
    pub fn after(&self, has: &Holdings) -> After {
        if has.epoch != self.epoch {
            return After::Again;
        }
        let (first, last) = (self.first.number(), self.last.number());
        let kept = (first..=last).take_while(|&slot| has.owns(slot)).count() as u16;
        let open = has.leaving.iter().map(|&(slot, _)| slot);
        let open = open.filter(|slot| (first..first + kept).contains(&slot.number())).min();
        match open {
            Some(slot) => After::Target(slot),
            None if kept == 0 => After::Again,
            None => After::From(first + kept),
        }
    }
}

/// Where a scan goes on behind a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The stretch has to be begun again: its owner is another one, or was for a while.
    Again,
    /// All before this slot is read, and this slot at its owner: now at the node that takes it.
    Target(Slot),
    /// All before the slot of this number is read.
    From(u16),
}

/// What a node says of its own slots (CLUSTER NODES, the line about itself).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Its config epoch.
    epoch: u64,
    /// First and last slot of each range that it owns.
    ranges: Vec<(u16, u16)>,
    /// Slots that it is giving away, and to whom.
    leaving: Vec<(Slot, NodeId)>,
}

impl Holdings {
    /// Reads the reply to CLUSTER NODES.
    ///
    /// # Errors
    /// [`Surprise`] if that is no such reply.
    pub fn read(reply: &[u8]) -> Result<Holdings, Surprise> {
        let text = str::from_utf8(bulk(reply)?).map_err(|_| Surprise)?;
        let is_own = |line: &&str| {
            let flags = line.split_ascii_whitespace().nth(2).unwrap_or_default();
            flags.split(',').any(|flag| flag == "myself")
        };
        let own = text.lines().find(is_own).ok_or(Surprise)?;
        let mut words = own.split_ascii_whitespace().skip(6);
        let epoch = words.next().and_then(|word| word.parse().ok()).ok_or(Surprise)?;
        let mut has = Holdings { epoch, ..Holdings::default() };
        for word in words.skip(1) {
            if let Some(open) = word.strip_prefix('[') {
                // `[93->-id]` leaves, `[93-<-id]` comes.
                let Some((slot, id)) = open.trim_end_matches(']').split_once("->-") else {
                    continue;
                };
                let slot = slot.parse().ok().and_then(Slot::new).ok_or(Surprise)?;
                has.leaving.push((slot, NodeId::parse(id.as_bytes()).ok_or(Surprise)?));
                continue;
            }
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let number = |text: &str| text.parse().map_err(|_| Surprise);
            has.ranges.push((number(first)?, number(last)?));
        }
        Ok(has)
    }

    /// The node's config epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The node that a slot is given to, if it is.
    pub fn target_of(&self, slot: Slot) -> Option<NodeId> {
        let is_leaving =
            |&&(leaving, _): &&(Slot, NodeId)| leaving == slot && self.owns(slot.number());
        self.leaving.iter().find(is_leaving).map(|&(_, target)| target)
    }

    fn owns(&self, slot: u16) -> bool {
        self.ranges.iter().any(|&(first, last)| (first..=last).contains(&slot))
    }
}

/// The one slot in which all keys lie that a SCAN's pattern matches, if there is only one: its
/// hash tag, or all of it, stands there literally. The other nodes need not be asked then.
pub fn slot_of_pattern(args: &Args<'_>) -> Option<Slot> {
    let words: Vec<&[u8]> = args.iter().skip(2).collect();
    let is_match = |option: &&[&[u8]]| option[0].eq_ignore_ascii_case(b"MATCH");
    let pattern = *words.chunks_exact(2).rev().find(is_match)?.get(1)?;
    let special = memchr::memchr3(b'*', b'?', b'[', pattern);
    let special = special.into_iter().chain(memchr::memchr(b'\\', pattern)).min();
    let literal = &pattern[..special.unwrap_or(pattern.len())];
    let open = memchr::memchr(b'{', literal);
    let tag = open.and_then(|open| memchr::memchr(b'}', &literal[open + 1..]));
    (special.is_none() || tag.is_some_and(|len| len > 0)).then(|| Slot::of_key(literal))
}

/// Appends the client's reply: `cursor` 0 ends the scan, `keys` are `count` raw values.
pub fn write_page(cursor: u64, count: usize, keys: &[u8], out: &mut Vec<u8>) {
    write::array_header(out, 2);
    write::bulk(out, cursor.to_string());
    write::array_header(out, count);
    out.extend_from_slice(keys);
}

/// The bytes of a bulk string, or of a verbatim string, which is text.
fn bulk(value: &[u8]) -> Result<&[u8], Surprise> {
    let header = memchr::memchr(b'\n', value).ok_or(Surprise)?;
    let end = value.len().checked_sub(2).ok_or(Surprise)?;
    let body = value.get(header + 1..end).ok_or(Surprise)?;
    match value.first() {
        Some(b'$') => Ok(body),
        Some(b'=') => body.strip_prefix(b"txt:").ok_or(Surprise),
        _ => Err(Surprise),
    }
}

#[cfg(test)]
mod tests;
