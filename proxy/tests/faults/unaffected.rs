//! Shards that nothing happens to, while another one is away and many wait for it.

use crate::soak::MARGIN;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use testbed::audit::Conn;
use testbed::{Cluster, Proxy, wait_until};

/// How often a shard goes away.
const CYCLES: usize = 8;

/// How long is measured before, and while it is away.
const PHASE: Duration = Duration::from_millis(1500);

/// How many clients wait for the shard that is away.
const WAITING: usize = 500;

/// "Unaffected shards stalled by the affected one": their median stays within 10 % of what it was
/// before, and no request takes longer than the slowest of a direct client and the margin.
///
/// A machine is never twice the same, so the median is that beside another slotway for which nobody
/// waits: both are asked in turn, request by request, and so is the direct client.
#[test]
#[ignore = "soak: the speed of untouched shards while another is away, about 1 minute"]
fn unaffected_shards_are_not_stalled_by_the_affected_one() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).full_coverage(false).start()?;
    let start = || Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start();
    let (affected, other) = (start()?, start()?);
    let mut ways = Vec::new();
    for number in [0, 2] {
        let (key, node) = (cluster.shard(number).key("near")?, cluster.shard(number).primary()?);
        for (way, addr) in [affected.addr(), other.addr(), node.addr()].iter().enumerate() {
            ways.push((way, key.clone(), Conn::connect(addr, SOON)?));
        }
    }
    let (away, key) = (cluster.shard(1).primary()?, cluster.shard(1).key("away")?);
    let mut waiting = (0..WAITING).map(|_| affected.peer()).collect::<Result<Vec<_>>>()?;
    let mut ratios = Vec::new();
    let (mut slowest, mut direct) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..CYCLES {
        let before = measure(&mut ways)?;
        cluster.kill(&away)?;
        waiting.iter_mut().try_for_each(|peer| peer.send_command(&["INCR", &key]))?;
        wait_until("them to wait", SOON, || parked(&affected).is_ok_and(|n| n == WAITING))?;
        let meanwhile = measure(&mut ways)?;
        cluster.restart(&away)?;
        for peer in &mut waiting {
            peer.set_deadline(SOON);
            let line = peer.read_line()?;
            ensure!(line.starts_with(b":"), "{}", line.escape_ascii());
        }
        cluster.wait_ok(SOON)?;
        let beside = |times: &Times| median(&times[0]) / median(&times[1]);
        ratios.push(beside(&meanwhile) / beside(&before));
        eprintln!(
            "median {:.1} µs, beside it {:.1} µs; while a shard is away {:.1} µs, beside it {:.1} µs",
            median(&before[0]),
            median(&before[1]),
            median(&meanwhile[0]),
            median(&meanwhile[1]),
        );
        slowest = slowest.max(worst(&meanwhile[0]));
        direct = direct.max(worst(&before[2])).max(worst(&meanwhile[2]));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[CYCLES / 2];
    eprintln!("median {ratio:.3} of before; slowest {slowest:?}, a direct client's {direct:?}");
    ensure!(ratio <= 1.1, "the median grows to {ratio:.3} of what it was: {ratios:.3?}");
    ensure!(slowest <= direct + MARGIN, "{slowest:?}, a direct client's {direct:?}");
    Ok(())
}

/// How long requests took: through the affected slotway, through the other one, directly. Sorted.
type Times = [Vec<Duration>; 3];

/// All ways in turn, for the time of a phase.
fn measure(ways: &mut [(usize, String, Conn)]) -> Result<Times> {
    let (mut times, began) = (Times::default(), Instant::now());
    while began.elapsed() < PHASE {
        for (way, key, conn) in &mut *ways {
            let asked = Instant::now();
            let reply = conn.ask(&["SET", key, "1"], SOON)?;
            times[*way].push(asked.elapsed());
            ensure!(reply.is_ok(), "{reply:?}");
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    Ok(times)
}

/// In microseconds.
fn median(sorted: &[Duration]) -> f64 {
    sorted[sorted.len() / 2].as_secs_f64() * 1e6
}

fn worst(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() - 1]
}

fn parked(proxy: &Proxy) -> Result<usize> {
    let (_, page) = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix("slotway_parked_requests "));
    Ok(line.context("no such metric")?.parse()?)
}

const SOON: Duration = Duration::from_secs(60);
