//! A cluster that executes: who owns which slot, what is on its way, what each request did.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fastrand::Rng;

use super::blocks;
use super::data::Data;
use super::faults::Trouble;
use super::history::{Kind, LOCKED, Op, Reply, op_of};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Node as Listed, Role, Topology};
use crate::worker::tests::bench::node_id;

/// The nodes: pairs of which the second stands by to replace the first. Number 4 and its own
/// replica own nothing at first.
pub(super) const PORTS: [u16; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// Nobody answers there.
pub(super) const NOBODY: u16 = 0;

/// The other node of a pair.
pub(super) fn partner(port: u16) -> u16 {
    if port > 4 { port - 4 } else { port + 4 }
}

/// Hash tags of the keys that are used, each a slot of its own.
pub(super) const TAGS: [&str; 5] = ["{a}", "{b}", "{c}", "{d}", "{e}"];

#[derive(Default)]
pub(super) struct Node {
    /// The port at which it listens now; what it is called here stays.
    pub(super) address: u16,
    pub(super) down: bool,
    /// It does not run; its kernel takes bytes all the same.
    pub(super) frozen: bool,
    /// It hears nothing of the other nodes, and serves all the same.
    pub(super) isolated: bool,
    /// Its slots that were given to another node without its knowledge, as they were then: it
    /// executes on.
    pub(super) stale: BTreeMap<u16, Place>,
    /// It was frozen for so long while it owed a reply that slotway must have noticed.
    pub(super) noticed: bool,
    /// Which process this is: a new one after each restart.
    pub(super) process: u32,
    /// Connections that this process has had.
    pub(super) accepted: u32,
    pub(super) trouble: Trouble,
    /// Owners of slots as it has heard of them, and their epochs.
    pub(super) view: BTreeMap<u16, (u16, u64)>,
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
    pub(super) data: Data,
    pub(super) clock: u64,
    pub(super) traced: bool,
    revision: u64,
    epoch: u64,
    pub(super) strict: bool,
    /// Slots begin to move and never arrive: no news rescue what waits.
    pub(super) calm: bool,
    /// What slotway's discovery has made of all views so far: owner, epoch, and since when.
    pub(super) believed: BTreeMap<u16, (u16, u64, u64)>,
    /// Where the nodes listen, as it has heard, and which of them know less than it.
    listed: BTreeMap<u16, (u16, bool)>,
    /// The last write that was executed of each client and slot.
    last_write: BTreeMap<(usize, u16), usize>,
    /// The last request that was executed of each client and slot.
    last: BTreeMap<(usize, u16), usize>,
    /// Requests that were executed behind a later one although that was sent when it was known
    /// already that they had to wait.
    pub(super) overtaken: Vec<(usize, usize)>,
    /// Requests that went to a replaced primary when slotway had been told of the new one.
    pub(super) misled: Vec<usize>,
}

pub(super) fn slot_of(key: &str) -> u16 {
    Slot::of_key(key.as_bytes()).number()
}

impl Cluster {
    pub(super) fn new() -> Cluster {
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            slots: BTreeMap::new(),
            ops: Vec::new(),
            data: Data::default(),
            clock: 0,
            traced: std::env::var_os("SLOTWAY_TRACE").is_some(),
            revision: 1,
            epoch: 1,
            strict: false,
            calm: false,
            believed: BTreeMap::new(),
            listed: BTreeMap::new(),
            last_write: BTreeMap::new(),
            last: BTreeMap::new(),
            overtaken: Vec::new(),
            misled: Vec::new(),
        };
        for port in PORTS {
            cluster.nodes.insert(port, Node { address: port, ..Node::default() });
        }
        cluster.nodes.insert(NOBODY, Node { down: true, ..Node::default() });
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

    pub(super) fn node(&mut self, port: u16) -> &mut Node {
        self.nodes.get_mut(&port).expect("a node of this world")
    }

    /// Who listens there.
    pub(super) fn at(&self, address: u16) -> u16 {
        PORTS.into_iter().find(|port| self.nodes[port].address == address).unwrap_or(NOBODY)
    }

    /// All nodes that hear anything know all owners.
    pub(super) fn tell_all(&mut self) {
        let view = self.view();
        for port in PORTS {
            let node = self.node(port);
            if !node.frozen && !node.isolated {
                node.view = view.clone();
                self.forget_stale(port);
            }
        }
    }

    /// A replaced primary hears of it: it begins anew as a replica.
    pub(super) fn forget_stale(&mut self, port: u16) {
        for slot in std::mem::take(&mut self.node(port).stale).into_keys() {
            let place = &self.slots[&slot];
            let news = (place.owner, place.epoch);
            self.node(port).view.insert(slot, news);
            for key in self.data.keys(slot) {
                // Keys that have come to it meanwhile, by a move that is under way, are its own.
                if self.holder(&key) != port {
                    self.data.remove(port, &key);
                }
            }
        }
    }

    /// Who has this key, with all that was written to it.
    pub(super) fn holder(&self, key: &str) -> u16 {
        let place = &self.slots[&slot_of(key)];
        match place.target {
            Some(target) if place.moved.contains(key) => target,
            _ => place.owner,
        }
    }

    /// A slot has another owner, who has all its keys or, `elected`, those that its copy had.
    pub(super) fn give(&mut self, slot: u16, owner: u16, elected: bool) {
        let Some(place) = self.slots.get(&slot) else { return };
        let before = place.owner;
        if self.calm || self.nodes[&owner].stale.contains_key(&slot) {
            return; // it has to hear of its fall before it can rise
        }
        for key in self.data.keys(slot) {
            let holder = self.holder(&key);
            if !(elected && holder == before) {
                self.data.copy(holder, owner, &key);
            }
            let lost = self.data.missing(holder, owner, &key);
            if self.traced {
                eprintln!("{key} goes from {holder} to {owner}, without {lost:?}");
            }
            for op in lost {
                self.ops[op].lost = true;
            }
            if holder != owner && holder != before {
                self.data.remove(holder, &key);
            }
        }
        // Who falls and rises again before anybody looks does not look like one that fell.
        for op in self.ops.iter_mut().filter(|op| op.slot == Some(slot)) {
            op.doomed = false;
        }
        self.epoch += 1;
        let news = (owner, self.epoch);
        let place = Place { owner, epoch: self.epoch, target: None, moved: BTreeSet::new() };
        let old = self.slots.insert(slot, place).expect("a slot");
        let node = self.node(owner);
        node.stale.remove(&slot);
        node.view.insert(slot, news);
        let node = self.node(before);
        if before != owner && (node.frozen || node.isolated) {
            node.stale.insert(slot, old);
        } else {
            node.view.insert(slot, news);
        }
        if before != owner && !self.nodes[&before].stale.contains_key(&slot) {
            self.data.drop_slot(before, slot);
        }
    }

    /// The other node of a pair is elected: it has all slots of this one, and of their keys what
    /// has reached it. A frozen one hears nothing of it.
    pub(super) fn fail_over(&mut self, port: u16) {
        for slot in self.owned(port) {
            self.give(slot, partner(port), true);
        }
    }

    /// A key of a slot on its way arrives.
    pub(super) fn move_key(&mut self, slot: u16, key: &str) {
        let Some(Place { target: Some(target), .. }) = self.slots.get(&slot) else { return };
        let (from, to) = (self.holder(key), *target);
        if from != to {
            self.data.copy(from, to, key);
            self.data.remove(from, key);
            self.slots.get_mut(&slot).expect("a slot").moved.insert(key.to_owned());
        }
    }

    /// A slot stays where it is; what has gone comes back.
    pub(super) fn end_move(&mut self, slot: u16) {
        for key in self.data.keys(slot) {
            let owner = self.slots[&slot].owner;
            self.data.copy(self.holder(&key), owner, &key);
        }
        let place = self.slots.get_mut(&slot).expect("a slot");
        place.target = None;
        place.moved.clear();
    }

    pub(super) fn owned(&self, port: u16) -> Vec<u16> {
        let slots = self.slots.iter().filter(|(_, place)| place.owner == port);
        slots.map(|(&slot, _)| slot).collect()
    }

    /// What this node has executed reaches its replica, or a part of it.
    pub(super) fn replicate(&mut self, port: u16, all: bool, rng: &mut Rng) {
        let node = &self.nodes[&port];
        if node.down || node.frozen || node.isolated {
            return;
        }
        for slot in self.owned(port) {
            for key in self.data.keys(slot) {
                if self.holder(&key) == port {
                    self.data.follow(port, partner(port), &key, all, rng);
                }
            }
        }
    }

    /// A process ended. What it has when it comes back: everything, or without the end of it, or
    /// nothing.
    pub(super) fn forget(&mut self, port: u16, rng: &mut Rng) {
        let chance = rng.u8(..8);
        for (key, len) in self.data.of(port) {
            let keep = match chance {
                0 => 0,
                1 | 2 => len.saturating_sub(rng.usize(0..3)),
                _ => len,
            };
            let holds = self.holder(&key) == port;
            for op in self.data.truncate(port, &key, keep) {
                self.ops[op].lost |= holds;
            }
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
        let now = self.tick();
        for (&slot, &(owner, epoch)) in view {
            let known = self.believed.entry(slot).or_insert((0, 0, 0));
            if known.1 < epoch {
                (*known, news) = ((owner, epoch, now), true);
            }
        }
        let listed = PORTS.iter().map(|port| {
            let node = &self.nodes[port];
            let mut known = self.believed.iter();
            let behind = known.any(|(slot, &(_, epoch, _))| node.view[slot].1 < epoch);
            (*port, (node.address, behind))
        });
        let listed = listed.collect();
        news |= listed != self.listed;
        self.listed = listed;
        news
    }

    /// The map as discovery believes it.
    pub(super) fn topology(&mut self) -> Arc<Topology> {
        self.revision += 1;
        let mut draft = Draft { revision: self.revision, ..Draft::default() };
        let owners: BTreeSet<u16> = self.believed.values().map(|&(owner, ..)| owner).collect();
        for port in PORTS {
            let (address, behind) = self.listed[&port];
            let (endpoint, of) = (Endpoint::new("10.0.0.1", address), partner(port));
            let follows = port != 1 && !owners.contains(&port) && owners.contains(&of);
            let role = if follows { Role::Replica } else { Role::Primary };
            let mut node = Listed::new(node_id(port), endpoint, role);
            node.follows = follows.then(|| node_id(of));
            node.behind = behind;
            draft.nodes.push(node);
        }
        let slot = |n: u16| Slot::new(n).expect("a slot");
        draft.own(slot(0), slot(Slot::COUNT as u16 - 1), node_id(1), 1);
        for (&number, &(owner, epoch, _)) in &self.believed {
            draft.own(slot(number), slot(number), node_id(owner), epoch);
        }
        Arc::new(draft.finish())
    }

    /// What a node answers, and which request of the clients that was.
    pub(super) fn serve(
        &mut self,
        port: u16,
        connection: u32,
        asking: &mut bool,
        request: &str,
        rng: &mut Rng,
    ) -> Reply {
        let asked = std::mem::take(asking);
        let words: Vec<&str> = request.split(' ').collect();
        match words[0] {
            "CLIENT" | "CLUSTER" | "HELLO" | "INFO" | "PING" | "SELECT"
                if self.nodes[&port].trouble == Trouble::Locked =>
            {
                return Reply::of_ours(LOCKED.into());
            }
            "CLIENT" if words[1] == "ID" => return Reply::of_ours(format!(":{connection}\r\n")),
            "CLIENT" => return Reply::of_ours(":1\r\n".into()),
            "HELLO" => return Reply::of_ours("%1\r\n$5\r\nproto\r\n:3\r\n".into()),
            "PING" => return Reply::of_ours("+PONG\r\n".into()),
            "SELECT" => return Reply::of_ours("+OK\r\n".into()),
            "CLUSTER" => return Reply::of_ours(format!("$40\r\n{port:040}\r\n")),
            "INFO" => {
                let process = u32::from(port) * 1000 + self.nodes[&port].process;
                return Reply::of_ours(format!("$19\r\nrun_id:{process:010}\r\n\r\n"));
            }
            "ASKING" => {
                *asking = true;
                return Reply::of_ours("+OK\r\n".into());
            }
            // Whether a script that claims a refusal spoke the truth.
            "EXISTS" => {
                let error = self.rejection(port, asked, &words, rng);
                return Reply::of_ours(error.map_or(":1\r\n".into(), |e| format!("-{e}\r\n")));
            }
            _ => {}
        }
        let op = words.iter().find_map(|word| op_of(word)).unwrap_or_else(|| panic!("{words:?}"));
        if let Some(error) = self.rejection(port, asked, &words, rng) {
            if self.ops[op].kind == Kind::Block {
                let text = self.refuse_block(&words, &error, rng);
                return Reply { op: Some(op), rejected: true, text };
            }
            let text = format!("-{error}\r\n");
            if self.ops[op].kind == Kind::Script {
                self.ops[op].produce(&text, None); // it could have said so itself
            }
            return Reply { op: Some(op), rejected: true, text };
        }
        let is_block = self.ops[op].kind == Kind::Block;
        let text = if !is_block && rng.u8(..) < 5 {
            format!("-WRONGTYPE t{op}\r\n")
        } else {
            self.execute(op, port);
            self.answer(op, port, &words, rng)
        };
        self.note_answer(op, port, &words, &text);
        let before = if is_block { blocks::queued(&words) } else { String::new() };
        Reply { op: Some(op), rejected: false, text: before + &text }
    }

    fn execute(&mut self, op: usize, port: u16) {
        self.tick();
        self.ops[op].executed += 1;
        let Some(slot) = self.ops[op].slot else { return };
        if self.ops[op].kind.writes() {
            for key in self.ops[op].keys.clone() {
                self.data.append(port, &key, op);
            }
        }
        if let Some(claim) = self.nodes[&port].stale.get(&slot).map(|place| place.epoch) {
            // What a replaced primary does is lost, and orders nothing.
            self.ops[op].doomed |= self.nodes[&port].noticed;
            self.ops[op].lost = true;
            let (_, believed, since) = self.believed[&slot];
            let sent = &self.ops[op];
            if believed > claim && sent.sent_to == port && sent.sent > since {
                self.misled.push(op);
            }
            return;
        }
        self.ops[op].doomed = false;
        let key = (self.ops[op].client, slot);
        if self.strict && self.ops[op].kind.writes() {
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
