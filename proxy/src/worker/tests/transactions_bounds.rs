//! Who queues commands and goes no further is nobody else's burden.

use super::bench::{Bench, key_of, settings};
use crate::worker::Settings;

const MS: std::time::Duration = std::time::Duration::from_millis(1);

/// The budget for large requests is 400 kB here, a request is large from 16 kB on.
fn bench() -> Bench {
    Bench::with(Settings { large_requests_max_bytes: 400_000, ..settings() })
}

fn queue(bench: &mut Bench, client: u32, bytes: usize) -> String {
    bench.send(client, &format!("APPEND {} {}", key_of(1, 0), "x".repeat(bytes)));
    bench.got(client)
}

fn begin(bench: &mut Bench) -> u32 {
    let client = bench.client();
    bench.send(client, "MULTI");
    assert_eq!(bench.got(client), "+OK\r\n");
    client
}

#[test]
fn transactions_take_half_of_the_budget_at_most() {
    let mut bench = bench();
    let (hog, other) = (begin(&mut bench), begin(&mut bench));
    let large = bench.client();
    for _ in 0..12 {
        assert_eq!(queue(&mut bench, hog, 15_000), "+QUEUED\r\n");
    }
    for reply in ["+QUEUED", "-OVERLOADED not executed: the transaction is too large"] {
        assert_eq!(queue(&mut bench, other, 15_000), format!("{reply}\r\n"), "the other one");
    }
    // A large request finds room, and a small transaction needs none.
    let set = format!("SET {} {}", key_of(1, 0), "y".repeat(100_000));
    bench.send(large, &set);
    assert!(bench.at(1).contains(&set), "it is sent");
    let small = begin(&mut bench);
    assert_eq!(queue(&mut bench, small, 100), "+QUEUED\r\n");
}

/// As who sends a large request must go on, or is closed.
#[test]
fn who_queues_much_and_is_silent_is_closed() {
    let mut bench = bench();
    let (idle, busy, small) = (begin(&mut bench), begin(&mut bench), begin(&mut bench));
    for client in [idle, busy] {
        for _ in 0..3 {
            queue(&mut bench, client, 15_000);
        }
    }
    queue(&mut bench, small, 1_000);
    let stall = settings().large_stall;
    bench.advance(stall - MS * 10);
    queue(&mut bench, busy, 1_000);
    bench.advance(MS * 20);
    assert_eq!(bench.closed, [idle]);
    bench.advance(stall - MS * 30);
    assert_eq!(bench.closed, [idle], "it has gone on since");
    bench.send(busy, "DISCARD");
    bench.advance(stall * 2);
    assert_eq!(bench.closed, [idle], "it holds nothing any more");
    assert!(bench.worker.large_reads.is_unused());
    bench.send(small, "DISCARD");
    assert_eq!(bench.got(small), "+OK\r\n", "a small one may take its time");
}

#[test]
fn a_transaction_has_a_bounded_number_of_commands() {
    let mut bench = Bench::with(Settings { large_requests_max_bytes: 1 << 30, ..settings() });
    let client = begin(&mut bench);
    let key = key_of(1, 0);
    for _ in 0..100 {
        let thousand = format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).repeat(1_000);
        bench.send_raw(client, thousand.as_bytes());
        while bench.got(client).ends_with("QUEUED\r\n") {
            bench.turn();
        }
    }
    bench.send(client, &format!("GET {key}"));
    let refused = "-OVERLOADED not executed: the transaction has too many commands\r\n";
    assert_eq!(bench.got(client), refused);
    bench.send(client, "EXEC");
    assert!(bench.got(client).starts_with("-EXECABORT "));
}
