//! The many names of a node, and the way to it.

use anyhow::{Context, Result, ensure};
use redis::cmd;
use slotway::topology::{Endpoint, parse_redirect};
use testbed::{Cluster, wait_for};

use super::{DEADLINE, Discovery, primary, settings};

#[test]
fn whatever_nodes_prefer_to_be_called_redirects_lead_to_known_nodes() -> Result<()> {
    if !testbed::ServerVersion::of_default_server()?.at_least(7, 0) {
        return Ok(());
    }
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let other = cluster.shard(1).primary()?;
    let cases = [
        ("ip", "", "127.0.0.1"),
        ("ip", "localhost", "127.0.0.1"),
        ("hostname", "localhost", "localhost"),
        ("hostname", "", "127.0.0.1"),
        ("unknown-endpoint", "", "127.0.0.1"),
        ("unknown-endpoint", "localhost", "127.0.0.1"),
    ];
    for (preferred, hostname, dialled) in cases {
        let case = format!("{preferred}, hostname {hostname:?}");
        cluster.config_set("cluster-announce-hostname", hostname)?;
        cluster.config_set("cluster-preferred-endpoint-type", preferred)?;
        wait_for("the host name to spread", DEADLINE, || {
            let seen: String = cluster.nodes()[0].query(cmd("CLUSTER").arg("NODES"))?;
            let named = seen.lines().all(|line| line.contains("localhost") != hostname.is_empty());
            ensure!(named, "{seen}");
            Ok(())
        })?;
        // A task of its own each time: one that knows a node by an address keeps to it.
        let discovery = Discovery::start(settings([cluster.nodes()[0].addr()]))?;
        let map = discovery.wait_whole()?;
        let node = primary(&map, 16383).context("no primary")?;
        assert_eq!(node.endpoint, Endpoint::new(dialled, other.port()), "{case}");

        let text = redirect_of(&cluster)?;
        let redirect = parse_redirect(text.as_bytes()).with_context(|| text.clone())?;
        let answered_by: Endpoint = cluster.nodes()[0].addr().parse()?;
        let found = redirect.endpoint(&answered_by).and_then(|endpoint| {
            map.node_by_endpoint(&endpoint.host, endpoint.port).map(|node| map.node(node).id)
        });
        match (preferred, hostname) {
            ("hostname", "") => assert_eq!(redirect.host, "?", "{case}: {text}"),
            _ => assert_eq!(found, Some(node.id), "{case}: {text}"),
        }
    }
    Ok(())
}

#[test]
fn the_address_map_leads_to_where_nodes_can_be_reached() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    if !testbed::ServerVersion::of_default_server()?.at_least(7, 0) {
        return Ok(());
    }
    cluster.config_set("cluster-announce-hostname", "redis.invalid")?;
    cluster.config_set("cluster-preferred-endpoint-type", "hostname")?;
    let [first, second] = [0, 1].map(|shard| cluster.nodes()[shard].clone());
    wait_for("the host name to spread", DEADLINE, || {
        let seen: String = first.query(cmd("CLUSTER").arg("NODES"))?;
        ensure!(seen.lines().all(|line| line.contains("redis.invalid")), "{seen}");
        Ok(())
    })?;
    let port = second.port();
    for map in
        ["redis.invalid=localhost".to_owned(), format!("redis.invalid:{port}=localhost:{port}")]
    {
        let mut settings = settings([first.addr()]);
        settings.address_map = map.parse()?;
        let discovery = Discovery::start(settings)?;
        let map = discovery.wait_whole()?;
        let index = map.node_by_endpoint("redis.invalid", port).context("by its name")?;
        assert_eq!(map.node(index).endpoint, Endpoint::new("localhost", port));
        assert_eq!(map.node_by_endpoint("localhost", port), Some(index));
        assert_eq!(map.node(index).id.as_str(), second.id());
        if map.node_by_endpoint("localhost", first.port()).is_some() {
            // Facts of both: both are reached.
            discovery.wait_settled()?;
        }
    }
    Ok(())
}

/// The redirect that a node of the cluster gives for a key of another shard.
fn redirect_of(cluster: &Cluster) -> Result<String> {
    let other = cluster.shard(1).primary()?.slots_key()?;
    let mut client = cluster.nodes()[0].client()?;
    let error = cmd("GET").arg(other).query::<()>(&mut client).err().context("no redirect")?;
    Ok(format!("MOVED {}", error.detail().context("no detail")?))
}

trait SlotsKey {
    fn slots_key(&self) -> Result<String>;
}

impl SlotsKey for testbed::Node {
    /// A key that this node owns.
    fn slots_key(&self) -> Result<String> {
        let view = self.view()?;
        let number =
            (0..testbed::SLOTS).find(|n| view.owner(*n).is_some_and(|o| o.id == self.id()));
        Ok(testbed::key_in_slot(number.context("it owns no slot")?, "k"))
    }
}
