//! SCAN, its kin and RANDOMKEY over real clusters: every key that is there all the time is
//! returned, whatever the cluster does meanwhile.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use redis::{Connection, cmd, pipe};
use testbed::{
    Cluster, FailoverKind, Migration, Proxy, ServerVersion, Shared, key_in_slot, wait_for,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// What clients that read a cursor as a double can hold.
const EXACT_IN_A_DOUBLE: u64 = (1 << 53) - 1;

/// Pages after which a scan is taken for one that never ends.
const PAGES_MAX: usize = 20_000;

fn slotway(cluster: &Cluster) -> Result<Proxy> {
    Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()
}

/// A cluster of 3 primaries without faults, and slotway before it.
struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

fn stage() -> Result<Arc<Stage>> {
    static STAGE: Shared<Stage> = Shared::new();
    STAGE.get(|| {
        let cluster = Cluster::builder().replicas(0).start()?;
        Ok(Stage { proxy: slotway(&cluster)?, cluster })
    })
}

fn fill(client: &mut Connection, keys: &[String]) -> Result<()> {
    for some in keys.chunks(1_000) {
        let mut sets = pipe();
        for key in some {
            sets.cmd("SET").arg(key).arg("v").ignore();
        }
        sets.exec(client)?;
    }
    Ok(())
}

/// The keys of a whole scan, each as often as it came.
fn scan(client: &mut Connection, options: &[&str]) -> Result<Vec<String>> {
    let (mut cursor, mut found) = (0_u64, Vec::new());
    for _ in 0..PAGES_MAX {
        let page: (u64, Vec<String>) = cmd("SCAN").arg(cursor).arg(options).query(client)?;
        cursor = page.0;
        found.extend(page.1);
        ensure!(cursor <= EXACT_IN_A_DOUBLE, "{cursor}");
        if cursor == 0 {
            return Ok(found);
        }
    }
    bail!("it does not end")
}

/// The scan goes on at one slotway and at another, page by page.
#[test]
fn every_key_comes_through_reshards_a_failover_a_restart_and_an_open_slot() -> Result<()> {
    let cluster = Cluster::builder().replicas(1).config("appendonly", "yes").start()?;
    let proxies = [slotway(&cluster)?, slotway(&cluster)?];
    let mut clients = [proxies[0].client()?, proxies[1].client()?];
    let keys: Vec<String> = (0..20_000).map(|n| format!("key:{n}")).collect();
    fill(&mut clients[0], &keys)?;
    let (mut found, mut events) = (HashSet::new(), (0..).peekable());
    let mut open: Vec<Migration<'_>> = Vec::new();
    let mut cursor = 0_u64;
    for page in 0.. {
        ensure!(page < PAGES_MAX, "it does not end");
        let client = &mut clients[page % 2];
        let (next, keys): (u64, Vec<String>) =
            cmd("SCAN").arg(cursor).arg(&["COUNT", "50"]).query(client)?;
        found.extend(keys);
        ensure!(next <= EXACT_IN_A_DOUBLE, "{next}");
        if next == 0 {
            break;
        }
        cursor = next;
        // One event each time that another 2,000 keys have come.
        if let Some(event) = events.next_if(|event| found.len() >= 2_000 * (1 + *event)) {
            happen(event, &cluster, &mut open).with_context(|| format!("event {event}"))?;
        }
    }
    ensure!(events.peek() >= Some(&EVENTS), "it was over before everything had happened");
    let missed: Vec<&String> = keys.iter().filter(|key| !found.contains(*key)).collect();
    ensure!(missed.is_empty(), "{} keys missed, for example {:?}", missed.len(), missed[0]);
    ensure!(found.len() == keys.len(), "keys that nobody wrote");
    Ok(())
}

const EVENTS: usize = 7;

fn happen<'a>(event: usize, cluster: &'a Cluster, open: &mut Vec<Migration<'a>>) -> Result<()> {
    let slots_of = |shard: usize| cluster.shard(shard).slots();
    let primary_of = |shard: usize| cluster.shard(shard).primary();
    match event {
        // Slots of the shard that is being read leave for one that is not yet.
        0 => cluster.move_slots(slots_of(0)?[100..120].to_vec(), &primary_of(0)?, &primary_of(2)?),
        // The primary that is being read loses its place.
        1 => cluster.failover(&cluster.shard(0).replica()?, FailoverKind::Normal),
        // A slot that is not read yet stands half-way until the end.
        2 => {
            let slot = slots_of(1)?[1500];
            let (from, to) = (primary_of(1)?, primary_of(0)?);
            let migration = cluster.open_migration(slot, &from, &to)?;
            let mut get = cmd("CLUSTER");
            get.arg("GETKEYSINSLOT").arg(slot).arg(100);
            let keys: Vec<String> = from.query(&get)?;
            migration.move_keys(&keys[..keys.len().div_ceil(2)])?;
            open.push(migration);
            Ok(())
        }
        // The node that is being read restarts.
        3 => cluster.restart(&primary_of(1)?),
        // Slots go from where nothing was read to where everything was.
        4 => {
            let unread = slots_of(2)?;
            let moving = unread[unread.len() - 30..].to_vec();
            wait_for("the slots to be moved", DEADLINE, || {
                let left = slots_of(2)?.into_iter().filter(|slot| moving.contains(slot));
                cluster.move_slots(left, &primary_of(2)?, &primary_of(0)?)
            })
        }
        // And back again what left first.
        5 => {
            let came = slots_of(2)?.into_iter().take(10);
            cluster.move_slots(came, &primary_of(2)?, &primary_of(0)?)
        }
        6 => cluster.failover(&cluster.shard(2).replica()?, FailoverKind::Force),
        _ => Ok(()),
    }
}

