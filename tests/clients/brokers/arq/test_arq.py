"""arq, which has its own environment: it wants a redis-py before version 6."""

import asyncio
import os
import time

import arq
import pytest
from arq.connections import RedisSettings
from arq.jobs import Job, JobStatus

from programs import HERE, Program, eventually, python

WAIT = 90


@pytest.fixture(scope="module")
def url(clean):
    return clean.url(14)


@pytest.fixture(scope="module")
def start(url, workplace, notes):
    started = []

    def start(settings="arq_tasks.WorkerSettings", **env):
        program = Program(*python("-m", "arq", settings), log=workplace / f"arq-{len(started)}.log", env={"ARQ_URL": url, **env}, cwd=HERE / "arq")
        program.says("Starting worker")
        started.append(program)
        return program

    yield start
    for program in started:
        if program.process.poll() is None:
            program.stop()


@pytest.fixture(scope="module", autouse=True)
def worker(start):
    return start()


@pytest.fixture
def run(url):
    """Runs a coroutine function with a pool of connections, and not for ever."""

    def run(body):
        async def inner():
            pool = await arq.create_pool(RedisSettings.from_dsn(url))
            try:
                return await body(pool)
            finally:
                await pool.aclose()

        return asyncio.run(asyncio.wait_for(inner(), 60))

    return run


def test_jobs_and_results(run):
    async def body(pool):
        jobs = [await pool.enqueue_job("add", n, 1) for n in range(30)]
        return [await job.result(timeout=WAIT, poll_delay=0.05) for job in jobs]

    assert run(body) == [n + 1 for n in range(30)]


def test_an_error(run):
    async def body(pool):
        job = await pool.enqueue_job("fail", "broken")
        with pytest.raises(ValueError, match="broken"):
            await job.result(timeout=WAIT, poll_delay=0.05)
        info = await job.result_info()
        return info.success, info.job_try

    assert run(body) == (False, 1)


def test_a_job_is_there_once(run):
    async def body(pool):
        first = await pool.enqueue_job("told", "unique", _job_id="unique", _defer_by=0.5)
        second = await pool.enqueue_job("told", "unique", _job_id="unique")
        assert first and second is None
        return await first.result(timeout=WAIT, poll_delay=0.05)

    assert run(body) == "unique"


def test_deferred(run):
    async def body(pool):
        begin = time.time()
        job = await pool.enqueue_job("told", "deferred", _defer_by=3)
        assert await job.status() == JobStatus.deferred
        await job.result(timeout=WAIT, poll_delay=0.05)
        assert await job.status() == JobStatus.complete
        return time.time() - begin

    assert run(body) >= 3


def test_retries(run):
    async def body(pool):
        good = await pool.enqueue_job("flaky", 2)
        bad = await pool.enqueue_job("flaky", 99)
        assert await good.result(timeout=WAIT, poll_delay=0.05) == 3
        with pytest.raises(arq.worker.JobExecutionFailed, match="max"):
            await bad.result(timeout=WAIT, poll_delay=0.05)

    run(body)


def test_aborted(run, notes):
    async def body(pool):
        job = await pool.enqueue_job("nap", 60, "aborted")
        while "arq:start-aborted" not in notes.lines():
            await asyncio.sleep(0.05)
        assert await job.abort(timeout=WAIT, poll_delay=0.05)

    run(body)
    assert "arq:done-aborted" not in notes.lines()


def test_what_is_queued_and_known(run):
    async def body(pool):
        jobs = [await pool.enqueue_job("add", n, n, _queue_name="nobody") for n in range(5)]
        queued = await pool.queued_jobs(queue_name="nobody")
        assert sorted(job.args for job in queued) == [(n, n) for n in range(5)]
        assert await jobs[0].status() == JobStatus.queued
        assert await Job("absent", pool).status() == JobStatus.not_found
        assert len(await pool.all_job_results()) > 0
        brief = await pool.enqueue_job("add", 1, 1, _queue_name="brief", _expires=0.2)
        await asyncio.sleep(0.4)
        return await pool.exists(f"arq:job:{brief.job_id}")

    assert run(body) == 0


def test_cron(notes):
    before = len(notes.about("arq:each-second"))
    eventually(lambda: len(notes.about("arq:each-second")) >= before + 2)


def test_the_health_check(run):
    async def body(pool):
        return await pool.get("arq:queue:health-check")

    assert b"j_complete=" in eventually(lambda: run(body))


def test_four_hundred_jobs_by_two_workers(run, start, notes):
    other = start()

    async def body(pool):
        jobs = [await pool.enqueue_job("told", f"many-{n}") for n in range(400)]
        for job in jobs:
            await job.result(timeout=WAIT, poll_delay=0.05)

    run(body)
    done = notes.about("arq:many-")
    assert len(done) == 400 and set(done) == {f"arq:many-{n}" for n in range(400)}
    other.stop()


def test_jobs_of_a_worker_that_ends_come_again(run, start, worker, notes):
    """SIGTERM cancels what runs; another worker takes it up."""
    worker.stop()
    leaving = start()

    async def body(pool):
        return (await pool.enqueue_job("nap", 1.5, "moved")).job_id

    id = run(body)
    eventually(lambda: "arq:start-moved" in notes.lines())
    leaving.stop()
    assert "arq:done-moved" not in notes.lines()
    start()

    async def result(pool):
        return await Job(id, pool).result(timeout=WAIT, poll_delay=0.05)

    assert run(result) == "moved"
    assert notes.about("arq:done-moved") == ["arq:done-moved"]
