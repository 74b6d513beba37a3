//! What slotway answers itself, beside what a node says to the same request.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use testbed::{Proxy, ServerVersion};

use crate::stage::{shared, slotway};
use crate::wire::{Client, Reply};

fn ask(client: &mut Client, line: &str) -> Result<Reply> {
    client.ask(&line.split(' ').collect::<Vec<_>>())
}

/// The text that is answered: of a bulk or simple string, or of an error.
fn text(client: &mut Client, line: &str) -> Result<String> {
    Ok(match ask(client, line)? {
        Reply::Bulk(bytes) => String::from_utf8(bytes)?,
        Reply::Simple(text) | Reply::Error(text) => text,
        other => bail!("{line}: {other:?}"),
    })
}

#[test]
fn answers_that_do_not_depend_on_who_answers_are_the_node_s() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut node = Client::connect(&cluster.nodes()[0].addr())?;
    let mut here = Client::connect(&proxy.addr())?;
    let version = ServerVersion::of_default_server()?;
    let mut wrong = Vec::new();
    for line in [
        "CLIENT LIST foo",
        "CLIENT LIST ID",
        "CLIENT LIST ID x",
        "CLIENT LIST TYPE foo",
        "CLIENT LIST TYPE replica",
        "CLIENT LIST ID 0",
        "CLIENT KILL a b c",
        "CLIENT KILL foo bar",
        "CLIENT KILL ID 0",
        "CLIENT KILL ID x",
        "CLIENT KILL ID 9223372036854775807",
        "CLIENT KILL TYPE foo",
        "CLIENT KILL USER foo",
        "CLIENT KILL SKIPME maybe",
        "CLIENT KILL 1.1.1.1:1",
        "CLIENT KILL ADDR 1.1.1.1:1",
        "CLIENT KILL LADDR 1.1.1.1:1 SKIPME no",
        "CLIENT UNBLOCK x",
        "CLIENT UNBLOCK 1 foo",
        "CLIENT UNBLOCK 1 error x",
        "CLIENT UNBLOCK 9223372036854775807",
        "CLIENT UNBLOCK 9223372036854775807 TIMEOUT",
        "CLIENT PAUSE x",
        "CLIENT PAUSE -1",
        "CLIENT PAUSE 10 foo",
        "client pause 10 all 3",
        "CLIENT PAUSE 0",
        "CLIENT UNPAUSE",
        "CLIENT NO-EVICT maybe",
        "CLIENT NO-EVICT on",
        "CLIENT NO-EVICT off",
        "CLIENT REPLY foo",
        "CLIENT REPLY on",
        "CLIENT GETREDIR",
        "CLIENT TRACKINGINFO",
        "CLIENT TRACKING off",
        "CLIENT TRACKING off foo",
        "CLIENT TRACKING maybe",
        "CLIENT CACHING yes",
        "READONLY",
        "READWRITE",
        "CLUSTER KEYSLOT {user}:1",
        "CLUSTER COUNT-FAILURE-REPORTS x",
        "CLUSTER REPLICAS x",
        "CLUSTER SLAVES x",
        "CLUSTER COUNTKEYSINSLOT x",
        "CLUSTER COUNTKEYSINSLOT 99999",
        "CLUSTER GETKEYSINSLOT 1 -1",
        "CLUSTER GETKEYSINSLOT 1 x",
        "CLUSTER NOPE",
        "CLUSTER KEYSLOT",
        "OBJECT HELP",
        "CLUSTER HELP",
        "TIME x",
    ] {
        // Valkey has other errors for wrong ids from 8.1 on, and for some arguments too many none.
        let of_an_id = line.starts_with("CLIENT LIST ID ") || line == "CLIENT KILL ID x";
        let too_many = ["CLIENT UNBLOCK 1 error x", "client pause 10 all 3"].contains(&line);
        if (of_an_id || too_many) && version.valkey && version.at_least(8, 1) {
            continue;
        }
        let (ours, theirs) = (ask(&mut here, line)?, ask(&mut node, line)?);
        if ours != theirs {
            wrong.push(format!("{line}: {ours:?} and not {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    Ok(())
}

#[test]
fn reports_have_the_fields_of_a_node_s() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut node = Client::connect(&cluster.nodes()[0].addr())?;
    let mut here = Client::connect(&proxy.addr())?;
    let fields = |line: &str| -> Vec<String> {
        let fields = line.split_whitespace().filter_map(|field| field.split_once(['=', ':']));
        fields.map(|(name, _)| name.to_owned()).collect()
    };
    for (request, newer) in
        [("CLIENT INFO", &["watch", "lib-name", "lib-ver"][..]), ("CLUSTER INFO", &[])]
    {
        let (ours, theirs) = (text(&mut here, request)?, text(&mut node, request)?);
        let (ours, theirs) = (fields(&ours), fields(&theirs));
        assert!(ours.len() > 5, "{request}: {ours:?}");
        for field in &ours {
            let known = theirs.contains(field) || newer.contains(&field.as_str());
            assert!(known, "{request}: no server has {field}");
        }
    }
    let names = |client: &mut Client| -> Result<Vec<String>> {
        let reply = format!("{:?}", ask(client, "CLUSTER SHARDS")?);
        let words = ["slots", "nodes", "id", "port", "ip", "endpoint", "role", "health"];
        let has = |word: &&&str| reply.contains(&format!("{:?}", Reply::bulk(word)));
        Ok(words.iter().filter(has).map(|word| (*word).to_owned()).collect())
    };
    assert_eq!(names(&mut here)?, names(&mut node)?);
    let second = |client: &mut Client| match ask(client, "TIME")? {
        Reply::Array(parts) => match parts.as_slice() {
            [Reply::Bulk(second), Reply::Bulk(_)] => {
                Ok(String::from_utf8(second.clone())?.parse()?)
            }
            other => bail!("{other:?}"),
        },
        other => bail!("{other:?}"),
    };
    let (ours, theirs): (i64, i64) = (second(&mut here)?, second(&mut node)?);
    assert!((ours - theirs).abs() <= 2, "{ours} and {theirs}");
    let (ours, theirs) = (text(&mut here, "LOLWUT")?, text(&mut node, "LOLWUT")?);
    let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
    assert!(last(&ours).starts_with("Redis ver. "), "{ours}");
    // Later ones say what they are in words of their own.
    let version = ServerVersion::of_default_server()?;
    assert!(version.at_least(7, 4) || last(&ours) == last(&theirs), "{ours}\n{theirs}");
    Ok(())
}

fn client(proxy: &Proxy) -> Result<Client> {
    Client::connect(&proxy.addr())
}

/// Clients with these names, each known to slotway.
fn named(proxy: &Proxy, names: &[&str]) -> Result<Vec<Client>> {
    let connect = |name: &&str| {
        let mut client = client(proxy)?;
        ensure!(ask(&mut client, &format!("CLIENT SETNAME {name}"))? == Reply::ok());
        Ok(client)
    };
    names.iter().map(connect).collect()
}

#[test]
fn clients_of_all_workers_are_listed_and_killed() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(3).start()?;
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let mut clients = named(&proxy, &names)?;
    let list = text(&mut clients[0], "CLIENT LIST")?;
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), names.len(), "{list}");
    for (line, name) in lines.iter().zip(names) {
        assert!(line.contains(&format!(" name={name} ")), "in the order of their ids: {list}");
        assert!(line.contains(&format!(" laddr={} ", proxy.addr())), "{list}");
    }
    let of = |line: &str, field: &str| -> String {
        let mut fields = line.split(' ').filter_map(|pair| pair.split_once('='));
        fields.find(|(name, _)| *name == field).map_or("", |(_, value)| value).to_owned()
    };
    let (id, addr) = (of(lines[3], "id"), of(lines[4], "addr"));
    let one = text(&mut clients[0], &format!("CLIENT LIST ID {id}"))?;
    assert!(one.contains(" name=d ") && one.lines().count() == 1, "{one}");
    assert_eq!(ask(&mut clients[0], &format!("CLIENT KILL ID {id}"))?, Reply::Integer(1));
    assert!(clients[3].at_end());
    assert_eq!(ask(&mut clients[0], &format!("CLIENT KILL {addr}"))?, Reply::ok());
    assert!(clients[4].at_end());
    assert_eq!(ask(&mut clients[0], "CLIENT KILL TYPE normal")?, Reply::Integer(4));
    for at in [1, 2, 5, 6] {
        assert!(clients[at].at_end());
    }
    assert_eq!(ask(&mut clients[0], "CLIENT KILL TYPE normal SKIPME no")?, Reply::Integer(1));
    assert!(clients[0].at_end());
    Ok(())
}

