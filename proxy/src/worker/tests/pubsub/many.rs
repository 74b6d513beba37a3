//! Very many subscriptions of one client end in steps, between which others are served.

use super::super::bench::encode;
use super::*;

const MANY: usize = 5_500;
const STEP: u64 = 1_000;

/// A client with so many, and their names.
fn many(bench: &mut Bench) -> (u32, Vec<String>) {
    let names: Vec<String> = (0..MANY).map(|n| format!("c{n}")).collect();
    let client = bench.client();
    bench.send(client, &format!("SUBSCRIBE {}", names.join(" ")));
    for port in 1..=3 {
        bench.serve_upstream(port);
    }
    assert!(bench.got(client).ends_with(&told(&format!("subscribe c{} :{MANY}", MANY - 1))));
    (client, names)
}

fn roomy() -> Bench {
    Bench::with(Settings { output_pause: 1_000_000, output_max: 2_000_000, ..settings() })
}

/// One turn, if the worker wants one without anything having happened. Returns whether it does.
fn one_more_turn(bench: &mut Bench) -> bool {
    let wants = bench.worker.next_wake() == Some(bench.now);
    let before = bench.cells.subscriptions.get();
    if wants {
        bench.worker.tick(bench.now);
        bench.turn();
    }
    let ended = before - bench.cells.subscriptions.get();
    assert!(ended <= STEP, "{ended} in one turn");
    wants
}

fn nothing_is_left(bench: &mut Bench) {
    assert_eq!(bench.cells.subscriptions.get(), 0);
    let ended: usize = (1..=3).map(|port| bench.at(port).len()).sum();
    assert_eq!(ended, MANY, "each is ended at its node");
}

#[test]
fn they_are_ended_in_steps_and_in_order() {
    let all: Vec<String> = (0..MANY).map(|n| format!("c{n}")).collect();
    for request in ["UNSUBSCRIBE", &format!("UNSUBSCRIBE {}", all.join(" ")), "RESET"] {
        let mut bench = roomy();
        let (client, names) = many(&mut bench);
        let other = bench.client();
        bench.send_raw(client, &[encode(request), encode("PING")].concat());
        let mut got = bench.got(client);
        assert_eq!(bench.cells.subscriptions.get(), MANY as u64 - STEP);
        let mut turns = 1;
        while one_more_turn(&mut bench) {
            turns += 1;
            got += &bench.got(client);
            bench.send(other, "PING");
            assert_eq!(bench.got(other), "+PONG\r\n");
        }
        assert_eq!(turns, 6);
        let confirmed = |(n, name)| told(&format!("unsubscribe {name} :{}", MANY - 1 - n));
        let confirmed: String = match request {
            "RESET" => "+RESET\r\n".into(),
            _ => names.iter().enumerate().map(confirmed).collect(),
        };
        assert!(got == confirmed + "+PONG\r\n", "each once, and what follows behind all of them");
        nothing_is_left(&mut bench);
        assert!(bench.worker.clients.get(client).unwrap().stateful.is_none());
    }
}

#[test]
fn names_that_a_client_is_not_subscribed_to_are_denied_in_steps_too() {
    let mut bench = roomy();
    let client = bench.client();
    let names: Vec<String> = (0..MANY).map(|n| format!("c{n}")).collect();
    bench.send(client, &format!("UNSUBSCRIBE {}", names.join(" ")));
    let mut got = bench.got(client);
    assert_eq!(got.matches("unsubscribe").count() as u64, STEP);
    while one_more_turn(&mut bench) {
        got += &bench.got(client);
    }
    assert!(
        got == names.iter().map(|name| told(&format!("unsubscribe {name} :0"))).collect::<String>()
    );
    assert!(bench.worker.clients.get(client).unwrap().stateful.is_none());
}

#[test]
fn those_of_a_client_that_has_left_end_by_and_by_and_others_keep_theirs() {
    let mut bench = roomy();
    let (client, names) = many(&mut bench);
    let stays = bench.client();
    let kept = &names[0];
    bench.send(stays, &format!("SUBSCRIBE {kept}"));
    bench.got(stays);
    bench.send(client, "UNSUBSCRIBE");
    bench.worker.client_lost(client, bench.now);
    bench.turn();
    assert_eq!(bench.cells.subscriptions.get(), MANY as u64 + 1 - STEP);
    while one_more_turn(&mut bench) {
        assert_eq!(bench.got(stays), "");
    }
    assert_eq!(bench.cells.subscriptions.get(), 1);
    let owner = match Slot::of_key(b"c0").number() {
        0..=5460 => 1,
        5461..=10922 => 2,
        _ => 3,
    };
    bench.serve_upstream(owner);
    bench.publish(owner, &format!("message {kept} m"));
    assert_eq!(bench.got(stays), told(&format!("message {kept} m")));
}
