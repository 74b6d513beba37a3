//! The discovery task against real clusters, and against nodes that misbehave.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::cmd;
use slotway::discovery::{
    Credentials, CredentialsSource, DiscoveryError, Handle, Password, Reason, Settings, run,
};
use slotway::slot::Slot;
use slotway::topology::{Endpoint, Health, Node, Role, State, Topology, parse_redirect};
use testbed::{Answer, Cluster, FailoverKind, Port, ScriptedNode, Standalone, wait_for};
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes, short of a hang.
const DEADLINE: Duration = Duration::from_secs(30);
/// A period that never comes: what is seen is seen because it was asked for.
const NEVER: Duration = Duration::from_secs(3600);

/// The task on a thread of its own; it ends with this.
struct Discovery {
    handle: Handle,
    cancel: CancellationToken,
    thread: Option<JoinHandle<Result<(), DiscoveryError>>>,
}

impl Discovery {
    fn start(settings: Settings) -> Result<Discovery> {
        let (handle, cancel) = (Handle::new(), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let task = run(settings, handle.clone(), cancel.clone());
        let thread = Some(std::thread::spawn(move || runtime.block_on(task)));
        Ok(Discovery { handle, cancel, thread })
    }

    fn map(&self) -> Arc<Topology> {
        self.handle.topology().load_full()
    }

    /// Waits for a map that `accept` finds nothing wrong with.
    fn wait_map(
        &self,
        what: &str,
        mut accept: impl FnMut(&Topology) -> Result<()>,
    ) -> Result<Arc<Topology>> {
        wait_for(what, DEADLINE, || {
            let map = self.map();
            let missing =
                || format!("{:?}, counts {:?}", self.handle.missing(), self.handle.counts());
            accept(&map).with_context(missing).map(|()| map)
        })
    }

    fn wait_whole(&self) -> Result<Arc<Topology>> {
        self.wait_map("a map of all slots", |map| {
            ensure!(map.is_complete() && map.state == State::Ok, "{} slots", map.slots_covered());
            Ok(())
        })
    }

    /// Waits until every node was asked about itself: without replicas, from then on, nothing is
    /// refreshed before the period passes or somebody asks.
    fn wait_settled(&self) -> Result<()> {
        wait_for("facts of all nodes", DEADLINE, || {
            let (facts, nodes) = (self.handle.facts(), self.map().nodes().len());
            ensure!(facts.nodes == nodes, "{facts:?} of {nodes} nodes");
            Ok(())
        })
    }

    fn wait_missing(&self, words: &str) -> Result<()> {
        wait_for(&format!("\"{words}\" to be missing"), DEADLINE, || {
            let missing = self.handle.missing().unwrap_or_default();
            ensure!(missing.contains(words), "{missing:?}");
            Ok(())
        })
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.cancel.cancel();
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert_eq!(ended.map(Result::unwrap), Some(Ok(())), "cancelling ends it well");
        }
    }
}

fn settings<S: AsRef<str>>(seeds: impl IntoIterator<Item = S>) -> Settings {
    let seeds = seeds.into_iter().map(|seed| seed.as_ref().parse().unwrap()).collect();
    Settings { seeds, refresh_period: NEVER, ..Settings::default() }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn primary(map: &Topology, number: u16) -> Option<&Node> {
    map.primary_of(slot(number)).map(|node| map.node(node))
}

fn is_primary(map: &Topology, number: u16, node: &testbed::Node) -> Result<()> {
    let found = primary(map, number).map(|node| node.id.to_string());
    ensure!(found.as_deref() == Some(node.id()), "slot {number} is of {found:?}, not of {node}");
    Ok(())
}

#[test]
fn a_living_seed_is_enough_and_no_dead_one_delays_it() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let black_hole = ScriptedNode::start(|_| Answer::Silence)?;
    let refusing = Port::free()?;
    let alive = cluster.nodes()[4].addr();
    let mut settings =
        settings([refusing.addr(), black_hole.addr(), "no-such-host.invalid:1".into(), alive]);
    // Whoever waits for the dead ones cannot be done before this.
    settings.connect_timeout = DEADLINE;
    settings.reply_timeout = DEADLINE;
    let begun = Instant::now();
    let discovery = Discovery::start(settings)?;
    let map = discovery.wait_whole()?;
    assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());

    assert_eq!((map.shards().len(), map.nodes().len()), (3, 6));
    for (_, shard) in map.shards() {
        assert_eq!(shard.replicas.len(), 1);
        assert!(shard.config_epoch > 0);
    }
    for node in cluster.nodes() {
        let found = map.node_by_endpoint("127.0.0.1", node.port()).map(|n| map.node(n));
        let found = found.with_context(|| format!("{node} is not in the map"))?;
        assert_eq!((found.id.as_str(), found.endpoint.port), (node.id(), node.port()));
    }
    for number in [0, 5461, 10923, 16383] {
        is_primary(&map, number, &cluster.primary_of(number)?)?;
    }
    Ok(())
}

