"""Dramatiq: its one Lua script does all the work, on keys that it does not name beforehand."""

import importlib
import os
import sys
import time

import dramatiq
import pytest
from dramatiq.rate_limits import Barrier, BucketRateLimiter, ConcurrentRateLimiter, WindowRateLimiter

from programs import Program, eventually, holds, python

WAIT = 90


@pytest.fixture(scope="module")
def actors(clean, notes):
    os.environ["DRAMATIQ_URL"] = clean.url(4)
    sys.modules.pop("dramatiq_actors", None)
    actors = importlib.import_module("dramatiq_actors")
    yield actors
    actors.broker.close()


@pytest.fixture(scope="module")
def start(clean, actors, workplace):
    started = []

    def start(*args):
        command = python("-m", "dramatiq", "dramatiq_actors", *args)
        program = Program(*command, log=workplace / f"dramatiq-{len(started)}.log", env={"DRAMATIQ_URL": clean.url(4)})
        started.append(program)
        return program

    yield start
    for program in started:
        if program.process.poll() is None:
            program.stop()


@pytest.fixture
def worker(actors):
    """Threads of this process."""
    worker = dramatiq.Worker(actors.broker, worker_timeout=100, worker_threads=3)
    worker.start()
    yield worker
    worker.stop()


def test_messages_and_results(actors, worker):
    messages = [actors.add.send(n, 1) for n in range(20)]
    assert [m.get_result(block=True, timeout=WAIT * 1000) for m in messages] == [n + 1 for n in range(20)]


def test_two_queues_and_join(actors, worker, notes):
    actors.told.send("here")
    actors.told_in_another_queue.send("there")
    for queue in ("default", "urgent"):
        actors.broker.join(queue, timeout=WAIT * 1000)
    worker.join()
    assert {"dq:here", "dq:there"} <= set(notes.lines())


def test_an_error_is_the_result(actors, worker):
    with pytest.raises(dramatiq.results.errors.ResultFailure, match="no"):
        actors.fails.send().get_result(block=True, timeout=WAIT * 1000)


def test_retries(actors, worker, notes, workplace):
    path = str(workplace / "flaky")
    actors.flaky.send("it-worked", 3, path)
    eventually(lambda: "dq:it-worked" in notes.lines(), WAIT)
    assert len(open(path).read().split()) == 4


def test_dead_letters(actors, worker, notes, r):
    r.select(4)
    message = actors.hopeless.send("hopeless")
    eventually(lambda: message.message_id in str(r.hvals("dramatiq:default.XQ.msgs")), WAIT)
    assert len(notes.about("dq:hopeless")) == 2
    assert r.zcard("dramatiq:default.XQ") == r.hlen("dramatiq:default.XQ.msgs")


def test_delays(actors, worker, notes):
    begin = time.monotonic()
    actors.told.send_with_options(args=("late",), delay=3000)
    actors.told.send_with_options(args=("soon",), delay=100)
    eventually(lambda: "dq:soon" in notes.lines())
    assert "dq:late" not in notes.lines()
    eventually(lambda: "dq:late" in notes.lines())
    assert time.monotonic() - begin >= 3


def test_a_message_that_is_too_old(actors, notes):
    actors.told.send_with_options(args=("aged",), max_age=100)
    time.sleep(0.3)
    worker = dramatiq.Worker(actors.broker, worker_timeout=100, worker_threads=1)
    worker.start()
    actors.broker.join("default", timeout=WAIT * 1000)
    worker.stop()
    assert "dq:aged" not in notes.lines()


def test_callbacks(actors, worker, notes):
    actors.hopeless.send_with_options(args=("worse",), on_failure=actors.failed)
    actors.add.send_with_options(args=(40, 2), on_success=actors.succeeded)
    eventually(lambda: "dq:succeeded:42" in notes.lines() and "dq:failed:worse:ValueError" in notes.lines(), WAIT)


def test_a_pipeline_and_a_group(actors, worker, notes):
    pipe = actors.add.message(1, 2) | actors.add.message(3) | actors.add.message(4)
    assert pipe.run().get_result(block=True, timeout=WAIT * 1000) == 10
    group = dramatiq.group([actors.add.message(n, n) for n in range(10)])
    group.add_completion_callback(actors.told.message("group-is-done"))
    assert list(group.run().get_results(block=True, timeout=WAIT * 1000)) == [2 * n for n in range(10)]
    eventually(lambda: "dq:group-is-done" in notes.lines())


def test_rate_limiters(actors):
    mutex = ConcurrentRateLimiter(actors.limits, "mutex", limit=1)
    with mutex.acquire(raise_on_failure=False) as first, mutex.acquire(raise_on_failure=False) as second:
        assert (first, second) == (True, False)
    with mutex.acquire(raise_on_failure=False) as third:
        assert third
    bucket = BucketRateLimiter(actors.limits, "bucket", limit=3, bucket=60_000)
    taken = 0
    for _ in range(5):
        with bucket.acquire(raise_on_failure=False) as acquired:
            taken += acquired
    assert taken == 3
    window = WindowRateLimiter(actors.limits, "window", limit=2, window=30)
    taken = 0
    for _ in range(5):
        with window.acquire(raise_on_failure=False) as acquired:
            taken += acquired
    assert taken == 2


def test_a_barrier(actors):
    barrier = Barrier(actors.limits, "barrier", ttl=10_000)
    assert barrier.create(parties=3) and not barrier.create(parties=3)
    assert [barrier.wait(block=False) for _ in range(3)] == [False, False, True]


def test_five_hundred_messages_in_worker_processes(actors, start, notes):
    program = start("--processes", "2", "--threads", "4")
    for n in range(500):
        actors.told.send(f"many-{n}")
    eventually(lambda: len(notes.about("dq:many-")) >= 500, 60)
    time.sleep(0.3)
    done = notes.about("dq:many-")
    assert len(done) == 500 and set(done) == {f"dq:many-{n}" for n in range(500)}
    assert program.stop() == 0


def test_messages_of_lost_workers_come_again(actors, start, notes):
    """A broker whose heartbeat ran out loses its messages to the others (KEYS in Lua finds them)."""
    doomed = start("--processes", "1", "--threads", "2")
    for n in range(4):
        actors.nap.send(1.5, f"n{n}")
    eventually(lambda: len(notes.about("dq:start:")) == 2)
    doomed.kill()
    assert notes.about("dq:done:") == []
    time.sleep(2.2)
    heir = start("--processes", "1", "--threads", "4")
    eventually(lambda: {f"dq:done:n{n}" for n in range(4)} == set(notes.about("dq:done:")), 60)
    holds(lambda: len(notes.about("dq:done:")) == 4, 0.5)
    heir.stop()