#[test]
fn a_pause_holds_the_clients_of_all_workers() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).workers(3).start()?;
    let mut clients = named(&proxy, &["a", "b", "c", "d"])?;
    assert_eq!(ask(&mut clients[0], "CLIENT PAUSE 600000 WRITE")?, Reply::ok());
    for (n, client) in clients.iter_mut().enumerate().skip(1) {
        assert_eq!(ask(client, &format!("GET answers:paused:{n}"))?, Reply::Nil);
        client.send(&["SET", &format!("answers:paused:{n}"), "1", "EX", "1"])?;
    }
    // Reads of the same keys go on, and see nothing of the writes.
    for n in 1..clients.len() {
        assert_eq!(ask(&mut clients[0], &format!("GET answers:paused:{n}"))?, Reply::Nil);
    }
    assert_eq!(ask(&mut clients[0], "CLIENT UNPAUSE")?, Reply::ok());
    for client in &mut clients[1..] {
        assert_eq!(client.read()?, Reply::ok());
    }
    Ok(())
}

#[test]
fn keys_of_a_slot_are_counted_where_they_are() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    for tag in ["answers-a", "answers-b", "answers-c", "answers-d"] {
        let Reply::Integer(slot) = ask(&mut here, &format!("CLUSTER KEYSLOT {tag}"))? else {
            bail!("no slot of {tag}");
        };
        ask(&mut here, &format!("SET {{{tag}}} 1"))?;
        assert_eq!(
            ask(&mut here, &format!("CLUSTER COUNTKEYSINSLOT {slot}"))?,
            Reply::Integer(1),
            "{tag}"
        );
        let keys = ask(&mut here, &format!("CLUSTER GETKEYSINSLOT {slot} 10"))?;
        assert_eq!(keys, Reply::Array(vec![Reply::bulk(format!("{{{tag}}}"))]));
    }
    Ok(())
}

