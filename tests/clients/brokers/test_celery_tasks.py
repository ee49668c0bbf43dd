"""Celery tasks by one worker: results, canvas, retries, times, revocation, limits."""

import time

import celery
import celery.exceptions
import pytest
from celery import chain, chord, group
from celery.result import AsyncResult, ResultSet

from programs import eventually

WAIT = 90


@pytest.fixture(scope="module", autouse=True)
def worker(cluster):
    return cluster.worker("one", "--max-tasks-per-child", "500", concurrency=2)


@pytest.fixture
def tasks(cluster):
    return cluster.tasks


def test_a_task_and_its_result(tasks, r):
    result = tasks.add.delay(2, 3)
    assert result.get(timeout=WAIT) == 5
    assert result.state == "SUCCESS"
    r.select(1)
    key = f"celery-task-meta-{result.id}"
    assert 0 < r.ttl(key) <= 600
    result.forget()
    assert r.exists(key) == 0


def test_messages_are_acknowledged(tasks, r):
    group(tasks.add.s(i, i) for i in range(20)).delay().get(timeout=WAIT)
    eventually(lambda: r.hlen("unacked") == 0 and r.zcard("unacked_index") == 0)
    assert r.llen("celery") == 0


def test_an_error_comes_back(tasks):
    result = tasks.fail.delay("broken")
    with pytest.raises(ValueError, match="broken"):
        result.get(timeout=WAIT)
    assert "ValueError" in result.traceback


def test_callbacks_of_success_and_failure(tasks, notes):
    failed = tasks.fail.apply_async(("x",), link_error=tasks.failed.s())
    eventually(lambda: f"errback:{failed.id}" in notes.lines())
    linked = tasks.add.apply_async((1, 2), link=tasks.add.s(10))
    assert linked.get(timeout=WAIT) == 3
    [child] = eventually(lambda: linked.children)
    assert child.get(timeout=WAIT) == 13


def test_a_chain(tasks):
    result = chain(tasks.add.s(1, 1), tasks.add.s(2), tasks.add.s(3)).delay()
    assert result.get(timeout=WAIT) == 7
    assert result.parent.get(timeout=WAIT) == 4


def test_a_chain_of_fifty(tasks):
    steps = [tasks.add.s(0, 1)] + [tasks.add.s(1)] * 49
    assert chain(*steps).delay().get(timeout=WAIT) == 50


def test_a_group(tasks):
    result = group(tasks.add.s(i, i) for i in range(40)).delay()
    assert result.get(timeout=WAIT) == [2 * i for i in range(40)]
    assert result.completed_count() == 40


def test_a_saved_group_is_restored(tasks, cluster):
    result = group(tasks.add.s(i, 1) for i in range(5)).delay()
    result.save()
    again = celery.result.GroupResult.restore(result.id, app=cluster.app)
    assert again.get(timeout=WAIT) == [1, 2, 3, 4, 5]
    again.delete()
    assert celery.result.GroupResult.restore(result.id, app=cluster.app) is None


def test_a_chord(tasks, r):
    result = chord((tasks.add.s(i, i) for i in range(30)), tasks.total.s()).delay()
    assert result.get(timeout=WAIT) == 870
    r.select(1)
    eventually(lambda: not [k for k in r.scan_iter("*") if k.endswith((".j", ".t", ".s"))])


def test_chords_at_the_same_time(tasks):
    chords = [chord([tasks.add.s(n, i) for i in range(5)], tasks.total.s()).delay() for n in range(12)]
    assert [c.get(timeout=WAIT) for c in chords] == [5 * n + 10 for n in range(12)]


def test_a_chord_inside_a_chain(tasks):
    work = chain(
        tasks.add.s(1, 1),
        group(tasks.add.s(i) for i in range(3)),
        tasks.total.s(),
        group(tasks.add.s(i) for i in range(2)),
        tasks.total.s(),
    )
    assert work.delay().get(timeout=WAIT) == 2 * (6 + 3) + 1


def test_a_chord_with_an_error(tasks):
    result = chord([tasks.add.s(1, 1), tasks.fail.s("part")], tasks.total.s()).delay()
    with pytest.raises(ValueError, match="part"):
        result.get(timeout=WAIT)  # the error of the header, whose results are asked first
    eventually(result.ready)
    assert isinstance(result.result, celery.exceptions.ChordError)


def test_map_starmap_and_chunks(tasks):
    assert tasks.total.map([[1, 2], [3, 4]]).delay().get(timeout=WAIT) == [3, 7]
    assert tasks.add.starmap([(1, 2), (3, 4)]).delay().get(timeout=WAIT) == [3, 7]
    chunks = tasks.add.chunks([(i, i) for i in range(9)], 4).group().delay().get(timeout=WAIT)
    assert chunks == [[0, 2, 4, 6], [8, 10, 12, 14], [16]]


