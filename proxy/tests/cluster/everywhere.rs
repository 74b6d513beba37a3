//! What concerns every node and not one node's data: it reaches all of them, and what they list is
//! one list.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use testbed::{Cluster, ServerVersion};

use crate::stage::{shared, slotway};
use crate::wire::{Client, Reply};

fn ask(client: &mut Client, line: &str) -> Result<Reply> {
    client.ask(&line.split(' ').collect::<Vec<_>>())
}

fn rows(client: &mut Client, line: &str) -> Result<Vec<Vec<Reply>>> {
    let Reply::Array(rows) = ask(client, line)? else { anyhow::bail!("{line}: no array") };
    let row = |row| if let Reply::Array(row) = row { Ok(row) } else { anyhow::bail!("{row:?}") };
    rows.into_iter().map(row).collect()
}

fn number(row: &[Reply], at: usize) -> Result<i64> {
    match row.get(at).context("a short row")? {
        Reply::Integer(number) => Ok(*number),
        other => anyhow::bail!("{other:?}"),
    }
}

/// They said OK and had reached one node, whichever it was.
#[test]
fn users_that_the_operator_sets_up_are_those_of_every_node() -> Result<()> {
    let cluster = Cluster::builder().replicas(1).start()?;
    let allowed = ["--allow-commands", "acl|setuser,acl|deluser"];
    let proxy = slotway(cluster.seeds()).args(allowed).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    let nodes = cluster.nodes();
    let known = |name: &str| -> Result<usize> {
        let mut known = 0;
        for node in &nodes {
            let user = ask(&mut Client::connect(&node.addr())?, &format!("ACL GETUSER {name}"))?;
            known += usize::from(matches!(user, Reply::Array(_)));
        }
        Ok(known)
    };
    ensure!(nodes.len() == 6 && known("everywhere")? == 0);
    assert_eq!(ask(&mut here, "ACL SETUSER everywhere on >secret +get ~*")?, Reply::ok());
    assert_eq!(known("everywhere")?, nodes.len());
    // Who fails at any of them is in the log of all.
    ask(&mut here, "ACL LOG RESET")?;
    for node in &nodes {
        ask(&mut Client::connect(&node.addr())?, "AUTH everywhere wrong")?;
    }
    assert_eq!(rows(&mut here, "ACL LOG")?.len(), nodes.len());
    assert_eq!(rows(&mut here, "ACL LOG 2")?.len(), 2);
    assert_eq!(ask(&mut here, "ACL LOG RESET")?, Reply::ok());
    assert_eq!(rows(&mut here, "ACL LOG")?.len(), 0);
    assert_eq!(ask(&mut here, "ACL DELUSER everywhere")?, Reply::Integer(1));
    assert_eq!(known("everywhere")?, 0);
    Ok(())
}

#[test]
fn logs_of_all_nodes_are_one_log() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    let commandlog = ServerVersion::of_default_server()?;
    let commandlog = commandlog.valkey && commandlog.at_least(8, 1);
    assert_eq!(ask(&mut here, "CONFIG SET slowlog-log-slower-than 0")?, Reply::ok());
    for n in 0..100 {
        ask(&mut here, &format!("SET everywhere:{n} 1"))?;
    }
    for (request, count) in [("SLOWLOG GET", 10), ("SLOWLOG GET 3", 3), ("SLOWLOG GET 0", 0)]
        .into_iter()
        .chain(commandlog.then_some(("COMMANDLOG GET 5 slow", 5)))
    {
        let rows = rows(&mut here, request)?;
        assert_eq!(rows.len(), count, "{request}");
        let times: Vec<i64> = rows.iter().map(|row| number(row, 1)).collect::<Result<_>>()?;
        assert!(times.is_sorted_by(|a, b| a >= b), "{request}: {times:?}");
    }
    ensure!(rows(&mut here, "SLOWLOG GET -1")?.len() > 100);
    assert_eq!(ask(&mut here, "CONFIG SET slowlog-log-slower-than 10000")?, Reply::ok());
    Ok(())
}

