//! What happens in a run, step by step: requests and faults by chance, then all is well again.

use std::time::Duration;

use super::blocks;
use super::cluster::{PORTS, TAGS, partner, slot_of};
use super::faults::Trouble;
use super::history::{Kind, Op};
use super::wide;
use super::world::World;
use crate::node::Phase;
use crate::worker::tests::bench::encode;

const STEPS: usize = 600;

/// Each run has at least so many requests, and so many faults, before all is well again.
pub(super) const REQUESTS_MIN: usize = 200;
pub(super) const FAULTS_MIN: usize = 3;

/// Everything that can happen, until enough has.
pub(super) fn run(world: &mut World, drains: bool) {
    let mut steps = 0;
    while steps < STEPS
        || world.cluster.ops.len() < REQUESTS_MIN && !world.draining
        || world.faults < FAULTS_MIN
    {
        steps += 1;
        step(world);
        if world.rng.u8(..) < 220 {
            world.flush();
        }
        let there = world.clients.iter().filter(|client| client.index.is_some()).count();
        if there < 3 && !world.draining {
            world.connect_client();
        }
        if drains && !world.draining && steps >= STEPS - 80 {
            world.drain();
        }
    }
    assert!(world.cluster.ops.len() >= REQUESTS_MIN || drains);
}

fn step(world: &mut World) {
    if world.blocks && world.rng.u8(..100) < 6 {
        return blocks::ask(world);
    }
    if world.wide && world.rng.u8(..100) < 8 {
        return wide::step(world);
    }
    let wires: Vec<u32> = world.wires.keys().copied().collect();
    let wire = (!wires.is_empty()).then(|| wires[world.rng.usize(..wires.len())]);
    let client = world.rng.usize(..world.clients.len());
    let port = PORTS[world.rng.usize(..PORTS.len())];
    let tag = TAGS[world.rng.usize(..TAGS.len())];
    match world.rng.u8(..100) {
        0..20 => ask(world, client, tag),
        20..34 => drop(world.client_sends(client)),
        34..50 => drop(wire.map(|wire| world.node_serves(wire))),
        50..67 => drop(wire.map(|wire| world.node_answers(wire))),
        67..73 => drop(wire.map(|wire| world.end_dial(wire))),
        73..77 => drop(world.writable()),
        77..80 => {
            let ms = if world.rng.u8(..) < 30 { 2500 } else { world.rng.u64(1..300) };
            world.wait(Duration::from_millis(ms));
        }
        80 | 81 => fault(world, port, tag),
        82 | 83 => {
            let garbage = world.rng.bool();
            let _ = wire.map(|wire| world.break_wire(wire, garbage));
        }
        84 if world.rng.bool() => world.kill(port),
        84..87 => {
            world.cluster.node(port).down = false;
            world.bounds.forget(port);
        }
        87 => refuse(world, port, tag),
        88 | 89 => world.trouble(port, Trouble::None),
        90..94 => reshape(world, tag, port),
        94 => match world.rng.u8(..4) {
            0 => world.publish(true),
            1 => world.publish(false),
            2 => world.ask_view(),
            _ => world.view_arrives(),
        },
        95 | 96 => {
            let all = world.rng.bool();
            world.cluster.replicate(port, all, &mut world.rng);
        }
        97 => match world.rng.u8(..4) {
            0 => world.client_leaves(client, true),
            1 => world.client_leaves(client, false),
            _ => world.clients[client].stalled ^= true,
        },
        98 => drop(world.connect_client()),
        _ => {
            if world.rng.bool() {
                world.cluster.node(port).isolated = false;
            }
            world.cluster.tell_all();
        }
    }
}

/// Something happens to a node that owns something.
fn fault(world: &mut World, any: u16, tag: &str) {
    let owner = world.cluster.slots[&slot_of(tag)].owner;
    let port = if world.rng.bool() { owner } else { any };
    match world.rng.u8(..12) {
        0..3 => world.freeze(port),
        3 => world.thaw(port),
        4 => pause(world, owner, tag),
        5 => fail_over(world, port),
        6 => cut(world, owner, tag),
        7 => world.split(port),
        8 => world.relocate(port, any),
        9 => quorum(world),
        10 => restart(world, owner),
        _ => {
            world.ask_view();
            for port in PORTS {
                if world.rng.bool() {
                    world.thaw(port);
                }
            }
        }
    }
}

