"""The functions of the arq workers of the tests."""

import asyncio
import os

from arq import Retry, cron
from arq.connections import RedisSettings

from programs import note

SETTINGS = RedisSettings.from_dsn(os.environ.get("ARQ_URL", "redis://127.0.0.1:6379/14"))


async def add(ctx, a, b):
    return a + b


async def told(ctx, word):
    note(f"arq:{word}")
    return word


async def fail(ctx, text):
    raise ValueError(text)


async def flaky(ctx, failures):
    if ctx["job_try"] <= failures:
        raise Retry(defer=0.2)
    return ctx["job_try"]


async def nap(ctx, seconds, word):
    note(f"arq:start-{word}")
    await asyncio.sleep(seconds)
    note(f"arq:done-{word}")
    return word


async def each_second(ctx):
    note("arq:each-second")


FUNCTIONS = [add, told, fail, flaky, nap]


class WorkerSettings:
    functions = FUNCTIONS
    redis_settings = SETTINGS
    poll_delay = 0.1
    max_tries = 4
    allow_abort_jobs = True
    # How long a lost worker's jobs stay its own: this and some seconds.
    job_timeout = int(os.environ.get("ARQ_TIMEOUT", "30"))
    health_check_interval = 1
    cron_jobs = [cron(each_second, second=set(range(60)))]
