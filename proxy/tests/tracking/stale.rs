//! Clients that read through their caches while others write and nodes fail: nothing stale stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use redis::cmd;
use testbed::{Cluster, FailoverKind, Proxy, wait_until};

use super::model::{Line, Reader, Style, string};

const KEYS: usize = 60;

/// After the last write everything stale is gone within this time.
const QUIET: Duration = Duration::from_secs(5);

/// Where no write is lost: nothing is served from a cache longer than this after another value was
/// acknowledged.
const STALE_MAX: Duration = Duration::from_secs(2);

const STYLES: [Style; 5] =
    [Style::Gets, Style::Mget, Style::OptIn, Style::Prefix, Style::Redirected];

fn key(n: usize) -> String {
    format!("k{n}")
}

/// What was acknowledged of each key: the number, and when.
type Acked = Mutex<HashMap<String, Vec<(u64, Instant)>>>;

struct Run<'a> {
    proxy: &'a Proxy,
    acked: Acked,
    numbers: AtomicU64,
    over: AtomicBool,
    /// The servers lose no write that they have acknowledged.
    strict: bool,
}

impl Run<'_> {
    /// Waits until so many more writes were begun.
    fn go_on(&self, writes: u64) -> Result<()> {
        let until = self.numbers.load(Ordering::Relaxed) + writes;
        wait_until("more to be written", Duration::from_secs(30), || {
            self.numbers.load(Ordering::Relaxed) >= until
        })
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn write(&self) -> Result<()> {
        let mut line = Line::connect(&self.proxy.addr())?;
        while !self.is_over() {
            let key = key(fastrand::usize(..KEYS));
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            if line.ask(&format!("SET {key} {number}"))?.starts_with('+') {
                let mut acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
                acked.entry(key).or_default().push((number, Instant::now()));
            }
            // The pace of its load.
            thread::sleep(Duration::from_micros(fastrand::u64(..3000)));
        }
        Ok(())
    }

    fn read(&self, mut reader: Reader) -> Result<Reader> {
        while !self.is_over() {
            let start = fastrand::usize(..KEYS);
            let keys: Vec<String> = (start..start + 4).map(|n| key(n % KEYS)).collect();
            reader.hear(Duration::ZERO)?;
            if self.strict {
                self.check(&reader, &keys)?;
            }
            reader.read(&keys)?;
        }
        Ok(reader)
    }

    /// What the cache would serve now has not been replaced for long.
    fn check(&self, reader: &Reader, keys: &[String]) -> Result<()> {
        let acked = self.acked.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys {
            let Some(value) = reader.cache.get(key).and_then(|v| v.parse::<u64>().ok()) else {
                continue;
            };
            let written = acked.get(key).map(Vec::as_slice).unwrap_or_default();
            let Some(at) = written.iter().position(|&(number, _)| number == value) else {
                continue;
            };
            // Those that were under way with it may have been executed before it.
            if let Some(&(number, when)) = written.get(at + WRITERS) {
                let stale = when.elapsed();
                ensure!(
                    stale < STALE_MAX,
                    "{:?}: {key} is {value} in the cache, {number} was acknowledged {stale:?} ago",
                    reader.style
                );
            }
        }
        Ok(())
    }
}

/// Writers at the same time: so many writes of a key may be under way, in any order.
const WRITERS: usize = 3;

/// Readers of all styles and some writers, while `fault` happens; then quiet: no cache may have
/// anything else than what is in the cluster.
fn run(proxy: &Proxy, strict: bool, fault: impl FnOnce(&Run<'_>) -> Result<()>) -> Result<()> {
    let run = Run {
        proxy,
        acked: Mutex::default(),
        numbers: AtomicU64::new(1_000_000),
        over: AtomicBool::new(false),
        strict,
    };
    let run = Arc::new(run);
    let readers = thread::scope(|scope| {
        let mut readers = Vec::new();
        for style in STYLES.into_iter().cycle().take(2 * STYLES.len()) {
            let reader = Reader::connect(&proxy.addr(), style)?;
            readers.push(scope.spawn({
                let run = Arc::clone(&run);
                move || run.read(reader)
            }));
        }
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let run = Arc::clone(&run);
                scope.spawn(move || run.write())
            })
            .collect();
        let result = run.go_on(500).and_then(|()| fault(&run)).and_then(|()| run.go_on(500));
        run.over.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("a writer panicked")?;
        }
        let joined = readers.into_iter().map(|reader| reader.join().expect("a reader panicked"));
        let readers = joined.collect::<Result<Vec<Reader>>>();
        result.and(readers)
    })?;
    settle(proxy, readers)
}

fn settle(proxy: &Proxy, mut readers: Vec<Reader>) -> Result<()> {
    let mut truth = HashMap::new();
    let mut line = Line::connect(&proxy.addr())?;
    for n in 0..KEYS {
        let value = line.ask(&format!("GET {}", key(n)))?;
        truth.insert(key(n), string(value.as_bytes()));
    }
    let end = Instant::now() + QUIET;
    for reader in &mut readers {
        loop {
            reader.hear(Duration::from_millis(5))?;
            let stale = reader.cache.iter().find(|(key, value)| truth[*key] != **value);
            let Some((key, value)) = stale else { break };
            if Instant::now() > end {
                bail!(
                    "{:?}: {key} is {value} in the cache and {} in the cluster",
                    reader.style,
                    truth[key]
                );
            }
        }
        ensure!(reader.told > 0 && reader.hits > 0, "{:?} was of no use", reader.style);
    }
    let kept: usize = readers.iter().map(|reader| reader.cache.len()).sum();
    ensure!(kept > KEYS, "only {kept} values are kept");
    Ok(())
}

#[test]
fn no_cached_value_stays_stale_whatever_happens_to_the_nodes() -> Result<()> {
    let cluster = Cluster::builder().full_coverage(false).start()?;
    let proxy = super::proxy(&cluster)?;
    let ok = || cluster.wait_ok(Duration::from_secs(30));
    run(&proxy, true, |_| Ok(())).context("calm")?;
    run(&proxy, true, |run| {
        for _ in 0..5 {
            for node in cluster.live_nodes() {
                node.query::<()>(cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal"))?;
            }
            run.go_on(300)?;
        }
        Ok(())
    })
    .context("connections are killed")?;
    run(&proxy, true, |_| cluster.failover(&cluster.shard(0).replica()?, FailoverKind::Normal))
        .context("CLUSTER FAILOVER")?;
    ok()?;
    run(&proxy, true, |_| {
        let (from, to) = (cluster.shard(1).primary()?, cluster.shard(2).primary()?);
        let slots = cluster.shard(1).slots()?;
        let ours = (0..KEYS).map(|n| slotway::slot::Slot::of_key(key(n).as_bytes()).number());
        let ours: Vec<u16> = ours.filter(|slot| slots.contains(slot)).collect();
        cluster.move_slots(ours, &from, &to)
    })
    .context("slots move")?;
    ok()?;
    let killed = cluster.shard(0).primary()?;
    run(&proxy, false, |_| {
        cluster.kill(&killed)?;
        ok()
    })
    .context("kill -9")?;
    run(&proxy, false, |_| cluster.restart(&killed)).context("it comes back")?;
    run(&proxy, false, |_| cluster.failover(&cluster.shard(2).replica()?, FailoverKind::Takeover))
        .context("TAKEOVER")
}
