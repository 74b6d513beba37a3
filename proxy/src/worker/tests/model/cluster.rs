//! A cluster that executes: who owns which slot, what is on its way, what each request did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;

use crate::slot::Slot;
use crate::time::Moment;
use crate::topology::Topology;
use crate::worker::tests::bench::topology;

/// The nodes: pairs of which the second stands by to replace the first. Number 4 and its own
/// replica own nothing at first.
pub(super) const PORTS: [u16; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// The other node of a pair.
pub(super) fn partner(port: u16) -> u16 {
    if port > 4 { port - 4 } else { port + 4 }
}

/// Hash tags of the keys that are used, each a slot of its own.
pub(super) const TAGS: [&str; 5] = ["{a}", "{b}", "{c}", "{d}", "{e}"];

/// One request of a client, and what became of it.
#[derive(Debug)]
pub(super) struct Op {
    pub(super) client: usize,
    /// The slot of its keys, if it is routed by keys.
    pub(super) slot: Option<u16>,
    pub(super) kind: Kind,
    /// When it was made.
    pub(super) asked: Moment,
    /// Its last byte was handed over at some time.
    pub(super) handed: bool,
    /// How often a node executed it, primaries that were replaced without knowing it included.
    pub(super) executed: u32,
    /// A primary executed it that was replaced, and that slotway must have found silent before.
    pub(super) doomed: bool,
    /// A node answered it with an error that is the client's.
    pub(super) failed: bool,
    /// On which connection it was found queued, behind bytes that the kernel did not take, and
    /// when. What stands there stays: a later rejection does not call it back.
    pub(super) queued: Option<(u32, u64)>,
    /// When its last byte was handed over last, or when it was queued for that.
    pub(super) sent: u64,
    /// When a rejection or a loss of it was read first.
    pub(super) setback: Option<u64>,
    pub(super) answer: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Read,
    Write,
    Script,
    Keyless,
    Local,
    CrossSlot,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) down: bool,
    /// It does not run; its kernel takes bytes all the same.
    pub(super) frozen: bool,
    /// Its slots that were given to another node without its knowledge: it executes on.
    pub(super) stale: BTreeSet<u16>,
    /// It was frozen for so long while it owed a reply that slotway must have noticed.
    pub(super) noticed: bool,
    /// Which process this is: a new one after each restart.
    pub(super) process: u32,
    /// Connections that this process has had.
    pub(super) accepted: u32,
    pub(super) loading: bool,
    pub(super) clusterdown: bool,
    /// Owners of slots as it has heard of them.
    pub(super) view: BTreeMap<u16, u16>,
}

pub(super) struct Place {
    pub(super) owner: u16,
    pub(super) epoch: u64,
    pub(super) target: Option<u16>,
    /// Keys that have arrived at the target.
    pub(super) moved: BTreeSet<String>,
}

pub(super) struct Cluster {
    pub(super) nodes: BTreeMap<u16, Node>,
    pub(super) slots: BTreeMap<u16, Place>,
    pub(super) ops: Vec<Op>,
    pub(super) clock: u64,
    revision: u64,
    epoch: u64,
    pub(super) strict: bool,
    /// Slots begin to move and never arrive: no news rescue what waits.
    pub(super) calm: bool,
    /// What slotway's discovery has made of all views so far: owner and epoch.
    pub(super) believed: BTreeMap<u16, (u16, u64)>,
    /// The last write that was executed of each client and slot.
    last_write: BTreeMap<(usize, u16), usize>,
    /// The last request that was executed of each client and slot.
    last: BTreeMap<(usize, u16), usize>,
    /// Requests that were executed behind a later one although that was sent when it was known
    /// already that they had to wait.
    pub(super) overtaken: Vec<(usize, usize)>,
}

pub(super) fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

/// The request that a text with its number, `t12` or `t12:…`, belongs to.
pub(super) fn op_of(text: &str) -> Option<usize> {
    let digits = text.strip_prefix('t')?;
    digits.split([':', ' ', '\r']).next()?.parse().ok()
}

