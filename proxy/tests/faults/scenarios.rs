//! The faults of contract §7. Shard 0 keeps still in all that names one shard: the fault is at
//! shard 1, whatever else is said.

use crate::stage::{Scenario, Stage};
use anyhow::{Context, Result, ensure};
use std::time::Duration;
use testbed::audit::{Conn, request};
use testbed::{Cluster, FailoverKind, Link, Node, redis, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// SIGKILL of a primary that is busy, so that requests are under way; its replica takes over; it
/// comes back.
pub(crate) fn kill() -> Scenario {
    Scenario::new("kill -9 of a busy primary", |stage| {
        let primary = kill_busy(stage)?;
        stage.load.run_for(Duration::from_secs(1));
        stage.cluster.restart(&primary)
    })
    .untouched(&[0, 2])
}

fn kill_busy(stage: &Stage) -> Result<Node> {
    let primary = stage.cluster.shard(1).primary()?;
    let mut busy = Conn::connect(&primary.addr(), SOON)?;
    busy.send(&request(&["DEBUG", "SLEEP", "1"]))?;
    stage.load.run_for(Duration::from_millis(200));
    stage.cluster.kill(&primary)?;
    stage.cluster.wait_ok(SOON)?;
    Ok(primary)
}

/// SIGTERM of a primary.
pub(crate) fn terminate() -> Scenario {
    Scenario::new("SIGTERM of a primary", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.terminate(&primary)?;
        stage.cluster.wait_ok(SOON)?;
        stage.load.run_for(Duration::from_secs(1));
        stage.cluster.restart(&primary)
    })
    .untouched(&[0, 2])
}

/// A pause that ends before anybody is elected.
pub(crate) fn short_pause() -> Scenario {
    Scenario::new("SIGSTOP for 3 s, node timeout 5 s", pause)
        .node_timeout(5)
        .untouched(&[0, 2])
        .flawless()
}

/// A pause about as long as an election takes.
pub(crate) fn pause_and_election() -> Scenario {
    Scenario::new("SIGSTOP for 3 s, node timeout 2 s", pause).untouched(&[0, 2])
}

fn pause(stage: &Stage) -> Result<()> {
    let primary = stage.cluster.shard(1).primary()?;
    stage.cluster.freeze(&primary)?;
    stage.load.run_for(Duration::from_secs(3));
    stage.cluster.thaw(&primary)
}

/// A pause that ends long after the election.
pub(crate) fn long_pause() -> Scenario {
    Scenario::new("SIGSTOP for 8 s", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.freeze(&primary)?;
        stage.cluster.wait_ok(SOON)?;
        stage.load.run_for(Duration::from_secs(4));
        stage.cluster.thaw(&primary)
    })
    .untouched(&[0, 2])
    .back_within(Duration::from_secs(1))
}

/// A primary that never continues.
pub(crate) fn frozen_for_good() -> Scenario {
    Scenario::new("SIGSTOP for good", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.freeze(&primary)?;
        stage.cluster.wait_ok(SOON)?;
        stage.load.run_for(Duration::from_secs(5));
        Ok(())
    })
    .untouched(&[0, 2])
    .back_within(Duration::from_secs(1))
}

/// CLUSTER FAILOVER.
pub(crate) fn failover() -> Scenario {
    Scenario::new("CLUSTER FAILOVER", |stage| take_over(stage, FailoverKind::Normal))
        .untouched(&[0, 2])
        .flawless()
}

/// CLUSTER FAILOVER FORCE.
pub(crate) fn failover_force() -> Scenario {
    Scenario::new("CLUSTER FAILOVER FORCE", |stage| take_over(stage, FailoverKind::Force))
        .untouched(&[0, 2])
        .flawless()
}

/// CLUSTER FAILOVER TAKEOVER.
pub(crate) fn failover_takeover() -> Scenario {
    Scenario::new("CLUSTER FAILOVER TAKEOVER", |stage| take_over(stage, FailoverKind::Takeover))
        .untouched(&[0, 2])
        .flawless()
}

/// There and back.
fn take_over(stage: &Stage, kind: FailoverKind) -> Result<()> {
    for _ in 0..2 {
        let replica = stage.cluster.shard(1).replica()?;
        stage.cluster.failover(&replica, kind)?;
        stage.cluster.wait_ok(SOON)?;
        stage.load.run_for(Duration::from_secs(1));
    }
    Ok(())
}

/// A primary that is back, with its data from its file, before anybody is elected.
pub(crate) fn quick_restart() -> Scenario {
    Scenario::new("restart faster than the election", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.kill(&primary)?;
        stage.cluster.restart(&primary)
    })
    .untouched(&[0, 2])
}