/// A node refuses, in any of the ways.
fn refuse(world: &mut World, any: u16, tag: &str) {
    let owner = world.cluster.slots[&slot_of(tag)].owner;
    let port = if world.rng.bool() { owner } else { any };
    let all = [
        Trouble::Loading,
        Trouble::ClusterDown,
        Trouble::MasterDown,
        Trouble::Full,
        Trouble::Locked,
    ];
    let trouble = all[world.rng.usize(..all.len())];
    world.trouble(port, trouble);
}

/// All nodes say that the cluster is down, for a while.
fn quorum(world: &mut World) {
    for port in PORTS {
        world.trouble(port, Trouble::ClusterDown);
    }
    world.flush();
    let ms = world.rng.u64(1..1500);
    world.wait(Duration::from_millis(ms));
    for port in PORTS {
        if world.rng.u8(..) < 200 {
            world.trouble(port, Trouble::None);
        }
    }
}

/// Back before anybody is elected, with its data to load first.
fn restart(world: &mut World, port: u16) {
    world.kill(port);
    let ms = world.rng.u64(1..300);
    world.wait(Duration::from_millis(ms));
    world.cluster.node(port).down = false;
    world.trouble(port, Trouble::Loading);
}

/// Everybody has something to ask of this node, which is well.
fn all_ask(world: &mut World, owner: u16, tag: &str) {
    world.cure(owner);
    for client in 0..world.clients.len() {
        ask(world, client, tag);
        world.client_sends(client);
    }
}

/// Frozen for a while with something to do, replaced or not, and back.
fn pause(world: &mut World, owner: u16, tag: &str) {
    all_ask(world, owner, tag);
    world.freeze(owner);
    world.flush();
    let ms = world.rng.u64(500..9000);
    world.wait(Duration::from_millis(ms));
    if world.rng.bool() {
        fail_over(world, owner);
    }
    world.thaw(owner);
    if world.rng.bool() {
        world.round(Some(owner));
    }
    if world.rng.bool() {
        for client in 0..world.clients.len() {
            ask(world, client, tag);
            world.client_sends(client);
        }
        world.flush();
        let ms = world.rng.u64(1..1000);
        world.wait(Duration::from_millis(ms));
        world.round(Some(owner));
        world.round(Some(owner));
    }
}

/// Connections break whose bytes stay in the process, which goes on with them later.
fn cut(world: &mut World, owner: u16, tag: &str) {
    all_ask(world, owner, tag);
    world.flush();
    let wires = world.wires.iter().filter(|(_, wire)| wire.port == owner);
    for wire in wires.map(|(&index, _)| index).collect::<Vec<_>>() {
        if world.rng.bool() {
            world.faults += 1;
            world.lose(wire);
        }
    }
    world.flush();
    for client in 0..world.clients.len() {
        ask(world, client, tag);
        world.client_sends(client);
    }
    for _ in 0..world.rng.usize(0..4) {
        world.flush();
        world.wait(Duration::from_millis(20));
        world.round(Some(owner));
    }
    world.ghosts_act(false);
}

/// An election, or one that was asked for and waited until the replica had everything.
fn fail_over(world: &mut World, port: u16) {
    if world.rng.bool() {
        world.cluster.replicate(port, true, &mut world.rng);
    }
    for slot in world.cluster.owned(port) {
        world.lay(slot, None);
    }
    // A node asks for the votes itself.
    let heir = &world.cluster.nodes[&partner(port)];
    if !heir.isolated && !heir.frozen {
        world.faults += 1;
        world.cluster.fail_over(port);
    }
}

fn give(world: &mut World, slot: u16, port: u16) {
    world.lay(slot, None);
    world.cluster.give(slot, port, false);
}

/// A slot moves on its way to another node, or is given away at once.
fn reshape(world: &mut World, tag: &str, port: u16) {
    let slot = slot_of(tag);
    let chance = world.rng.u8(..4);
    let absent =
        |port: u16| world.cluster.nodes[&port].frozen || world.cluster.nodes[&port].isolated;
    // Nor would a node that has not heard of its fall take in what it believes to have.
    let believes = world.cluster.nodes[&port].stale.contains_key(&slot);
    if absent(port) || absent(world.cluster.slots[&slot].owner) || believes {
        return; // a slot does not move without its nodes
    }
    world.faults += 1;
    let Some(place) = world.cluster.slots.get_mut(&slot) else { return };
    match place.target {
        None if place.owner != port && chance > 0 => place.target = Some(port),
        None => give(world, slot, port),
        Some(_) if chance < 2 => world.cluster.move_key(slot, &format!("{tag}{chance}")),
        Some(target) => give(world, slot, target),
    }
}

