//! What befell the clusters whose study slotway began with, each with short node timeouts, through
//! the running binary. The two that take long run in `make soak`, with all others under load (see
//! `tests/faults`, whose first page lists where each is proved).

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, FailoverKind, Node, Role, wait_for, wait_until};

use crate::load::{Load, Rule};
use crate::stage::{DEADLINE, metric, slotway};
use crate::wire::{Client, Reply, request};

/// Some slots of each of three shards.
const SLOTS: [u16; 9] = [30, 2000, 5460, 5500, 8000, 10_900, 11_000, 14_000, 16_383];

#[test]
fn a_primary_that_is_back_before_the_election_and_loads_its_data_is_waited_for() -> Result<()> {
    let cluster = Cluster::builder()
        .node_timeout(Duration::from_secs(15))
        .full_coverage(false)
        .config("appendonly", "yes")
        // Each write is in the file before it is acknowledged; a sync under way does not delay it.
        .config("appendfsync", "no")
        // A pause for each command in the file: loading takes a while, and can be seen.
        .config("key-load-delay", "30")
        .start()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let shard = cluster.shard(1);
    let (primary, key) = (shard.primary()?, shard.key("loaded")?);
    fill(&primary, &key)?;
    let mut clients = (0..3).map(|_| Client::connect(&proxy.addr())).collect::<Result<Vec<_>>>()?;
    ensure!(clients[0].ask(&["SET", &key, "7"])? == Reply::ok());
    cluster.kill(&primary)?;
    std::thread::scope(|scope| {
        let back = scope.spawn(|| cluster.restart(&primary));
        // Of keys it says CLUSTERDOWN at first: it has met nobody yet.
        let ping = || Client::connect(&primary.addr())?.ask(&["PING"]);
        wait_until("a client of the node to be told LOADING", DEADLINE, || {
            ping().is_ok_and(|reply| reply.error().is_some_and(|e| e.starts_with("LOADING ")))
        })?;
        clients[0].send(&["INCR", &key])?;
        clients[1].send(&["GET", &key])?;
        clients[2].send(&["EVAL", "return redis.call('INCRBY', KEYS[1], 10)", "1", &key])?;
        back.join().expect("it does not panic")
    })?;
    let (incr, get, eval) = (clients[0].read()?, clients[1].read()?, clients[2].read()?);
    ensure!([Reply::Integer(8), Reply::Integer(18)].contains(&incr), "{incr:?}");
    ensure!([Reply::Integer(17), Reply::Integer(18)].contains(&eval), "{eval:?}");
    ensure!(["7", "8", "17", "18"].map(Reply::bulk).contains(&get), "{get:?}");
    ensure!(shard.primary()? == primary, "its replica was elected meanwhile");
    cluster.wait_ok(DEADLINE)
}

/// Gives a node so many keys beside `key`, in its slot, that it takes a good second to load them.
fn fill(node: &Node, key: &str) -> Result<()> {
    let mut client = Client::connect(&node.addr())?;
    for part in 0..20 {
        let name = |n| format!("{key}:{part}:{n}");
        let tagged = key.contains('{');
        ensure!(tagged, "{key} has no tag: the keys beside it are of other slots");
        let sets: Vec<_> = (0..1000).map(|n| request(&["SET", &name(n), "x"])).collect();
        let replies = client.pipeline(&sets)?;
        ensure!(replies.iter().all(|reply| *reply == Reply::ok()), "{:?}", replies.last());
    }
    Ok(())
}

