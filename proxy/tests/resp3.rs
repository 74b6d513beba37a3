//! RESP3, and clients of both protocols side by side: what slotway says is what a server says to
//! a direct connection, byte for byte.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use slotway::resp::reply::{Progress, Scanner};
use testbed::{Cluster, Peer, Proxy, ServerVersion, Shared};

/// A cluster of one node, so that a direct connection sees every key, and slotway before it.
struct Stage {
    proxy: Proxy,
    cluster: Cluster,
}

fn stage() -> Result<Arc<Stage>> {
    static STAGE: Shared<Stage> = Shared::new();
    STAGE.get(stage_alone)
}

fn stage_alone() -> Result<Stage> {
    let cluster = Cluster::builder().primaries(1).replicas(0).start()?;
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    Ok(Stage { proxy, cluster })
}

impl Stage {
    fn node(&self) -> Result<Peer> {
        Peer::connect(&self.cluster.shard(0).primary()?.addr())
    }
}

/// The reply to one request, as it came.
fn ask(peer: &mut Peer, line: &str) -> Result<String> {
    peer.send_command(&line.split(' ').collect::<Vec<_>>())?;
    let (mut scanner, mut reply) = (Scanner::default(), Vec::new());
    loop {
        let byte = peer.read_exact(1)?;
        reply.extend_from_slice(&byte);
        match scanner.feed(&byte) {
            Progress::Complete { .. } => return Ok(reply.escape_ascii().to_string()),
            Progress::More => {}
            Progress::Bad(why) => anyhow::bail!("{line}: {why}: {}", reply.escape_ascii()),
        }
    }
}

#[test]
fn replies_are_the_nodes_own_in_both_protocols() -> Result<()> {
    let stage = stage()?;
    let mut writer = stage.proxy.peer()?;
    for line in [
        "HSET h a 1 b two",
        "ZADD z 1.5 one 2 two",
        "SADD s x",
        "GEOADD g 13.361389 38.115556 Palermo",
        "XADD x 1-1 f v",
        "XGROUP CREATE x group 0",
        "RPUSH l a b",
        "SET k v",
    ] {
        let reply = ask(&mut writer, line)?;
        ensure!(!reply.starts_with('-'), "{line}: {reply}");
    }
    let reads = [
        ("HGETALL h", "%2"),
        ("HGETALL nosuch", "%0"),
        ("HRANDFIELD h 2 WITHVALUES", "*2"),
        ("SMEMBERS s", "~1"),
        ("ZRANGE z 0 -1 WITHSCORES", "*2"),
        ("ZSCORE z one", ","),
        ("ZSCORE z nosuch", "_"),
        ("ZPOPMIN nosuch", "*0"),
        ("GEOPOS g Palermo nosuch", "*2"),
        ("XREAD STREAMS x 0", "%1"),
        ("XREAD STREAMS x 9", "_"),
        ("XINFO STREAM x", "%"),
        ("XINFO GROUPS x", "*1"),
        ("XRANGE x - +", "*1"),
        ("LPOP nosuch 2", "_"),
        ("LRANGE l 0 -1", "*2"),
        ("GET nosuch", "_"),
        ("GET h", "-WRONGTYPE"),
        ("OBJECT ENCODING k", "$"),
        ("EVAL return{double=1.5} 1 k", ","),
        ("EVAL return{map={a=true}} 1 k", "%1"),
        ("EVAL return{big_number='12345678901234567890'} 1 k", "("),
        ("EVAL return{verbatim_string={format='txt',string='x'}} 1 k", "="),
        ("EVAL return{err='MINE'} 1 k", "-MINE"),
    ];
    for hello in ["HELLO 2", "HELLO 3"] {
        let (mut direct, mut through) = (stage.node()?, stage.proxy.peer()?);
        ask(&mut direct, hello)?;
        ask(&mut through, hello)?;
        for (line, in_resp3) in reads {
            let expected = ask(&mut direct, line)?;
            // That this table knows what it asks for, and that both sides are in RESP3.
            let as_thought = hello == "HELLO 2" || expected.starts_with(in_resp3);
            ensure!(as_thought, "{line}: {expected}");
            assert_eq!(ask(&mut through, line)?, expected, "{hello}, {line}");
        }
    }
    Ok(())
}