/// A client sends a request, or a few.
fn ask(world: &mut World, client: usize, tag: &str) {
    for _ in 0..world.rng.usize(1..4) {
        let (key, n) = (format!("{tag}{}", world.rng.u8(..2)), world.cluster.ops.len());
        let large = world.rng.u8(..) < 20;
        let x = if large { format!(":{}", "x".repeat(25_000)) } else { String::new() };
        let y = if large { 300_000 } else { world.rng.usize(..200) };
        let (text, kind) = match world.rng.u8(..21) {
            0..5 => (format!("RPUSH {key} t{n}{x}"), Kind::Write),
            5 | 6 => (format!("INCRBY {key} t{n}{x}"), Kind::Write),
            7 | 8 => (format!("SET {key} t{n}{x}"), Kind::Write),
            9 => (format!("MSET {tag}0 t{n} {tag}1 t{n}{x}"), Kind::Write),
            10 => (format!("EVAL t{n} 1 {key}"), Kind::Script),
            11..17 => (format!("HGET {key} t{n}:{y}"), Kind::Read),
            17 => (format!("FUNCTION LIST t{n}"), Kind::Keyless),
            18 if world.wide => (format!("RENAME {{a}}t{n} {{b}}t{n}"), Kind::CrossSlot),
            18 => (format!("MSET {{a}} t{n} {{b}} t{n}{x}"), Kind::CrossSlot),
            _ => (format!("ECHO t{n}{x}"), Kind::Local),
        };
        let keyed = matches!(kind, Kind::Read | Kind::Write | Kind::Script);
        let slot = keyed.then(|| slot_of(tag));
        let inline = !large && world.rng.u8(..) < 30;
        let bytes = if inline { format!("{text}\r\n").into_bytes() } else { encode(&text) };
        let asks = &mut world.clients[client];
        if asks.index.is_none() || asks.ended {
            return;
        }
        asks.to_send.extend_from_slice(&bytes);
        asks.ops.push_back(n);
        let keys = text.split(' ').filter(|word| keyed && word.starts_with('{'));
        let mut op = Op::new(client, kind, keys.map(str::to_owned).collect(), slot);
        op.repeats = world.settings.retry_unknown.idempotent
            && (text.starts_with("SET ") || text.starts_with("MSET "));
        world.make(op);
    }
}

/// Everything works from now on; all that waits gets its answer.
pub(super) fn heal(world: &mut World) {
    world.healed = true;
    for client in &mut world.clients {
        client.stalled = false;
    }
    for port in PORTS {
        world.thaw(port);
        world.trouble(port, Trouble::None);
        world.bounds.forget(port);
        let node = world.cluster.node(port);
        (node.down, node.isolated) = (false, false);
    }
    world.ghosts_act(true);
    world.cluster.tell_all();
    for slot in world.cluster.slots.keys().copied().collect::<Vec<_>>() {
        if let Some(target) = world.cluster.slots[&slot].target {
            give(world, slot, target);
        }
        world.cluster.end_move(slot);
    }
    if world.rng.u8(..4) == 0 {
        world.publish(true);
    }
    settle(world);
    world.healed_from = Some(world.cluster.ops.len());
    // Whatever was shut is open again for those who come.
    for tag in TAGS.into_iter().filter(|_| !world.draining).collect::<Vec<_>>() {
        let client = world.connect_client();
        for _ in 0..20 {
            ask(world, client, tag);
        }
    }
    settle(world);
}

fn settle(world: &mut World) {
    let until = world.bench.now + Duration::from_secs(30);
    loop {
        let mut any = world.writable() | world.round(None);
        for n in 0..world.clients.len() {
            any |= world.client_sends(n);
        }
        world.flush();
        if !any {
            let waiting = world.clients.iter().any(|c| c.index.is_some() && !c.ops.is_empty());
            let worker = &world.bench.worker;
            let busy = worker.connections.iter().any(|(_, c)| !matches!(c.phase, Phase::Ready));
            if !(waiting || busy || !worker.held.is_empty()) || world.bench.now >= until {
                return;
            }
            let wake = worker.next_wake().map_or(Duration::MAX, |at| at.since(world.bench.now));
            world.wait(wake.min(Duration::from_millis(100)));
            world.flush();
            if std::mem::take(&mut world.wished) {
                world.ask_view();
                world.wished |= world.looks.is_empty();
            }
            while !world.looks.is_empty() {
                world.view_arrives();
            }
        }
    }
}
