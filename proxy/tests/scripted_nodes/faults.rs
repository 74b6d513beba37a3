//! Replies that no sound node gives.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use testbed::{Answer, ScriptedNode, wait_until};

use super::measure::{MIB, PATIENCE, metric, resident};
use super::play::{Sound, bulk, everybody_gets_their_own, is, line, peer, proxy};

/// Name, bytes in the place of a reply, and the reason in the log.
fn faults() -> Vec<(&'static str, Answer, &'static str)> {
    let say = |bytes: &[u8]| Answer::Bytes(bytes.to_vec());
    let mut long = b"+".to_vec();
    long.resize(100 * MIB, b'x');
    let mut push = b">2\r\n$1\r\nx\r\n$2000000\r\n".to_vec();
    push.resize(2_000_000, b'x');
    vec![
        ("garbage", say(b"\x00\xffgarbage\r\n"), "no reply begins with"),
        ("type", say(b"@1\r\n"), "no reply begins with"),
        ("inner-type", say(b"*2\r\n+a\r\n?b\r\n"), "no reply begins with"),
        ("negative", say(b"$-2\r\n"), "malformed '$' line"),
        ("streamed", say(b"$?\r\n"), "malformed '$' line"),
        ("overflow", say(b"*99999999999999999999\r\n"), "malformed '*' line"),
        ("number", say(b":1x\r\n"), "malformed ':' line"),
        ("no-crlf", say(b"$1\r\naXX"), "no CRLF after a line or a string"),
        ("inner-push", say(b"*2\r\n>1\r\n+a\r\n+b\r\n"), "push inside another value"),
        ("huge", say(b"$9999999999999\r\n"), "announces more than a server can hold"),
        ("many", say(b"*9999999999999\r\n"), "announces more than a server can hold"),
        ("line", Answer::Bytes(long), "'+' line too long"),
        ("push", Answer::Bytes(push), "it sends a large push"),
        ("half", Answer::Last(b"$10\r\nabc".to_vec()), ""),
        ("nothing", Answer::Last(Vec::new()), ""),
    ]
}

#[test]
fn bad_bytes_close_the_connection_and_everybody_is_told_the_truth() {
    let sound = Sound::default();
    let (first_time, executing) = (Mutex::new(HashSet::new()), sound.clone());
    let table = faults();
    let node = ScriptedNode::start(move |request| {
        let sound = executing.answer(request);
        let key = String::from_utf8_lossy(request.get(1).map_or(b"", |key| key)).into_owned();
        let fault = table.iter().find(|(name, ..)| key.strip_prefix("fault-") == Some(name));
        match fault {
            Some((_, fault, _)) if first_time.lock().unwrap().insert(request.to_vec()) => {
                fault.clone()
            }
            _ => sound,
        }
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    everybody_gets_their_own(&proxy);
    let memory = resident(&proxy);
    for (name, _, reason) in faults() {
        let key = format!("fault-{name}");
        let mut client = peer(&proxy);
        let before = (sound.executed(), reasons(&proxy.log(), reason));
        let got = line(&mut client, &["INCR", &key]);
        assert!(got.starts_with("-UNKNOWNRESULT sent, reply lost: "), "{name}: {got}");
        assert_eq!(sound.executed(), before.0 + 1, "{name}: executed once");
        // A read is asked again, and nobody sees anything of it.
        client.send_command(&["GET", &key]).unwrap();
        client.expect(bulk(&key)).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        if !reason.is_empty() {
            let logged = || reasons(&proxy.log(), reason) >= before.1 + 2;
            wait_until("the reason to be logged", PATIENCE, logged)
                .unwrap_or_else(|e| panic!("{name}: {e:#}: {}", proxy.log()));
        }
        everybody_gets_their_own(&proxy);
        let grown = resident(&proxy).saturating_sub(memory);
        assert!(grown < 16 * MIB, "{name}: {grown} bytes");
    }
    assert!(proxy.exited().is_none());
}

fn reasons(log: &str, reason: &str) -> usize {
    let lines = log.lines().filter(|line| line.contains("bad bytes from a node"));
    lines.filter(|line| line.contains(reason)).count()
}

#[test]
fn what_nobody_asked_for_is_nobodys_reply() {
    let node = ScriptedNode::start(move |request| {
        let twice = || [bulk(&request[1]), bulk("extra")].concat();
        match request.get(1).map(Vec::as_slice) {
            Some(b"twice") => Answer::Bytes(twice()),
            Some(b"pushed") => Answer::Bytes(
                [&b">2\r\n+message\r\n+hello\r\n"[..], &bulk("pushed"), b">0\r\n"].concat(),
            ),
            _ => Sound::default().answer(request),
        }
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    for _ in 0..20 {
        let mut client = peer(&proxy);
        client.send_command(&["GET", "twice"]).unwrap();
        client.expect(bulk("twice")).unwrap();
        everybody_gets_their_own(&proxy);
    }
    assert!(proxy.log().contains("a reply that nobody asked for"), "{}", proxy.log());
    let lost = metric(&proxy, "slotway_node_connections_lost_total", "");
    for _ in 0..20 {
        let mut client = peer(&proxy);
        client.send_command(&["GET", "pushed"]).unwrap();
        client.expect(bulk("pushed")).unwrap();
        everybody_gets_their_own(&proxy);
    }
    assert_eq!(
        metric(&proxy, "slotway_node_connections_lost_total", ""),
        lost,
        "a push is no fault"
    );
}

#[test]
fn deep_and_endless_replies_pass_without_being_held() {
    const LEVELS: usize = 1_000_000;
    let deep = [&b"*1\r\n".repeat(LEVELS)[..], b":1\r\n"].concat();
    let expected = deep.clone();
    let node = ScriptedNode::start(move |request| match request.get(1).map(Vec::as_slice) {
        Some(b"deep") => Answer::Bytes(deep.clone()),
        Some(b"endless") => Answer::Bytes(b"$10000000000\r\nabc".to_vec()),
        _ => Sound::default().answer(request),
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    everybody_gets_their_own(&proxy);
    let memory = resident(&proxy);
    let mut client = peer(&proxy);
    client.send_command(&["LRANGE", "deep", "0", "-1"]).unwrap();
    client.expect(&expected[..]).unwrap();
    everybody_gets_their_own(&proxy);
    client.send_command(&["GET", "endless"]).unwrap();
    client.expect("$10000000000\r\nabc").unwrap();
    everybody_gets_their_own(&proxy);
    let grown = resident(&proxy).saturating_sub(memory);
    assert!(grown < 16 * MIB, "{grown} bytes");
    // The rest never comes: that client is closed, with its node's connection; nobody else is.
    node.close_connections();
    client.expect_end().unwrap();
    everybody_gets_their_own(&proxy);
}

/// A node that closes every fiftieth request's connection, before or in the middle of the reply.
#[test]
fn replies_are_never_swapped_whatever_is_lost() {
    let count = AtomicUsize::new(0);
    let node = ScriptedNode::start(move |request| {
        let sound = Sound::default().answer(request);
        match (is(request, &["GET"]), sound) {
            (true, Answer::Bytes(bytes)) if count.fetch_add(1, Ordering::SeqCst) % 50 == 49 => {
                Answer::Last(bytes[..bytes.len() / 2].to_vec())
            }
            (_, sound) => sound,
        }
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    everybody_gets_their_own(&proxy);
    assert!(metric(&proxy, "slotway_replays_total", "") > 0.0);
    assert_eq!(metric(&proxy, "slotway_unknown_results_total", ""), 0.0);
}