#[test]
fn facts_are_those_of_all_nodes() -> Result<()> {
    let cluster =
        Cluster::builder().primaries(3).replicas(0).node_timeout(Duration::from_secs(3)).start()?;
    let set = |node: usize, name: &str, value: &str| -> Result<()> {
        cluster.nodes()[node].query(cmd("CONFIG").arg("SET").arg(name).arg(value))
    };
    set(2, "proto-max-bulk-len", "16777216")?;
    set(1, "cluster-node-timeout", "4000")?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    let facts = discovery.handle.facts();
    assert_eq!(facts.bulk_bytes_max, Some(16_777_216), "the smallest");
    assert_eq!(facts.node_timeout, Some(Duration::from_secs(4)), "the largest");
    let version = facts.server_version.clone().context("no version")?;
    assert_eq!(facts.server_names, [version.name]);
    let info = cluster.nodes()[0].info("redis_version")?;
    assert_eq!(Some(version.redis_version), info);
    Ok(())
}

#[test]
fn with_all_seeds_dead_it_waits_for_the_first_that_comes_up() -> Result<()> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let node = cluster.nodes()[0].clone();
    cluster.kill(&node)?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    discovery.wait_missing(&format!("{} cannot be reached: connection refused", node.addr()))?;
    cluster.restart(&node)?;
    let map = discovery.wait_whole()?;
    assert_eq!(map.nodes().len(), 1);
    assert_eq!(discovery.handle.missing(), None);
    Ok(())
}

#[test]
fn the_startup_timeout_ends_the_waiting_with_the_reason() -> Result<()> {
    let standalone = Standalone::start()?;
    let startup_timeout = Some(Duration::from_millis(300));
    let settings = Settings { startup_timeout, ..settings([standalone.addr()]) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(settings, Handle::new(), CancellationToken::new()));
    let Err(DiscoveryError::NoAnswer { why, waited }) = ended else {
        anyhow::bail!("ended with {ended:?}")
    };
    assert!(waited >= Duration::from_millis(300));
    let sentence = "is not a cluster node; slotway needs cluster mode";
    assert_eq!(why, format!("{} {sentence}", standalone.addr()));
    let none = run(Settings::default(), Handle::new(), CancellationToken::new());
    assert_eq!(runtime.block_on(none), Err(DiscoveryError::NoSeeds));
    Ok(())
}

#[test]
fn moved_slots_are_seen_when_asked_for_and_not_before() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    let before = discovery.wait_whole()?;
    discovery.wait_settled()?;
    let refreshes = discovery.handle.counts().refreshes;

    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    cluster.move_slots(0..3, from, to)?;
    let migration = cluster.open_migration(100, from, to)?;
    assert_eq!(discovery.handle.counts().refreshes, refreshes, "nobody asked");
    assert_eq!(discovery.map().revision, before.revision);

    let endpoint: Endpoint = to.addr().parse()?;
    discovery.handle.request_refresh_from(Reason::Moved, &endpoint);
    let map = discovery.wait_map("the moved slots", |map| {
        (0..3).try_for_each(|number| is_primary(map, number, to))
    })?;
    is_primary(&map, 3, from)?;
    is_primary(&map, 100, from)?;
    assert!(map.epoch_of(slot(0)) > before.epoch_of(slot(0)));
    assert_eq!(discovery.handle.subscribe().borrow().to_owned(), map.revision);
    migration.cancel()
}

#[test]
fn an_importing_node_without_slots_is_known() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    let fresh = cluster.add_node()?;
    discovery.handle.request_refresh(Reason::UnknownNode);
    let map = discovery.wait_map("the new node", |map| {
        let index = map.node_by_endpoint("127.0.0.1", fresh.port()).context("not there")?;
        ensure!(map.node(index).shard.is_none() && map.node(index).role == Role::Primary);
        Ok(())
    })?;
    assert_eq!((map.shards().len(), map.nodes().len()), (2, 3));
    cluster.remove_node(&fresh)?;
    wait_for("the node to be forgotten", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.map().nodes().len() == 2);
        Ok(())
    })
}

