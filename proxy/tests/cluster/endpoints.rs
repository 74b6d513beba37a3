//! What nodes announce as their addresses, in their map and in their redirects.

use anyhow::{Context, Result, bail, ensure};
use testbed::{Cluster, Proxy, key_in_slot, wait_for};

use crate::stage::{DEADLINE, metric, owners, slotway};
use crate::wire::{Client, Reply};

/// One cluster for all forms, one after the other: each is set on the live nodes.
#[test]
fn every_form_of_endpoint_is_understood_in_maps_and_in_redirects() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    for (preferred, hostname, endpoint) in [
        ("ip", "", "127.0.0.1:"),
        ("hostname", "localhost", "localhost:"),
        // No name is known: MOVED and the map say "?".
        ("hostname", "", "127.0.0.1:"),
        // No address at all: MOVED says ":7000".
        ("unknown-endpoint", "", "127.0.0.1:"),
        ("unknown-endpoint", "localhost", "127.0.0.1:"),
        ("ip", "localhost", "127.0.0.1:"),
    ] {
        announce(&cluster, preferred, hostname)?;
        let proxy = slotway(cluster.seeds()).start()?;
        let (_, map) = proxy.http_get("/topology")?;
        let form = format!("{preferred}, host name {hostname:?}");
        ensure!(map.contains(&format!("\"endpoint\":\"{endpoint}")), "{form}: {map}");
        redirects_are_followed(&cluster, &proxy).context(form)?;
    }
    // Behind NAT: what is announced leads nowhere.
    announce(&cluster, "hostname", "nodes.invalid")?;
    let map = cluster.nodes().into_iter().map(|node| {
        let port = node.port();
        format!("nodes.invalid:{port}=127.0.0.1:{port}")
    });
    let map = map.collect::<Vec<_>>().join(",");
    let proxy = slotway(cluster.seeds()).args(["--address-map", &map]).start()?;
    redirects_are_followed(&cluster, &proxy).context("address map")
}

fn announce(cluster: &Cluster, preferred: &str, hostname: &str) -> Result<()> {
    cluster.config_set("cluster-preferred-endpoint-type", preferred)?;
    cluster.config_set("cluster-announce-hostname", hostname)?;
    // Each node has heard of the others' names.
    wait_for("the names to be known", DEADLINE, || {
        for node in cluster.live_nodes() {
            for known in node.view()?.nodes {
                let name = known.hostname.unwrap_or_default();
                ensure!(name == hostname, "{node} knows {} as {name:?}", known.addr);
            }
        }
        Ok(())
    })
}

/// Sends something to each shard; then a slot is open, then it has moved.
fn redirects_are_followed(cluster: &Cluster, proxy: &Proxy) -> Result<()> {
    let mut client = Client::connect(&proxy.addr())?;
    let mut set = |key: &str| -> Result<()> {
        let reply = client.ask(&["SET", key, "1"])?;
        ensure!(reply == Reply::ok(), "SET {key}: {reply:?}");
        Ok(())
    };
    for (_, slots) in owners(cluster, 3)? {
        set(&key_in_slot(slots[0], "endpoint"))?;
    }
    let met = |kind: &str| metric(proxy, &format!("slotway_redirects_total{{kind=\"{kind}\"}}"));
    let (from, to) = (cluster.shard(0).primary()?, cluster.shard(1).primary()?);
    for _ in 0..5 {
        // Another slot each time, and never back: servers that see a slot go to and fro within
        // milliseconds can end up each taking the other for its owner, for good (Redis 8.0).
        cluster.wait_ok(DEADLINE)?;
        let slot = cluster.shard(0).slots()?[1];
        let (key, new) = (key_in_slot(slot, "endpoint"), key_in_slot(slot, "endpoint:new"));
        set(&key)?;
        let migration = cluster.open_migration(slot, &from, &to)?;
        migration.move_all_keys()?;
        set(&new)?;
        migration.finish()?;
        set(&key)?;
        ensure!(met("ask")? >= 1, "no ASK was met");
        // On a slow machine a refresh may have been quicker than the request.
        if met("moved")? >= 1 {
            return Ok(());
        }
    }
    bail!("no MOVED was met")
}