#[test]
fn what_the_operator_allows_is_passed_on() -> Result<()> {
    let cluster = shared()?;
    let refusal = "ERR slotway does not pass on 'cluster|bumpepoch': it would change the cluster, \
                   see allow-commands";
    let proxy = slotway(cluster.seeds()).start()?;
    assert_eq!(text(&mut client(&proxy)?, "CLUSTER BUMPEPOCH")?, refusal);
    let allowed = ["--allow-commands", "cluster|bumpepoch,save"];
    let proxy = slotway(cluster.seeds()).args(allowed).start()?;
    let mut here = Client::connect(&proxy.addr())?;
    assert_eq!(ask(&mut here, "SAVE")?, Reply::ok());
    let epoch = text(&mut here, "CLUSTER BUMPEPOCH")?;
    assert!(epoch.starts_with("BUMPED ") || epoch.starts_with("STILL "), "{epoch}");
    assert!(text(&mut here, "SHUTDOWN")?.contains("see allow-commands"));
    Ok(())
}

/// Of each command what clients look at; of a node without what is refused here.
#[test]
fn commands_are_told_as_a_node_tells_them() -> Result<()> {
    let cluster = shared()?;
    let proxy = slotway(cluster.seeds()).start()?;
    let mut node = Client::connect(&cluster.nodes()[0].addr())?;
    let mut here = client(&proxy)?;
    let (ours, theirs) = (records(&mut here)?, records(&mut node)?);
    assert!(ours.len() > 200, "{}", ours.len());
    let mut looser = Vec::new();
    for (name, record) in ours.iter().filter(|(name, _)| !name.starts_with("proxy")) {
        let Some(known) = theirs.get(name) else {
            // Vector sets are a module of Redis 8, which some packages leave out.
            ensure!(name.starts_with('v'), "the node has no {name}");
            continue;
        };
        assert_eq!(record.keys, known.keys, "{name}");
        for category in ["@read", "@write", "@fast", "@slow"] {
            let has = |record: &Record| record.categories.iter().any(|c| c == category);
            assert_eq!(has(record), has(known), "{name}: {category}");
        }
        let missing = known.flags.iter().find(|flag| !record.flags.contains(flag));
        if record.arity != known.arity || missing.is_some() {
            looser.push(name.as_str());
        }
    }
    // Those that differ from version to version, as `command_live` has it.
    assert!(looser.len() < 14, "{looser:?}");
    for refused in ["shutdown", "config|rewrite", "monitor"] {
        assert!(!ours.contains_key(refused) && theirs.contains_key(refused), "{refused}");
    }

    let Reply::Integer(count) = ask(&mut here, "COMMAND COUNT")? else { bail!("no count") };
    assert_eq!(usize::try_from(count)?, ours.keys().filter(|name| !name.contains('|')).count());
    let list = format!("{:?}", ask(&mut here, "COMMAND LIST")?);
    assert!(ours.keys().all(|name| list.contains(&format!("{:?}", Reply::bulk(name)))));
    let nothing = Reply::Array(vec![Reply::Nil, Reply::Nil]);
    assert_eq!(ask(&mut here, "COMMAND INFO nope shutdown")?, nothing);
    for line in [
        "COMMAND LIST foo",
        "COMMAND LIST FILTERBY foo bar",
        "COMMAND LIST FILTERBY PATTERN zinter?ard",
        "COMMAND LIST FILTERBY PATTERN [x-z]lEn",
        "COMMAND LIST FILTERBY MODULE nope",
        "COMMAND LIST FILTERBY ACLCAT nope",
        "COMMAND LIST FILTERBY ACLCAT hyperloglog extra",
        "COMMAND GETKEYS mset a 1 b 2",
        "COMMAND GETKEYS ping",
        "COMMAND COUNT 1",
        "COMMAND NOPE",
    ] {
        assert_eq!(ask(&mut here, line)?, ask(&mut node, line)?, "{line}");
    }
    Ok(())
}

