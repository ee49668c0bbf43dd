"""RQ: queues, workers that fork, retries, schedules, dependencies, commands, lost workers."""

import datetime
import os
import signal
import time

import pytest
import redis
import rq
from rq.command import send_stop_job_command
from rq.cron import CronScheduler
from rq.group import Group
from rq.job import Dependency, JobStatus
from rq.registry import FailedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from rq.results import Result

import rq_jobs
from programs import Program, eventually, holds, python

WAIT = 90


@pytest.fixture(scope="module")
def connection(clean):
    with redis.Redis(port=clean.port, db=3) as connection:
        yield connection


@pytest.fixture(scope="module")
def start(clean, workplace, notes):
    started = []

    def start(*args):
        command = python("-m", "rq.cli", *args, "--url", clean.url(3))
        program = Program(*command, log=workplace / f"rq-{len(started)}.log")
        started.append(program)
        return program

    yield start
    for program in started:
        if program.process.poll() is None:
            program.stop()


@pytest.fixture(scope="module", autouse=True)
def workers(start):
    """Two that fork for every job; one of them also moves the scheduled jobs each second."""
    first = start("worker", "high", "default", "--with-scheduler", "--results-ttl", "100")
    second = start("worker", "high", "default", "--results-ttl", "100")
    for program in (first, second):
        program.says("Listening on high, default")
    return first, second


@pytest.fixture
def queue(connection):
    return rq.Queue("default", connection=connection)


def finished(job):
    eventually(lambda: job.get_status(refresh=True) in (JobStatus.FINISHED, JobStatus.FAILED, JobStatus.STOPPED), WAIT)
    return job.get_status()


def test_a_job_and_its_result(queue, connection):
    job = queue.enqueue(rq_jobs.add, 2, 3)
    assert finished(job) == JobStatus.FINISHED
    assert job.return_value() == 5
    assert 0 < connection.ttl(job.key) <= 100
    assert job in [queue.fetch_job(id) for id in queue.finished_job_registry.get_job_ids()]
    assert queue.count == 0


def test_a_result_is_waited_for(queue):
    job = queue.enqueue(rq_jobs.nap, 0.3, "awaited")
    result = job.latest_result(timeout=WAIT)
    assert result.type == Result.Type.SUCCESSFUL and result.return_value == "awaited"


def test_an_error(queue, connection):
    job = queue.enqueue(rq_jobs.fail, "broken")
    assert finished(job) == JobStatus.FAILED
    assert "ValueError: broken" in job.latest_result().exc_string
    failed = FailedJobRegistry(queue=queue)
    assert job.id in failed.get_job_ids()
    failed.requeue(job.id)
    eventually(lambda: len(job.results()) == 2)
    eventually(lambda: job.id in failed.get_job_ids())
    failed.remove(job.id, delete_job=True)
    assert not connection.exists(job.key)


def test_retries_at_once_and_later(queue):
    job = queue.enqueue(rq_jobs.flaky, 2, retry=rq.Retry(max=3))
    assert finished(job) == JobStatus.FINISHED and job.return_value() == 3
    begin = time.monotonic()
    job = queue.enqueue(rq_jobs.flaky, 1, retry=rq.Retry(max=3, interval=2))
    assert finished(job) == JobStatus.FINISHED and job.return_value() == 2
    assert time.monotonic() - begin >= 1


def test_retries_are_given_up(queue):
    job = queue.enqueue(rq_jobs.flaky, 10, retry=rq.Retry(max=2))
    eventually(lambda: job.get_meta(refresh=True).get("runs") == 3)
    assert finished(job) == JobStatus.FAILED