/// Of one node there is nothing to merge: the list is the node's, to the byte.
#[test]
fn lists_that_are_merged_have_a_nodes_shape() -> Result<()> {
    let stage = stage_alone()?;
    let (mut node, mut through) = (stage.node()?, stage.proxy.peer()?);
    for line in [
        "CONFIG SET slowlog-log-slower-than 0 latency-monitor-threshold 1",
        "DEBUG SLEEP 0.01",
        "CONFIG SET slowlog-log-slower-than -1 latency-monitor-threshold 0",
        "ACL LOG RESET",
        "AUTH nobody x",
        "SET k v",
    ] {
        let reply = ask(&mut node, line)?;
        ensure!(!reply.starts_with('-') || line.starts_with("AUTH"), "{line}: {reply}");
    }
    let version = ServerVersion::of_default_server()?;
    let of_valkey =
        ["CLUSTER SLOT-STATS SLOTSRANGE 0 3", "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 1"];
    for hello in ["HELLO 2", "HELLO 3"] {
        ask(&mut node, hello)?;
        ask(&mut through, hello)?;
        for line in ["SLOWLOG GET 2", "SLOWLOG GET x", "LATENCY LATEST", "LATENCY HISTORY command"]
            .into_iter()
            .chain(version.valkey.then_some(of_valkey).into_iter().flatten())
        {
            let expected = ask(&mut node, line)?;
            ensure!(expected.len() > 10, "{line}: {expected}");
            assert_eq!(ask(&mut through, line)?, expected, "{hello}, {line}");
        }
        // What stands before the age, which grows.
        let log = |peer: &mut Peer| -> Result<String> {
            let log = ask(peer, "ACL LOG 1")?;
            Ok(log.split_once("age-seconds").context(log.clone())?.0.to_owned())
        };
        assert_eq!(log(&mut through)?, log(&mut node)?, "{hello}");
    }
    Ok(())
}

#[test]
fn what_slotway_answers_itself_is_what_a_server_answers() -> Result<()> {
    let stage = stage()?;
    for session in [
        "HELLO 4|HELLO 1|HELLO x|HELLO 03|HELLO SETNAME x|HELLO 3 FOO|HELLO 2 SETNAME|HELLO 3 AUTH a|\
         HELLO 3 AUTH a b|HELLO 3 SETNAME \x01|HELLO 3 AUTH default x SETNAME \x01|CLIENT GETNAME|GET k",
        "HELLO 3 AUTH default x|CLIENT GETNAME|PING|PING a|ECHO x|INFO nosuch|HELLO|GET nosuch",
        "HELLO 3 SETNAME me|CLIENT GETNAME|HELLO 2|CLIENT GETNAME|HELLO 3|CLIENT SETNAME |\
         CLIENT GETNAME|HELLO 4|GET nosuch|NOSUCH a|GET|SELECT x|SELECT 01|SELECT 99999999999|\
         SELECT 0|SELECT 1|SELECT -1|SELECT 40000|GET nosuch|AUTH x|AUTH a b",
        "HELLO 3 SETNAME me|RESET|CLIENT GETNAME|HELLO|GET nosuch|RESET 1|RESET|PING",
    ] {
        let (mut direct, mut through) = (stage.node()?, stage.proxy.peer()?);
        for line in session.split('|') {
            let expected = without_particulars(ask(&mut direct, line)?);
            assert_eq!(without_particulars(ask(&mut through, line)?), expected, "{line:?}");
        }
    }
    Ok(())
}

/// Of the answer to HELLO, what does not depend on who answers: its shape and the protocol.
fn without_particulars(reply: String) -> String {
    let (Some((start, _)), Some((_, rest))) =
        (reply.split_once("$6\\r\\nserver"), reply.split_once("proto\\r\\n"))
    else {
        return reply;
    };
    format!("{start}… proto {}", &rest[..2])
}

