//! The whole heart against everything at once: clients that pipeline, stop reading and leave,
//! nodes that execute, redirect, refuse, die and come back, connections that break at any byte.
//! Then all is healed, and every promise is held against what really happened.
//!
//! Each run follows from its number; a failing one prints it, and [`REPLAY`] runs it alone.

mod cluster;
mod world;

use std::time::Duration;

use super::bench::{Bench, encode, settings};
use crate::worker::Settings;
use crate::worker::pool::Gate;
use cluster::{Kind, Op, PORTS, TAGS, slot_of};
use world::World;

/// Set to the number of a run that failed.
const REPLAY: Option<u64> = None;

const RUNS: u64 = 300;
const STEPS: usize = 400;

#[test]
fn whatever_happens_every_client_gets_the_truth_in_order() {
    let seeds = REPLAY.map_or(0..RUNS, |seed| seed..seed + 1);
    for seed in seeds {
        let told = Told(seed);
        run(seed);
        drop(told);
    }
}

/// Says which run failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run {} failed: set REPLAY to it", self.0);
        }
    }
}

fn run(seed: u64) {
    let settings = Settings {
        requests_max: if seed.is_multiple_of(3) { 4 } else { 64 },
        park_max_requests: if seed.is_multiple_of(7) { 10 } else { 1000 },
        mask_deadline: Duration::from_secs(if seed.is_multiple_of(5) { 1 } else { 60 }),
        park_max_bytes: 1_000_000,
        ..settings()
    };
    let mut world = World::new(Bench::without_topology(settings), seed);
    for _ in 0..4 {
        world.connect_client();
    }
    for _ in 0..STEPS {
        step(&mut world);
        if world.rng.u8(..) < 220 {
            world.flush();
        }
    }
    heal(&mut world);
    check(&mut world);
}

fn step(world: &mut World) {
    let wires: Vec<u32> = world.wires.keys().copied().collect();
    let wire = (!wires.is_empty()).then(|| wires[world.rng.usize(..wires.len())]);
    let client = world.rng.usize(..world.clients.len());
    let port = PORTS[world.rng.usize(..PORTS.len())];
    let tag = TAGS[world.rng.usize(..TAGS.len())];
    match world.rng.u8(..100) {
        0..20 => ask(world, client, tag),
        20..35 => drop(world.client_sends(client)),
        35..52 => drop(wire.map(|wire| world.node_serves(wire))),
        52..70 => drop(wire.map(|wire| world.node_answers(wire))),
        70..76 => drop(wire.map(|wire| world.end_dial(wire))),
        76..80 => drop(world.writable()),
        80..84 => {
            let ms = if world.rng.u8(..) < 8 { 2500 } else { world.rng.u64(1..300) };
            world.wait(Duration::from_millis(ms));
        }
        84..86 => {
            let garbage = world.rng.bool();
            let _ = wire.map(|wire| world.break_wire(wire, garbage));
        }
        86 => kill(world, port),
        87 | 88 => world.cluster.nodes.get_mut(&port).unwrap().down = false,
        89 => flip(&mut world.cluster.nodes.get_mut(&port).unwrap().loading),
        90 => flip(&mut world.cluster.nodes.get_mut(&port).unwrap().clusterdown),
        91..96 => reshape(world, tag, port),
        96 => world.publish(),
        97 => {
            let breaks = world.rng.bool();
            world.client_leaves(client, breaks);
        }
        98 => drop(world.connect_client()),
        _ => world.cluster.tell_all(),
    }
}

fn flip(flag: &mut bool) {
    *flag = !*flag;
}

fn kill(world: &mut World, port: u16) {
    world.cluster.nodes.get_mut(&port).unwrap().down = true;
    let wires = world.wires.iter().filter(|(_, wire)| wire.port == port);
    for wire in wires.map(|(&index, _)| index).collect::<Vec<_>>() {
        world.break_wire(wire, false);
    }
}

/// A slot moves on its way to another node, or a failover gives it away at once.
fn reshape(world: &mut World, tag: &str, port: u16) {
    let slot = slot_of(tag);
    let chance = world.rng.u8(..4);
    let Some(place) = world.cluster.slots.get_mut(&slot) else { return };
    match place.target {
        None if place.owner != port && chance > 0 => place.target = Some(port),
        None => world.cluster.give(slot, port),
        Some(_) if chance < 2 => drop(place.moved.insert(format!("{tag}{chance}"))),
        Some(target) => world.cluster.give(slot, target),
    }
}