/// A replica dies and comes back.
pub(crate) fn replica_lost() -> Scenario {
    Scenario::new("a replica lost and back", |stage| {
        let replica = stage.cluster.shard(1).replica()?;
        stage.cluster.kill(&replica)?;
        stage.cluster.wait_ok(SOON)?;
        stage.load.run_for(Duration::from_secs(2));
        stage.cluster.restart(&replica)
    })
    .untouched(&[0, 1, 2])
    .flawless()
}

/// Two of three primaries die: nobody can be elected until they are back.
pub(crate) fn quorum_lost() -> Scenario {
    Scenario::new("quorum lost and healed", |stage| {
        let primaries = [stage.cluster.shard(1).primary()?, stage.cluster.shard(2).primary()?];
        for primary in &primaries {
            stage.cluster.kill(primary)?;
        }
        stage.load.run_for(Duration::from_secs(5));
        for primary in &primaries {
            stage.cluster.restart(primary)?;
        }
        Ok(())
    })
}

/// Slots of shard 0 move to shard 1 with the keys of clients in them, there and back.
pub(crate) fn reshard() -> Scenario {
    Scenario::new("reshard of 1,000 slots", |stage| {
        let (from, to) = (stage.cluster.shard(0).primary()?, stage.cluster.shard(1).primary()?);
        stage.cluster.move_slots(0..1000, &from, &to)?;
        stage.cluster.move_slots(0..1000, &to, &from)
    })
    .untouched(&[2])
    .flawless()
}

/// A node joins, gets slots, gives them back, and leaves.
pub(crate) fn node_comes_and_goes() -> Scenario {
    Scenario::new("node added and removed", |stage| {
        let from = stage.cluster.shard(0).primary()?;
        let new = stage.cluster.add_node()?;
        stage.cluster.move_slots(0..200, &from, &new)?;
        stage.load.run_for(Duration::from_secs(1));
        stage.cluster.move_slots(0..200, &new, &from)?;
        stage.cluster.wait_ok(SOON)?;
        stage.cluster.remove_node(&new)
    })
    .untouched(&[2])
    .flawless()
}

/// Every node restarts, one after the other.
pub(crate) fn rolling_restart() -> Scenario {
    Scenario::new("rolling restart", |stage| {
        for node in stage.cluster.nodes() {
            stage.cluster.restart(&node)?;
            stage.cluster.wait_ok(SOON)?;
        }
        Ok(())
    })
}

/// Everything ends and begins again.
pub(crate) fn whole_restart() -> Scenario {
    Scenario::new("whole cluster restarted", |stage| {
        let nodes = stage.cluster.nodes();
        for node in &nodes {
            stage.cluster.kill(node)?;
        }
        for node in &nodes {
            stage.cluster.restart(node)?;
        }
        Ok(())
    })
}

/// The first seed is dead before slotway starts, and a primary dies later.
pub(crate) fn first_seed_dead() -> Scenario {
    Scenario::new("first seed dead, then a primary", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.kill(&primary)?;
        stage.cluster.wait_ok(SOON)
    })
    .before(|cluster: &Cluster| {
        let first = cluster.nodes().into_iter().next().context("it has nodes")?;
        cluster.kill(&first)?;
        cluster.wait_ok(SOON)
    })
    .untouched(&[0, 2])
}

/// The network between slotway and a primary is cut; the nodes see one another all the time.
pub(crate) fn cut_network() -> Scenario {
    Scenario::new("network to a primary cut for 3 s", |stage| {
        let link = way_to_primary(stage)?;
        link.cut();
        stage.load.run_for(Duration::from_secs(3));
        link.heal();
        Ok(())
    })
    .linked()
    .untouched(&[0, 2])
    .flawless()
}

/// As that, and the replica takes over meanwhile: slotway has no reason to wait for the healing.
pub(crate) fn cut_network_and_failover() -> Scenario {
    Scenario::new("network cut for 20 s, failover after 2 s", |stage| {
        let link = way_to_primary(stage)?;
        let replica = stage.cluster.shard(1).replica()?;
        link.cut();
        stage.load.run_for(Duration::from_secs(2));
        stage.cluster.failover(&replica, FailoverKind::Normal)?;
        stage.load.run_for(Duration::from_secs(18));
        link.heal();
        Ok(())
    })
    .linked()
    .untouched(&[0, 2])
    .slowest(Duration::from_secs(10))
}

/// Connections end after the node has got, and executes, requests whose answers nobody gets: a
/// write sent again would be executed twice.
pub(crate) fn resets() -> Scenario {
    Scenario::new("connections reset, answers lost", |stage| {
        let link = way_to_primary(stage)?;
        for _ in 0..15 {
            link.mute();
            stage.load.run_for(Duration::from_millis(60));
            link.reset();
            stage.load.run_for(Duration::from_millis(100));
        }
        Ok(())
    })
    .linked()
    .untouched(&[0, 2])
}

