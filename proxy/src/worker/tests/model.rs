//! The whole heart against everything at once: clients that pipeline, stop reading and leave,
//! nodes that execute, redirect, refuse, die and come back, connections that break at any byte.
//! Then all is healed, and every promise is held against what really happened.
//!
//! The nodes have data, which reaches replicas late: at the end each acknowledged write is there,
//! once, unless the servers lost it, and nothing is there that was called not executed. Every reply
//! is one that a node gave to this very request, byte for byte; a client reads what it has written.
//!
//! Each run follows from its number; a failing one prints it, `SLOTWAY_RUN=<number>` runs it alone,
//! and with `SLOTWAY_TRACE=1` says what happens. The soak begins at `SLOTWAY_SOAK_FROM`.
//!
//! # What it notices
//!
//! Each of these was put into the heart once, one line each; behind it the first runs that failed.
//!
//! | broken | runs |
//! |---|---|
//! | an unknown write in 16 is sent again | 11, 26, 31 |
//! | a request handed over whole counts as not sent | 0, 5, 14 |
//! | no fence in the greeting | 9, 183, 232 |
//! | replies of suspect nodes are not held | 137, 189, 213 |
//! | held replies are delivered at the first view of anybody | 1938, 2262, 2674 |
//! | new connections to suspect nodes are not confirmed | 449, 661, 775 |
//! | a node that was left behind is followed to whom it names | 3462 |
//! | what waits leaves its lot from the end | 0, 15, 25 |
//! | a request in 8 leaves the straight way unnoticed | 62, 161, 466 |
//! | two writes of a strict client at a time | 235, 649, 1216 |
//! | a reply goes to whom the place belongs now | 15, 27, 125 |
//! | a reply in 50 is put in a neighbour's place | 0, 1, 2 |
//! | a script's MOVED for another slot is believed | 1, 2, 3 |
//! | a request that waits is not counted | 0, 1, 2 |
//! | what waits does so for twice the deadline | 0, 5, 10 |
//! | `ASKING` goes behind its request | 12, 240, 244 |
//! | waits between attempts do not grow | 0, 1, 2 |
//! | no gate is shut at a node that refuses | 5, 10, 31 |
//! | a retiring connection is used for large requests | 74, 98, 407 |
//! | a drain closes clients with requests under way | 6, 17, 28 |
//! | bytes of abandoned requests are counted wrong | 1, 11, 13 |
//! | a settled request in 64 leaves a byte in its client's account | 0, 1, 2 |
//! | no fence on an open shared connection | 10, 92, 152 |
//! | what is said of unknown parts and of those not executed is exchanged | 8, 10, 13 |
//! | a request of which a part was applied is answered as if none was | 8, 9, 10 |
//! | the parts of a split read are put together in reverse | 8, 9, 10 |
//! | clients in all modes share connections | 8, 9, 11 |
//! | `retry-unknown` repeats every write | 42, 44 |
//! | what was repeated counts as if it had not been sent before | 360, 392 |
//! | what was sent on to a silent node with ASK is taken for lost | 920931 |
//! | a transaction of which nothing is known is sent again | 1000002, 1000014, 1000064 |
//! | what was refused while it was queued does not count at EXEC | 1000003, 1000004, 1000011 |
//! | one reply too few is expected of some transactions | 1000000, 1000001, 1000002 |
//! | a transaction is sent again without its MULTI | 1000000, 1000001, 1000002 |
//!
//! Not noticed: that `close_finished` never looks. Whatever is in use and finished is closed in the
//! same turn, which is held at every turn; what it finds is being opened still, and would be closed
//! when it is open.

mod answers;
mod blocks;
mod bounds;
mod check;
mod clients;
mod cluster;
mod data;
mod faults;
mod history;
mod schedule;
mod split;
mod wide;
mod world;

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bench::settings;
use crate::command::RetryUnknown;
use crate::node::Patience;
use crate::session::Manners;
use crate::worker::{Deadlines, Settings};
use world::World;

const RUNS: u64 = 2000;

/// Runs beyond the first that notice what those do not, or hardly. A change of the world gives each
/// number another story: these are of held replies, of a node that was left behind, of a fence that
/// was late, of requests that a replaced primary had in part, of redirects older than the map, by
/// another owner or the same one of another epoch, of what is called back when no place is left to
/// wait, and of what was sent on with ASK to a node that goes silent.
const FOUND: [u64; 18] = [
    2262, 3462, 75623, 14133, 34982, 100151, 117842, 403_799, 610_457, 623_531, 642_570, 907_347,
    912_026, 920_931, 1_107_645, 1_010_302, 1_043_188, 1_062_351,
];

/// So many more of those with transactions.
const BLOCK_RUNS: u64 = 400;

#[test]
fn whatever_happens_every_client_gets_the_truth_in_order() {
    let replay = std::env::var("SLOTWAY_RUN").ok().and_then(|text| text.parse::<u64>().ok());
    let all = (0..RUNS).chain(FOUND).chain(blocks::FROM..blocks::FROM + BLOCK_RUNS);
    for seed in all.filter(|_| replay.is_none()).chain(replay) {
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
    let from = std::env::var("SLOTWAY_SOAK_FROM").ok().and_then(|text| text.parse().ok());
    let (mut runs, mut failed) = (0, Vec::new());
    while Instant::now() < until {
        let seed = from.unwrap_or(blocks::FROM + BLOCK_RUNS) + runs;
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
        // A short one opens circuits.
        deadlines: Deadlines {
            auto: Duration::from_secs(if seed.is_multiple_of(5) { 2 } else { 60 }),
            circuit_wait: Duration::from_millis(300),
            chosen: Arc::new([Duration::from_secs(5)]),
        },
        park_max_bytes: 1_000_000,
        retry_unknown: RetryUnknown {
            idempotent: wide::is_wide(seed) && seed.is_multiple_of(2),
            blocking: false,
        },
        dedicated_max: 1 + seed as usize % 2,
        ..settings()
    };
    let manners = Manners {
        split: wide::is_wide(seed),
        strict_order: seed % 3 == 1,
        patience: Patience::AUTO,
    };
    let mut world = World::new(settings, manners, seed);
    for _ in 0..4 {
        world.connect_client();
    }
    schedule::run(&mut world, seed % 11 == 6);
    schedule::heal(&mut world);
    check::check(&mut world);
}
