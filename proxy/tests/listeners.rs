//! Several listeners of one slotway, each with options of its own, before real servers.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use testbed::audit::{Conn, Reply};
use testbed::{Cluster, Port, Proxy, key_in_slot};

/// Longer than anything here takes, short of a hang.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn clients_of_two_listeners_are_treated_as_each_of_them_says() -> Result<()> {
    let cluster = Cluster::builder().primaries(3).replicas(0).full_coverage(false).start()?;
    let port = Port::free()?;
    let own = format!("{}?cross-slot=strict&client-order=strict&mask-deadline=1s", port.addr());
    let proxy = Proxy::builder(cluster.seeds())
        .binary(env!("CARGO_BIN_EXE_slotway"))
        .workers(2)
        .args(["--listen", &own])
        .start()?;
    let (mut usual, mut strict) =
        (Conn::connect(&proxy.addr(), DEADLINE)?, Conn::connect(&port.addr(), DEADLINE)?);
    let keys = [100, 8000, 16000].map(|slot| key_in_slot(slot, "x"));
    let mget = ["MGET", &keys[0], &keys[1]];

    let reply = usual.ask(&mget, DEADLINE)?;
    ensure!(reply == Reply::Array(vec![Reply::Nil, Reply::Nil]), "{reply:?}");
    let reply = strict.ask(&mget, DEADLINE)?;
    ensure!(reply.error().is_some_and(|text| text.starts_with("CROSSSLOT ")), "{reply:?}");
    each_sees_where_it_is(&mut usual, &mut strict, proxy.port(), port.number())?;

    let node = cluster.shard(0).primary()?;
    cluster.kill(&node)?;
    let incr = ["INCR", &keys[0]];
    let reply = thread::scope(|scope| {
        let waits = scope.spawn(|| usual.ask(&incr, DEADLINE));
        for _ in 0..2 {
            let began = Instant::now();
            let reply = strict.ask(&incr, DEADLINE)?;
            let text = reply.error().with_context(|| format!("{reply:?}"))?;
            ensure!(text.starts_with("CLUSTERDOWN not executed: "), "{text}");
            ensure!(text.contains(", gave up after 1."), "{text}");
            ensure!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        }
        ensure!(!waits.is_finished(), "the other has its answer, too");
        cluster.restart(&node)?;
        waits.join().expect("it does not panic")
    })?;
    ensure!(reply == Reply::Int(1), "{reply:?}");
    let reply = strict.ask(&["GET", &keys[0]], DEADLINE)?;
    ensure!(reply == Reply::Bulk("1".into()), "{reply:?}");
    Ok(())
}

/// `CLIENT INFO`, `CLIENT LIST` and `CLUSTER SLOTS` name the listener at which each came in.
fn each_sees_where_it_is(usual: &mut Conn, strict: &mut Conn, port: u16, other: u16) -> Result<()> {
    for (conn, port) in [(&mut *usual, port), (&mut *strict, other)] {
        for words in [["CLIENT", "INFO"], ["CLIENT", "LIST"], ["CLUSTER", "NODES"]] {
            let reply = conn.ask(&words, DEADLINE)?;
            let Reply::Bulk(text) = &reply else { anyhow::bail!("{words:?}: {reply:?}") };
            let expected = if words[0] == "CLUSTER" {
                format!(" 127.0.0.1:{port}@")
            } else {
                format!(" laddr=127.0.0.1:{port} ")
            };
            ensure!(text.contains(&expected), "{words:?}: {expected} is not in {text}");
        }
    }
    Ok(())
}
