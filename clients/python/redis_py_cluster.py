"""redis-py's cluster client against slotway: redis_py_cluster.py PORT. Ends with 0 if all holds.

It takes slotway for a cluster. redis-py 8 speaks RESP3, redis-py 7 RESP2.
"""

import sys

from redis.cluster import ClusterNode, LoadBalancingStrategy, RedisCluster

PORT = int(sys.argv[1])


def main():
    r = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", PORT)])
    for claim in (
        it_sees_one_node_with_all_slots,
        values_over_many_slots,
        pipelines_over_many_slots,
        reads_from_replicas_are_reads,
        scripts,
    ):
        claim(r)
        print("ok:", claim.__name__)


def it_sees_one_node_with_all_slots(r):
    nodes = r.get_nodes()
    assert [(node.host, node.port) for node in nodes] == [("127.0.0.1", PORT)], nodes
    for key in ("a", "b", "c", "{user}:1"):
        assert r.get_node_from_key(key).port == PORT
        assert r.cluster_keyslot(key) == r.keyslot(key)
    assert r.cluster_info()["cluster_state"] == "ok"
    assert len(r.cluster_nodes()) == 1


def values_over_many_slots(r):
    for n in range(500):
        assert r.set(f"pyc:{n}", n) is True
    for n in range(500):
        assert r.get(f"pyc:{n}") == str(n).encode()
    assert r.mget_nonatomic([f"pyc:{n}" for n in range(50)]) == [str(n).encode() for n in range(50)]
    assert r.hset("pyc:h", mapping={"a": 1}) == 1 or r.hgetall("pyc:h") == {b"a": b"1"}


def pipelines_over_many_slots(r):
    with r.pipeline() as pipe:
        for n in range(500):
            pipe.set(f"pyc:p:{n}", n).get(f"pyc:p:{n}")
        replies = pipe.execute()
    assert replies[1::2] == [str(n).encode() for n in range(500)]


def reads_from_replicas_are_reads(r):
    reader = RedisCluster(
        startup_nodes=[ClusterNode("127.0.0.1", PORT)],
        load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN,
    )
    r.set("pyc:r", "1")
    assert reader.get("pyc:r") == b"1"


def scripts(r):
    assert r.eval("return {KEYS[1], ARGV[1]}", 1, "pyc:s", "v") == [b"pyc:s", b"v"]


main()