#[test]
fn a_failover_is_seen_on_demand_and_demand_is_paced() -> Result<()> {
    let timeout = Duration::from_millis(1500);
    let cluster = Cluster::builder().primaries(3).replicas(1).node_timeout(timeout).start()?;
    let discovery = Discovery::start(settings(cluster.seeds()))?;
    let before = discovery.wait_whole()?;
    let (dead, heir) = (cluster.shard(0).primary()?, cluster.shard(0).replica()?);
    let begun = Instant::now();
    let refreshes = discovery.handle.counts().refreshes;
    cluster.kill(&dead)?;
    let map = discovery.wait_map("the replica to take over", |map| {
        // As often as requests fail.
        (0..50).for_each(|_| discovery.handle.request_refresh(Reason::ConnectionFailed));
        is_primary(map, 0, &heir)
    })?;
    assert!(map.epoch_of(slot(0)) > before.epoch_of(slot(0)));
    let done = discovery.handle.counts().refreshes - refreshes;
    let most = 2 + begun.elapsed().as_millis() / 100;
    assert!(u128::from(done) <= most, "{done} refreshes in {:?}", begun.elapsed());
    let gone = map.node_by_endpoint("127.0.0.1", dead.port()).context("the dead node is listed")?;
    assert_eq!(map.node(gone).health, Health::Failed);

    cluster.restart(&dead)?;
    cluster.wait_ok(DEADLINE)?;
    wait_for("the demoted node", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        let map = discovery.map();
        let node = map.node(map.node_by_endpoint("127.0.0.1", dead.port()).context("gone")?);
        ensure!(node.role == Role::Replica && node.health == Health::Online, "{node:?}");
        Ok(())
    })?;
    cluster.failover(&dead, FailoverKind::Normal)?;
    discovery.handle.request_refresh(Reason::ReadOnly);
    discovery.wait_map("the old primary again", |map| {
        discovery.handle.request_refresh(Reason::ReadOnly);
        is_primary(map, 0, &dead)
    })?;
    Ok(())
}

#[test]
fn a_cluster_that_is_down_is_said_to_be_and_comes_back() -> Result<()> {
    let timeout = Duration::from_millis(1500);
    let cluster = Cluster::builder().primaries(3).replicas(0).node_timeout(timeout).start()?;
    let discovery = Discovery::start(settings(cluster.seeds().first()))?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    let dead = cluster.nodes()[2].clone();
    cluster.kill(&dead)?;
    wait_for("the cluster to be down", DEADLINE, || {
        discovery.handle.request_refresh(Reason::ClusterDown);
        let missing = discovery.handle.missing();
        ensure!(missing.as_deref() == Some("the cluster says that it is down"), "{missing:?}");
        Ok(())
    })?;
    is_primary(&discovery.map(), 16383, &dead)?;
    cluster.restart(&dead)?;
    // Nobody asks: while something is wrong it looks by itself.
    discovery.wait_whole()?;
    Ok(())
}

#[test]
fn a_reply_that_nobody_asked_for_ends_the_connection() -> Result<()> {
    let node = ScriptedNode::start(|request| match request[0].as_slice() {
        b"CLIENT" => Answer::Bytes(b"+OK\r\n+OK\r\n".to_vec()),
        _ => Answer::Default,
    })?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    discovery.wait_missing("broke the protocol: it answered what nobody asked")?;
    assert!(discovery.map().is_empty());
    Ok(())
}

#[test]
fn a_frozen_node_does_not_delay_a_refresh() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).node_timeout(DEADLINE).start()?;
    let mut settings = settings(cluster.seeds());
    settings.reply_timeout = DEADLINE;
    let discovery = Discovery::start(settings)?;
    discovery.wait_whole()?;
    discovery.wait_settled()?;
    cluster.freeze(&cluster.nodes()[2])?;
    // Two of three are asked each time, so the frozen one is soon among them.
    let begun = Instant::now();
    let first = discovery.handle.counts().refreshes;
    wait_for("ten refreshes", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.handle.counts().refreshes >= first + 10);
        Ok(())
    })?;
    assert!(begun.elapsed() < DEADLINE / 3, "took {:?}", begun.elapsed());
    assert_eq!(discovery.handle.counts().failed, 0);
    cluster.thaw(&cluster.nodes()[2])
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

#[test]
fn a_wrong_password_is_told_and_the_right_one_taken_when_it_comes() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).password("se cret").start()?;
    let password = Arc::new(Mutex::new("wrong".to_owned()));
    let current = password.clone();
    let mut settings = settings(cluster.seeds());
    settings.credentials = CredentialsSource::new(move || {
        let password = Password::new(current.lock().unwrap().as_bytes());
        Some(Credentials { user: None, password })
    });
    let discovery = Discovery::start(settings)?;
    discovery.wait_missing("does not let us in: WRONGPASS")?;
    *password.lock().unwrap() = "se cret".to_owned();
    discovery.wait_whole()?;
    discovery.wait_settled()
}

