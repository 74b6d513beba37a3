"""redis-py with its client-side cache against slotway: redis_py_caching.py PORT."""

import sys
import time

import redis
from redis.cache import CacheConfig
from redis.connection import CacheProxyConnection

PORT = int(sys.argv[1])

# It asks for Redis 7.4; what it needs has been there since 6.0.
CacheProxyConnection.MIN_ALLOWED_VERSION = "6.0.0"


def main():
    cached = redis.Redis(port=PORT, protocol=3, cache_config=CacheConfig())
    plain = redis.Redis(port=PORT)
    for claim in (
        a_value_comes_from_the_cache,
        what_another_client_writes_is_seen,
        what_it_writes_itself_is_seen_at_once,
        keys_of_all_shards,
        what_expires_is_gone,
    ):
        claim(cached, plain)
        print("ok:", claim.__name__)


def a_value_comes_from_the_cache(cached, plain):
    plain.set("cached", "1")
    before = reads(plain)
    for _ in range(1000):
        assert cached.get("cached") == b"1"
    assert reads(plain) - before < 10
    assert cached.get_cache().size == 1


def what_another_client_writes_is_seen(cached, plain):
    for n in range(100):
        plain.set("cached", n)
        until(lambda: cached.get("cached") == str(n).encode())


def what_it_writes_itself_is_seen_at_once(cached, plain):
    for n in range(100):
        cached.set("own", n)
        assert cached.get("own") == str(n).encode()


def keys_of_all_shards(cached, plain):
    keys = [f"cached:{n}" for n in range(300)]
    for value in (b"a", b"b"):
        plain.mset({key: value for key in keys})
        for key in keys:
            until(lambda: cached.get(key) == value)
        until(lambda: cached.mget(keys) == [value] * len(keys))


def what_expires_is_gone(cached, plain):
    plain.set("cached", "1")
    until(lambda: cached.get("cached") == b"1")
    plain.pexpire("cached", 20)
    until(lambda: cached.get("cached") is None)


def reads(r):
    """Commands that slotway, which serves nobody else, has answered; each hit spares one."""
    return r.info("stats")["total_commands_processed"]


def until(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end, "it stays stale"
        time.sleep(0.001)


main()