/// A client sends a request, or a few.
fn ask(world: &mut World, client: usize, tag: &str) {
    for _ in 0..world.rng.usize(1..4) {
        let (key, n) = (format!("{tag}{}", world.rng.u8(..2)), world.cluster.ops.len());
        let large = world.rng.u8(..) < 20;
        let x = if large { format!(":{}", "x".repeat(25_000)) } else { String::new() };
        let y = if large { 300_000 } else { world.rng.usize(..200) };
        let (text, kind) = match world.rng.u8(..20) {
            0..8 => (format!("RPUSH {key} t{n}{x}"), Kind::Write),
            8 => (format!("MSET {tag}0 t{n} {tag}1 t{n}{x}"), Kind::Write),
            9 => (format!("EVAL t{n} 1 {key}"), Kind::Script),
            10..16 => (format!("HGET {key} t{n}:{y}"), Kind::Read),
            16 => (format!("COMMAND INFO t{n}"), Kind::Keyless),
            17 => (format!("MSET {{a}} t{n} {{b}} t{n}{x}"), Kind::CrossSlot),
            _ => (format!("ECHO t{n}{x}"), Kind::Local),
        };
        let slot = matches!(kind, Kind::Read | Kind::Write | Kind::Script).then(|| slot_of(tag));
        let inline = !large && world.rng.u8(..) < 30;
        let bytes = if inline { format!("{text}\r\n").into_bytes() } else { encode(&text) };
        let asks = &mut world.clients[client];
        if asks.index.is_none() || asks.ended {
            return;
        }
        asks.to_send.extend_from_slice(&bytes);
        asks.ops.push_back(n);
        world.cluster.ops.push(Op {
            client,
            slot,
            kind,
            executed: 0,
            failed: false,
            queued: None,
            sent: 0,
            setback: None,
            answer: None,
        });
    }
}

/// Everything works from now on; all that waits gets its answer.
fn heal(world: &mut World) {
    // Clients that were cut off for being slow or in the middle of a reply are told apart here.
    world.healed = true;
    for slot in world.cluster.slots.keys().copied().collect::<Vec<_>>() {
        let place = &world.cluster.slots[&slot];
        let owner = place.target.unwrap_or(place.owner);
        world.cluster.give(slot, owner);
    }
    world.cluster.tell_all();
    for node in world.cluster.nodes.values_mut() {
        (node.down, node.loading, node.clusterdown) = (false, false, false);
    }
    if world.rng.u8(..4) == 0 {
        world.publish();
    }
    settle(world);
    world.healed_from = Some(world.cluster.ops.len());
    // Whatever was shut is open again for those who come.
    for tag in TAGS {
        let client = world.connect_client();
        for _ in 0..20 {
            ask(world, client, tag);
        }
    }
    settle(world);
}

fn settle(world: &mut World) {
    let until = world.bench.now + Duration::from_secs(10);
    loop {
        let mut any = world.writable();
        for index in world.wires.keys().copied().collect::<Vec<_>>() {
            if world.wires.get(&index).is_some_and(|wire| !wire.open) {
                world.end_dial(index);
                any = true;
            }
            any |= world.node_serves(index) | world.node_answers(index);
        }
        for n in 0..world.clients.len() {
            any |= world.client_sends(n);
        }
        world.flush();
        if !any {
            let waiting = world.clients.iter().any(|c| c.index.is_some() && !c.ops.is_empty());
            match world.bench.worker.next_wake() {
                Some(at) if waiting && at <= until => {
                    let by = at.since(world.bench.now);
                    world.wait(by);
                    world.flush();
                }
                _ => return,
            }
        }
    }
}

fn check(world: &mut World) {
    for client in world.clients.iter().filter(|client| client.index.is_some()) {
        let open = client.ops.front().map(|&op| (op, &world.cluster.ops[op]));
        assert!(open.is_none(), "never answered: {open:?}");
    }
    for (n, op) in world.cluster.ops.iter().enumerate() {
        let told = op.answer.as_deref().unwrap_or("?");
        if matches!(op.kind, Kind::Write | Kind::Script) {
            assert!(op.executed <= 1, "t{n} was executed {} times: {op:?}", op.executed);
            assert!(!told.contains("not executed") || op.executed == 0, "t{n}: {op:?}");
            assert!(!told.starts_with('+') || op.executed == 1, "t{n}: {op:?}");
        }
    }
    let overtaken = &world.cluster.overtaken;
    assert!(overtaken.is_empty(), "executed behind a later one: {overtaken:?}");

    let (worker, cells) = (&mut world.bench.worker, &world.bench.cells);
    assert_eq!((cells.parked_requests.get(), cells.parked_bytes.get()), (0, 0));
    for (_, pool) in &worker.pools {
        assert!(pool.lot.is_empty() && pool.large_queue.is_empty());
        assert!(!matches!(pool.gate, Gate::Closed { trying: true, .. }), "nobody tries");
    }
    for (slot, lot) in &worker.lots {
        assert!(lot.is_empty() && !lot.trying, "slot {slot} is tried by nobody");
    }
    for (index, connection) in &worker.connections {
        assert!(connection.is_idle() && connection.unsent_bytes() == 0, "{connection:?}");
        assert!(world.wires.contains_key(&(index as u32)), "{index} has no socket");
    }
    for client in &world.clients {
        let Some(session) = client.index.and_then(|index| worker.clients.get(index)) else {
            continue;
        };
        assert!(session.unsettled.is_empty() && !session.blocked && !session.read_paused);
        assert_eq!((session.in_flight_bytes, session.large_bytes), (0, 0));
        assert!(session.flow.is_none() && !session.large_request, "{session:?}");
    }
    for n in 0..world.clients.len() {
        world.client_leaves(n, true);
    }
    world.flush();
    let (worker, cells) = (&world.bench.worker, &world.bench.cells);
    assert_eq!((cells.clients.get(), worker.client_count()), (0, 0));
    assert!(worker.large_reads.is_unused(), "{:?}", worker.large_reads);
}
