//! Shards that nothing happens to, while another one is away and many wait for it.

use crate::soak::MARGIN;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};
use testbed::audit::Conn;
use testbed::{Cluster, Proxy, wait_until};

/// Each with a calm time and a time in which a shard is away, so that what the machine does
/// besides meets both alike.
const CYCLES: usize = 8;

/// How long each of the two is.
const PHASE: Duration = Duration::from_millis(1500);

/// Requests that wait for the shard that is away: so many clients, so many each.
const WAITING: (usize, usize) = (50, 20);

/// "Unaffected shards stalled by the affected one": their median stays within 10 % of what it is
/// without, and no request takes longer than the slowest of a direct client and the margin. The
/// direct client is asked in turn with slotway, so that what slows the nodes is not put down to it.
#[test]
#[ignore = "soak: the speed of untouched shards while another is away, about 1 minute"]
fn unaffected_shards_are_not_stalled_by_the_affected_one() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).full_coverage(false).start()?;
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    let mut pairs = Vec::new();
    for number in [0, 2] {
        let (key, node) = (cluster.shard(number).key("near")?, cluster.shard(number).primary()?);
        let connect = |addr: &str| Conn::connect(addr, SOON);
        pairs.push(Pair { key, ours: connect(&proxy.addr())?, direct: connect(&node.addr())? });
    }
    let (away, key) = (cluster.shard(1).primary()?, cluster.shard(1).key("away")?);
    let mut waiting = (0..WAITING.0).map(|_| proxy.peer()).collect::<Result<Vec<_>>>()?;
    let (mut ratios, mut slowest, mut direct_slowest) = (vec![], Duration::ZERO, Duration::ZERO);
    for _ in 0..CYCLES {
        let calm = measure(&mut pairs)?;
        cluster.kill(&away)?;
        for peer in &mut waiting {
            (0..WAITING.1).try_for_each(|_| peer.send_command(&["INCR", &key]))?;
        }
        wait_until("them to wait", SOON, || {
            parked(&proxy).is_ok_and(|n| n == WAITING.0 * WAITING.1)
        })?;
        let meanwhile = measure(&mut pairs)?;
        cluster.restart(&away)?;
        for peer in &mut waiting {
            peer.set_deadline(SOON);
            for _ in 0..WAITING.1 {
                let line = peer.read_line()?;
                ensure!(line.starts_with(b":"), "{}", line.escape_ascii());
            }
        }
        cluster.wait_ok(SOON)?;
        let slower = |of: fn(&Times) -> &Vec<Duration>| {
            median(of(&meanwhile)).as_secs_f64() / median(of(&calm)).as_secs_f64()
        };
        let (ours, direct) = (slower(|times| &times.ours), slower(|times| &times.direct));
        eprintln!(
            "median {:?}, meanwhile {:?} ({ours:.3}); a direct client's {:?}, {:?} ({direct:.3})",
            median(&calm.ours),
            median(&meanwhile.ours),
            median(&calm.direct),
            median(&meanwhile.direct),
        );
        ratios.push(ours / direct);
        slowest = slowest.max(meanwhile.ours.last().copied().unwrap_or_default());
        for times in [&calm, &meanwhile] {
            direct_slowest = direct_slowest.max(times.direct.last().copied().unwrap_or_default());
        }
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let ratio = ratios[CYCLES / 2];
    eprintln!("medians {ratio:.3} of before; slowest {slowest:?}, direct {direct_slowest:?}");
    ensure!(ratio <= 1.1, "the median grows to {ratio:.3} of what it was: {ratios:.3?}");
    ensure!(slowest <= direct_slowest + MARGIN, "{slowest:?}, directly {direct_slowest:?}");
    Ok(())
}

/// One shard's two ways.
struct Pair {
    key: String,
    ours: Conn,
    direct: Conn,
}

/// How long requests took, the slowest last.
#[derive(Default)]
struct Times {
    ours: Vec<Duration>,
    direct: Vec<Duration>,
}

/// Both ways in turn, for the time of a phase.
fn measure(pairs: &mut [Pair]) -> Result<Times> {
    let (mut times, began) = (Times::default(), Instant::now());
    while began.elapsed() < PHASE {
        for Pair { key, ours, direct } in &mut *pairs {
            for (conn, times) in [(ours, &mut times.ours), (direct, &mut times.direct)] {
                let asked = Instant::now();
                let reply = conn.ask(&["SET", key, "1"], SOON)?;
                times.push(asked.elapsed());
                ensure!(reply.is_ok(), "{reply:?}");
            }
        }
    }
    times.ours.sort_unstable();
    times.direct.sort_unstable();
    Ok(times)
}

fn median(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() / 2]
}

fn parked(proxy: &Proxy) -> Result<usize> {
    let (_, page) = proxy.http_get("/metrics")?;
    let line = page.lines().find_map(|line| line.strip_prefix("slotway_parked_requests "));
    Ok(line.context("no such metric")?.parse()?)
}

const SOON: Duration = Duration::from_secs(60);
