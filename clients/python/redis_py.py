"""redis-py against slotway: redis_py.py PORT. Ends with 0 if all of it holds.

Nothing is set. Up to redis-py 7 that means RESP2, from 8 on RESP3.
"""

import asyncio
import sys
import threading
import time

import redis
import redis.asyncio

PORT = int(sys.argv[1])
SETTINGS = {"port": PORT}


def main():
    r = redis.Redis(**SETTINGS)
    for claim in (
        values_of_all_types,
        names_and_values_of_any_bytes,
        large_values,
        scripts,
        registered_scripts_and_locks,
        plain_pipelines,
        transactions,
        many_keys_over_all_slots,
        a_pool_of_100,
        scan_iterators,
        answers_about_the_server,
        subscriptions,
    ):
        claim(r)
        print("ok:", claim.__name__)
    for claim in (refusals_are_errors,):
        claim(r)
        assert r.get("after") is None and r.ping()
        print("ok:", claim.__name__)
    other_databases_are_refused()
    asyncio.run(the_asynchronous_client())
    print("ok: the_asynchronous_client")


def values_of_all_types(r):
    assert r.set("py:s", "1") is True
    assert r.get("py:s") == b"1"
    assert r.incrby("py:s", 41) == 42
    assert r.set("py:s", "2", nx=True) is None
    assert r.set("py:s", "3", ex=100, get=True) == b"42"
    assert 0 < r.ttl("py:s") <= 100
    assert r.get("py:nothing") is None
    assert r.type("py:s") == b"string"

    for key in ("py:h", "py:l", "py:set", "py:z", "py:x"):
        r.delete(key)
    assert r.hset("py:h", mapping={"a": 1, "b": "two"}) == 2
    assert r.hgetall("py:h") == {b"a": b"1", b"b": b"two"}
    assert r.hmget("py:h", "b", "c") == [b"two", None]
    assert list(r.hscan_iter("py:h", count=1000)) == [(b"a", b"1"), (b"b", b"two")]

    assert r.rpush("py:l", *range(200)) == 200
    assert r.lrange("py:l", 0, -1) == [str(n).encode() for n in range(200)]
    assert r.lpop("py:l", 2) == [b"0", b"1"]

    assert r.sadd("py:set", "x", "y") == 2
    assert r.smembers("py:set") == {b"x", b"y"}

    assert r.zadd("py:z", {"one": 1, "half": 0.5}) == 2
    assert r.zrange("py:z", 0, -1, withscores=True) == [(b"half", 0.5), (b"one", 1.0)]
    assert r.zscore("py:z", "half") == 0.5

    ids = [r.xadd("py:x", {"n": n}) for n in range(3)]
    assert [entry for entry, _ in r.xrange("py:x")] == ids
    assert r.xread({"py:x": ids[0]})[0][1] == [(ids[1], {b"n": b"1"}), (ids[2], {b"n": b"2"})]
    assert r.xgroup_create("py:x", "g", id="0") is True
    assert len(r.xreadgroup("g", "me", {"py:x": ">"})[0][1]) == 3
    assert r.xack("py:x", "g", *ids) == 3

    # Several keys of one slot.
    assert r.mset({"{py}:1": "a", "{py}:2": "b"}) is True
    assert r.mget("{py}:1", "{py}:2", "{py}:3") == [b"a", b"b", None]
    fails(lambda: r.lpush("py:s", 1), "WRONGTYPE")


def names_and_values_of_any_bytes(r):
    everything = bytes(range(256))
    for key in ("ключ", "键 with spaces", everything, b"\r\n", b"\x00", b"{", b"{}x", b"a{b}c{d}"):
        assert r.set(key, everything) is True
        assert r.get(key) == everything, key
        assert r.delete(key) == 1
    assert r.set("py:empty", "") is True and r.get("py:empty") == b""
    text = redis.Redis(**SETTINGS, decode_responses=True)
    assert text.set("py:ü", "žluťoučký 🐎") is True
    assert text.get("py:ü") == "žluťoučký 🐎"
    text.close()


