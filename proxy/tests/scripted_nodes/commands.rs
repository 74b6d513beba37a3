//! Nodes with commands that the table lacks: they are learned, and go where their keys are.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use testbed::{Answer, Peer, ScriptedNode, wait_until};

use super::play::{Sound, bulk, is, line, peer, proxy};

/// A record of COMMAND: name, flags, key specs, subcommands, all but the name as RESP.
fn record(name: &str, flags: &[&str], specs: &[Vec<u8>], subcommands: &[Vec<u8>]) -> Vec<u8> {
    let flags: Vec<Vec<u8>> = flags.iter().map(|flag| format!("+{flag}\r\n").into()).collect();
    let tail = [array(&[]), array(&[]), array(specs), array(subcommands)].concat();
    let numbers = b":0\r\n:0\r\n:0\r\n".to_vec();
    let name = bulk(name);
    [b"*10\r\n".to_vec(), name, b":-2\r\n".to_vec(), array(&flags), numbers, tail].concat()
}

fn array(items: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
}

/// A key spec, its words and numbers split at blanks: `index index 1`, `range lastkey 0 …`.
fn spec(begin: &str, find: &str) -> Vec<u8> {
    let part = |text: &str| {
        let (kind, says) = text.split_once(' ').unwrap_or((text, ""));
        let value = |word: &str| match word.parse::<i64>() {
            Ok(number) => format!(":{number}\r\n").into_bytes(),
            Err(_) => bulk(word),
        };
        let says: Vec<Vec<u8>> = says.split_whitespace().map(value).collect();
        array(&[bulk("type"), bulk(kind), bulk("spec"), array(&says)])
    };
    let flags = array(&[b"+RW\r\n".to_vec()]);
    let (begin, find) = (part(begin), part(find));
    array(&[bulk("flags"), flags, bulk("begin_search"), begin, bulk("find_keys"), find])
}

fn records() -> Vec<Vec<u8>> {
    let one = || spec("index index 1", "range lastkey 0 keystep 1 limit 0");
    let third = || spec("index index 3", "range lastkey 0 keystep 1 limit 0");
    vec![
        record("inv.one", &["write", "module"], &[one()], &[]),
        record(
            "inv.all",
            &["readonly"],
            &[spec("index index 1", "range lastkey -1 keystep 1 limit 0")],
            &[],
        ),
        record(
            "inv.counted",
            &["write"],
            &[spec("index index 2", "keynum keynumidx 0 firstkey 1 keystep 1")],
            &[],
        ),
        record(
            "inv.word",
            &["write"],
            &[spec("keyword keyword ON startfrom 1", "range lastkey -1 keystep 1 limit 0")],
            &[],
        ),
        record("inv.asked", &["write", "movablekeys"], &[spec("unknown", "unknown")], &[]),
        record("inv.none", &["readonly"], &[], &[]),
        record("inv.blocks", &["blocking"], &[one()], &[]),
        record("inv.family", &[], &[], &[record("inv.family|get", &["readonly"], &[third()], &[])]),
    ]
}

/// A node that has all of these; when `more` is set, one command more.
fn node(more: Arc<Mutex<bool>>, asked: Arc<Mutex<Vec<String>>>) -> ScriptedNode {
    let sound = Sound::default();
    ScriptedNode::start(move |request| {
        let words: Vec<_> = request.iter().map(|word| String::from_utf8_lossy(word)).collect();
        let mut records = records();
        if *more.lock().unwrap() {
            records.push(record("inv.later", &["write"], &[], &[]));
        }
        if is(request, &["COMMAND", "COUNT"]) {
            Answer::Bytes(format!(":{}\r\n", records.len()).into())
        } else if is(request, &["COMMAND", "GETKEYS"]) {
            asked.lock().unwrap().push(words.join(" "));
            Answer::Bytes(array(&[bulk(&request[request.len() - 1])]))
        } else if is(request, &["COMMAND"]) {
            Answer::Bytes(array(&records))
        } else if words[0].to_ascii_lowercase().starts_with("inv.") {
            Answer::Bytes(format!("+executed {}\r\n", words.join(" ")).into())
        } else {
            sound.answer(request)
        }
    })
    .unwrap()
}

/// What PROXY EXPLAIN says of a slot.
fn slot_of(client: &mut Peer, request: &[&str]) -> String {
    client.send_command(&[&["PROXY", "EXPLAIN"], request].concat()).unwrap();
    let count = String::from_utf8(client.read_line().unwrap()).unwrap();
    let count: usize = count.trim_end()[1..].parse().unwrap();
    let lines: Vec<String> = (0..count)
        .map(|_| {
            client.read_line().unwrap();
            String::from_utf8(client.read_line().unwrap()).unwrap().trim_end().to_owned()
        })
        .collect();
    let slot = lines.iter().find_map(|line| line.strip_prefix("slot: "));
    slot.map_or_else(|| lines.join("; "), str::to_owned)
}

#[test]
fn commands_that_the_table_lacks_go_where_the_node_says_that_their_keys_are() {
    let (more, asked) = (Arc::<Mutex<bool>>::default(), Arc::<Mutex<Vec<String>>>::default());
    let node = node(more.clone(), asked.clone());
    let proxy = proxy(&node, &["--refresh-period", "100ms"]);
    let mut client = peer(&proxy);
    let executed = |client: &mut Peer, request: &str| {
        let words: Vec<&str> = request.split(' ').collect();
        line(client, &words) == format!("+executed {request}")
    };
    let patience = Duration::from_secs(20);
    wait_until("the commands to be learned", patience, || executed(&mut client, "INV.ONE k"))
        .unwrap();
    for (request, slot) in [
        ("inv.one foo", "12182"),
        ("inv.all {foo}a {foo}b", "12182"),
        ("inv.counted x 2 {foo}a {foo}b c", "12182"),
        ("inv.word a on foo", "12182"),
        ("inv.family get 1 foo", "12182"),
        ("inv.none x", "none, it has no key"),
        ("inv.blocks foo", "12182"),
        ("inv.asked a foo", "a node is asked each time (COMMAND GETKEYS)"),
    ] {
        let words: Vec<&str> = request.split(' ').collect();
        assert_eq!(slot_of(&mut client, &words), slot, "{request}");
        assert!(executed(&mut client, request), "{request}");
    }
    assert_eq!(*asked.lock().unwrap(), ["COMMAND GETKEYS inv.asked a foo"]);
    assert!(line(&mut client, &["inv.all", "a", "b"]).starts_with("-CROSSSLOT "));
    assert!(
        line(&mut client, &["inv.one"]).starts_with("-ERR wrong number of arguments for 'inv.one'")
    );
    assert!(
        line(&mut client, &["inv.family", "x", "y"]).starts_with("-ERR unknown subcommand 'x'")
    );

    // The same version with a module more.
    let count = |client: &mut Peer| line(client, &["COMMAND", "COUNT"]);
    let before = count(&mut client);
    assert!(line(&mut client, &["INV.LATER", "x"]).starts_with("-ERR unknown command"));
    *more.lock().unwrap() = true;
    wait_until("the module to be noticed", patience, || executed(&mut client, "INV.LATER x"))
        .unwrap();
    assert_ne!(count(&mut client), before);
    client.send_command(&["COMMAND", "INFO", "INV.LATER", "inv.family|get"]).unwrap();
    assert_eq!(client.read_line().unwrap(), b"*2");
    assert_eq!(client.read_line().unwrap(), b"*10");
    assert!(proxy.log().contains("learned 9 commands of "), "{}", proxy.log());
}
