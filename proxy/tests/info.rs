//! INFO: slotway's own part, and what all nodes say of themselves made into one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use redis::{InfoDict, cmd};
use testbed::{Cluster, Node, Proxy};

/// Longer than anything here takes, short of a hang.
const DEADLINE: Duration = Duration::from_secs(30);

fn slotway(cluster: &Cluster) -> Result<Proxy> {
    Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).workers(2).start()
}

fn number(info: &InfoDict, field: &str) -> Result<u64> {
    info.get(field).with_context(|| format!("{field} is missing"))
}

fn used_memory(nodes: &[Node]) -> Result<u64> {
    let each = nodes.iter().map(|node| {
        let used = node.info("used_memory")?.context("a node without memory")?;
        Ok(used.parse::<u64>()?)
    });
    each.sum()
}

#[test]
fn the_data_of_all_shards_is_that_of_one_server() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(1).start()?;
    let proxy = slotway(&cluster)?;
    let mut client = proxy.client()?;
    for number in 0..60 {
        let mut set = cmd("SET");
        set.arg(format!("key:{number}")).arg("x".repeat(100_000));
        if number % 10 == 0 {
            set.arg("EX").arg(1000);
        }
        set.exec(&mut client)?;
        // What the client has just done is in it, however often it asks.
        let info: String = cmd("INFO").arg("keyspace").query(&mut client)?;
        let keys = format!("db0:keys={},expires={},", number + 1, number / 10 + 1);
        ensure!(info.contains(&keys), "{keys} is not in {info}");
    }
    cmd("GET").arg("nokey").exec(&mut client)?;
    let primaries = [0, 1, 2].map(|shard| cluster.shard(shard).primary());
    let primaries = primaries.into_iter().collect::<Result<Vec<_>>>()?;

    let info: InfoDict = cmd("INFO").query(&mut client)?;
    // A node needs a little more each time that it is asked.
    let (said, used) = (number(&info, "used_memory")?, used_memory(&primaries)?);
    ensure!(said > used / 10 * 9 && said < used / 9 * 10, "{said} of {used}");
    ensure!(said > 60 * 100_000, "{said}: the data of all of them");
    ensure!(number(&info, "keyspace_misses")? == 1);
    ensure!(number(&info, "connected_clients")? == 1);
    ensure!(number(&info, "total_commands_processed")? >= 60);
    ensure!(number(&info, "total_net_input_bytes")? > 60 * 100_000);
    ensure!(number(&info, "slotway_primaries")? == 3);
    ensure!(number(&info, "slotway_primaries_answered")? == 3);
    ensure!(info.get::<f64>("used_cpu_user").is_some_and(|seconds| seconds > 0.0));
    ensure!(info.get::<String>("node0").is_none(), "the nodes are not in the default sections");

    let nodes: String = cmd("INFO").arg("nodes").query(&mut client)?;
    let lines: Vec<&str> = nodes.lines().skip(1).collect();
    ensure!(lines.len() == 6, "{nodes}");
    for node in cluster.nodes() {
        let addr = format!("addr={},id={},", node.addr(), node.id());
        let line = lines.iter().find(|line| line.contains(&addr)).context(addr)?;
        let role = if primaries.contains(&node) { "primary" } else { "replica" };
        ensure!(line.contains(&format!(",role={role},health=")), "{line}");
        ensure!(line.contains(",answered=yes,redis_version="), "{line}");
        let link = line.contains(",master_link_status=up,");
        ensure!(link == (role == "replica"), "{line}");
    }
    let slots = lines.iter().filter_map(|line| line.split("slots=").nth(1)?.split(',').next());
    ensure!(slots.filter_map(|slots| slots.parse::<u32>().ok()).sum::<u32>() == 16_384, "{nodes}");
    Ok(())
}

/// Clients ask before they take a connection for ready: none may wait for a node that is away.
#[test]
fn a_node_that_is_away_is_not_waited_for() -> Result<()> {
    let cluster = Cluster::builder()
        .primaries(3)
        .replicas(0)
        .full_coverage(false)
        .node_timeout(Duration::from_secs(30))
        .start()?;
    let proxy = slotway(&cluster)?;
    let mut client = proxy.client()?;
    for number in 0..30 {
        cmd("SET").arg(number).arg(1).exec(&mut client)?;
    }
    let frozen = cluster.shard(1).primary()?;
    cluster.freeze(&frozen)?;
    let begun = Instant::now();
    for _ in 0..3 {
        let info: InfoDict = cmd("INFO").query(&mut client)?;
        ensure!(number(&info, "slotway_primaries")? == 3);
        ensure!(number(&info, "slotway_primaries_answered")? == 2);
        ensure!(info.get::<String>("loading").as_deref() == Some("0"));
        ensure!(number(&info, "used_memory")? > 0);
    }
    // A quarter of a second for all three is what it should take.
    ensure!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let nodes: String = cmd("INFO").arg("nodes").query(&mut client)?;
    let line = nodes.lines().find(|line| line.contains(&frozen.addr())).context("its line")?;
    ensure!(line.ends_with(",answered=no"), "{line}");
    cluster.thaw(&frozen)?;
    testbed::wait_for("the node to be counted again", DEADLINE, || {
        let info: InfoDict = cmd("INFO").query(&mut client)?;
        ensure!(number(&info, "slotway_primaries_answered")? == 3);
        Ok(())
    })
}

/// A crowd that connects anew, each asking whether the server is ready, is no load for the nodes.
#[test]
fn many_who_ask_at_once_are_answered_together() -> Result<()> {
    const CROWD: usize = 300;
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let proxy = slotway(&cluster)?;
    let node = cluster.shard(0).primary()?;
    let asked = || {
        let stats: String = node.query(cmd("INFO").arg("commandstats"))?;
        let calls =
            stats.split("cmdstat_info:calls=").nth(1).and_then(|rest| rest.split(',').next());
        Ok::<usize, anyhow::Error>(calls.map_or(0, |calls| calls.parse().unwrap_or(0)))
    };
    let before = asked()?;
    let mut crowd = (0..CROWD).map(|_| proxy.peer()).collect::<Result<Vec<_>>>()?;
    for peer in &mut crowd {
        peer.send(b"PING\r\nINFO\r\nPING\r\n")?;
    }
    for peer in &mut crowd {
        peer.expect(b"+PONG\r\n$")?;
        while !peer.read_line()?.starts_with(b"+PONG") {}
    }
    let asked = asked()? - before;
    ensure!(asked < CROWD / 2, "the node was asked {asked} times for {CROWD} clients");
    Ok(())
}
