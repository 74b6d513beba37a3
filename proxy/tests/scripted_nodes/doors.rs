//! Nodes that do not let us in, or only for a moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testbed::{Answer, ScriptedNode};

use super::play::{Sound, everybody_gets_their_own, is, line, peer, proxy};

/// How long a door stays shut.
const SHUT: Duration = Duration::from_millis(1500);

/// Connections that the data plane and the discovery may make meanwhile, each by its own backoff.
const DIALS_MAX: usize = 40;

#[test]
fn a_door_that_is_shut_is_knocked_at_with_patience_and_clients_only_wait() {
    let errors = [
        &b"-ERR max number of clients reached\r\n"[..],
        b"-NOAUTH Authentication required.\r\n",
        b"-DENIED Redis is running in protected mode\r\n",
        b"-WRONGPASS invalid username-password pair or user is disabled.\r\n",
        b"",
    ];
    let (shut, sound) = (Arc::new(AtomicUsize::new(usize::MAX)), Sound::default());
    let (door, executing) = (shut.clone(), sound.clone());
    let node = ScriptedNode::start(move |request| match errors.get(door.load(Ordering::SeqCst)) {
        // The first words of the data plane on a new connection.
        Some(error) if is(request, &["CLIENT", "ID"]) => Answer::Last(error.to_vec()),
        _ => executing.answer(request),
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    for (number, error) in errors.iter().enumerate() {
        everybody_gets_their_own(&proxy);
        shut.store(number, Ordering::SeqCst);
        node.close_connections();
        let (connections, executed) = (node.connections(), sound.executed());
        let mut client = peer(&proxy);
        client.send_command(&["INCR", "n"]).unwrap();
        client.expect_silence(SHUT).unwrap();
        let dials = node.connections() - connections;
        assert!((3..=DIALS_MAX).contains(&dials), "{dials} in {SHUT:?}: {}", error.escape_ascii());
        shut.store(usize::MAX, Ordering::SeqCst);
        let opened = Instant::now();
        client.expect(format!(":{}\r\n", executed + 1)).unwrap();
        assert!(opened.elapsed() < Duration::from_secs(1), "{:?}", opened.elapsed());
        assert_eq!(sound.executed(), executed + 1);
    }
    let log = proxy.log();
    assert!(log.contains("the node does not let us in"), "{log}");
}

#[test]
fn a_node_that_answers_nothing_but_the_handshake_is_not_dialed_in_a_loop() {
    let node = ScriptedNode::start(|request| match is(request, &["INCR"]) {
        true => Answer::Last(Vec::new()),
        false => Answer::Default,
    })
    .unwrap();
    let proxy = proxy(&node, &[]);
    let connections = node.connections();
    let began = Instant::now();
    let mut client = peer(&proxy);
    while began.elapsed() < SHUT {
        let got = line(&mut client, &["INCR", "n"]);
        assert!(got.starts_with("-UNKNOWNRESULT "), "{got}");
    }
    let dials = node.connections() - connections;
    assert!(dials <= DIALS_MAX, "{dials} in {SHUT:?}");
}
