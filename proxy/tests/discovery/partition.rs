//! Nodes that contradict each other while all of them can be reached.

use anyhow::{Context, Result, ensure};
use slotway::discovery::Reason;
use slotway::topology::Topology;
use testbed::wait_for;

use super::script::Actor;
use super::{DEADLINE, Discovery, primary, settings, slot};

/// Has refreshes done, one after the other, and looks at the map after each.
fn each_refresh(
    discovery: &Discovery,
    times: usize,
    check: impl Fn(&Topology) -> Result<()>,
) -> Result<()> {
    for _ in 0..times {
        let before = discovery.handle.counts().refreshes;
        wait_for("a refresh", DEADLINE, || {
            discovery.handle.request_refresh(Reason::Operator);
            ensure!(discovery.handle.counts().refreshes > before);
            Ok(())
        })?;
        check(&discovery.map())?;
    }
    Ok(())
}

fn is_owner(map: &Topology, letter: &str) -> Result<()> {
    let owner = primary(map, 0).context("no owner")?.id;
    ensure!(owner.as_str().starts_with(letter), "the owner is {owner}");
    Ok(())
}

#[test]
fn the_older_side_of_a_partition_is_not_gone_back_to() -> Result<()> {
    let actors = Actor::start("abc")?;
    let [a, b, c] = &actors[..] else { unreachable!() };
    // a and b know nothing of c's promotion.
    let before = a.line(None, 1, "0-9999") + &b.line(None, 2, "10000-16383");
    let older = before + &c.line(Some(a), 1, "");
    let newer = a.line(Some(c), 9, "") + &b.line(None, 2, "10000-16383");
    a.lines().nodes.clone_from(&older);
    b.lines().nodes = older;
    c.lines().nodes = newer + &c.line(None, 9, "0-9999");
    c.lines().loading = true;
    let discovery = Discovery::start(settings(actors.iter().map(|actor| actor.node.addr())))?;
    is_owner(&*discovery.wait_whole()?, "a")?;
    c.lines().loading = false;
    discovery.wait_map("the newer side", |map| {
        discovery.handle.request_refresh(Reason::Operator);
        is_owner(map, "c")
    })?;
    // All three answer, then only the older side.
    each_refresh(&discovery, 8, |map| is_owner(map, "c"))?;
    c.lines().loading = true;
    each_refresh(&discovery, 8, |map| is_owner(map, "c"))?;
    let map = discovery.map();
    let id = |digit| primary(&map, digit).map(|node| node.id).context("no owner");
    assert!(map.is_behind(&id(10_000)?, slot(0)), "what it says of slot 0 is known to be old");
    assert!(!map.is_behind(&id(10_000)?, slot(10_000)) && !map.is_behind(&id(0)?, slot(0)));
    Ok(())
}

#[test]
fn a_cluster_is_not_down_because_some_say_so() -> Result<()> {
    let actors = Actor::start("abc")?;
    let [a, b, c] = &actors[..] else { unreachable!() };
    let nodes = a.line(None, 1, "0-5000") + &b.line(None, 2, "5001-9999");
    let nodes = nodes + &c.line(None, 3, "10000-16383");
    for actor in &actors {
        actor.lines().nodes.clone_from(&nodes);
    }
    (a.lines().cluster_state, b.lines().cluster_state) = ("fail", "fail");
    let discovery = Discovery::start(settings(actors.iter().map(|actor| actor.node.addr())))?;
    discovery.wait_whole()?;
    // Now and then the two that are cut off are asked first.
    each_refresh(&discovery, 20, |_| {
        let missing = discovery.handle.missing();
        ensure!(missing.is_none(), "{missing:?}");
        Ok(())
    })?;
    c.lines().cluster_state = "fail";
    discovery.handle.request_refresh(Reason::ClusterDown);
    discovery.wait_missing("the cluster says that it is down")
}
