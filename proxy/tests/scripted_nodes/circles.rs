//! Redirects to nowhere.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use testbed::{Answer, ScriptedNode, key_slot};

use super::play::{Sound, bulk, everybody_gets_their_own, is, line, peer, proxy};

/// Attempts in the second that the requests of these tests wait: by the backoff some ten.
const ATTEMPTS_MAX: usize = 40;

#[test]
fn a_redirect_to_a_stranger_or_in_a_circle_waits_and_dials_nobody() {
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let port = stranger.local_addr().unwrap().port();
    let own = Arc::new(OnceLock::new());
    let (own_port, attempts) = (own.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = attempts.clone();
    let node = ScriptedNode::start(move |request| {
        if !is(request, &["INCR"]) {
            return Sound::default().answer(request);
        }
        counted.fetch_add(1, Ordering::SeqCst);
        let (kind, to) = match request[1].as_slice() {
            b"moved" => ("MOVED", port),
            b"ask" => ("ASK", port),
            b"moved-here" => ("MOVED", *own_port.get().unwrap()),
            _ => ("ASK", *own_port.get().unwrap()),
        };
        let slot = key_slot(&request[1]);
        Answer::Bytes(format!("-{kind} {slot} 127.0.0.1:{to}\r\n").into_bytes())
    })
    .unwrap();
    own.set(node.port()).unwrap();
    let proxy = proxy(&node, &["--mask-deadline", "1s"]);
    for key in ["moved", "ask", "moved-here", "ask-here"] {
        let before = attempts.load(Ordering::SeqCst);
        let mut client = peer(&proxy);
        client.send_command(&["INCR", key]).unwrap();
        everybody_gets_their_own(&proxy);
        let got = String::from_utf8(client.read_line().unwrap()).unwrap();
        assert!(got.starts_with("-CLUSTERDOWN not executed: "), "{key}: {got}");
        let attempts = attempts.load(Ordering::SeqCst) - before;
        assert!((2..ATTEMPTS_MAX).contains(&attempts), "{key}: {attempts} attempts in 1 s");
    }
    let dialed = stranger.accept().unwrap_err();
    assert_eq!(dialed.kind(), ErrorKind::WouldBlock, "nobody has dialed the stranger");
}

/// Two nodes that send one slot's requests to each other, until one of them gives in.
#[test]
fn a_circle_of_two_is_gone_round_slowly_until_it_breaks() {
    const IDS: [&str; 2] =
        ["aaaaaaaa00000000000000000000000000000001", "bbbbbbbb00000000000000000000000000000002"];
    let ports: Arc<[OnceLock<u16>; 2]> = Arc::default();
    let attempts = Arc::new(AtomicUsize::new(0));
    let start = |me: usize| {
        let (ports, attempts) = (ports.clone(), attempts.clone());
        ScriptedNode::start(move |request| {
            let port = |n: usize| *ports[n].get().unwrap();
            let entry = |n: usize| {
                let myself = if n == me { "myself,master" } else { "master" };
                let range = ["0-8191", "8192-16383"][n];
                let (id, port) = (IDS[n], port(n));
                format!(
                    "{id} 127.0.0.1:{port}@{} {myself} - 0 0 {} connected {range}\n",
                    port + 10000,
                    n + 1
                )
            };
            let slots = |n: usize| {
                let (first, last) = [(0, 8191), (8192, 16383)][n];
                let id = IDS[n];
                format!(
                    "*3\r\n:{first}\r\n:{last}\r\n*3\r\n$9\r\n127.0.0.1\r\n:{}\r\n$40\r\n{id}\r\n",
                    port(n)
                )
            };
            if is(request, &["CLUSTER", "NODES"]) {
                Answer::Bytes(bulk(entry(0) + &entry(1)))
            } else if is(request, &["CLUSTER", "MYID"]) {
                Answer::Bytes(bulk(IDS[me]))
            } else if is(request, &["CLUSTER", "SLOTS"]) {
                Answer::Bytes(format!("*2\r\n{}{}", slots(0), slots(1)).into_bytes())
            } else if is(request, &["CLUSTER", "SHARDS"]) {
                Answer::Bytes(b"-ERR unknown subcommand 'SHARDS'. Try CLUSTER HELP.\r\n".to_vec())
            } else if is(request, &["INCR"]) && attempts.fetch_add(1, Ordering::SeqCst) < 30 {
                let slot = key_slot(&request[1]);
                Answer::Bytes(format!("-MOVED {slot} 127.0.0.1:{}\r\n", port(1 - me)).into_bytes())
            } else {
                Sound::default().answer(request)
            }
        })
        .unwrap()
    };
    let nodes = [start(0), start(1)];
    for (port, node) in ports.iter().zip(&nodes) {
        port.set(node.port()).unwrap();
    }
    let proxy = proxy(&nodes[0], &[]);
    let mut client = peer(&proxy);
    client.send_command(&["INCR", "n"]).unwrap();
    client.expect_silence(Duration::from_millis(300)).unwrap();
    everybody_gets_their_own(&proxy);
    client.expect(":1\r\n").unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 31);
    assert_eq!(line(&mut client, &["PING"]), "+PONG");
}