def test_a_task_that_replaces_itself(tasks):
    assert tasks.replaced.delay(41).get(timeout=WAIT) == 42


def test_retries_until_it_works(tasks, notes):
    result = tasks.flaky.delay(3)
    assert result.get(timeout=WAIT) == 3
    assert len(notes.about(f"flaky:{result.id}")) == 4


def test_retries_are_given_up(tasks, notes):
    result = tasks.hopeless.delay()
    with pytest.raises(OSError, match="never"):
        result.get(timeout=WAIT)
    assert len(notes.about(f"hopeless:{result.id}")) == 3


def test_countdown_and_eta(tasks):
    begin = time.time()
    soon = tasks.when.apply_async(countdown=3.0)
    eta = celery.utils.time.maybe_make_aware(celery.current_app.now())
    now = tasks.when.apply_async(eta=eta)
    assert now.get(timeout=WAIT) - begin < 3.0
    assert soon.get(timeout=WAIT) - begin >= 3.0


def test_an_expired_task_does_not_run(tasks, notes):
    result = tasks.nap.apply_async((0,), countdown=0.8, expires=0.3)
    with pytest.raises(celery.exceptions.TaskRevokedError, match="expired"):
        result.get(timeout=WAIT)
    assert not notes.about(f"nap:{result.id}")


def test_revoked_before_it_runs(tasks, notes):
    result = tasks.nap.apply_async((0,), countdown=1.5)
    time.sleep(0.3)
    result.revoke()
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=WAIT)
    assert not notes.about(f"nap:{result.id}")


def test_revoked_while_it_runs(tasks, notes):
    result = tasks.nap.delay(60)
    eventually(lambda: notes.about(f"nap:{result.id}"))
    result.revoke(terminate=True, signal="SIGTERM")
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=WAIT)
    assert tasks.add.delay(1, 1).get(timeout=WAIT) == 2


def test_revoked_by_a_stamped_header(tasks, cluster):
    work = tasks.nap.s(0).set(countdown=1.5)
    work.stamp(batch="b-1")
    result = work.apply_async()
    time.sleep(0.3)
    cluster.app.control.revoke_by_stamped_headers({"batch": ["b-1"]})
    with pytest.raises(celery.exceptions.TaskRevokedError):
        result.get(timeout=WAIT)


def test_a_rate_limit(tasks):
    times = sorted(group(tasks.limited.s(n) for n in range(12)).delay().get(timeout=WAIT))
    # A bucket of one token: ten a second, and some slack for the worker's clock.
    assert times[-1] - times[0] > 0.8


def test_a_soft_time_limit(tasks):
    with pytest.raises(celery.exceptions.SoftTimeLimitExceeded):
        tasks.endless.delay().get(timeout=WAIT)


def test_custom_states_are_seen(tasks):
    seen = []
    result = tasks.grows.delay(5)
    assert result.get(timeout=WAIT, on_message=lambda body: seen.append(body["status"])) == 5
    assert seen.count("PROGRESS") == 5 and seen[-1] == "SUCCESS"


def test_many_results_are_awaited_at_once(tasks):
    results = [tasks.add.delay(i, 1) for i in range(200)]
    assert ResultSet(results).join_native(timeout=60) == [i + 1 for i in range(200)]


def test_a_result_that_is_there_already(tasks, cluster):
    result = tasks.add.delay(20, 1)
    assert result.get(timeout=WAIT) == 21
    assert AsyncResult(result.id, app=cluster.app).get(timeout=WAIT) == 21


def test_a_large_argument_and_result(tasks):
    text = "x" * 2_000_000
    assert tasks.add.delay(text, "y").get(timeout=WAIT) == text + "y"


def test_a_task_whose_process_dies_comes_again(tasks, notes):
    result = tasks.late_and_lost.delay()
    assert result.get(timeout=60) == "second time"
    assert len(notes.about(f"lost:{result.id}")) == 2


def test_a_thousand_tasks_none_lost_none_doubled(tasks, notes):
    with tasks.app.pool.acquire(block=True) as connection:
        for n in range(1000):
            tasks.tiny.apply_async((f"thousand-{n}",), connection=connection)
    wanted = {f"tiny:thousand-{n}" for n in range(1000)}
    eventually(lambda: len(notes.about("tiny:thousand-")) >= 1000, 60)
    done = notes.about("tiny:thousand-")
    assert len(done) == 1000 and set(done) == wanted