def test_scheduled_in_and_at(queue, notes):
    begin = time.monotonic()
    soon = queue.enqueue_in(datetime.timedelta(seconds=2), rq_jobs.told, "soon")
    later = queue.enqueue_in(datetime.timedelta(hours=1), rq_jobs.told, "later")
    registry = ScheduledJobRegistry(queue=queue)
    assert {soon.id, later.id} <= set(registry.get_job_ids())
    assert finished(soon) == JobStatus.FINISHED
    assert time.monotonic() - begin >= 1  # RQ's schedule has whole seconds
    assert registry.get_job_ids() == [later.id]
    later.cancel()
    assert later.get_status() == JobStatus.CANCELED and registry.get_job_ids() == []


def test_repetition(queue, notes):
    queue.enqueue(rq_jobs.told, "repeated", repeat=rq.Repeat(times=2, interval=1))
    eventually(lambda: len(notes.about("rq:repeated")) == 3, WAIT)


def test_dependencies(queue):
    parts = [queue.enqueue(rq_jobs.add, n, n) for n in range(5)]
    job = queue.enqueue(rq_jobs.sum_of_dependencies, depends_on=parts)
    assert finished(job) == JobStatus.FINISHED and job.return_value() == 20
    broken = queue.enqueue(rq_jobs.fail, "first")
    anyway = queue.enqueue(rq_jobs.add, 1, 1, depends_on=Dependency(broken, allow_failure=True))
    never = queue.enqueue(rq_jobs.add, 1, 1, depends_on=broken)
    assert finished(anyway) == JobStatus.FINISHED
    assert never.get_status() == JobStatus.DEFERRED


def test_many_at_once(queue):
    jobs = queue.enqueue_many([rq.Queue.prepare_data(rq_jobs.add, (n, 1)) for n in range(25)])
    for n, job in enumerate(jobs):
        assert finished(job) == JobStatus.FINISHED and job.return_value() == n + 1


def test_a_rate_limit(queue, notes):
    """One at a time, whoever runs it: a script that names its keys by what it finds in others."""
    limit = rq.RateLimit(key="alone", concurrency=1)
    jobs = [queue.enqueue(rq_jobs.limited, f"limited{n}", rate_limit=limit) for n in range(6)]
    for job in jobs:
        assert finished(job) == JobStatus.FINISHED
    lines = [line for line in notes.lines() if "limited" in line]
    assert [line.split(":")[1] for line in lines] == ["in", "out"] * 6


def test_a_group(queue, connection):
    group = Group.create(connection=connection)
    jobs = group.enqueue_many(queue, [rq.Queue.prepare_data(rq_jobs.add, (n, n)) for n in range(5)])
    for job in jobs:
        finished(job)
    assert sorted(job.return_value() for job in group.get_jobs()) == [0, 2, 4, 6, 8]


def test_cron(connection, notes):
    """What `rq cron` does each second, without its process."""
    cron = CronScheduler(connection=connection)
    job = cron.register(rq_jobs.told, queue_name="default", args=("cron",), interval=1)
    cron.register_birth()
    assert [one.name for one in CronScheduler.all(connection)] == [cron.name]
    assert len(cron.enqueue_jobs()) == 1 and cron.enqueue_jobs() == []
    eventually(lambda: job.should_run() and cron.enqueue_jobs())
    eventually(lambda: len(notes.about("rq:cron")) == 2)
    cron.register_death()
    assert CronScheduler.all(connection) == []


def test_callbacks(queue, notes):
    options = {"on_success": rq.Callback(rq_jobs.on_success), "on_failure": rq.Callback(rq_jobs.on_failure)}
    good = queue.enqueue(rq_jobs.add, 1, 1, **options)
    bad = queue.enqueue(rq_jobs.fail, "x", **options)
    eventually(lambda: {f"rq:success:{good.id}:2", f"rq:failure:{bad.id}:ValueError"} <= set(notes.lines()))


