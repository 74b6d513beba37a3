"""Huey, a job queue, against slotway: job_queue.py PORT. Ends with 0 if all of it holds.

Four workers take jobs by BRPOP. Each job is done once, whatever happens to the cluster meanwhile
that loses no data: whoever runs this fails nodes over until the list `done` is long enough.
"""

import sys
import time

import redis
from huey import RedisHuey

PORT = int(sys.argv[1])
JOBS = 3000

r = redis.Redis(port=PORT)
huey = RedisHuey("jobs", port=PORT, results=False, read_timeout=5)


@huey.task()
def job(number):
    r.rpush("done", number)


def main():
    consumer = huey.create_consumer(workers=4, periodic=False, check_worker_health=True)
    consumer.start()
    for number in range(JOBS):
        job(number)
        time.sleep(0.002)
    end = time.monotonic() + 30
    while r.llen("done") < JOBS and time.monotonic() < end:
        time.sleep(0.05)
    done = sorted(int(number) for number in r.lrange("done", 0, -1))
    assert done == list(range(JOBS)), f"{len(done)} done, {len(set(done))} of them once"
    print("ok: each job is done once")
    consumer.stop(graceful=True)


main()