#[test]
fn an_event_of_several_nodes_is_one_and_a_key_is_looked_at_where_it_is() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).args(["--allow-commands", "debug,pfdebug"]).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    for key in ["a", "b", "c", "d"] {
        ask(&mut here, &format!("SET everywhere:{key} 1"))?;
        ask(&mut here, &format!("PFADD everywhere:pf:{key} 1"))?;
        let object = ask(&mut here, &format!("DEBUG OBJECT everywhere:{key}"))?;
        assert!(
            matches!(&object, Reply::Simple(text) if text.starts_with("Value at:")),
            "{object:?}"
        );
        let registers = rows_of(&mut here, &format!("PFDEBUG GETREG everywhere:pf:{key}"))?;
        assert_eq!(registers, 16_384);
    }
    assert_eq!(ask(&mut here, "CONFIG SET latency-monitor-threshold 1")?, Reply::ok());
    assert_eq!(ask(&mut here, "DEBUG SLEEP 0.02")?, Reply::ok());
    let latest = rows(&mut here, "LATENCY LATEST")?;
    let names: BTreeSet<String> = latest.iter().map(|row| format!("{:?}", row[0])).collect();
    ensure!(names.len() == latest.len(), "{latest:?}");
    let command = latest.iter().find(|row| row[0] == Reply::bulk("command"));
    ensure!(number(command.context("no event 'command'")?, 3)? >= 20, "{latest:?}");
    let history = rows(&mut here, "LATENCY HISTORY command")?;
    let times: Vec<i64> = history.iter().map(|row| number(row, 0)).collect::<Result<_>>()?;
    ensure!(times.len() >= cluster.nodes().len() && times.is_sorted(), "{times:?}");
    assert_eq!(ask(&mut here, "CONFIG SET latency-monitor-threshold 0")?, Reply::ok());
    Ok(())
}

fn rows_of(client: &mut Client, line: &str) -> Result<usize> {
    match ask(client, line)? {
        Reply::Array(rows) => Ok(rows.len()),
        other => anyhow::bail!("{line}: {other:?}"),
    }
}

#[test]
fn slot_statistics_are_those_of_all_shards_in_order() -> Result<()> {
    let version = ServerVersion::of_default_server()?;
    if !(version.valkey && version.at_least(8, 0)) {
        return Ok(()); // it has none
    }
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    for tag in ["{everywhere:1}", "{everywhere:2}", "{everywhere:3}"] {
        for n in 0..50 {
            ask(&mut here, &format!("SET {tag}{n} 1"))?;
        }
    }
    let all = rows(&mut here, "CLUSTER SLOT-STATS SLOTSRANGE 0 16383")?;
    let slots: Vec<i64> = all.iter().map(|row| number(row, 0)).collect::<Result<_>>()?;
    assert_eq!(slots, (0..16_384).collect::<Vec<_>>());
    let first = rows(&mut here, "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 3")?;
    assert_eq!(first.len(), 3);
    let least = rows(&mut here, "CLUSTER SLOT-STATS ORDERBY key-count LIMIT 4 ASC")?;
    assert_eq!(least.len(), 4);
    ensure!(!first.iter().any(|row| least.contains(row)), "{first:?} {least:?}");
    Ok(())
}

/// Redis has few of them.
#[test]
fn filters_of_clients_are_refused_as_the_newest_server_refuses_them() -> Result<()> {
    let version = ServerVersion::of_default_server()?;
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut node = Client::connect(&cluster.nodes()[0].addr())?;
    let mut here = Client::connect(&proxy.addr())?;
    let mut lines = Vec::new();
    if !(version.valkey && version.at_least(8, 1)) {
        lines.push("CLIENT IMPORT-SOURCE on".to_owned());
    }
    if version.at_least(8, 0) {
        lines.extend(["x", "0", "-1"].map(|age| format!("CLIENT KILL MAXAGE {age}")));
    }
    let filters = "NAME|NAME nobody|NAME a b|NOT-SKIPME yes|NOT-MAXAGE 1|NOT-IDLE 1|NOT-ID x|NOT-ID 0|\
                   NOT-ID 9 -1|FLAGS ZN|FLAGS n|NOT-FLAGS C|CAPA redirect|NOT-CAPA x|IDLE x|\
                   IDLE 0|MAXAGE x|MAXAGE 0|DB x|DB 99999|DB -1|NOT-DB x|NOT-DB 1|NOT-USER x|\
                   NOT-USER default|NOT-TYPE x|NOT-TYPE normal|TYPE primary|IP 1.1.1.1|LIB-NAME no|\
                   LIB-VER no|FLAGS M|CAPA r|IDLE 99999 DB 0";
    if version.valkey && version.at_least(9, 0) {
        for filter in filters.split('|') {
            lines.push(format!("CLIENT LIST {filter}"));
            lines.push(format!("CLIENT KILL ID 987654321 {filter}"));
        }
    }
    for line in lines {
        assert_eq!(ask(&mut here, &line)?, ask(&mut node, &line)?, "{line}");
    }
    Ok(())
}
