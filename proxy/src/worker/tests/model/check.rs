//! What must be true at the end of a run, when all was well again and everything is answered.

use super::world::World;
use crate::node::Phase;
use crate::worker::pool::Gate;

pub(super) fn check(world: &mut World) {
    for client in world.clients.iter().filter(|client| client.index.is_some()) {
        let open = client.ops.front().map(|&op| (op, &world.cluster.ops[op]));
        assert!(open.is_none(), "never answered: {open:?}");
    }
    for (n, op) in world.cluster.ops.iter().enumerate() {
        let told = op.answer.as_deref().unwrap_or("?");
        if op.kind.writes() {
            assert!(
                op.executed <= 1 || op.repeats,
                "t{n} was executed {} times: {op:?}",
                op.executed
            );
            let refused = told.contains("not executed") || told.starts_with("-EXECABORT ");
            assert!(!refused || op.executed == 0, "t{n}: {op:?}");
            let acknowledged = op.acknowledged();
            assert!(!acknowledged || op.executed >= 1, "t{n}: {op:?}");
            // acknowledged − lost ≤ what is there ≤ acknowledged + unknown
            for key in &op.keys {
                let list = world.cluster.data.list(world.cluster.holder(key), key);
                let times = list.iter().filter(|&&other| other == n).count();
                assert!(times <= 1 || op.repeats, "t{n} is in {key} {times} times: {op:?}");
                assert!(times >= 1 || op.lost || !acknowledged, "t{n} is not in {key}: {op:?}");
                assert!(times == 0 || !refused, "t{n} is in {key}: {op:?}");
            }
        }
    }
    let misled = &world.cluster.misled;
    assert!(misled.is_empty(), "sent to a replaced primary: {misled:?}");
    let overtaken = &world.cluster.overtaken;
    assert!(overtaken.is_empty(), "executed behind a later one: {overtaken:?}");

    let (worker, cells) = (&mut world.bench.worker, &world.bench.cells);
    assert_eq!((cells.parked_requests.get(), cells.parked_bytes.get()), (0, 0));
    assert!(worker.held.is_empty(), "held for ever: {:?}", worker.held);
    for (index, pool) in &worker.pools {
        let of_pool = worker.connections.iter().filter(|(_, c)| usize::from(c.pool) == index);
        let known = usize::from(pool.shared.is_some()) + pool.idle.len();
        assert_eq!(of_pool.count(), known, "a connection without use: {:?}", pool.extra);
        assert!(pool.probe.is_none(), "a probe for ever");
        assert!(pool.lot.is_empty() && pool.brief_queue.is_empty() && pool.lent_queue.is_empty());
        assert_eq!(pool.lent, 0);
        assert!(!matches!(pool.gate, Gate::Closed { trying: true, .. }), "nobody tries");
    }
    for (slot, lot) in &worker.lots {
        assert!(lot.is_empty() && !lot.trying, "slot {slot} is tried by nobody");
    }
    for (index, connection) in &worker.connections {
        assert!(connection.is_idle() && connection.unsent_bytes() == 0, "{connection:?}");
        assert!(!connection.suspect && matches!(connection.phase, Phase::Ready), "{connection:?}");
        assert!(world.wires.contains_key(&(index as u32)), "{index} has no socket");
    }
    for client in &world.clients {
        let Some(session) = client.index.and_then(|index| worker.clients.get(index)) else {
            continue;
        };
        assert!(session.unsettled.is_empty() && !session.blocked && !session.read_paused);
        assert_eq!((session.in_flight_bytes, session.large_bytes), (0, 0));
        assert!(session.flow.is_none() && session.special.is_empty(), "{session:?}");
    }
    for n in 0..world.clients.len() {
        world.client_leaves(n, true);
    }
    world.flush();
    let (worker, cells) = (&world.bench.worker, &world.bench.cells);
    assert_eq!((cells.clients.get(), worker.client_count()), (0, 0));
    assert!(worker.large_reads.is_unused(), "{:?}", worker.large_reads);
    assert_eq!(cells.transaction_bytes.get(), 0);
}
