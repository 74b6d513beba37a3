//! What the nodes hold: of each key the writes that it has seen, in order. A list is that; a
//! counter is its length, a register its last one.

use std::collections::BTreeMap;

use fastrand::Rng;

use super::cluster::{TAGS, slot_of};

/// The key that a word of a request means. One that carries the request's number, `{a}t12`, is the
/// first key of its slot.
pub(super) fn key_in(word: &str) -> String {
    match word.split_once("}t") {
        Some((tag, _)) => format!("{tag}}}0"),
        None => word.to_owned(),
    }
}

#[derive(Default)]
pub(super) struct Data {
    lists: BTreeMap<(u16, String), Vec<usize>>,
}

impl Data {
    pub(super) fn list(&self, port: u16, key: &str) -> &[usize] {
        self.lists.get(&(port, key.to_owned())).map_or(&[], Vec::as_slice)
    }

    pub(super) fn append(&mut self, port: u16, key: &str, op: usize) {
        self.lists.entry((port, key.to_owned())).or_default().push(op);
    }

    /// The keys of a slot.
    pub(super) fn keys(&self, slot: u16) -> Vec<String> {
        let tag = TAGS.into_iter().find(|tag| slot_of(tag) == slot).expect("a slot of this world");
        (0..2).map(|n| format!("{tag}{n}")).collect()
    }

    /// What a node has: its keys, and how much of each.
    pub(super) fn of(&self, port: u16) -> Vec<(String, usize)> {
        let mine = self.lists.iter().filter(|((at, _), _)| *at == port);
        mine.map(|((_, key), list)| (key.clone(), list.len())).collect()
    }

    /// The key as it is at one node is at the other too.
    pub(super) fn copy(&mut self, from: u16, to: u16, key: &str) {
        let list = self.list(from, key).to_vec();
        self.lists.insert((to, key.to_owned()), list);
    }

    /// A replica comes nearer to its primary, or has all of it.
    pub(super) fn follow(&mut self, from: u16, to: u16, key: &str, all: bool, rng: &mut Rng) {
        let list = self.list(from, key);
        let has = self.list(to, key).len().min(list.len());
        let len = if all { list.len() } else { rng.usize(has..=list.len()) };
        let list = list[..len].to_vec();
        self.lists.insert((to, key.to_owned()), list);
    }

    /// What the first has and the second not.
    pub(super) fn missing(&self, first: u16, second: u16, key: &str) -> Vec<usize> {
        let there = self.list(second, key);
        self.list(first, key).iter().copied().filter(|op| !there.contains(op)).collect()
    }

    /// Keeps the beginning of a list, and returns the rest.
    pub(super) fn truncate(&mut self, port: u16, key: &str, keep: usize) -> Vec<usize> {
        let list = self.lists.get_mut(&(port, key.to_owned()));
        list.map(|list| list.split_off(keep.min(list.len()))).unwrap_or_default()
    }

    pub(super) fn remove(&mut self, port: u16, key: &str) {
        self.lists.remove(&(port, key.to_owned()));
    }

    /// A node has nothing of a slot any more.
    pub(super) fn drop_slot(&mut self, port: u16, slot: u16) {
        for key in self.keys(slot) {
            self.remove(port, &key);
        }
    }
}
