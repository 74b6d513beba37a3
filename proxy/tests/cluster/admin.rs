//! The admin pages agree with what was sent and with what the cluster is.

use anyhow::{Result, ensure};
use testbed::{key_in_slot, wait_until};

use crate::stage::{DEADLINE, metric, metric_sum, owners, shared, slotway};
use crate::wire::{Client, Reply};

#[test]
fn metrics_agree_with_what_was_sent() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(2).start()?;
    let mut clients: Vec<Client> =
        (0..4).map(|_| Client::connect(&proxy.addr())).collect::<Result<_>>()?;
    let owners = owners(&cluster, 3)?;
    let key = |shard: usize| key_in_slot(owners[shard].1[7], "metrics");
    // Once each for every client; the shards' keys in turn.
    let mut sent = 0_u64;
    for (number, client) in clients.iter_mut().enumerate() {
        for time in 0..30 {
            let key = key((number + time) % 3);
            ensure!(client.ask(&["SET", &key, "text"])? == Reply::ok());
            ensure!(client.ask(&["GET", &key])? == Reply::bulk("text"));
            ensure!(client.ask(&["INCR", &key])?.error().is_some());
            ensure!(client.ask(&["NOSUCH", &key])?.error().is_some());
            ensure!(client.ask(&["PING"])? == Reply::Simple("PONG".into()));
            sent += 5;
        }
    }
    for (command, outcome, count) in [
        ("set", "ok", 120),
        ("get", "ok", 120),
        ("incr", "server_error", 120),
        ("unknown", "refused", 120),
        ("ping", "ok", 120),
    ] {
        let labels = format!("{{command=\"{command}\",outcome=\"{outcome}\"}}");
        let counted = metric(&proxy, &format!("slotway_requests_total{labels}"))?;
        ensure!(counted == count, "{counted} of {count} {labels}");
    }
    // Nothing else was counted: no other command, no other outcome.
    ensure!(metric_sum(&proxy, "slotway_requests_total{")? == sent);
    ensure!(metric(&proxy, "slotway_request_duration_seconds_count")? == sent);
    ensure!(metric(&proxy, "slotway_request_duration_seconds_bucket{le=\"+Inf\"}")? == sent);
    ensure!(metric_sum(&proxy, "slotway_redirects_total{")? == 0);
    ensure!(metric(&proxy, "slotway_clients")? == 4);
    // Who looked whether it is ready is no client: that is asked by HTTP.
    ensure!(metric(&proxy, "slotway_clients_accepted_total")? == 4);
    for (number, (node, _)) in owners.iter().enumerate() {
        let labels = format!("{{node=\"{}\"}}", node.addr());
        let requests = metric(&proxy, &format!("slotway_node_requests_total{labels}"))?;
        ensure!(requests == 3 * 40, "{requests} requests to node {number}");
        let connections = metric(&proxy, &format!("slotway_node_connections{labels}"))?;
        ensure!((1..=2).contains(&connections), "{connections} connections to node {number}");
    }
    ensure!(metric(&proxy, "slotway_cluster_slots_covered")? == 16384);
    ensure!(metric(&proxy, "slotway_cluster_shards")? == 3);

    clients.truncate(1);
    wait_until("three to have left", DEADLINE, || {
        metric(&proxy, "slotway_clients").is_ok_and(|clients| clients == 1)
    })?;
    let left = metric(&proxy, "slotway_clients_closed_total{reason=\"client\"}")?;
    ensure!(left == 3, "{left} have left");
    ensure!(clients[0].ask(&["QUIT"])? == Reply::ok() && clients[0].at_end());
    wait_until("it to have quit", DEADLINE, || {
        metric(&proxy, "slotway_clients_closed_total{reason=\"quit\"}").is_ok_and(|n| n == 1)
    })
}

#[test]
fn the_topology_page_shows_the_cluster() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let (status, text) = proxy.http_get("/topology")?;
    ensure!(status == 200);
    let page: serde_json::Value = serde_json::from_str(&text)?;
    ensure!(page["state"] == "ok" && page["slots_covered"] == 16384, "{text}");
    let shards = page["shards"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure!(shards.len() == 3, "{text}");
    for (node, slots) in owners(&cluster, 3)? {
        let shard = shards.iter().find(|shard| shard["primary"]["id"] == node.id());
        let Some(shard) = shard else { anyhow::bail!("{node} is not there: {text}") };
        ensure!(shard["primary"]["endpoint"] == node.addr(), "{shard}");
        ensure!(shard["slot_count"] == slots.len(), "{shard}");
        let epoch: u64 = node.myself()?.config_epoch;
        ensure!(shard["config_epoch"] == epoch, "{shard}");
    }
    let (status, text) = proxy.http_get("/readyz")?;
    ensure!(status == 200, "{text}");
    Ok(())
}
