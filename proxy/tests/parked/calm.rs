//! A primary is killed five times under open load: what clients of other shards notice of it, and
//! a picture of it all.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::audit::{Load, Mix, Timeline, Watch, even_shards, evidence_options};
use testbed::{Cluster, Proxy};

const KILLS: usize = 5;

/// Before each kill: longer than a shard is away, so that as much can be compared.
const CALM: Duration = Duration::from_secs(5);

const HEALED: Duration = Duration::from_secs(60);

/// How much slower the median of untouched shards may be while another one is away.
const SLOWER: f64 = 1.10;

/// For those who read the picture.
const SETTING: &str = "3 primaries, 3 replicas, cluster-node-timeout 2 s; clients send by the clock; \
                       each dot is a request, at the time it was sent";

#[test]
#[ignore = "soak: five kills under load, what others notice, and a picture, about 1 minute"]
fn clients_of_other_shards_notice_nothing() -> Result<()> {
    let mut builder = Cluster::builder().full_coverage(false);
    for (name, value) in evidence_options() {
        builder = builder.config(name, value);
    }
    let cluster = Arc::new(builder.start()?);
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    let shards = even_shards(3);
    // Open load alone, of clients that keep to a shard.
    let every = Duration::from_millis(12);
    let mix = Mix {
        walkers: 6,
        walk_every: every,
        listers: 0,
        pipers: 0,
        crossers: 0,
        groups: 0,
        ..Mix::default()
    };
    let load = Load::start(&proxy.addr(), &shards, &mix)?;
    let watch = Watch::start(&cluster, &shards, load.began())?;
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        load.run_for(CALM);
        let primary = cluster.shard(1).primary()?;
        killed.push(load.now());
        cluster.kill(&primary)?;
        cluster.wait_ok(HEALED)?;
        load.run_for(CALM / 2);
        cluster.restart(&primary)?;
        cluster.wait_ok(HEALED)?;
    }
    let history = load.finish(CALM);
    let seen = watch.finish()?;

    let timelines = killed.iter().map(|killed| Timeline::new(&history, &seen, 1, *killed));
    let mut timelines: Vec<Timeline> = timelines.collect::<Result<_>>()?;
    let mut ratios = Vec::new();
    for timeline in &timelines {
        let [before, during] = timeline.untouched_medians()?;
        ratios.push(during.as_secs_f64() / before.as_secs_f64());
        eprintln!(
            "away for {:?}, first success after {:?} more; median of other shards {before:?} \
             before, {during:?} meanwhile",
            timeline.serves - timeline.killed,
            timeline.late(),
        );
    }
    timelines.sort_by_key(Timeline::late);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("soak");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("failover.svg");
    std::fs::write(&file, timelines[KILLS / 2].svg(SETTING)).context("writing the picture")?;
    eprintln!("the picture of the median one: {}", file.display());

    ratios.sort_by(f64::total_cmp);
    eprintln!("medians of other shards, meanwhile / before: {ratios:.3?}");
    ensure!(ratios[KILLS / 2] <= SLOWER, "other shards became slower: {ratios:.3?}");
    Ok(())
}