#[test]
fn options_hold_over_all_shards_and_errors_are_a_servers() -> Result<()> {
    let stage = stage()?;
    let mut client = stage.proxy.client()?;
    let keys: Vec<String> = (0..500).map(|n| format!("o{n}")).collect();
    fill(&mut client, &keys)?;
    let tagged: Vec<String> = (0..50).map(|n| format!("{{tag}}{n}")).collect();
    fill(&mut client, &tagged)?;
    cmd("SADD").arg("oset").arg(1).exec(&mut client)?;
    for (options, expected) in [
        (&["MATCH", "o*", "TYPE", "string"][..], keys.clone()),
        (&["COUNT", "3", "MATCH", "o*", "TYPE", "set"], vec!["oset".to_owned()]),
        (&["MATCH", "{tag}*"], tagged),
        (&["MATCH", "oset"], vec!["oset".to_owned()]),
        (&["MATCH", "nosuch*", "COUNT", "1000"], vec![]),
    ] {
        let found: HashSet<String> = scan(&mut client, options)?.into_iter().collect();
        ensure!(found == expected.into_iter().collect(), "{options:?}: {found:?}");
    }
    let mut direct = stage.cluster.shard(0).primary()?.client()?;
    for line in [
        "x",
        "",
        "1.5",
        "18446744073709551616",
        "x FOO",
        "0 FOO",
        "0 MATCH",
        "0 COUNT 0",
        "0 COUNT x",
    ] {
        let ask = |client: &mut Connection| {
            let reply =
                cmd("SCAN").arg(line.split(' ').collect::<Vec<_>>()).query::<redis::Value>(client);
            reply.map_err(|error| error.to_string())
        };
        // Redis 7.0 takes nothing at all for 0; later servers do not.
        let is_old = !line.is_empty() || ServerVersion::of_default_server()?.at_least(7, 4);
        let same = ask(&mut client) == ask(&mut direct);
        ensure!(same || !is_old, "{line}: {:?}", ask(&mut client));
    }
    Ok(())
}

