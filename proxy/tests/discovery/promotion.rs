//! While requests wait for a primary, its replicas are asked for their role.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use slotway::topology::{NodeId, State, Topology};
use testbed::{Proxy, wait_for};

use super::script::Actor;
use super::{DEADLINE, Discovery, primary, settings};

const LEAST_GAP: Duration = Duration::from_millis(20);

/// A primary and its replica.
fn pair() -> Result<[Actor; 2]> {
    let [a, b] = <[Actor; 2]>::try_from(Actor::start("ab")?).ok().unwrap();
    let nodes = a.line(None, 1, "0-16383") + &b.line(Some(&a), 1, "");
    for actor in [&a, &b] {
        actor.lines().nodes.clone_from(&nodes);
    }
    b.lines().role = "slave";
    Ok([a, b])
}

/// Discovery that knows all of the pair, and does not ask again by itself.
fn knowing(pair: [&Actor; 2]) -> Result<(Discovery, NodeId)> {
    let discovery = Discovery::start(settings([pair[0].node.addr()]))?;
    let map = discovery.wait_whole()?;
    discovery.wait_settled()?;
    Ok((discovery, owner(&map)))
}

fn owner(map: &Topology) -> NodeId {
    primary(map, 0).unwrap().id
}

fn least_gap(asked: &[Instant]) -> Duration {
    asked.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or(Duration::MAX)
}

#[test]
fn roles_are_asked_for_at_one_pace_however_many_wait_and_only_while_they_do() -> Result<()> {
    let [a, b] = &pair()?;
    let (discovery, waited_for) = knowing([a, b])?;
    assert_eq!(b.asked("ROLE"), []);
    let (refreshes, connections) = (discovery.handle.counts().refreshes, b.node.connections());
    wait_for("thirty questions", DEADLINE, || {
        (0..1000).for_each(|_| discovery.handle.waits_for(&[waited_for]));
        ensure!(b.asked("ROLE").len() >= 30);
        Ok(())
    })?;
    assert!(least_gap(&b.asked("ROLE")) >= LEAST_GAP, "{:?}", least_gap(&b.asked("ROLE")));
    assert_eq!(b.node.connections(), connections + 1);
    assert_eq!(a.asked("ROLE"), [], "who is waited for is not asked");
    assert_eq!(discovery.handle.counts().refreshes, refreshes, "nobody is asked for a whole map");
    wait_for("the questions to end", DEADLINE, || {
        ensure!(b.asked("ROLE").last().unwrap().elapsed() > Duration::from_secs(1));
        Ok(())
    })
}

#[test]
fn the_map_of_a_promoted_replica_is_taken_at_once_and_from_itself() -> Result<()> {
    let [a, b] = &pair()?;
    let (discovery, waited_for) = knowing([a, b])?;
    let maps_of_a = a.asked("NODES");
    let promoted = a.line(Some(b), 9, "") + &b.line(None, 9, "0-16383");
    let mut lines = b.lines();
    (lines.role, lines.nodes) = ("master", promoted);
    drop(lines);
    // Nobody asks for a whole map, and none is due before an hour has passed.
    discovery.wait_map("the promoted node", |map| {
        discovery.handle.waits_for(&[waited_for]);
        ensure!(owner(map).short() == "bbbbbbbb");
        Ok(())
    })?;
    assert_eq!(a.asked("NODES"), maps_of_a);
    Ok(())
}

#[test]
fn a_promotion_that_changes_nothing_is_looked_at_no_oftener_than_a_map() -> Result<()> {
    let [a, b] = &pair()?;
    let (discovery, waited_for) = knowing([a, b])?;
    let before = b.asked("NODES").len();
    b.lines().role = "master";
    wait_for("five maps", DEADLINE, || {
        discovery.handle.waits_for(&[waited_for]);
        ensure!(b.asked("NODES").len() >= before + 5);
        Ok(())
    })?;
    let gap = least_gap(&b.asked("NODES")[before..]);
    assert!(gap >= Duration::from_millis(250), "{gap:?}");
    Ok(())
}

#[test]
fn a_promoted_node_that_says_that_the_cluster_is_down_is_not_believed_alone() -> Result<()> {
    let [a, b] = &pair()?;
    let (discovery, waited_for) = knowing([a, b])?;
    let before = b.asked("NODES").len();
    let mut lines = b.lines();
    (lines.role, lines.cluster_state) = ("master", "fail");
    drop(lines);
    wait_for("three maps", DEADLINE, || {
        discovery.handle.waits_for(&[waited_for]);
        ensure!(b.asked("NODES").len() >= before + 3);
        Ok(())
    })?;
    assert_eq!(discovery.map().state, State::Ok);
    Ok(())
}

#[test]
fn workers_and_waiting_clients_add_no_questions() -> Result<()> {
    let [a, b] = &pair()?;
    a.lines().data = "-CLUSTERDOWN The cluster is down";
    let proxy =
        Proxy::builder([a.node.addr()]).binary(env!("CARGO_BIN_EXE_slotway")).workers(4).start()?;
    let begun = Instant::now();
    let maps = b.asked("NODES").len();
    let mut clients = (0..100).map(|_| proxy.peer()).collect::<Result<Vec<_>>>()?;
    for client in &mut clients {
        client.send_command(&["GET", "k"])?;
    }
    wait_for("thirty questions", DEADLINE, || {
        ensure!(b.asked("ROLE").len() >= 30);
        Ok(())
    })?;
    assert!(least_gap(&b.asked("ROLE")) >= LEAST_GAP, "{:?}", least_gap(&b.asked("ROLE")));
    let maps = b.asked("NODES").len() - maps;
    let most = begun.elapsed().as_millis() / 250 + 2;
    assert!(maps as u128 <= most, "{maps} maps in {:?}", begun.elapsed());
    a.lines().data = "$1\r\nx";
    for client in &mut clients {
        client.expect("$1\r\nx\r\n")?;
    }
    Ok(())
}
