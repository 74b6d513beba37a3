//! The whole heart against everything at once: clients that pipeline, stop reading and leave,
//! nodes that execute, redirect, refuse, die and come back, connections that break at any byte.
//! Then all is healed, and every promise is held against what really happened.
//!
//! Each run follows from its number; a failing one prints it, and `SLOTWAY_RUN=<number>` runs it
//! alone.

mod cluster;
mod faults;
mod world;

use std::time::{Duration, Instant};

use super::bench::{encode, settings};
use crate::node::Phase;
use crate::worker::Settings;
use crate::worker::pool::Gate;
use cluster::{Kind, Op, PORTS, TAGS, slot_of};
use world::World;

const RUNS: u64 = 2000;
const STEPS: usize = 600;

/// Runs beyond the first that have found a bug.
const FOUND: [u64; 2] = [
    // A retired connection on which only ASKING was left kept the one place for large requests.
    5094,
    // A large reply waited for a script in doubt, and the answer about that came behind it.
    980,
];

#[test]
fn whatever_happens_every_client_gets_the_truth_in_order() {
    let replay = std::env::var("SLOTWAY_RUN").ok().and_then(|text| text.parse::<u64>().ok());
    let all = (0..RUNS).chain(FOUND);
    for seed in all.filter(|&seed| replay.is_none_or(|wanted| wanted == seed)).chain(replay) {
        let told = Told(seed);
        run(seed);
        drop(told);
    }
}

#[test]
#[ignore = "soak: as many runs as fit into SLOTWAY_SOAK_MINUTES (30)"]
fn whatever_happens_for_a_long_time() {
    let minutes = std::env::var("SLOTWAY_SOAK_MINUTES").ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs_f64(minutes.unwrap_or(30.0) * 60.0);
    let (mut runs, mut failed) = (0, Vec::new());
    while Instant::now() < until {
        let seed = RUNS + runs;
        if std::panic::catch_unwind(|| run(seed)).is_err() {
            eprintln!("run {seed} failed: SLOTWAY_RUN={seed} replays it");
            failed.push(seed);
        }
        runs += 1;
    }
    eprintln!("{runs} runs, failed: {failed:?}");
    assert!(failed.is_empty(), "{failed:?}");
}

/// Says which run failed.
struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("run {} failed: SLOTWAY_RUN={0} replays it", self.0);
        }
    }
}