def large_values(r):
    for size in (16_000, 70_000, 1_000_000, 5_000_000):
        value = bytes(n % 251 for n in range(1000)) * (size // 1000)
        assert r.set("py:large", value) is True
        assert r.get("py:large") == value, size
        assert r.strlen("py:large") == size
    r.delete("py:large")


def scripts(r):
    text = "redis.call('SET', KEYS[1], ARGV[1]); return {redis.call('GET', KEYS[1]), 7}"
    assert r.eval(text, 1, "py:script", "v") == [b"v", 7]
    fails(lambda: r.evalsha("0" * 40, 1, "py:script"), "", redis.exceptions.NoScriptError)
    fails(lambda: r.eval("return redis.error_reply('MINE own words')", 1, "py:script"), "MINE")
    # EVALSHA first; on NOSCRIPT, SCRIPT LOAD and EVALSHA again.
    own = r.register_script(f"return ARGV[1] .. '{time.time()}'")
    for n in range(20):
        assert own(keys=[f"py:script:{n}"], args=["w"]).startswith(b"w1"), n
    pipe = r.pipeline(transaction=False)
    for n in range(20):
        own(keys=[f"py:script:{n}"], args=[n], client=pipe)
    assert [reply.split(b"1", 1)[0] for reply in pipe.execute()][0] == b"0"


def many_keys_over_all_slots(r):
    values = {f"py:many:{n}": str(n).encode() for n in range(300)}
    assert r.mset(values) is True
    assert r.mget(list(values)) == list(values.values())
    assert r.exists(*values, "py:nothing") == 300 and r.touch(*values) == 300
    assert sorted(r.keys("py:many:*")) == sorted(key.encode() for key in values)
    assert r.delete(*list(values)[:150]) == 150 and r.unlink(*values) == 150


def a_pool_of_100(r):
    """All of its connections in use at the same time, by as many threads."""
    pool = redis.ConnectionPool(**SETTINGS, max_connections=100)
    together = threading.Barrier(100)
    names = []

    def work(n):
        with redis.Redis(connection_pool=pool, single_connection_client=True) as own:
            together.wait(20)
            own.set(f"py:pool:{n}", n)
            names.append((n, int(own.get(f"py:pool:{n}")), own.client_id()))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(names) == 100 and all(n == got for n, got, _ in names), len(names)
    assert len({number for _, _, number in names}) == 100
    pool.disconnect()


def scan_iterators(r):
    keys = {f"py:scan:{n}" for n in range(300)}
    r.mset(dict.fromkeys(keys, "v"))
    assert {key.decode() for key in r.scan_iter("py:scan:*", count=50)} == keys
    r.delete(*keys)


def registered_scripts_and_locks(r):
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    keys = [f"py:registered:{n}" for n in range(20)]
    for key in keys:
        r.delete(key)
    assert [add(keys=[key], args=[7]) for key in keys] == [7] * 20
    lock = r.lock("py:lock", timeout=60)
    assert lock.acquire(blocking=False) and not r.lock("py:lock").acquire(blocking=False)
    assert lock.extend(60)
    lock.release()
    assert r.get("py:lock") is None


def plain_pipelines(r):
    pipe = r.pipeline(transaction=False)
    for n in range(3000):
        pipe.set(f"py:p:{n}", n)
        pipe.get(f"py:p:{n}")
    replies = pipe.execute()
    assert replies[0::2] == [True] * 3000
    assert replies[1::2] == [str(n).encode() for n in range(3000)]
    # An error in the middle is that request's alone.
    pipe.set("py:s", "x").incr("py:s").get("py:s")
    replies = pipe.execute(raise_on_error=False)
    assert replies[0] is True and replies[2] == b"x"
    assert isinstance(replies[1], redis.ResponseError)


def transactions(r):
    """redis-py's pipeline() is a transaction unless it is told otherwise."""
    for n in range(50):
        pipe = r.pipeline().set("{py:t}a", n).incr("{py:t}a").rpush("{py:t}l", n)
        assert pipe.execute() == [True, n + 1, n + 1]
    assert r.delete("{py:t}l") == 1
    fails(lambda: r.pipeline().set("py:t1", 1).set("py:t2", 1).execute(), "hash to the same slot")
    replies = r.pipeline().set("{py:t}s", "x").incr("{py:t}s").execute(raise_on_error=False)
    assert replies[0] is True and isinstance(replies[1], redis.ResponseError)

    def add_ten(pipe):
        current = int(pipe.get("{py:t}a"))
        pipe.multi()
        pipe.set("{py:t}a", current + 10)

    assert r.transaction(add_ten, "{py:t}a") == [True] and r.get("{py:t}a") == b"60"
    with r.pipeline() as pipe:
        pipe.watch("{py:t}a")
        r.set("{py:t}a", "changed")
        pipe.multi()
        pipe.set("{py:t}a", "never")
        fails(pipe.execute, "Watched variable changed", redis.WatchError)
        pipe.watch("{py:t}a", "{py:t}s")
        assert pipe.get("{py:t}a") == b"changed"
        pipe.unwatch()
        assert pipe.set("{py:t}a", "plain").execute() == [True]
    assert r.get("{py:t}a") == b"plain"


def answers_about_the_server(r):
    info = r.info()
    assert info["redis_mode"] == "standalone" and info["role"] == "master" and info["loading"] == 0
    assert r.info("server")["redis_version"] == info["redis_version"]
    assert r.client_setname("me") is True and r.client_getname() == "me"
    assert r.client_id() > 0
    assert r.echo("hello") == b"hello"
    assert r.command_count() > 100


def refusals_are_errors(r):
    for words in (
        ("CLIENT", "IMPORT-SOURCE", "ON"),
        ("NOSUCHTHING", "a"),
    ):
        fails(lambda: r.execute_command(*words), "unknown ")
        assert r.echo("alive") == b"alive", words
    assert r.blpop("a", timeout=0.01) is None
    fails(lambda: r.rename("a", "b"), "hash to the same slot")
    fails(lambda: r.execute_command("GET"), "wrong number of arguments")


def subscriptions(r):
    pubsub = r.pubsub()
    pubsub.subscribe("py:news", "py:olds")
    pubsub.psubscribe("py:n*")

    def following(count):
        messages = []
        while len(messages) < count:
            message = pubsub.get_message(timeout=5)
            if message is not None:
                messages.append((message["type"], message["channel"], message["data"]))
        return sorted(messages)

    # Nothing is published before all are confirmed.
    begun = [("psubscribe", b"py:n*", 3), ("subscribe", b"py:news", 1), ("subscribe", b"py:olds", 2)]
    assert following(3) == begun
    assert r.publish("py:news", "a") == 2
    both = [("message", b"py:news", b"a"), ("pmessage", b"py:news", b"a")]
    assert following(2) == both
    assert r.publish("py:olds", "b") == 1
    assert following(1) == [("message", b"py:olds", b"b")]
    pubsub.unsubscribe()
    pubsub.punsubscribe()
    while pubsub.subscribed:
        pubsub.get_message(timeout=5)
    assert r.publish("py:news", "c") == 0
    pubsub.close()


def other_databases_are_refused():
    # Valkey 9 knows clusters of several databases; this one has a single one.
    expected = ("not allowed in cluster mode", "DB index is out of range")
    fails(lambda: redis.Redis(**SETTINGS, db=1).ping(), expected)
    print("ok: other_databases_are_refused")


async def the_asynchronous_client():
    async with redis.asyncio.Redis(**SETTINGS) as r:
        await asyncio.gather(*(r.set(f"py:async:{n}", n) for n in range(100)))
        values = await asyncio.gather(*(r.get(f"py:async:{n}") for n in range(100)))
        assert values == [str(n).encode() for n in range(100)]
        async with r.pipeline(transaction=False) as pipe:
            assert await pipe.set("py:async", "v").get("py:async").execute() == [True, b"v"]
        async with r.pipeline() as pipe:
            assert await pipe.incr("py:async:0").incr("py:async:0").execute() == [1, 2]


def fails(action, words, kind=redis.ResponseError):
    try:
        got = action()
    except kind as error:
        expected = (words,) if isinstance(words, str) else words
        assert any(some in str(error) for some in expected), f"{words!r} is not in {error}"
    else:
        raise AssertionError(f"{words!r} was expected, got {got!r}")


main()
