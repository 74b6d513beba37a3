//! SCAN and RANDOMKEY: what is asked of whom, and that nothing is missed.

mod model;

use std::time::Duration;

use super::bench::{Bench, node_id, topology};

/// A page as a server gives it.
fn page(cursor: u64, keys: &[&str]) -> String {
    let mut reply = format!("*2\r\n${}\r\n{cursor}\r\n*{}", cursor.to_string().len(), keys.len());
    for key in keys {
        reply.push_str(&format!("\r\n${}\r\n{key}", key.len()));
    }
    reply
}

/// CLUSTER NODES as a node says of itself.
fn nodes(port: u16, epoch: u64, slots: &str) -> String {
    let id = node_id(port);
    let line = format!("{id} :{port}@0 myself,master - 0 0 {epoch} connected {slots}\n");
    format!("${}\r\n{line}", line.len())
}

/// The cursor of a client's page, and its keys.
fn taken(reply: &str) -> (String, Vec<String>) {
    let mut words = reply.split("\r\n").filter(|word| !word.starts_with(['*', '$']));
    let cursor = words.next().unwrap_or_default().to_owned();
    (cursor, words.filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

// foo is in slot 12182 (node 3), bar in 5061 (node 1), hello in 866 (node 1).

#[test]
fn shards_are_read_one_after_the_other_and_foreign_keys_dropped() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "SCAN 0 COUNT 2 TYPE string");
    assert_eq!(bench.at(1), ["SCAN 0 COUNT 2 TYPE string"]);
    bench.answer(1, &page(48, &["bar", "foo"]));
    let (cursor, keys) = taken(&bench.got(client));
    assert_eq!(keys, ["bar"]);
    bench.send(client, &format!("SCAN {cursor} COUNT 2"));
    assert_eq!(bench.at(1), ["SCAN 48 COUNT 2"]);
    bench.answer(1, &page(0, &["hello"]));
    assert_eq!(bench.at(1), ["CLUSTER NODES"], "does it still have what was read?");
    bench.answer(1, &nodes(1, 1, "0-5460"));
    let (cursor, keys) = taken(&bench.got(client));
    assert_eq!(keys, ["hello"]);
    bench.send(client, &format!("SCAN {cursor}"));
    bench.answer(2, &page(0, &[]));
    bench.answer(2, &nodes(2, 1, "5461-10922"));
    assert_eq!(bench.at(3), ["SCAN 0"], "nothing was found, so it goes on by itself");
    bench.answer(3, &page(0, &["foo"]));
    bench.answer(3, &nodes(3, 1, "10923-16383"));
    assert_eq!(taken(&bench.got(client)), ("0".into(), vec!["foo".into()]));
}

#[test]
fn where_cursors_hold_slots_a_page_begins_at_its_slot() {
    for version in ["redis_version:7.4.0", "redis_version:7.2.4\r\nvalkey_version:8.0.1"] {
        let mut bench = Bench::without_topology(super::bench::settings());
        bench.infos.insert(1, format!("{version}\r\nrun_id:abc\r\n"));
        bench.topology(topology(1, &[(1, &[(800, 900)]), (2, &[(0, 799), (901, 16383)])]));
        let client = bench.client();
        bench.send(client, "SCAN 0 MATCH {hello}*");
        assert_eq!(bench.at(1), ["SCAN 866 MATCH {hello}*"], "only one slot can have such keys");
        bench.answer(1, &page(867 | 1 << 14, &["hello"]));
        bench.answer(1, &nodes(1, 1, "800-900"));
        assert_eq!(taken(&bench.got(client)), ("0".into(), vec!["hello".into()]));
    }
}

#[test]
fn a_page_of_another_process_is_thrown_away() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "SCAN 0");
    bench.answer(1, &page(48, &["bar"]));
    let (cursor, _) = taken(&bench.got(client));
    bench.send(client, &format!("SCAN {cursor}"));
    assert_eq!(bench.at(1), ["SCAN 48"]);
    bench.infos.insert(1, "run_id:abd\r\n".into());
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), ["SCAN 48"], "it only reads: it is sent again");
    bench.answer(1, &page(0, &["hello"]));
    assert_eq!(bench.at(1), ["SCAN 0"], "the cursor was of the process before");
    bench.answer(1, &page(16, &["bar"]));
    let (cursor, keys) = taken(&bench.got(client));
    assert_eq!(keys, ["bar"]);
    // And between two requests.
    bench.infos.insert(1, "run_id:abe\r\n".into());
    bench.kill(1, false);
    bench.advance(Duration::from_secs(1));
    bench.send(client, &format!("SCAN {cursor}"));
    bench.advance(Duration::from_secs(1));
    assert_eq!(bench.at(1), ["CLUSTER NODES"], "who is there?");
    bench.answer(1, &nodes(1, 1, "0-5460"));
    assert_eq!(bench.at(1), ["SCAN 0"]);
}