impl Cluster {
    pub(super) fn new() -> Cluster {
        let mut cluster = Cluster {
            nodes: PORTS.iter().map(|&port| (port, Node::default())).collect(),
            slots: BTreeMap::new(),
            ops: Vec::new(),
            clock: 0,
            revision: 1,
            epoch: 1,
            strict: false,
            calm: false,
            believed: BTreeMap::new(),
            last_write: BTreeMap::new(),
            last: BTreeMap::new(),
            overtaken: Vec::new(),
        };
        for (n, tag) in TAGS.iter().enumerate() {
            let place =
                Place { owner: PORTS[n % 3], epoch: 1, target: None, moved: BTreeSet::new() };
            cluster.slots.insert(slot_of(tag), place);
        }
        cluster.tell_all();
        cluster
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// All nodes know all owners.
    pub(super) fn tell_all(&mut self) {
        for node in self.nodes.values_mut().filter(|node| !node.frozen) {
            node.stale.clear();
            node.view = self.slots.iter().map(|(&slot, place)| (slot, place.owner)).collect();
        }
    }

    pub(super) fn give(&mut self, slot: u16, owner: u16) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        if self.calm || self.nodes[&owner].stale.contains(&slot) {
            return; // it has to hear of its fall before it can rise
        }
        // Who falls and rises again before anybody looks does not look like one that fell.
        for op in self.ops.iter_mut().filter(|op| op.slot == Some(slot)) {
            op.doomed = false;
        }
        let before = place.owner;
        self.epoch += 1;
        *place = Place { owner, epoch: self.epoch, target: None, moved: BTreeSet::new() };
        for port in [before, owner] {
            let node = self.nodes.get_mut(&port).unwrap();
            if !node.frozen || port == owner {
                node.stale.remove(&slot);
                node.view.insert(slot, owner);
            } else {
                node.stale.insert(slot);
            }
        }
    }

    /// The other node of a pair is elected: it has all slots of this one. A frozen one hears
    /// nothing of it.
    pub(super) fn fail_over(&mut self, port: u16) {
        let slots = self.slots.iter().filter(|(_, place)| place.owner == port);
        for slot in slots.map(|(&slot, _)| slot).collect::<Vec<_>>() {
            self.give(slot, partner(port));
        }
    }

    /// Who owns what in the eyes of a node that knows everything.
    pub(super) fn view(&self) -> BTreeMap<u16, (u16, u64)> {
        self.slots.iter().map(|(&slot, place)| (slot, (place.owner, place.epoch))).collect()
    }

    /// Discovery hears a view, or a part of it: never back to an older epoch. Returns whether it
    /// brought anything new.
    pub(super) fn hear(&mut self, view: &BTreeMap<u16, (u16, u64)>) -> bool {
        let mut news = false;
        for (&slot, &(owner, epoch)) in view {
            let known = self.believed.entry(slot).or_insert((0, 0));
            if known.1 < epoch {
                (*known, news) = ((owner, epoch), true);
            }
        }
        news
    }

    /// The map as discovery believes it.
    pub(super) fn topology(&mut self) -> Arc<Topology> {
        self.revision += 1;
        let mut owners = vec![1u16; Slot::COUNT];
        for (&slot, &(owner, _)) in &self.believed {
            owners[usize::from(slot)] = owner;
        }
        let ranges = |port: u16| {
            let mut ranges: Vec<(u16, u16)> = Vec::new();
            for slot in (0..Slot::COUNT as u16).filter(|&s| owners[usize::from(s)] == port) {
                match ranges.last_mut() {
                    Some((_, last)) if *last + 1 == slot => *last = slot,
                    _ => ranges.push((slot, slot)),
                }
            }
            ranges
        };
        let shards: Vec<_> = PORTS.iter().map(|&port| (port, ranges(port))).collect();
        let shards: Vec<_> = shards.iter().map(|(port, ranges)| (*port, &ranges[..])).collect();
        topology(self.revision, &shards)
    }

