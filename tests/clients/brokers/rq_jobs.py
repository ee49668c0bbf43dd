"""What the RQ workers of the tests run."""

import os
import time

from rq import get_current_job

from programs import note


def add(a, b):
    return a + b


def fail(text):
    raise ValueError(text)


def told(word):
    note(f"rq:{word}")
    return word


def flaky(failures):
    """Fails as often as asked, then tells how often it ran."""
    job = get_current_job()
    job.meta["runs"] = job.meta.get("runs", 0) + 1
    job.save_meta()
    if job.meta["runs"] <= failures:
        raise RuntimeError("not yet")
    return job.meta["runs"]


def nap(seconds, word="nap"):
    note(f"rq:{word}:{os.getpid()}")
    time.sleep(seconds)
    return word


def sum_of_dependencies():
    return sum(job.return_value() for job in get_current_job().fetch_dependencies())


def on_success(job, connection, result):
    note(f"rq:success:{job.id}:{result}")


def on_failure(job, connection, kind, value, trace):
    note(f"rq:failure:{job.id}:{kind.__name__}")


def limited(word):
    note(f"rq:in:{word}")
    time.sleep(0.1)
    note(f"rq:out:{word}")
