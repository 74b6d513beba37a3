//! Whole scans against nodes in memory, while slots move and nodes fail between and in pages:
//! every key that is there all the time is returned.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::bench::{Bench, node_id, settings};
use crate::slot::Slot;
use crate::topology::{Draft, Endpoint, Node, Role, Topology};

/// Slots move in pieces of this many, so that a stretch is lost now and then and not always.
const PIECE: u16 = 512;
const PIECES: usize = Slot::COUNT / PIECE as usize;
const PORTS: u16 = 5;

/// One node: the keys it holds, in the tables of its process.
#[derive(Default)]
struct Server {
    keys: BTreeSet<String>,
    /// Number of its process: another order of its keys.
    process: u64,
    epoch: u64,
}

struct Cluster {
    seed: fastrand::Rng,
    by_slot: bool,
    servers: BTreeMap<u16, Server>,
    /// Piece of the key space → port of its owner.
    owners: [u16; PIECES],
    /// A slot on its way, and where to.
    open: Option<(Slot, u16)>,
    processes: u64,
    revision: u64,
}

fn owner_of(cluster: &Cluster, slot: Slot) -> u16 {
    cluster.owners[slot.index() / usize::from(PIECE)]
}

impl Cluster {
    fn new(seed: u64, keys: usize) -> Cluster {
        let mut cluster = Cluster {
            by_slot: seed.is_multiple_of(2),
            seed: fastrand::Rng::with_seed(seed),
            servers: BTreeMap::new(),
            owners: [0; PIECES],
            open: None,
            processes: 0,
            revision: 1,
        };
        for port in 1..=PORTS {
            cluster.processes += 1;
            let server =
                Server { process: cluster.processes, epoch: u64::from(port), ..Server::default() };
            cluster.servers.insert(port, server);
        }
        for (piece, owner) in cluster.owners.iter_mut().enumerate() {
            *owner = 1 + (piece * 3 / PIECES) as u16;
        }
        for n in 0..keys {
            cluster.add(&format!("k{n}"));
        }
        cluster
    }

    fn add(&mut self, key: &str) {
        let slot = Slot::of_key(key.as_bytes());
        let owner = owner_of(self, slot);
        let port = match self.open {
            Some((open, target)) if open == slot => target,
            _ => owner,
        };
        self.servers.get_mut(&port).unwrap().keys.insert(key.to_owned());
    }

    fn topology(&mut self) -> Arc<Topology> {
        self.revision += 1;
        let mut draft = Draft { revision: self.revision, ..Draft::default() };
        for (&port, server) in &self.servers {
            let node = Node::new(node_id(port), Endpoint::new("10.0.0.1", port), Role::Primary);
            draft.nodes.push(Node { config_epoch: server.epoch, ..node });
        }
        for (piece, &port) in (0..).zip(&self.owners) {
            let (first, last) = (piece * PIECE, piece * PIECE + PIECE - 1);
            let slot = |number| Slot::new(number).unwrap();
            draft.own(slot(first), slot(last), node_id(port), self.servers[&port].epoch);
        }
        Arc::new(draft.finish())
    }

    /// As a node that takes slots over does, unless its epoch is the highest anyway.
    fn raise(&mut self, port: u16) {
        let highest = self.servers.values().map(|server| server.epoch).max().unwrap();
        let server = self.servers.get_mut(&port).unwrap();
        if server.epoch != highest {
            server.epoch = highest + 1;
        }
    }

    /// Moves the keys that `takes` says from one node to another.
    fn carry(&mut self, from: u16, to: u16, takes: impl Fn(Slot) -> bool) {
        let source = self.servers.get_mut(&from).unwrap();
        let going = |key: &String| takes(Slot::of_key(key.as_bytes()));
        let keys: Vec<String> = source.keys.iter().filter(|key| going(key)).cloned().collect();
        source.keys.retain(|key| !going(key));
        self.servers.get_mut(&to).unwrap().keys.extend(keys);
    }