    /// What a node answers, and which request of the clients that was.
    pub(super) fn serve(
        &mut self,
        port: u16,
        connection: u32,
        asking: &mut bool,
        request: &str,
        rng: &mut Rng,
    ) -> (Option<usize>, String) {
        let asked = std::mem::take(asking);
        let words: Vec<&str> = request.split(' ').collect();
        match words[0] {
            "CLIENT" if words[1] == "ID" => return (None, format!(":{connection}\r\n")),
            "CLIENT" => return (None, ":1\r\n".into()),
            "CLUSTER" => return (None, format!("$40\r\n{port:040}\r\n")),
            "INFO" => {
                let process = self.nodes[&port].process;
                return (None, format!("$19\r\nrun_id:{process:010}\r\n\r\n"));
            }
            "ASKING" => {
                *asking = true;
                return (None, "+OK\r\n".into());
            }
            "EXISTS" => {
                let error = self.rejection(port, asked, &words, rng);
                return (None, error.map_or(":1\r\n".into(), |error| format!("-{error}\r\n")));
            }
            _ => {}
        }
        let op = words.iter().find_map(|word| op_of(word)).unwrap_or_else(|| panic!("{words:?}"));
        if let Some(error) = self.rejection(port, asked, &words, rng) {
            return (Some(op), format!("-{error}\r\n"));
        }
        if rng.u8(..) < 5 {
            self.ops[op].failed = true;
            return (Some(op), format!("-WRONGTYPE t{op}\r\n"));
        }
        self.execute(op, port);
        if words[0] == "EVAL" && rng.u8(..) < 60 {
            // No node here says these of one key; CLUSTERDOWN could come true before it is asked.
            self.ops[op].failed = true;
            let forged = if rng.bool() { "MASTERDOWN" } else { "TRYAGAIN" };
            return (Some(op), format!("-{forged} t{op}\r\n"));
        }
        let padding = words.iter().find_map(|w| w.strip_prefix(&format!("t{op}:")));
        match (words[0], padding.and_then(|len| len.parse::<usize>().ok())) {
            ("HGET", Some(len)) => {
                let text = format!("t{op}:{}", "y".repeat(len));
                (Some(op), format!("${}\r\n{text}\r\n", text.len()))
            }
            _ => (Some(op), format!("+t{op}\r\n")),
        }
    }

    fn rejection(&self, port: u16, asked: bool, words: &[&str], rng: &mut Rng) -> Option<String> {
        let node = &self.nodes[&port];
        if node.loading {
            return Some("LOADING Redis is loading the dataset in memory".into());
        }
        let keys: Vec<&str> = words.iter().copied().filter(|word| word.starts_with('{')).collect();
        let slot = slot_of(keys.first()?);
        if node.clusterdown {
            return Some("CLUSTERDOWN The cluster is down".into());
        }
        if node.stale.contains(&slot) {
            return None;
        }
        let place = &self.slots[&slot];
        let here = |key: &&&str| (place.owner == port) != place.moved.contains(**key);
        let present = keys.iter().filter(here).count();
        if place.owner == port {
            return match place.target {
                Some(_) if present == keys.len() => None,
                Some(target) if present == 0 => Some(format!("ASK {slot} 10.0.0.1:{target}")),
                Some(_) => Some("TRYAGAIN Multiple keys request during rehashing of slot".into()),
                None => None,
            };
        }
        if asked && place.target == Some(port) {
            return (keys.len() > 1 && present < keys.len())
                .then(|| "TRYAGAIN Multiple keys request during rehashing of slot".into());
        }
        if rng.u8(..) < 4 {
            return Some("CLUSTERDOWN Hash slot not served".into());
        }
        let heard = node.view[&slot];
        let owner = if heard == port { place.owner } else { heard };
        Some(format!("MOVED {slot} 10.0.0.1:{owner}"))
    }

    fn execute(&mut self, op: usize, port: u16) {
        self.tick();
        self.ops[op].executed += 1;
        let Some(slot) = self.ops[op].slot else { return };
        if self.nodes[&port].stale.contains(&slot) {
            // What a replaced primary does is lost, and orders nothing.
            self.ops[op].doomed |= self.nodes[&port].noticed;
            return;
        }
        self.ops[op].doomed = false;
        let key = (self.ops[op].client, slot);
        if self.strict && self.ops[op].kind == Kind::Write {
            match self.last_write.get(&key) {
                Some(&later) if later > op => self.overtaken.push((op, later)),
                _ => drop(self.last_write.insert(key, op)),
            }
        }
        match self.last.get(&key) {
            Some(&later) if later > op => {
                if self.ops[op].setback.is_some_and(|at| at < self.ops[later].sent) {
                    self.overtaken.push((op, later));
                }
            }
            _ => {
                self.last.insert(key, op);
            }
        }
    }
}