#[test]
fn a_resp3_client_scans_as_well() -> Result<()> {
    let stage = stage()?;
    fill(&mut stage.proxy.client()?, &["r3".to_owned()])?;
    let address = format!("redis://{}/?protocol=resp3", stage.proxy.addr());
    let mut client = redis::Client::open(address)?.get_connection()?;
    ensure!(scan(&mut client, &["MATCH", "r3*"])? == ["r3"]);
    Ok(())
}

#[test]
fn the_scans_of_one_key_stay_at_its_node() -> Result<()> {
    let stage = stage()?;
    let mut client = stage.proxy.client()?;
    let mut fill = pipe();
    for n in 0..2_000 {
        fill.cmd("HSET").arg("h").arg(n).arg(n).ignore();
        fill.cmd("SADD").arg("s").arg(format!("m{n}")).ignore();
        fill.cmd("ZADD").arg("z").arg(n).arg(n).ignore();
    }
    fill.exec(&mut client)?;
    for (command, key, each) in [("HSCAN", "h", 2), ("SSCAN", "s", 1), ("ZSCAN", "z", 2)] {
        let (mut cursor, mut found) = (0_u64, HashSet::new());
        loop {
            let page: (u64, Vec<String>) = cmd(command).arg(key).arg(cursor).query(&mut client)?;
            cursor = page.0;
            found.extend(page.1.chunks(each).map(|member| member[0].clone()));
            if cursor == 0 {
                break;
            }
        }
        ensure!(found.len() == 2_000, "{command}: {}", found.len());
    }
    Ok(())
}

/// Its cursor holds a hash tag of the slot that it has come to.
#[test]
fn clusterscan_goes_where_its_cursor_says() -> Result<()> {
    let stage = stage()?;
    let mut client = stage.proxy.client()?;
    let written: Vec<String> = (0..300).map(|n| format!("c{n}")).collect();
    fill(&mut client, &written)?;
    let (mut cursor, mut found) = ("0".to_owned(), HashSet::new());
    for page in 0..100_000 {
        let reply = cmd("CLUSTERSCAN").arg(&cursor).arg("COUNT").arg(100).query(&mut client);
        let (next, keys): (String, Vec<String>) = match reply {
            Err(error) if page == 0 && error.to_string().contains("unknown command") => {
                eprintln!("skipped: the server has no CLUSTERSCAN");
                return Ok(());
            }
            reply => reply?,
        };
        found.extend(keys);
        if next == "0" {
            ensure!(written.iter().all(|key| found.contains(key)), "{}", found.len());
            return Ok(());
        }
        cursor = next;
    }
    bail!("it does not end")
}

#[test]
fn a_random_key_is_as_likely_as_any_other() -> Result<()> {
    let cluster = Cluster::builder().replicas(0).start()?;
    let proxy = slotway(&cluster)?;
    let mut client = proxy.client()?;
    let random = |client: &mut Connection| cmd("RANDOMKEY").query::<Option<String>>(client);
    ensure!(random(&mut client)?.is_none(), "there is none");
    let slots = [cluster.shard(0).slots()?[0], cluster.shard(1).slots()?[0]];
    fill(&mut client, &[key_in_slot(slots[1], "one")])?;
    for _ in 0..20 {
        ensure!(random(&mut client)?.is_some(), "an empty shard was asked");
    }
    // 1 in 10 keys is in shard 1 then, and none in shard 2.
    let many: Vec<String> = (0..9).map(|n| key_in_slot(slots[0], &n.to_string())).collect();
    fill(&mut client, &many)?;
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2_000 {
        *drawn.entry(random(&mut client)?.context("there are some")?).or_default() += 1;
    }
    // 200 are expected of the one; 6 standard deviations are 80.
    let of_one = drawn.get(&key_in_slot(slots[1], "one")).copied().unwrap_or_default();
    ensure!((120..280).contains(&of_one), "{of_one} of 2000");
    Ok(())
}