#[test]
fn a_slot_that_has_left_is_read_at_its_new_owner() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "SCAN 0");
    bench.answer(1, &page(0, &["hello"]));
    bench.answer(1, &nodes(1, 1, "0-4999 5100-5460"));
    assert_eq!(bench.wishes, [crate::worker::WishReason::Scan], "the map is old");
    let (cursor, _) = taken(&bench.got(client));
    let slots: [&[(u16, u16)]; 3] =
        [&[(0, 4999), (5100, 5460)], &[(5000, 5099), (5461, 10922)], &[(10923, 16383)]];
    bench.topology(topology(2, &[(1, slots[0]), (2, slots[1]), (3, slots[2])]));
    bench.send(client, &format!("SCAN {cursor}"));
    assert_eq!(bench.at(2), ["SCAN 0"]);
    bench.answer(2, &page(0, &["bar"]));
    bench.answer(2, &nodes(2, 2, "5000-5099 5461-10922"));
    let (cursor, keys) = taken(&bench.got(client));
    assert_eq!(keys, ["bar"]);
    bench.send(client, &format!("SCAN {cursor}"));
    assert_eq!(bench.at(1), ["SCAN 0"], "the rest of the stretch");
}

/// A demoted node answers SCAN as well as any other: nothing else would tell that the map is old,
/// and a slotway with the new one and this one would begin the stretch again in turn for ever.
#[test]
fn a_cursor_that_is_lost_has_the_map_looked_at() {
    let mut bench = Bench::new();
    let client = bench.client();
    bench.send(client, "SCAN 0");
    bench.answer(1, &page(48, &["bar"]));
    let (cursor, _) = taken(&bench.got(client));
    let mut other = Bench::new();
    let slots: [&[(u16, u16)]; 2] = [&[(0, 5460)], &[(5461, 16383)]];
    other.topology(topology(7, &[(2, slots[0]), (3, slots[1])]));
    let client = other.client();
    other.send(client, &format!("SCAN {cursor}"));
    assert_eq!(other.at(2), ["SCAN 0"]);
    assert_eq!(other.wishes, [crate::worker::WishReason::Scan]);
}

#[test]
fn a_slot_on_its_way_is_read_at_its_source_and_then_at_its_target() {
    let mut bench = Bench::new();
    let client = bench.client();
    let open = nodes(1, 1, &format!("0-5460 [5061->-{}]", node_id(3)));
    bench.send(client, "SCAN 0");
    bench.answer(1, &page(0, &[]));
    bench.answer(1, &open);
    assert_eq!(bench.at(1), ["CLUSTER NODES"]);
    bench.answer(1, &open);
    assert_eq!(bench.at(3), ["SCAN 0"]);
    bench.answer(3, &page(7, &["foo", "bar"]));
    let (cursor, keys) = taken(&bench.got(client));
    assert_eq!(keys, ["bar"]);
    bench.send(client, &format!("SCAN {cursor}"));
    bench.answer(1, &open);
    assert_eq!(bench.at(3), ["SCAN 7"]);
    bench.answer(3, &page(0, &[]));
    bench.answer(1, &open);
    assert_eq!(bench.at(1), ["SCAN 0"], "what is behind it");
}

#[test]
fn bad_cursors_and_options_get_a_servers_words() {
    let mut bench = Bench::new();
    let client = bench.client();
    for cursor in ["x", "-1", "18446744073709551616"] {
        bench.send(client, &format!("SCAN {cursor} FOO"));
        assert_eq!(bench.got(client), "-ERR invalid cursor\r\n");
    }
    bench.send(client, "SCAN");
    assert_eq!(bench.got(client), "-ERR wrong number of arguments for 'scan' command\r\n");
    bench.send(client, "SCAN 0 FOO");
    assert_eq!(bench.at(1), ["SCAN 0 FOO"]);
    bench.answer(1, "-ERR syntax error");
    assert_eq!(bench.got(client), "-ERR syntax error\r\n");
    bench.send(client, "SCAN 0");
    bench.answer(1, "*1\r\n$1\r\n0");
    assert!(bench.got(client).starts_with("-ERR a node's reply"));
    assert_eq!(bench.cells.merge_surprises.get(), 1);
    bench.send(client, "SCAN 0");
    bench.answer(1, &page(1 << 50, &["bar"]));
    assert!(bench.got(client).starts_with("-ERR a node's reply"), "no room for its cursor");
    assert_eq!(bench.worker.clients.gathers.len(), 0);
}

#[test]
fn a_random_key_is_of_a_shard_by_its_size() {
    let mut bench = Bench::new(); // whose random number is always 0.5
    let client = bench.client();
    let ask = |bench: &mut Bench, sizes: [u32; 3]| {
        bench.send(client, "RANDOMKEY");
        for (port, size) in (1..).zip(sizes) {
            assert_eq!(bench.at(port), ["DBSIZE"]);
            bench.answer(port, &format!(":{size}"));
        }
    };
    for (sizes, chosen) in [([10, 5, 4], 1), ([3, 5, 4], 2), ([1, 2, 10], 3), ([0, 1, 0], 2)] {
        ask(&mut bench, sizes);
        assert_eq!(bench.at(chosen), ["RANDOMKEY"], "{sizes:?}");
        bench.answer(chosen, "$1\r\nk");
        assert_eq!(bench.got(client), "$1\r\nk\r\n");
    }
    ask(&mut bench, [10, 5, 4]);
    bench.answer(1, "$-1");
    assert_eq!(bench.at(2), ["RANDOMKEY"], "that shard has none any more");
    bench.answer(2, "$-1");
    bench.answer(3, "$-1");
    assert_eq!(bench.got(client), "$-1\r\n", "none has any");
    ask(&mut bench, [0, 0, 0]);
    bench.answer(1, "$-1");
    assert_eq!(bench.got(client), "$-1\r\n");
}