#[test]
fn a_user_who_may_only_ask_for_slots_gets_a_map_and_fills_no_log() -> Result<()> {
    if !testbed::ServerVersion::of_default_server()?.at_least(7, 0) {
        return Ok(());
    }
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    for node in cluster.nodes() {
        let rules = ["SETUSER", "thin", "on", ">pw", "+cluster|slots"];
        node.query::<()>(cmd("ACL").arg(&rules))?;
    }
    let thin = Credentials { user: Some("thin".into()), password: Password::new(b"pw") };
    let mut settings = settings(cluster.seeds());
    settings.credentials = CredentialsSource::fixed(thin);
    let discovery = Discovery::start(settings)?;
    let map = discovery.wait_map("a map of all slots", |map| {
        ensure!(map.is_complete());
        Ok(())
    })?;
    assert_eq!((map.state, map.epoch_of(slot(0))), (State::Unknown, 0));
    discovery.wait_settled()?;
    assert_eq!(discovery.handle.facts().server_version, None);

    let refused = || -> Result<u64> {
        let mut sum = 0;
        for node in cluster.nodes() {
            let info = node.info("acl_access_denied_cmd")?;
            sum += info.map_or(Ok(0), |count| count.parse::<u64>())?;
        }
        Ok(sum)
    };
    let (before, first) = (refused()?, discovery.handle.counts().refreshes);
    wait_for("five refreshes", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Operator);
        ensure!(discovery.handle.counts().refreshes >= first + 5);
        Ok(())
    })?;
    assert_eq!(refused()?, before);

    let (from, to) = (&cluster.nodes()[0], &cluster.nodes()[1]);
    cluster.move_slots([0], from, to)?;
    wait_for("the moved slot, without epochs", DEADLINE, || {
        discovery.handle.request_refresh(Reason::Moved);
        is_primary(&discovery.map(), 0, to)
    })
}

#[test]
fn hostile_replies_are_refused_with_the_reason() -> Result<()> {
    let nodes = |answer: String| {
        ScriptedNode::start(move |request| match request.get(1).map(Vec::as_slice) {
            Some(b"NODES") => Answer::Bytes(answer.clone().into()),
            _ => Answer::Default,
        })
    };
    let cases = [
        (nodes("*1\r\n".repeat(1_000_000))?, "nested deeper than 8 levels"),
        (nodes("$999999999\r\n".into())?, "longer than 16777216 bytes"),
        (nodes("*9999999\r\n".into())?, "more than 2097152 elements"),
        (nodes("%1\r\n".into())?, "the reply is not RESP2"),
        (nodes(":1\r\n".into())?, "malformed answer to CLUSTER NODES: no text"),
        (
            nodes("$2\r\nab\r\n".into())?,
            "malformed answer to CLUSTER NODES: a line with too few words",
        ),
    ];
    for (node, words) in cases {
        let discovery = Discovery::start(settings([node.addr()]))?;
        discovery.wait_missing(words)?;
    }
    Ok(())
}

#[test]
fn seeds_that_all_show_new_nodes_mean_a_new_cluster() -> Result<()> {
    let replaced = Arc::new(AtomicBool::new(false));
    let new = replaced.clone();
    let node = ScriptedNode::start(move |request| {
        let id = if new.load(Ordering::SeqCst) { "b" } else { "a" }.repeat(40);
        let bulk = |text: String| Answer::Bytes(format!("${}\r\n{text}\r\n", text.len()).into());
        match request.get(1).map(Vec::as_slice) {
            Some(b"MYID") => bulk(id),
            // With its address left out it is the one that was asked.
            Some(b"NODES") => {
                bulk(format!("{id} :7000@17000 myself,master - 0 0 1 connected 0-16383\n"))
            }
            Some(b"SLOTS" | b"SHARDS") => Answer::Bytes(b"-ERR no\r\n".to_vec()),
            _ => Answer::Default,
        }
    })?;
    let discovery = Discovery::start(settings([node.addr()]))?;
    let map = discovery.wait_whole()?;
    let owner = |map: &Topology| primary(map, 0).map(|node| node.id.short().to_owned());
    assert_eq!(owner(&map).as_deref(), Some("aaaaaaaa"));
    replaced.store(true, Ordering::SeqCst);
    wait_for("the new cluster", DEADLINE, || {
        discovery.handle.request_refresh(Reason::ConnectionFailed);
        ensure!(owner(&discovery.map()).as_deref() == Some("bbbbbbbb"));
        Ok(())
    })?;
    assert_eq!(discovery.map().nodes().len(), 1);
    Ok(())
}
