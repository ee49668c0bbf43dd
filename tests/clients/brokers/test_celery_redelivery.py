"""Celery when workers are lost: late acknowledgement, the visibility timeout, ten thousand tasks."""

import os
import signal
import time

import pytest

from programs import eventually, holds

WAIT = 90
SHORT = {"VISIBILITY": "4", "PREFETCH": "1"}


@pytest.fixture
def tasks(cluster):
    return cluster.tasks


@pytest.mark.slow
def test_a_task_of_a_killed_worker_runs_again(tasks, cluster, notes, r):
    first = cluster.worker("doomed", queues="other", concurrency=1, env=SHORT)
    result = tasks.late.apply_async((1.5,), queue="other")
    [started] = eventually(lambda: notes.about(f"late:{result.id}"))
    first.kill()
    assert r.hlen("unacked") == 1 and r.zcard("unacked_index") == 1
    begin = time.monotonic()
    second = cluster.worker("heir", queues="other", concurrency=1, env=SHORT)
    eventually(lambda: len(notes.about(f"late:{result.id}")) == 2, WAIT)
    assert time.monotonic() - begin > 1.0
    assert str(result.get(timeout=WAIT)) not in started
    eventually(lambda: not r.exists("unacked", "unacked_index"))
    assert len(notes.about(f"done:{result.id}")) == 1
    second.stop()


@pytest.mark.slow
def test_tasks_of_killed_workers_all_run_and_none_is_lost(tasks, cluster, notes, r):
    """A hundred tasks, and three times a worker with its processes is killed in their midst."""
    env = {**SHORT, "PREFETCH": "4"}
    workers = [cluster.worker(f"w{n}", queues="other", concurrency=2, env=env) for n in range(2)]
    results = [tasks.late.apply_async((0.05,), queue="other") for _ in range(100)]
    for n in range(3):
        eventually(lambda: len(notes.about("done:")) >= 15 * (n + 1), WAIT)
        workers.pop(0).kill()
        workers.append(cluster.worker(f"next{n}", queues="other", concurrency=2, env=env))
    for result in results:
        result.get(timeout=WAIT)
    done = [line.split(":")[1] for line in notes.about("done:")]
    assert {result.id for result in results} <= set(done)
    eventually(lambda: not r.exists("unacked", "unacked_index", "other"), WAIT)
    # What was done and not acknowledged when its worker was killed is done twice, no more than that.
    assert len(done) <= 100 + 1 + 3 * 2 * 5
    for worker in workers:
        worker.stop()


@pytest.mark.slow
def test_the_visibility_timeout_of_a_long_task(tasks, cluster, notes):
    """Celery's own rule: what takes longer than the timeout is delivered again, also while it runs."""
    worker = cluster.worker("slow", queues="other", concurrency=2, env=SHORT)
    result = tasks.late.apply_async((7,), queue="other")
    eventually(lambda: len(notes.about(f"late:{result.id}")) == 2, WAIT)
    result.get(timeout=WAIT)
    eventually(lambda: len(notes.about(f"done:{result.id}")) >= 2, WAIT)
    worker.stop()


@pytest.mark.slow
def test_a_killed_child_of_an_early_acknowledged_task(tasks, cluster, notes):
    """Without acks_late a lost process is a failed task, and nothing comes again."""
    worker = cluster.worker("parent", queues="other", concurrency=1, env=SHORT)
    result = tasks.nap.apply_async((30,), queue="other")
    [line] = eventually(lambda: notes.about(f"nap:{result.id}"))
    os.kill(int(line.split(":")[2]), signal.SIGKILL)
    with pytest.raises(Exception, match="SIGKILL"):
        result.get(timeout=WAIT)
    holds(lambda: len(notes.about(f"nap:{result.id}")) == 1, 5)
    worker.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("with_results", [False, True], ids=["no-results", "results"])
def test_ten_thousand_tasks(tasks, cluster, notes, r, with_results):
    """Each runs once and only once, as seen in a file beside the server, and no message is left."""
    task = tasks.tiny_with_result if with_results else tasks.tiny
    mark = f"10k-{with_results}-"
    workers = [cluster.worker(f"busy{n}", "--without-gossip", queues="other", env={"PREFETCH": "16"}) for n in range(2)]
    results = []
    with cluster.app.pool.acquire(block=True) as connection:
        for n in range(10_000):
            sent = task.apply_async((f"{mark}{n}",), queue="other", connection=connection)
            results.append(sent.id)
    eventually(lambda: len(notes.about(f"tiny:{mark}")) >= 10_000, 240, 0.5)
    eventually(lambda: not r.exists("other", "unacked", "unacked_index"))
    done = notes.about(f"tiny:{mark}")
    assert len(done) == 10_000
    assert set(done) == {f"tiny:{mark}{n}" for n in range(10_000)}
    if with_results:
        r.select(1)
        keys = [f"celery-task-meta-{id}" for id in results]
        eventually(lambda: None not in r.mget(keys))
    for worker in workers:
        worker.stop()
