"""The Dramatiq actors of the tests."""

import os
import time

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as LimitsBackend
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from programs import note

URL = os.environ.get("DRAMATIQ_URL", "redis://127.0.0.1:6379/4")
limits = LimitsBackend(url=URL)
results = RedisBackend(url=URL)
# The heartbeat of a broker that is lost runs out after two seconds, and one command in five looks.
broker = RedisBroker(url=URL, heartbeat_timeout=2000, maintenance_chance=200_000)
broker.add_middleware(Results(backend=results))
broker.add_middleware(GroupCallbacks(limits))
dramatiq.set_broker(broker)


@dramatiq.actor(store_results=True)
def add(a, b):
    return a + b


@dramatiq.actor
def told(word):
    note(f"dq:{word}")


@dramatiq.actor(queue_name="urgent")
def told_in_another_queue(word):
    note(f"dq:{word}")


@dramatiq.actor(max_retries=5, min_backoff=50, max_backoff=200)
def flaky(word, failures, path):
    runs = len(open(path).read().split()) if os.path.exists(path) else 0
    with open(path, "a") as log:
        log.write("run\n")
    if runs < failures:
        raise RuntimeError("not yet")
    note(f"dq:{word}")


@dramatiq.actor(max_retries=1, min_backoff=50, max_backoff=100)
def hopeless(word):
    note(f"dq:{word}")
    raise ValueError(word)


@dramatiq.actor(store_results=True, max_retries=0)
def fails():
    raise ValueError("no")


@dramatiq.actor
def failed(message, error):
    note(f"dq:failed:{message['args'][0]}:{error['type']}")


@dramatiq.actor
def succeeded(message, result):
    note(f"dq:succeeded:{result}")


@dramatiq.actor(max_retries=10)
def nap(seconds, word):
    note(f"dq:start:{word}")
    time.sleep(seconds)
    note(f"dq:done:{word}")
