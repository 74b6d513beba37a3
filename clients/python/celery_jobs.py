"""Celery, a job queue, against slotway: celery_jobs.py PORT. Ends with 0 if all of it holds.

All keys share one slot by `global_keyprefix`, as its pipelines and its BRPOP over several queues need
in any cluster. Two workers are started as `celery worker --pool solo`, with all that they do by
default: each other's heartbeats and remote control go over pub/sub. Each job is done once, whatever
happens to the cluster meanwhile that loses no data: whoever runs this fails nodes over until the
list `{celery}done` is long enough.
"""

import os
import subprocess
import sys
import time

import redis
from celery import Celery, group

PORT = int(os.environ.get("SLOTWAY_PORT") or sys.argv[1])
JOBS = 600
ONE_SLOT = {"global_keyprefix": "{celery}"}

url = f"redis://127.0.0.1:{PORT}/0"
app = Celery("celery_jobs", broker=url, backend=url)
app.conf.broker_transport_options = ONE_SLOT
app.conf.result_backend_transport_options = ONE_SLOT
app.conf.broker_connection_retry_on_startup = True
r = redis.Redis(port=PORT)


@app.task(ignore_result=True, name="job")
def job(number):
    r.rpush("{celery}done", number)


@app.task(name="add")
def add(a, b):
    return a + b


def worker(name):
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-m", "celery", "-A", "celery_jobs", "worker", "--pool", "solo"]
    command += ["--loglevel", "WARNING", "--hostname", f"{name}@localhost"]
    path = here + os.pathsep + os.environ.get("PYTHONPATH", "")
    env = os.environ | {"SLOTWAY_PORT": str(PORT), "PYTHONPATH": path}
    return subprocess.Popen(command, env=env)


def until(what, seconds, holds):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what} takes longer than {seconds} s"
        time.sleep(0.05)


def main():
    workers = [worker("one"), worker("two")]
    try:
        until("the start of the workers", 20, lambda: len(app.control.ping(timeout=0.5)) == 2)
        print("ok: both workers answer over pub/sub")
        assert add.delay(1, 2).get(timeout=30) == 3
        sums = group(add.s(n, n) for n in range(20))().get(timeout=30)
        assert sums == [2 * n for n in range(20)], sums
        print("ok: results come back")
        for number in range(JOBS):
            job.delay(number)
            time.sleep(0.005)
        until("the last job", 25, lambda: r.llen("{celery}done") >= JOBS)
        done = sorted(int(number) for number in r.lrange("{celery}done", 0, -1))
        assert done == list(range(JOBS)), f"{len(done)} done, {len(set(done))} of them once"
        for process in workers:
            assert process.poll() is None, "a worker has ended"
        print("ok: each job is done once")
    finally:
        for process in workers:
            process.terminate()
        for process in workers:
            process.wait(20)


if __name__ == "__main__":
    main()
