//! What only half of the worlds have, so that the stories of the others stay as they are: requests
//! over several slots, clients in other modes, and a large write that is lost alone.

use std::time::Duration;

use super::cluster::{TAGS, slot_of};
use super::history::{Kind, Op, op_of};
use super::world::World;
use crate::worker::tests::bench::encode;

/// How many modes the clients are in: two protocols for each of two databases.
pub(super) const MODES: usize = 4;

pub(super) fn is_wide(seed: u64) -> bool {
    seed / 8 % 2 == 1
}

/// The mode that a connection is in behind this request.
pub(super) fn mode_after(request: &str, before: u8) -> u8 {
    match request.split_once(' ') {
        Some(("HELLO", "2")) => before & !1,
        Some(("HELLO", "3")) => before | 1,
        Some(("SELECT", number)) => before & 1 | number.parse::<u8>().expect("a database") << 1,
        _ => before,
    }
}

pub(super) fn step(world: &mut World) {
    let client = world.rng.usize(..world.clients.len());
    match world.rng.u8(..16) {
        0 => lose_large(world, client),
        1 | 2 => {
            let all = ["HELLO 2", "HELLO 3", "SELECT 0", "SELECT 1"];
            let text = all[world.rng.usize(..all.len())];
            let mode = mode_after(text, world.clients[client].mode);
            if world.sends(client, text).is_some() {
                world.clients[client].mode = mode;
                world.make(Op::new(client, Kind::Mode, Vec::new(), None));
            }
        }
        _ => ask_split(world, client),
    }
}

/// A request with keys in several slots.
fn ask_split(world: &mut World, client: usize) {
    let mut tags = TAGS;
    world.rng.shuffle(&mut tags);
    let tags = &tags[..world.rng.usize(2..4)];
    let (name, kind) = match world.rng.u8(..4) {
        0 => ("DEL", Kind::Write),
        1 => ("MSET", Kind::Write),
        _ => ("MGET", Kind::Read),
    };
    let first = world.cluster.ops.len();
    let mut parts: Vec<usize> = (first..first + tags.len()).collect();
    if kind == Kind::Read && world.rng.bool() {
        parts.push(first); // behind the others, so that the values have to be put in order
    }
    let value = if name == "MSET" { " x" } else { "" };
    let words = parts.iter().map(|&part| format!("{}t{part}{value}", tags[part - first]));
    let text = format!("{name} {}", words.collect::<Vec<_>>().join(" "));
    if world.sends_as(client, &text, first + tags.len()) {
        for tag in tags {
            let mut op = Op::new(client, kind, vec![format!("{tag}0")], Some(slot_of(tag)));
            op.repeats = world.settings.retry_unknown.idempotent && name == "MSET";
            world.make(op);
        }
        let mut whole = Op::new(client, Kind::Split, Vec::new(), None);
        whole.parts = parts;
        world.make(whole);
    }
}

/// A large write is handed over whole, and its connection breaks alone; the process still holds it
/// while its client writes on.
fn lose_large(world: &mut World, client: usize) {
    let tag = TAGS[world.rng.usize(..TAGS.len())];
    let owner = world.cluster.slots[&slot_of(tag)].owner;
    world.cure(owner);
    let n = world.cluster.ops.len();
    if !push(world, client, tag, &format!(":{}", "x".repeat(25_000))) {
        return;
    }
    for _ in 0..12 {
        world.client_sends(client);
        world.flush();
        world.writable();
        let has_it = |request: &String| request.split(' ').any(|word| op_of(word) == Some(n));
        let mut wires = world.wires.iter();
        let has_it = wires.find(|(_, wire)| wire.requests.iter().any(has_it)).map(|(&i, _)| i);
        if let Some(wire) = has_it {
            world.faults += 1;
            world.lose(wire);
            break;
        }
        world.round(Some(owner));
    }
    world.flush();
    push(world, client, tag, "");
    for _ in 0..4 {
        world.client_sends(client);
        world.flush();
        world.wait(Duration::from_millis(20));
        world.round(Some(owner));
    }
    world.ghosts_act(true);
}

fn push(world: &mut World, client: usize, tag: &str, x: &str) -> bool {
    let n = world.cluster.ops.len();
    let asked = world.sends(client, &format!("RPUSH {tag}0 t{n}{x}")).is_some();
    if asked {
        world.make(Op::new(client, Kind::Write, vec![format!("{tag}0")], Some(slot_of(tag))));
    }
    asked
}

impl World {
    /// A client sends this, which is the next op; `None` if it sends nothing any more.
    fn sends(&mut self, client: usize, text: &str) -> Option<usize> {
        let n = self.cluster.ops.len();
        self.sends_as(client, text, n).then_some(n)
    }

    /// A client sends this, which is this op; returns whether it sends anything any more.
    pub(super) fn sends_as(&mut self, client: usize, text: &str, op: usize) -> bool {
        let asks = &mut self.clients[client];
        if asks.index.is_none() || asks.ended {
            return false;
        }
        asks.to_send.extend_from_slice(&encode(text));
        asks.ops.push_back(op);
        true
    }

    /// A request is made, or a part of one.
    pub(super) fn make(&mut self, mut op: Op) {
        (op.asked, op.asked_at) = (self.bench.now, self.cluster.tick());
        op.mode = self.clients[op.client].mode;
        self.cluster.ops.push(op);
    }
}