def test_queue_operations(connection):
    queue = rq.Queue("unserved", connection=connection)
    jobs = [queue.enqueue(rq_jobs.add, n, n) for n in range(5)]
    front = queue.enqueue(rq_jobs.add, 9, 9, at_front=True)
    ids = [front.id] + [job.id for job in jobs]
    assert queue.job_ids == ids and queue.count == 6
    assert [queue.get_job_position(id) for id in ids] == list(range(6))
    queue.remove(jobs[1])
    jobs[0].cancel()
    jobs[2].delete()
    assert queue.job_ids == [front.id, jobs[3].id, jobs[4].id]
    assert queue.canceled_job_registry.get_job_ids() == [jobs[0].id]
    assert "unserved" in [other.name for other in rq.Queue.all(connection)]
    assert queue.empty() == 3
    assert queue.count == 0 and not connection.exists(jobs[3].key)
    queue.delete()
    assert "unserved" not in [other.name for other in rq.Queue.all(connection)]


def test_a_queue_before_another(connection, start, notes):
    low, high = rq.Queue("low", connection=connection), rq.Queue("urgent", connection=connection)
    for n in range(3):
        low.enqueue(rq_jobs.told, f"low{n}")
        high.enqueue(rq_jobs.told, f"urgent{n}")
    worker = start("worker", "urgent", "low", "--burst")
    assert worker.process.wait(WAIT) == 0
    done = [line for line in notes.lines() if line.startswith(("rq:low", "rq:urgent"))]
    assert done == [f"rq:{name}{n}" for name in ("urgent", "low") for n in range(3)]


def test_a_running_job_is_stopped_by_a_command(queue, connection, notes):
    job = queue.enqueue(rq_jobs.nap, 60, "stopped")
    eventually(lambda: notes.about("rq:stopped"))
    eventually(lambda: (job.refresh(), job.worker_name)[1])
    assert job.get_status() == JobStatus.STARTED
    assert job.id in StartedJobRegistry(queue=queue).get_job_ids()
    send_stop_job_command(connection, job.id)
    assert finished(job) == JobStatus.STOPPED


def test_a_job_over_its_time(queue):
    job = queue.enqueue(rq_jobs.nap, 30, "too-long", job_timeout=1)
    assert finished(job) == JobStatus.FAILED
    assert "JobTimeoutException" in job.latest_result().exc_string


def test_a_lost_work_horse(queue, notes):
    job = queue.enqueue(rq_jobs.nap, 60, "horse")
    [line] = eventually(lambda: notes.about("rq:horse"))
    os.kill(int(line.split(":")[2]), signal.SIGKILL)
    assert finished(job) == JobStatus.FAILED
    assert "terminated unexpectedly" in job.latest_result().exc_string


def test_workers_are_registered_and_told_to_shut_down(connection, start):
    extra = start("worker", "elsewhere", "--name", "extra")
    extra.says("Listening on elsewhere")
    names = lambda: {worker.name for worker in rq.Worker.all(connection=connection)}
    eventually(lambda: len(names()) == 3 and "extra" in names())
    rq.command.send_shutdown_command(connection, "extra")
    eventually(lambda: extra.process.poll() is not None)
    eventually(lambda: "extra" not in names())


def test_suspended_and_resumed(queue, connection):
    rq.suspension.suspend(connection)
    assert rq.suspension.is_suspended(connection)
    time.sleep(0.2)
    # A worker that waits already takes one more job each; the others stay until it goes on.
    jobs = [queue.enqueue(rq_jobs.add, 1, n) for n in range(4)]
    holds(lambda: queue.count >= 1, 1.5)
    rq.suspension.resume(connection)
    assert [finished(job) for job in jobs] == [JobStatus.FINISHED] * 4


def test_jobs_of_a_pool(connection, start):
    queue = rq.Queue("pooled", connection=connection)
    jobs = [queue.enqueue(rq_jobs.add, n, n) for n in range(12)]
    pool = start("worker-pool", "pooled", "-n", "2", "-b")
    for n, job in enumerate(jobs):
        assert finished(job) == JobStatus.FINISHED and job.return_value() == 2 * n
    assert pool.process.wait(WAIT) == 0