    fn settle_open(&mut self) {
        if let Some((slot, target)) = self.open.take() {
            // The rest of the piece follows at once: a piece has one owner.
            let (owner, piece) = (owner_of(self, slot), slot.index() / usize::from(PIECE));
            self.carry(owner, target, |other| other.index() / usize::from(PIECE) == piece);
            self.owners[piece] = target;
            self.raise(target);
        }
    }

    /// Something happens. Returns the port of a node whose connections break.
    fn fault(&mut self) -> Option<u16> {
        let port = self.seed.u16(1..=PORTS);
        match self.seed.u8(0..5) {
            // It restarts.
            0 => {
                self.processes += 1;
                self.servers.get_mut(&port).unwrap().process = self.processes;
                return Some(port);
            }
            // Another one takes over all that it has.
            1 => {
                let heir = 1 + port % PORTS;
                self.settle_open();
                self.carry(port, heir, |_| true);
                self.owners.iter_mut().filter(|owner| **owner == port).for_each(|o| *o = heir);
                self.raise(heir);
            }
            // A piece moves at once.
            2 => {
                let piece = self.seed.usize(0..PIECES);
                self.settle_open();
                let from = self.owners[piece];
                if from != port {
                    self.carry(from, port, |slot| slot.index() / usize::from(PIECE) == piece);
                    self.owners[piece] = port;
                    self.raise(port);
                }
            }
            // A slot begins to move, or some of its keys do, or it has moved.
            _ => match self.open {
                None => {
                    let slot = Slot::of_key(format!("k{}", self.seed.u32(0..200)).as_bytes());
                    if owner_of(self, slot) != port {
                        self.open = Some((slot, port));
                    }
                }
                Some((slot, target)) if self.seed.bool() => {
                    let owner = owner_of(self, slot);
                    self.carry(owner, target, |other| other == slot);
                }
                Some(_) => self.settle_open(),
            },
        }
        None
    }

    /// A server's page: three places of its tables at a time, each with all keys that hash there.
    fn scan(&self, port: u16, cursor: u64) -> String {
        let server = &self.servers[&port];
        let place = |key: &str| -> u64 {
            let mut hash = server.process.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xcbf2;
            for byte in key.bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
            if self.by_slot {
                u64::from(Slot::of_key(key.as_bytes()).number()) << 1 | hash >> 20 & 1
            } else {
                1 + (hash >> 20) % 31
            }
        };
        let from = if self.by_slot { (cursor & 0x3fff) << 1 | cursor >> 14 } else { cursor };
        let mut places: Vec<u64> = server.keys.iter().map(|key| place(key)).collect();
        places.retain(|place| *place >= from);
        places.sort_unstable();
        places.dedup();
        let until = places.get(3).copied().unwrap_or(u64::MAX);
        let next = match (until, self.by_slot) {
            (u64::MAX, _) => 0,
            (until, true) => until >> 1 | (until & 1) << 14,
            (until, false) => until,
        };
        let is_here = |key: &&String| (from..until).contains(&place(key));
        let keys: Vec<&str> = server.keys.iter().filter(is_here).map(String::as_str).collect();
        super::page(next, &keys)
    }

    fn nodes(&self, port: u16) -> String {
        let pieces = (0..).zip(&self.owners).filter(|&(_, &owner)| owner == port);
        let range =
            |(piece, _): (u16, _)| format!("{}-{}", piece * PIECE, piece * PIECE + PIECE - 1);
        let mut words: Vec<String> = pieces.map(range).collect();
        if let Some((slot, target)) = self.open
            && owner_of(self, slot) == port
        {
            words.push(format!("[{slot}->-{}]", node_id(target)));
        }
        super::nodes(port, self.servers[&port].epoch, &words.join(" "))
    }