struct Record {
    arity: Reply,
    flags: Vec<String>,
    keys: Vec<Reply>,
    categories: Vec<String>,
}

fn records(client: &mut Client) -> Result<BTreeMap<String, Record>> {
    let array = |reply: &Reply| match reply {
        Reply::Array(items) => Ok(items.clone()),
        other => bail!("{other:?} is no array"),
    };
    let texts = |reply: &Reply| -> Result<Vec<String>> {
        let text = |item: &Reply| match item {
            Reply::Simple(text) => Ok(text.clone()),
            Reply::Bulk(bytes) => Ok(String::from_utf8(bytes.clone())?),
            other => bail!("{other:?} is no text"),
        };
        array(reply)?.iter().map(text).collect()
    };
    let mut rest = array(&ask(client, "COMMAND")?)?;
    let mut records = BTreeMap::new();
    while let Some(reply) = rest.pop() {
        let fields = array(&reply)?;
        ensure!(fields.len() == 10, "{fields:?}");
        let [name] = texts(&Reply::Array(vec![fields[0].clone()]))?.try_into().expect("one name");
        rest.extend(array(&fields[9])?);
        let record = Record {
            arity: fields[1].clone(),
            flags: texts(&fields[2])?,
            keys: fields[3..6].to_vec(),
            categories: texts(&fields[6])?,
        };
        records.insert(name, record);
    }
    Ok(records)
}
