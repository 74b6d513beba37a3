//! Who is waited for: what the discovery is told, so that it looks for promotions.

use std::time::Duration;

use super::bench::{Bench, key_of, node_id, settings};
use crate::worker::{Settings, WishReason};

const TICK: Duration = Duration::from_millis(500);

#[test]
fn a_node_is_waited_for_until_it_serves_again() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.kill(1, true);
    assert_eq!(bench.worker.waited_for(), [], "nobody wants anything of it");
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    for _ in 0..20 {
        assert_eq!(bench.worker.waited_for(), [node_id(1)]);
        bench.wishes.clear();
        bench.live(TICK);
        assert!(!bench.wishes.is_empty(), "it is said at least twice a second");
    }
    bench.revive(1);
    bench.advance(TICK);
    assert_eq!(bench.worker.waited_for(), [node_id(1)], "one tries");
    bench.answer(1, "$1\r\nx");
    assert_eq!(bench.worker.waited_for(), []);
    bench.wishes.clear();
    bench.live(4 * TICK);
    assert_eq!(bench.wishes, []);
}

#[test]
fn a_dial_that_hangs_is_waited_for_and_that_is_said_again_and_again() {
    let settings = Settings { handshake_timeout: 20 * TICK, ..settings() };
    let mut bench = Bench::with(settings);
    let client = bench.client();
    bench.live(4 * TICK);
    bench.slow_dials = true;
    bench.kill(1, false);
    bench.send(client, &format!("GET {}", key_of(1, 0)));
    for _ in 0..5 {
        assert_eq!(bench.worker.waited_for(), [node_id(1)]);
        bench.wishes.clear();
        bench.live(TICK);
        assert!(bench.wishes.contains(&WishReason::NotServing));
    }
}

#[test]
fn a_frozen_node_is_waited_for_by_what_it_may_have_executed() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.freeze(1);
    bench.send(client, &format!("INCR {}", key_of(1, 0)));
    assert_eq!(bench.worker.waited_for(), [], "it may only be slow");
    bench.live(8 * TICK);
    assert_eq!(bench.worker.waited_for(), [node_id(1)]);
}

#[test]
fn a_slot_on_its_way_is_no_trouble_of_a_node() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, &format!("MGET {{{0}}}a {{{0}}}b", key_of(1, 0)));
    bench.answer(1, "-TRYAGAIN Multiple keys request during rehashing of slot");
    assert_eq!(bench.worker.waited_for(), []);
}