#[test]
fn a_primary_gone_for_good_with_an_ineligible_replica_is_waited_for_until_it_is_forced()
-> Result<()> {
    let cluster =
        Cluster::builder().node_timeout(Duration::from_secs(1)).full_coverage(false).start()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let shard = cluster.shard(1);
    let (primary, replica) = (shard.primary()?, shard.replica()?);
    let (waits, beside) = (shard.key("waits")?, cluster.shard(0).key("beside")?);
    let mut client = Client::connect(&proxy.addr())?;
    ensure!(client.ask(&["SET", &waits, "0"])? == Reply::ok());
    let mut option = redis::cmd("CONFIG");
    replica.query::<()>(option.arg("SET").arg("cluster-replica-no-failover").arg("yes"))?;
    cluster.kill(&primary)?;
    let mut parked = (0..5).map(|_| proxy.peer()).collect::<Result<Vec<_>>>()?;
    for peer in &mut parked {
        peer.set_deadline(DEADLINE);
        peer.send_command(&["INCR", &waits])?;
    }
    wait_until("the cluster to find it dead", DEADLINE, || {
        let seen = replica
            .view()
            .is_ok_and(|view| view.node(primary.id()).is_some_and(|seen| seen.has_flag("fail")));
        seen && metric(&proxy, "slotway_parked_requests").is_ok_and(|parked| parked == 5)
    })?;
    // An eligible one would have been elected within this time.
    parked[0].expect_silence(Duration::from_millis(2500))?;
    ensure!(shard.primary().is_err(), "the replica was eligible");
    ensure!(client.ask(&["SET", &beside, "1"])? == Reply::ok(), "the others are served");
    cluster.failover(&replica, FailoverKind::Force)?;
    let mut seen = Vec::new();
    for peer in &mut parked {
        seen.push(String::from_utf8(peer.read_line()?)?);
    }
    seen.sort_unstable();
    ensure!(seen == [":1", ":2", ":3", ":4", ":5"], "{seen:?}");
    ensure!(client.ask(&["GET", &waits])? == Reply::bulk("5"));
    Ok(())
}

#[test]
fn a_replica_that_is_lost_and_comes_back_is_seen_by_nobody() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(1)).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let load = Load::start(&proxy.addr(), Rule::Flawless, &SLOTS, 3)?;
    load.wait_rounds(3)?;
    let replica = cluster.shard(1).replica()?;
    cluster.kill(&replica)?;
    let primary = cluster.shard(1).primary()?;
    cluster.wait_until("the replica to be found dead", DEADLINE, |_| {
        let seen = primary.view().map(|view| view.node(replica.id()).cloned());
        seen.is_ok_and(|seen| seen.is_some_and(|seen| seen.has_flag("fail")))
    })?;
    load.wait_rounds(3)?;
    cluster.restart(&replica)?;
    cluster.wait_ok(DEADLINE)?;
    load.wait_rounds(3)?;
    ensure!(load.finish(None)? == 0, "no result is unknown where no primary dies");
    Ok(())
}

#[test]
fn a_primary_ended_by_sigint_is_replaced_and_comes_back_as_a_replica() -> Result<()> {
    let cluster = Cluster::builder().node_timeout(Duration::from_secs(1)).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let shard = cluster.shard(1);
    let (old, heir) = (shard.primary()?, shard.replica()?);
    let load = Load::start(&proxy.addr(), Rule::Losses, &SLOTS, 3)?;
    load.wait_rounds(3)?;
    cluster.interrupt(&old)?;
    let ended = load.rounds();
    cluster.wait_until("the replica to be promoted", DEADLINE, |_| {
        heir.myself().is_ok_and(|myself| myself.role == Role::Primary)
    })?;
    load.wait_rounds(3)?;
    cluster.restart(&old)?;
    cluster.wait_ok(DEADLINE)?;
    ensure!(old.myself()?.role == Role::Replica(heir.id().to_owned()), "the old one leads again");
    load.wait_rounds(3)?;
    load.finish(Some(&ended))?;
    Ok(())
}

#[test]
fn a_node_that_is_met_given_slots_emptied_and_forgotten_is_followed() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let load = Load::start(&proxy.addr(), Rule::Flawless, &SLOTS, 3)?;
    let knows = |node: &Node| {
        let page = proxy.http_get("/topology");
        page.is_ok_and(|(_, page)| page.contains(node.id()))
    };
    let from = cluster.shard(0).primary()?;
    let new = cluster.add_node()?;
    move_all(&cluster, &from, &new)?;
    load.wait_rounds(3)?;
    ensure!(knows(&new), "it serves clients of a slot that the map gives to another");
    move_all(&cluster, &new, &from)?;
    cluster.wait_ok(DEADLINE)?;
    cluster.remove_node(&new).context("FORGET")?;
    load.wait_rounds(3)?;
    wait_until("slotway to forget it too", DEADLINE, || !knows(&new))?;
    ensure!(load.finish(None)? == 0, "no result is unknown where nobody dies");
    Ok(())
}

/// Moves the first slots. A node that is slow to write its own file of the cluster may miss the
/// testbed's patience: what is left is moved in a further attempt.
fn move_all(cluster: &Cluster, from: &Node, to: &Node) -> Result<()> {
    wait_for("the slots to be moved", DEADLINE, || {
        let owned: Vec<u16> = from.myself()?.slots.into_iter().flatten().collect();
        let left = owned.into_iter().filter(|slot| *slot < 50);
        cluster.move_slots(left, from, to)
    })
}
