"""Huey over lists, sorted sets with BZPOPMIN, and results that expire."""

import datetime
import importlib
import os
import sys
import time

import huey as package
import pytest
from huey.exceptions import ResultTimeout, TaskException

from programs import Program, eventually, holds, python

WAIT = 90
KINDS = ["list", "expire", "priority", "priority-expire"]


@pytest.fixture(scope="module")
def module(clean, notes):
    os.environ["HUEY_URL"] = clean.url(5)
    sys.modules.pop("huey_tasks", None)
    return importlib.import_module("huey_tasks")


@pytest.fixture(scope="module", params=KINDS)
def tasks(module, request):
    """The tasks of one kind of queue, with a consumer of three threads in this process."""
    tasks = module.Tasks(module.queues[request.param])
    consumer = tasks.huey.create_consumer(workers=3, periodic=True, initial_delay=0.05, max_delay=0.2, scheduler_interval=1)
    consumer._set_signal_handlers = lambda: None
    consumer.start()
    yield tasks
    consumer.stop(graceful=True)


def outcome(result):
    """A failed attempt leaves its error as the result until the next one has ended."""

    def last():
        result.reset()
        try:
            return result.get(preserve=True)
        except TaskException:
            return None

    return eventually(last, WAIT)


def test_a_task_and_its_result(tasks):
    assert tasks.add(2, 3).get(blocking=True, timeout=WAIT) == 5
    result = tasks.add(2, 3)
    assert result.get(blocking=True, timeout=WAIT, preserve=True) == 5
    assert result.get() == 5
    assert tasks.huey.pending_count() == 0


def test_an_error(tasks):
    with pytest.raises(TaskException, match="broken"):
        tasks.fail("broken").get(blocking=True, timeout=WAIT)


def test_map(tasks):
    results = tasks.add.map([(n, n) for n in range(30)])
    assert results.get(blocking=True, timeout=WAIT) == [2 * n for n in range(30)]


def test_retries(tasks):
    assert outcome(tasks.flaky("a", 2)) == 3
    with pytest.raises(TaskException):
        tasks.flaky("b", 10).get(blocking=True, timeout=WAIT)
    eventually(lambda: tasks.runs["b"] == 4)
    assert outcome(tasks.again("c")) == 2


def test_schedule(tasks):
    begin = time.monotonic()
    result = tasks.add.schedule((1, 1), delay=1)
    later = tasks.add.schedule((1, 1), eta=datetime.datetime.now() + datetime.timedelta(hours=1))
    with pytest.raises(ResultTimeout):
        result.get(blocking=True, timeout=0.3)
    assert later.id in [task.id for task in eventually(tasks.huey.scheduled)]
    assert result.get(blocking=True, timeout=WAIT) == 2
    assert time.monotonic() - begin >= 1
    later.revoke()
    assert later.is_revoked()
    later.restore()
    assert not later.is_revoked()


def test_revoked(tasks, notes):
    mark = f"revoked-{tasks.huey.name}"
    result = tasks.told.schedule((mark,), delay=1)
    result.revoke()
    eventually(lambda: tasks.huey.scheduled_count() == 0 or result.id not in [t.id for t in tasks.huey.scheduled()])
    holds(lambda: f"huey:{mark}" not in notes.lines(), 0.5)
    tasks.told.revoke()
    assert tasks.told.is_revoked()
    assert tasks.told.restore()
    tasks.told(mark)
    eventually(lambda: f"huey:{mark}" in notes.lines())


def test_a_pipeline_and_a_chord(tasks):
    pipeline = tasks.add.s(1, 2).then(tasks.add, 3).then(tasks.add, 4)
    assert tasks.huey.enqueue(pipeline).get(blocking=True, timeout=WAIT) == [3, 6, 10]
    total = tasks.huey.task(name="total")(lambda numbers: sum(numbers))
    chord = package.chord([tasks.add.s(n, n) for n in range(6)], total.s())
    assert tasks.huey.enqueue(chord).get(blocking=True, timeout=WAIT) == 30


def test_a_locked_task_runs_alone(tasks, notes):
    mark = tasks.huey.name
    for n in range(4):
        tasks.locked(f"{mark}:{n}")
    mine = lambda: [line for line in notes.lines() if line.startswith((f"huey:in:{mark}:", f"huey:out:{mark}:"))]
    eventually(lambda: len(mine()) == 8, WAIT)
    kinds = [line.split(":")[1] for line in mine()]
    assert kinds == ["in", "out"] * 4
    with tasks.huey.lock_task("mine"):
        assert tasks.huey.is_locked("mine")
        with pytest.raises(package.exceptions.TaskLockedException):
            tasks.huey.lock_task("mine").acquire()
    assert not tasks.huey.is_locked("mine")


def test_a_rate_limit(tasks):
    limit = tasks.huey.rate_limit("few", limit=3, per=60, retry=False)
    for _ in range(3):
        limit.acquire()
    with pytest.raises(package.exceptions.RateLimitExceeded):
        limit.acquire()
    limit.reset()
    limit.acquire()


def test_an_expired_task(tasks, notes):
    mark = f"expired-{tasks.huey.name}"
    tasks.told.schedule((mark,), delay=1, expires=0.1)
    eventually(lambda: tasks.huey.pending_count() == 0 and mark not in str(tasks.huey.scheduled()))
    holds(lambda: f"huey:{mark}" not in notes.lines(), 0.5)


def test_priorities(module, notes):
    """The queue of a consumer that is not there yet; the highest number goes first."""
    huey = package.PriorityRedisHuey("ranks", url=module.URL)
    ranked = huey.task(name="ranked")(lambda n: n)
    for priority in (1, 5, None, 9, 5):
        ranked(priority, priority=priority)
    order = [huey.dequeue().priority for _ in range(5)]
    assert order == [9, 5, 5, 1, None]


def test_stored_values(tasks):
    storage = tasks.huey.storage
    assert tasks.huey.put_if_empty("once", 1) and not tasks.huey.put_if_empty("once", 2)
    assert tasks.huey.get("once", peek=True) == 1
    keeps = "expire" in tasks.huey.name  # until they expire, whoever has read them
    assert tasks.huey.get("once") == 1 and tasks.huey.get("once") == (1 if keeps else None)
    storage.put_data("kept", b"x", is_result=True)
    assert b"x" in storage.result_items().values()
    storage.flush_results()
    assert tasks.huey.result_count() == 0


def test_consumer_processes(module, workplace, notes, clean):
    """huey_consumer with two worker processes, three hundred tasks, each once."""
    script = os.path.join(os.path.dirname(package.__file__), "bin", "huey_consumer.py")
    command = python(script, "huey_tasks.huey", "-w", "2", "-k", "process", "-n")
    program = Program(*command, log=workplace / "huey.log", env={"HUEY_URL": clean.url(5)})
    results = [module.elsewhere(n) for n in range(300)]
    pids = {result.get(blocking=True, timeout=60, backoff=1.05) for result in results}
    assert os.getpid() not in pids
    done = notes.about("huey:elsewhere-")
    assert len(done) == 300 and len(set(done)) == 300
    program.stop()