fn run(seed: u64) {
    let settings = Settings {
        requests_max: if seed.is_multiple_of(3) { 4 } else { 64 },
        park_max_requests: if seed.is_multiple_of(7) { 10 } else { 1000 },
        mask_deadline: Duration::from_secs(if seed.is_multiple_of(5) { 1 } else { 60 }),
        park_max_bytes: 1_000_000,
        strict_order: seed % 3 == 1,
        split: false,
        dedicated_max: 1 + seed as usize % 2,
        ..settings()
    };
    let mut world = World::new(settings, seed);
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
        80..82 => {
            let ms = if world.rng.u8(..) < 40 { 2500 } else { world.rng.u64(1..300) };
            world.wait(Duration::from_millis(ms));
        }
        82 | 83 => fault(world, port, tag),
        84..86 => {
            let garbage = world.rng.bool();
            let _ = wire.map(|wire| world.break_wire(wire, garbage));
        }
        86 if world.rng.bool() => world.kill(port),
        86..89 => world.cluster.nodes.get_mut(&port).unwrap().down = false,
        89 => flip(&mut world.cluster.nodes.get_mut(&port).unwrap().loading),
        90 => flip(&mut world.cluster.nodes.get_mut(&port).unwrap().clusterdown),
        91..96 => reshape(world, tag, port),
        96 => match world.rng.u8(..4) {
            0 => world.publish(true),
            1 => world.publish(false),
            2 => world.ask_view(),
            _ => world.view_arrives(),
        },
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

/// Something happens to a node that owns something.
fn fault(world: &mut World, any: u16, tag: &str) {
    let owner = world.cluster.slots[&slot_of(tag)].owner;
    let port = if world.rng.bool() { owner } else { any };
    match world.rng.u8(..8) {
        0..3 => world.freeze(port),
        3 => world.thaw(port),
        4 => pause(world, owner, tag),
        5 => fail_over(world, port),
        6 => cut(world, owner, tag),
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

fn fail_over(world: &mut World, port: u16) {
    let slots = world.cluster.slots.iter().filter(|(_, place)| place.owner == port);
    for slot in slots.map(|(&slot, _)| slot).collect::<Vec<_>>() {
        world.lay(slot);
    }
    world.cluster.fail_over(port);
}

fn give(world: &mut World, slot: u16, port: u16) {
    world.lay(slot);
    world.cluster.give(slot, port);
}

/// A slot moves on its way to another node, or a failover gives it away at once.
fn reshape(world: &mut World, tag: &str, port: u16) {
    let slot = slot_of(tag);
    let chance = world.rng.u8(..4);
    let frozen = |port: u16| world.cluster.nodes[&port].frozen;
    if frozen(port) || frozen(world.cluster.slots[&slot].owner) {
        return; // a slot does not move without its nodes
    }
    let Some(place) = world.cluster.slots.get_mut(&slot) else { return };
    match place.target {
        None if place.owner != port && chance > 0 => place.target = Some(port),
        None => give(world, slot, port),
        Some(_) if chance < 2 => drop(place.moved.insert(format!("{tag}{chance}"))),
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
        let (text, kind) = match world.rng.u8(..20) {
            0..8 => (format!("RPUSH {key} t{n}{x}"), Kind::Write),
            8 => (format!("MSET {tag}0 t{n} {tag}1 t{n}{x}"), Kind::Write),
            9 => (format!("EVAL t{n} 1 {key}"), Kind::Script),
            10..16 => (format!("HGET {key} t{n}:{y}"), Kind::Read),
            16 => (format!("CONFIG GET t{n}"), Kind::Keyless),
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
            asked: world.bench.now,
            handed: false,
            doomed: false,
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
    for port in PORTS {
        world.thaw(port);
    }
    world.ghosts_act(true);
    world.cluster.tell_all();
    for slot in world.cluster.slots.keys().copied().collect::<Vec<_>>() {
        let place = &world.cluster.slots[&slot];
        let owner = place.target.unwrap_or(place.owner);
        if place.target.is_some() {
            give(world, slot, owner);
        }
        if let Some(place) = world.cluster.slots.get_mut(&slot) {
            place.target = None;
            place.moved.clear();
        }
    }
    for node in world.cluster.nodes.values_mut() {
        (node.down, node.loading, node.clusterdown) = (false, false, false);
    }
    if world.rng.u8(..4) == 0 {
        world.publish(true);
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
    assert!(worker.held.is_empty(), "held for ever: {:?}", worker.held);
    for (index, pool) in &worker.pools {
        let of_pool = worker.connections.iter().filter(|(_, c)| usize::from(c.pool) == index);
        let known = usize::from(pool.shared.is_some()) + pool.idle.len();
        assert_eq!(of_pool.count(), known, "a connection without use: {:?}", pool.extra);
        assert!(pool.probe.is_none(), "a probe for ever");
        assert!(pool.lot.is_empty() && pool.large_queue.is_empty());
        assert!(!matches!(pool.gate, Gate::Closed { trying: true, .. }), "nobody tries");
    }
    for (slot, lot) in &worker.lots {
        assert!(lot.is_empty() && !lot.trying, "slot {slot} is tried by nobody");
    }
    for (index, connection) in &worker.connections {
        assert!(connection.is_idle() && connection.unsent_bytes() == 0, "{connection:?}");
        assert!(!connection.suspect && matches!(connection.phase, Phase::Ready), "{connection:?}");
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