/// A pause beyond what other proxies recover from, with the default deadline.
pub(crate) fn stuck() -> Scenario {
    Scenario::new("stuck for 12 s, node timeout 30 s", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.freeze(&primary)?;
        stage.load.run_for(Duration::from_secs(12));
        stage.cluster.thaw(&primary)
    })
    .node_timeout(30)
    .untouched(&[0, 2])
    .back_within(Duration::from_secs(1))
    .flawless()
}

/// A primary dies whose replica lost its link too long ago to be elected, until somebody forces it.
pub(crate) fn ineligible_replica() -> Scenario {
    Scenario::new("ineligible replica, FAILOVER FORCE", |stage| {
        let (primary, replica) =
            (stage.cluster.shard(1).primary()?, stage.cluster.shard(1).replica()?);
        for (name, value) in [
            ("cluster-replica-validity-factor", "1"),
            ("repl-ping-replica-period", "1"),
            // Its link does not come back: nobody asked for a password.
            ("masterauth", "wrong"),
        ] {
            replica.query::<()>(redis::cmd("CONFIG").arg("SET").arg(name).arg(value))?;
        }
        primary.query::<()>(redis::cmd("CLIENT").arg(&["KILL", "TYPE", "replica"]))?;
        // Beyond (node timeout × factor + ping period), and the node timeout once more.
        stage.load.run_for(Duration::from_secs(6));
        stage.cluster.kill(&primary)?;
        wait_until("the replica to see that it is too old", SOON, || {
            replica.log().contains("Disconnected from master for longer than allowed")
                || replica.log().contains("Disconnected from primary for longer than allowed")
        })?;
        stage.load.run_for(Duration::from_secs(3));
        let waits = stage.cluster.shard(1).primary().is_err();
        ensure!(waits, "the replica was eligible");
        stage.cluster.failover(&replica, FailoverKind::Force)
    })
    .untouched(&[0, 2])
}

/// SIGINT of a primary; its replica is promoted; the old one comes back as a replica.
pub(crate) fn interrupted() -> Scenario {
    Scenario::new("SIGINT of a primary, back as replica", |stage| {
        let primary = stage.cluster.shard(1).primary()?;
        stage.cluster.interrupt(&primary)?;
        stage.cluster.wait_ok(SOON)?;
        stage.cluster.restart(&primary)
    })
    .untouched(&[0, 2])
}

/// The founding measurement: the service was away for 17 s.
pub(crate) fn timeout_of_10_s() -> Scenario {
    Scenario::new("kill -9 of a busy primary, node timeout 10 s", |stage| {
        kill_busy(stage).map(drop)
    })
    .node_timeout(10)
    .untouched(&[0, 2])
    .back_within(Duration::from_millis(250))
}

/// The founding measurement: the service was away for 37 s.
pub(crate) fn timeout_of_30_s() -> Scenario {
    Scenario::new("kill -9 of a busy primary, node timeout 30 s", |stage| {
        kill_busy(stage).map(drop)
    })
    .node_timeout(30)
    .untouched(&[0, 2])
    .back_within(Duration::from_millis(250))
}

fn way_to_primary(stage: &Stage) -> Result<&Link> {
    let addr = stage.cluster.shard(1).primary()?.addr();
    stage.links.iter().find(|link| link.leads_to(&addr)).context("a link to the primary")
}

/// Killed five times, for the median of the first successes.
pub(crate) fn five_kills() -> Scenario {
    Scenario::new("five kills of a primary", |stage| {
        for _ in 0..5 {
            let primary = stage.cluster.shard(1).primary()?;
            stage.cluster.kill(&primary)?;
            stage.cluster.wait_ok(SOON)?;
            stage.cluster.restart(&primary)?;
            stage.cluster.wait_ok(SOON)?;
        }
        Ok(())
    })
    .untouched(&[0, 2])
    .back_within(Duration::from_millis(50))
}

/// All of them, as `make soak` runs them.
pub(crate) fn all() -> Vec<Scenario> {
    vec![
        kill(),
        terminate(),
        short_pause(),
        pause_and_election(),
        long_pause(),
        frozen_for_good(),
        failover(),
        failover_force(),
        failover_takeover(),
        quick_restart(),
        replica_lost(),
        quorum_lost(),
        reshard(),
        node_comes_and_goes(),
        rolling_restart(),
        whole_restart(),
        first_seed_dead(),
        five_kills(),
        stuck(),
        ineligible_replica(),
        interrupted(),
        cut_network(),
        cut_network_and_failover(),
        resets(),
        kill().strict("kill -9 of a busy primary, strict order"),
        resets().strict("connections reset, answers lost, strict order"),
        failover_force().strict("CLUSTER FAILOVER FORCE, strict order"),
        reshard().strict("reshard of 1,000 slots, strict order"),
    ]
}
