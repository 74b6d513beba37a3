//! Errors in which a server repeats a client's line ends: what follows the first line looks like
//! the reply to the next request, and must not be taken for it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use testbed::{Peer, wait_until};

use super::measure::PATIENCE;
use super::stage::{Stage, array, name, until_answered};

const READERS: usize = 20;

/// How often each request is sent.
const ROUNDS: usize = 20;

#[test]
fn an_error_that_breaks_its_line_is_in_nobody_elses_reply() {
    let stage = Stage::new(|proxy| proxy);
    let key = stage.key(0, "hostile");
    let node = stage.cluster.shard(0).primary().unwrap().addr();
    let library = array(&["FUNCTION", "LOAD", "REPLACE", LIBRARY]);
    assert_eq!(stage.until_answered(&library), b"$6\r\nbreaks\r\n");
    let (stop, checked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut broken = Vec::new();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|n| {
                let own = stage.key(n % 3, &format!("own-{n}"));
                let peer = stage.proxy.peer().unwrap();
                let (stop, checked) = (&stop, &checked);
                scope.spawn(move || read_own(peer, &own, stop, checked))
            })
            .collect();
        for words in requests(&key) {
            let request = array(&words);
            let theirs = until_answered(&node, &request);
            if theirs.windows(4).any(|bytes| bytes == b"\n:77") {
                broken.push(words[..2].join(" "));
            }
            for _ in 0..ROUNDS {
                // Also in the middle of others of its own client, which get theirs in order.
                let mut own = Peer::connect(&stage.proxy.addr()).unwrap();
                own.send([&request[..], &array(&["ECHO", "behind it"])].concat()).unwrap();
                let mut got = Vec::new();
                while !got.ends_with(b"$9\r\nbehind it\r\n") {
                    got.extend(own.read_exact(1).unwrap_or_else(|e| {
                        panic!("{}: {e:#} after {}", name(&request), got.escape_ascii());
                    }));
                }
                let lines = got.iter().filter(|byte| **byte == b'\n').count();
                let is_one = lines == 3 || theirs.starts_with(b"$");
                assert!(is_one, "{}: {}", name(&request), got.escape_ascii());
                assert!(readers.iter().all(|reader| !reader.is_finished()), "{words:?}");
            }
            let goal = checked.load(Ordering::SeqCst) + 100 * READERS;
            wait_until("the readers", PATIENCE, || checked.load(Ordering::SeqCst) >= goal)
                .unwrap_or_else(|e| panic!("after {words:?}: {e:#}"));
        }
        stop.store(true, Ordering::SeqCst);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
    });
    assert!(broken.contains(&"FUNCTION LOAD".to_owned()), "no error breaks its line: {broken:?}");
}

/// Reads a value that only this key has, again and again.
fn read_own(mut peer: Peer, key: &str, stop: &AtomicBool, checked: &AtomicUsize) {
    peer.set_deadline(PATIENCE);
    peer.send_command(&["SET", key, key]).unwrap();
    peer.expect("+OK\r\n").unwrap();
    while !stop.load(Ordering::SeqCst) {
        for _ in 0..4 {
            peer.send_command(&["GET", key]).unwrap();
        }
        for _ in 0..4 {
            peer.expect(format!("${}\r\n{key}\r\n", key.len())).unwrap();
            checked.fetch_add(1, Ordering::SeqCst);
        }
    }
}

const LIBRARY: &str = "#!lua name=breaks\n\
    redis.register_function('raise', function(k, a) error(a[1]) end)\n\
    redis.register_function('raise_table', function(k, a) error({err=a[1]}) end)";

/// What some server or other answers with a line too many.
fn requests(key: &str) -> Vec<Vec<&str>> {
    const BREAK: &str = "x\r\n:77\r\n";
    let load = |text| vec!["FUNCTION", "LOAD", text];
    let eval = |text| vec!["EVAL", text, "1", key, BREAK];
    vec![
        load("#!lua name=lib\nreturn 'x\\13\\10:77\\13\\10\n"),
        load("#!lua name=lib\nreturn 1 'x\\13\\10:77\\13\\10'"),
        load("#!lua name=lib\nerror('x\\13\\10:77\\13\\10')"),
        vec!["FUNCTION", "LIST", BREAK],
        eval("error(ARGV[1])"),
        eval("error({err=ARGV[1]})"),
        eval("return redis.error_reply(ARGV[1])"),
        eval("return redis.status_reply(ARGV[1])"),
        eval("return redis.call(ARGV[1])"),
        eval("return nosuch['x\\13\\10:77\\13\\10'].y"),
        eval("return 1 'x\\13\\10:77\\13\\10'"),
        vec!["EVAL_RO", "error(ARGV[1])", "1", key, BREAK],
        vec!["FCALL", "raise", "1", key, BREAK],
        vec!["FCALL", "raise_table", "1", key, BREAK],
        vec!["SCRIPT", "LOAD", "return 1 'x\\13\\10:77\\13\\10'"],
        vec!["CONFIG", "SET", "maxmemory-policy", BREAK],
        vec!["OBJECT", BREAK, key],
        vec!["XADD", key, BREAK, "f", "v"],
        vec!["SORT", key, BREAK],
        vec![BREAK, "x"],
    ]
}
