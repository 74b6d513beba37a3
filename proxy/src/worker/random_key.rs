//! RANDOMKEY: each key of the cluster is as likely as any other, as far as a node's own choice
//! is fair. So the shard is chosen by its number of keys; one that turns out to have none by then
//! is not asked again, and only if none has any the answer is null.

use super::gather::How;
use super::requests::Step;
use super::{NO_POOL, Worker};
use crate::command::{self, Row};
use crate::resp::{Args, write};
use crate::routing::{Merge, number};
use crate::slot::Slot;

/// A slot of each shard and how many keys the shard has; empty until that is known.
pub(super) type Sizes = Vec<(Slot, i64)>;

impl Worker {
    /// A RANDOMKEY: asks all shards for their sizes first.
    pub(super) fn random_key(&mut self, index: u32, row: &'static Row, args: &Args<'_>) -> Step {
        let (class, how) = (command::class(row, args), How::RandomKey(Sizes::new()));
        let slots: Vec<_> = self.shards().into_iter().map(|(slot, _)| Some(slot)).collect();
        let Some(gather) =
            self.begin_gather(index, row, class, args, Merge::Any, how, slots.iter().copied())
        else {
            return Step::Later;
        };
        let mut frame = Vec::new();
        write::command(&mut frame, &[b"DBSIZE"]);
        for (part, &slot) in slots.iter().enumerate() {
            self.send_part(gather, part as u16, slot, NO_POOL, &frame);
        }
        Step::Taken
    }

    /// What a RANDOMKEY waited for is settled. Returns whether a shard is asked now.
    pub(super) fn pick_on(&mut self, index: u32) -> bool {
        let random = (self.around.random)();
        let Some(gather) = self.clients.gathers.get_mut(index as usize) else { return false };
        let How::RandomKey(sizes) = &gather.how else { return false };
        let Some(replies) = gather.all_well() else { return false };
        let sizes: Sizes = if sizes.is_empty() {
            let sized = replies.map(|(slot, _, reply)| (slot.unwrap_or_default(), number(reply)));
            sized.map(|(slot, size)| (slot, size.unwrap_or_default().max(0))).collect()
        } else {
            let is_null = |reply: &[u8]| matches!(reply, b"$-1\r\n" | b"_\r\n");
            let empty: Vec<_> =
                replies.filter(|(.., reply)| is_null(reply)).map(|(slot, ..)| slot).collect();
            if empty.is_empty() {
                return false;
            }
            let others = sizes.iter().filter(|(slot, _)| !empty.contains(&Some(*slot)));
            let others: Sizes = others.copied().collect();
            if others.iter().all(|&(_, size)| size == 0) {
                return false;
            }
            others
        };
        let Some(slot) = pick(&sizes, random) else { return false };
        gather.how = How::RandomKey(sizes);
        gather.open_one(Some(slot));
        let mut frame = Vec::new();
        write::command(&mut frame, &[b"RANDOMKEY"]);
        self.send_part(index, 0, Some(slot), NO_POOL, &frame);
        true
    }
}

/// The shard of the key that `random` (in 0..1) points at, if all keys stood in a row; the first
/// one if there are none.
fn pick(sizes: &[(Slot, i64)], random: f64) -> Option<Slot> {
    let total: i64 = sizes.iter().map(|&(_, size)| size).sum();
    let mut left = (random * total as f64) as i64;
    let holds = |&&(_, size): &&(Slot, i64)| {
        left -= size;
        left < 0
    };
    let chosen = sizes.iter().find(holds).or(sizes.first());
    chosen.map(|&(slot, _)| slot)
}
