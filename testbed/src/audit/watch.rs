//! An eye on the cluster during a run, beside the proxy: who serves each shard, what it takes a
//! direct client, and the append-only files before they are gone.

use super::wire::{Conn, Reply};
use crate::{Cluster, Node, key_in_slot};
use anyhow::{Context, Result};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Threads that look until [`Watch::finish`].
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    shards: Vec<JoinHandle<Vec<Look>>>,
    files: JoinHandle<Result<()>>,
    evidence: PathBuf,
    slots: Vec<RangeInclusive<u16>>,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Seen {
    /// For each shard: times in which no node answered for it.
    pub outages: Vec<Vec<Outage>>,
    /// For each shard: when another node answered for it than before.
    pub replaced: Vec<(RangeInclusive<u16>, Duration)>,
    /// For each shard: the slowest direct answer.
    pub slowest: Vec<Duration>,
    /// Where the append-only files are: `<port>-<number>`.
    pub evidence: PathBuf,
}

/// A time in which no node answered for a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The last answer before it.
    pub from: Duration,
    /// The first answer after it.
    pub to: Duration,
}

/// One time at which a node answered for the shard.
#[derive(Debug)]
struct Look {
    at: Duration,
    took: Duration,
    port: u16,
}

impl Watch {
    /// Begins to look at a cluster whose shards own these slots; times count from `began`. The
    /// first slot of each is asked for.
    ///
    /// # Errors
    /// The nodes do not say where their files are.
    pub fn start(
        cluster: &Arc<Cluster>,
        slots: &[RangeInclusive<u16>],
        began: Instant,
    ) -> Result<Watch> {
        let first = cluster.live_nodes().into_iter().next().context("no node is alive")?;
        let evidence = data_folder(&first)?.join("../evidence");
        fs::create_dir_all(&evidence)?;
        let stop = Arc::new(AtomicBool::new(false));
        let shards = slots.iter().map(|range| {
            let (cluster, stop) = (cluster.clone(), stop.clone());
            // The last slot: a reshard moves the first ones.
            let key = key_in_slot(*range.end(), ":watched");
            thread::spawn(move || look(&cluster, &key, began, &stop))
        });
        let shards = shards.collect();
        let mut links = Links::new(evidence.clone());
        links.update(cluster)?;
        let files = {
            let (cluster, stop) = (cluster.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    links.update(&cluster)?;
                    thread::sleep(Duration::from_millis(50));
                }
                links.update(&cluster)
            })
        };
        Ok(Watch { stop, shards, files, evidence, slots: slots.to_vec() })
    }

    /// Stops looking.
    ///
    /// # Errors
    /// The files could not be kept.
    ///
    /// # Panics
    /// A thread did.
    pub fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.files.join().expect("it does not panic")?;
        let mut seen = Seen {
            outages: Vec::new(),
            replaced: Vec::new(),
            slowest: Vec::new(),
            evidence: self.evidence,
        };
        for (looks, slots) in self.shards.into_iter().zip(self.slots) {
            let looks = looks.join().expect("it does not panic");
            let mut outages = Vec::new();
            for pair in looks.windows(2) {
                let (before, after) = (&pair[0], &pair[1]);
                if before.port != after.port {
                    seen.replaced.push((slots.clone(), after.at));
                }
                if after.at - before.at > OUTAGE {
                    outages.push(Outage { from: before.at, to: after.at });
                }
            }
            seen.outages.push(outages);
            seen.slowest.push(looks.iter().map(|look| look.took).max().unwrap_or_default());
        }
        Ok(seen)
    }
}

/// Asks all nodes for `key`, every few milliseconds; notes each answer of one that serves it.
fn look(cluster: &Cluster, key: &str, began: Instant, stop: &AtomicBool) -> Vec<Look> {
    let mut conns: HashMap<u16, Conn> = HashMap::new();
    let mut looks: Vec<Look> = Vec::new();
    let mut serving: Option<u16> = None;
    loop {
        // Looked at first: what is so when it ends is seen.
        let ends = stop.load(Ordering::Relaxed);
        let nodes = cluster.nodes();
        // Who served last is asked first; all others only when it does not, or now and then.
        let all = ends || serving.is_none() || looks.len().is_multiple_of(8);
        let mut found = None;
        for node in nodes.iter().filter(|node| all || serving == Some(node.port())) {
            if !node.is_live() {
                conns.remove(&node.port());
                continue;
            }
            let asked = Instant::now();
            match ask(&mut conns, node, key) {
                Some(Reply::Bulk(_) | Reply::Nil) => {
                    let now = began.elapsed();
                    // Of two that both answer, the one that is new is the heir.
                    if found.is_none() || serving != Some(node.port()) {
                        found = Some(Look { at: now, took: asked.elapsed(), port: node.port() });
                    }
                }
                Some(_) => {}
                None => {
                    conns.remove(&node.port());
                }
            }
        }
        serving = found.as_ref().map(|look| look.port);
        looks.extend(found);
        if ends {
            return looks;
        }
        thread::sleep(if serving.is_some() { CALM } else { HASTE });
    }
}

fn ask(conns: &mut HashMap<u16, Conn>, node: &Node, key: &str) -> Option<Reply> {
    let conn = match conns.entry(node.port()) {
        std::collections::hash_map::Entry::Occupied(conn) => conn.into_mut(),
        std::collections::hash_map::Entry::Vacant(place) => {
            place.insert(Conn::connect(&node.addr(), ANSWER).ok()?)
        }
    };
    conn.ask(&["GET", key], ANSWER).ok()
}

/// Hard links to append-only files: a node that copies another one anew removes its own, but what
/// is linked stays, and stays complete, because such files are only ever appended to.
struct Links {
    folder: PathBuf,
    inodes: HashSet<u64>,
    /// The folders of nodes, by port: one that is dead cannot be asked.
    nodes: HashMap<u16, PathBuf>,
}

impl Links {
    fn new(folder: PathBuf) -> Links {
        Links { folder, inodes: HashSet::new(), nodes: HashMap::new() }
    }

    fn update(&mut self, cluster: &Cluster) -> Result<()> {
        for node in cluster.nodes() {
            if !self.nodes.contains_key(&node.port())
                && let Ok(folder) = data_folder(&node)
            {
                self.nodes.insert(node.port(), folder.join("appendonlydir"));
            }
        }
        for (port, folder) in &self.nodes {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if !name.ends_with(".incr.aof") {
                    continue;
                }
                let Ok(inode) = entry.metadata().map(|data| data.ino()) else { continue };
                if self.inodes.insert(inode) {
                    let number = self.inodes.len();
                    let link = self.folder.join(format!("{port}-{number}"));
                    // It may be renamed or removed between the two steps; then it comes again.
                    if fs::hard_link(entry.path(), link).is_err() {
                        self.inodes.remove(&inode);
                    }
                }
            }
        }
        Ok(())
    }
}

fn data_folder(node: &Node) -> Result<PathBuf> {
    let dir: Vec<String> = node.query(redis::cmd("CONFIG").arg("GET").arg("dir"))?;
    let dir = dir.get(1).context("CONFIG GET dir without a folder")?;
    Ok(Path::new(dir).to_owned())
}

/// Between two looks at a node that serves, and while none does.
const CALM: Duration = Duration::from_millis(20);
const HASTE: Duration = Duration::from_millis(4);

/// How long a node may take to answer before another one is asked.
const ANSWER: Duration = Duration::from_millis(150);

/// A gap between two answers that is no mere delay of our own threads.
const OUTAGE: Duration = Duration::from_millis(250);
