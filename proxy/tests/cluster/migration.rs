//! Slots that move: under load, and stopped half-way.

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, key_in_slot, wait_for, wait_until};

use crate::load::{Load, Rule};
use crate::stage::{DEADLINE, metric, slotway};
use crate::wire::{Client, Reply};

/// Both tests in one, since they share their cluster and the second needs a calm one.
#[test]
fn five_hundred_slots_move_under_load_without_an_error_and_half_moved_ones_serve() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    five_hundred_slots_move_under_load(&cluster).context("moved under load")?;
    ask_is_followed_and_tryagain_waited_for(&cluster).context("half moved")
}

fn five_hundred_slots_move_under_load(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    let moving = cluster.shard(0).slots()?[..500].to_vec();
    // Every tenth of those that move, and some that stay in all shards.
    let mut loaded: Vec<u16> = moving.iter().copied().step_by(10).collect();
    loaded.extend([5_000, 7_000, 9_000, 11_000, 13_000, 15_000]);
    let load = Load::start(&proxy.addr(), Rule::Flawless, &loaded, 4)?;
    load.wait_rounds(3)?;
    // A node that is slow to write its own file of the cluster (a sync a step) may miss the
    // testbed's patience: what is left is moved in a further attempt.
    wait_for("the slots to be moved", DEADLINE, || {
        let left = cluster.shard(0).slots()?.into_iter().filter(|slot| moving.contains(slot));
        cluster.move_slots(left, &from, &to)
    })?;
    load.wait_rounds(3)?;
    ensure!(load.finish(None)? == 0, "nothing is unknown where nothing dies");
    // It was seen by the proxy: the load met the slots while they moved.
    for kind in ["moved", "ask"] {
        let series = format!("slotway_redirects_total{{kind=\"{kind}\"}}");
        ensure!(metric(&proxy, &series)? > 0, "no {kind} was met");
    }
    // And it was learned: a pass over all slots that moved meets no redirect any more.
    let moved = "slotway_redirects_total{kind=\"moved\"}";
    let mut client = Client::connect(&proxy.addr())?;
    wait_until("the new owner to be known for all slots", DEADLINE, || {
        let before = metric(&proxy, moved).unwrap_or_default();
        let mut all = moving.iter().map(|&slot| client.ask(&["GET", &key_in_slot(slot, "x")]));
        all.all(|reply| reply.is_ok_and(|reply| reply == Reply::Nil))
            && metric(&proxy, moved).is_ok_and(|after| after == before)
    })
}

fn ask_is_followed_and_tryagain_waited_for(cluster: &Cluster) -> Result<()> {
    let proxy = slotway(cluster.seeds()).start()?;
    let (from, to) = (cluster.shard(1).primary()?, cluster.shard(2).primary()?);
    let slot = *cluster.shard(1).slots()?.last().context("it has slots")?;
    let key = |name| key_in_slot(slot, name);
    let (moved, stays, new) = (key("moved"), key("stays"), key("new"));
    let mut client = Client::connect(&proxy.addr())?;
    for key in [&moved, &stays] {
        ensure!(client.ask(&["SET", key, "1"])? == Reply::ok());
    }
    let migration = cluster.open_migration(slot, &from, &to)?;
    migration.move_keys(&[&moved])?;
    let met = |kind: &str| metric(&proxy, &format!("slotway_redirects_total{{kind=\"{kind}\"}}"));

    // One key: wherever it is.
    for (words, reply) in [
        (vec!["INCR", &moved], Reply::Integer(2)),
        (vec!["INCR", &stays], Reply::Integer(2)),
        (vec!["INCR", &new], Reply::Integer(1)),
        (vec!["GET", &new], Reply::bulk("1")),
        (vec!["MGET", &moved, &new], Reply::Array(vec![Reply::bulk("2"), Reply::bulk("1")])),
    ] {
        let got = client.ask(&words)?;
        ensure!(got == reply, "{words:?}: {got:?}");
    }
    ensure!(met("ask")? >= 4 && met("moved")? == 0 && met("tryagain")? == 0);
    let mut target = to.client()?;
    redis::cmd("ASKING").exec(&mut target)?;
    let there: Option<String> = redis::cmd("GET").arg(&new).query(&mut target)?;
    ensure!(there.as_deref() == Some("1"), "a new key is made where the slot goes: {there:?}");

    // Keys on both sides: they wait, and what their clients ask of the slot from then on waits
    // behind them.
    let [mut reader, mut writer] =
        [Client::connect(&proxy.addr())?, Client::connect(&proxy.addr())?];
    reader.send(&["MGET", &moved, &stays])?;
    writer.send(&["MSET", &moved, "5", &stays, "5"])?;
    let both_wait = || metric(&proxy, "slotway_parked_requests").is_ok_and(|parked| parked >= 2);
    wait_until("both to wait", DEADLINE, || met("tryagain").is_ok_and(|n| n >= 4) && both_wait())?;
    writer.send(&["INCR", &stays])?;
    // Those that need one side only are served meanwhile.
    ensure!(client.ask(&["INCR", &stays])? == Reply::Integer(3));
    ensure!(client.ask(&["INCR", &moved])? == Reply::Integer(3));
    ensure!(both_wait(), "one was answered too early");
    migration.move_all_keys()?;
    migration.finish()?;
    ensure!(writer.read()? == Reply::ok());
    ensure!(writer.read()? == Reply::Integer(6), "INCR overtook the MSET before it");
    let read = reader.read()?;
    let pair = |one: &str, other: &str| Reply::Array(vec![Reply::bulk(one), Reply::bulk(other)]);
    // Which of the two clients came first is not ours to say.
    ensure!([pair("3", "3"), pair("5", "5"), pair("5", "6")].contains(&read), "{read:?}");
    ensure!(client.ask(&["MGET", &moved, &stays])? == pair("5", "6"));
    Ok(())
}
