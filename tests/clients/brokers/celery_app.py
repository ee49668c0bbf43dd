"""The Celery application of the tests. The server and the options come by the environment."""

import functools
import os
import time

from celery import Celery
from kombu import Queue
from kombu.common import Broadcast

from programs import note

app = Celery("celery_app")
app.conf.update(
    broker_url=os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0"),
    result_backend=os.environ.get("RESULT_URL", "redis://127.0.0.1:6379/1"),
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": float(os.environ.get("VISIBILITY", "3600")),
        # Lost messages are looked for each second, not every hundred seconds.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "queue_order_strategy": "priority",
        "priority_steps": [0, 3, 6, 9],
    },
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "4")),
    task_queues=[Queue("celery"), Queue("other"), Broadcast("to_all", routing_key="everyone")],
    task_default_queue="celery",
    task_routes={"celery_app.tell_all": {"queue": "to_all", "exchange": "to_all", "routing_key": "everyone"}},
    task_send_sent_event=True,
    worker_send_task_events=True,
    task_track_started=True,
    result_expires=600,
    redbeat_redis_url=os.environ.get("RESULT_URL", "redis://127.0.0.1:6379/1"),
    redbeat_lock_timeout=6,
    beat_max_loop_interval=1,
    beat_schedule={"each-second": {"task": "celery_app.tick", "schedule": 1.0, "args": ["beat"]}},
)

# Several applications may live in one process, one for each server: tasks belong to theirs alone.
task = functools.partial(app.task, shared=False)


@task()
def add(a, b):
    return a + b


@task()
def total(numbers):
    return sum(numbers)


@task()
def fail(text):
    raise ValueError(text)


@task()
def failed(request, error, _trace):
    note(f"errback:{request.id}")


@task(bind=True, max_retries=5, default_retry_delay=0.1)
def flaky(self, failures):
    note(f"flaky:{self.request.id}")
    if self.request.retries < failures:
        raise self.retry(exc=RuntimeError("not yet"))
    return self.request.retries


@task(bind=True, autoretry_for=(OSError,), retry_backoff=False, max_retries=2, default_retry_delay=0.1)
def hopeless(self):
    note(f"hopeless:{self.request.id}")
    raise OSError("never")


@task(bind=True)
def nap(self, seconds, result=None):
    note(f"nap:{self.request.id}:{os.getpid()}")
    time.sleep(seconds)
    return result


@task(bind=True, acks_late=True)
def late(self, seconds):
    note(f"late:{self.request.id}:{os.getpid()}")
    time.sleep(seconds)
    note(f"done:{self.request.id}:{os.getpid()}")
    return os.getpid()


@task(bind=True, acks_late=True, reject_on_worker_lost=True)
def late_and_lost(self):
    """Its process dies in the first run; the message must come again."""
    note(f"lost:{self.request.id}")
    if not self.request.delivery_info.get("redelivered"):
        os.kill(os.getpid(), 9)
    return "second time"


@task(bind=True)
def when(self):
    return time.time()


@task(rate_limit="10/s")
def limited(n):
    return time.time()


@task(soft_time_limit=0.5, time_limit=10)
def endless():
    time.sleep(30)


@task()
def in_order(n):
    note(f"order:{n}")


@task(ignore_result=True)
def tiny(n):
    note(f"tiny:{n}")


@task()
def tiny_with_result(n):
    note(f"tiny:{n}")
    return n


@task(bind=True, ignore_result=True)
def tell_all(self, word):
    note(f"all:{word}:{self.request.hostname}")


@task(ignore_result=True)
def tick(name):
    note(f"tick:{name}")


@task(bind=True)
def grows(self, steps):
    for step in range(steps):
        self.update_state(state="PROGRESS", meta={"step": step})
        time.sleep(0.05)
    return steps


@task(bind=True)
def replaced(self, n):
    raise self.replace(add.s(n, 1))