    fn info(&self, port: u16) -> String {
        let version = if self.by_slot { "8.0.2" } else { "7.0.15" };
        let run_id = self.servers[&port].process.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("redis_version:{version}\r\nrun_id:{run_id:016x}\r\n")
    }
}

/// Two slotways in front of one cluster; a scan goes on at either.
struct Stage {
    cluster: Cluster,
    ways: [(Bench, u32); 2],
}

impl Stage {
    fn new(seed: u64, keys: usize) -> Stage {
        let mut cluster = Cluster::new(seed, keys);
        let map = cluster.topology();
        let way = |cluster: &Cluster| {
            let mut bench = Bench::without_topology(settings());
            bench.infos = (1..=PORTS).map(|port| (port, cluster.info(port))).collect();
            bench.topology(Arc::clone(&map));
            let client = bench.client();
            (bench, client)
        };
        let ways = [way(&cluster), way(&cluster)];
        Stage { cluster, ways }
    }

    fn happen(&mut self) {
        let broken = self.cluster.fault();
        let map = self.cluster.topology();
        for (bench, _) in &mut self.ways {
            if let Some(port) = broken {
                bench.infos.insert(port, self.cluster.info(port));
                bench.kill(port, false);
                bench.advance(Duration::from_secs(2));
            }
            // Now and then the map is told late: at the next event, or when it is wished for.
            if self.cluster.seed.u8(0..3) > 0 {
                bench.topology(Arc::clone(&map));
            }
        }
    }

    /// One SCAN, whatever it takes: its cursor and keys.
    fn scan(&mut self, cursor: &str, faults: &mut u32) -> (String, Vec<String>) {
        let way = self.cluster.seed.usize(0..2);
        let client = self.ways[way].1;
        self.ways[way].0.send(client, &format!("SCAN {cursor}"));
        for _ in 0..500 {
            let (bench, client) = &mut self.ways[way];
            let got = bench.got(*client);
            if !got.is_empty() {
                assert!(got.starts_with("*2\r\n"), "{got}");
                if bench.wishes.drain(..).count() > 0 {
                    bench.topology(self.cluster.topology());
                }
                return super::taken(&got);
            }
            let asked = (1..=PORTS).find_map(|port| Some((port, bench.at(port).first()?.clone())));
            let Some((port, asked)) = asked else {
                bench.advance(Duration::from_millis(100));
                continue;
            };
            if *faults > 0 && self.cluster.seed.u8(0..8) == 0 {
                *faults -= 1;
                self.happen();
                continue;
            }
            let reply = match asked.strip_prefix("SCAN ") {
                Some(cursor) => self.cluster.scan(port, cursor.parse().unwrap()),
                None => self.cluster.nodes(port),
            };
            self.ways[way].0.answer(port, &reply);
        }
        panic!("no reply");
    }
}

fn scan_through(seed: u64) -> Result<(), String> {
    let keys = 200;
    let mut stage = Stage::new(seed, keys);
    let (mut cursor, mut found, mut faults) = ("0".to_owned(), BTreeSet::new(), 12);
    for pages in 0.. {
        if pages == 5_000 {
            return Err(format!("seed {seed}: it does not end"));
        }
        if faults > 0 && stage.cluster.seed.u8(0..4) == 0 {
            faults -= 1;
            stage.happen();
        }
        let (next, keys) = stage.scan(&cursor, &mut faults);
        found.extend(keys);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    let missed = (0..keys).map(|n| format!("k{n}")).filter(|key| !found.contains(key));
    let missed: Vec<String> = missed.collect();
    let told = format!("seed {seed}: missed {missed:?}");
    if missed.is_empty() { Ok(()) } else { Err(told) }
}

#[test]
fn whatever_happens_meanwhile_every_key_is_returned() {
    let failed: Vec<String> = (0..1_000).filter_map(|seed| scan_through(seed).err()).collect();
    assert!(failed.is_empty(), "{} of 1000, for example {}", failed.len(), failed[0]);
}