/// Valkey 9 can have several databases in a cluster.
#[test]
fn databases_are_apart_where_the_cluster_has_them() -> Result<()> {
    let program = "/opt/slotway-servers/valkey-9.1/valkey-server";
    if !std::path::Path::new(program).exists() {
        eprintln!("skipped: no {program}");
        return Ok(());
    }
    let builder = Cluster::builder().server(program).primaries(2).replicas(0);
    let cluster = builder.config("cluster-databases", "16").start()?;
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    let mut clients = Vec::new();
    for (database, hello) in [(0, "HELLO 2"), (1, "HELLO 2"), (1, "HELLO 3"), (15, "HELLO 3")] {
        let mut client = proxy.peer()?;
        ask(&mut client, hello)?;
        assert_eq!(ask(&mut client, &format!("SELECT {database}"))?, "+OK\\r\\n");
        clients.push((database, client));
    }
    for (database, client) in &mut clients {
        for key in 0..20 {
            let line = format!("SET k{key} {database}:{key}");
            assert_eq!(ask(client, &line)?, "+OK\\r\\n");
        }
    }
    for (database, client) in &mut clients {
        for key in 0..20 {
            let value = format!("{database}:{key}");
            let expected = format!("${}\\r\\n{value}\\r\\n", value.len());
            assert_eq!(ask(client, &format!("GET k{key}"))?, expected);
        }
        assert_eq!(ask(client, "DBSIZE")?, ":20\\r\\n");
        assert!(ask(client, "MGET k1 k2 nosuch")?.starts_with("*3"));
    }
    let (_, last) = clients.last_mut().unwrap();
    assert_eq!(ask(last, "FLUSHDB")?, "+OK\\r\\n");
    assert_eq!(ask(last, "SELECT 16")?, "-ERR DB index is out of range\\r\\n");
    assert_eq!(ask(last, "GET k1")?, "_\\r\\n", "the one before stays chosen");
    assert_eq!(ask(last, "RESET")?, "+RESET\\r\\n");
    assert_eq!(ask(last, "GET k1")?, "$3\\r\\n0:1\\r\\n", "back in database 0");
    Ok(())
}

/// In both protocols, over all slots of three nodes, while every slot is on its way.
#[test]
fn clients_of_both_protocols_are_served_while_slots_move() -> Result<()> {
    let cluster = Cluster::builder().primaries(2).replicas(0).start()?;
    let proxy = Proxy::builder(cluster.seeds()).binary(env!("CARGO_BIN_EXE_slotway")).start()?;
    let (mut two, mut three) = (proxy.peer()?, proxy.peer()?);
    ask(&mut three, "HELLO 3")?;
    let keys: Vec<String> = (0..40).map(|n| format!("{{moving}}{n}")).collect();
    for key in &keys {
        assert_eq!(ask(&mut two, &format!("HSET {key} f v"))?, ":1\\r\\n");
    }
    let slot = testbed::key_slot("{moving}");
    let from = cluster.primary_of(slot)?;
    let to = if from == cluster.shard(0).primary()? {
        cluster.shard(1).primary()?
    } else {
        cluster.shard(0).primary()?
    };
    let migration = cluster.open_migration(slot, &from, &to)?;
    let mut read_all = || -> Result<()> {
        for key in &keys {
            let line = format!("HGETALL {key}");
            assert_eq!(ask(&mut two, &line)?, "*2\\r\\n$1\\r\\nf\\r\\n$1\\r\\nv\\r\\n");
            assert_eq!(ask(&mut three, &line)?, "%1\\r\\n$1\\r\\nf\\r\\n$1\\r\\nv\\r\\n");
        }
        Ok(())
    };
    migration.move_keys(&keys[..20])?;
    read_all()?; // the first half by ASK
    migration.move_all_keys()?;
    read_all()?;
    migration.finish()?;
    read_all() // by MOVED
}
