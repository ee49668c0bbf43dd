"""The Huey tasks of the tests, in the queues that Huey has over Redis."""

import os
import threading
import time

import huey as package
from huey import crontab
from huey.exceptions import RetryTask

from programs import note

URL = os.environ.get("HUEY_URL", "redis://127.0.0.1:6379/5")
KINDS = {
    "list": package.RedisHuey,
    "expire": package.RedisExpireHuey,
    "priority": package.PriorityRedisHuey,
    "priority-expire": package.PriorityRedisExpireHuey,
}
queues = {kind: cls(f"tests-{kind}", url=URL) for kind, cls in KINDS.items()}
huey = queues["list"]
failures = threading.local()


class Tasks:
    """The same tasks for one queue."""

    def __init__(self, huey):
        self.huey = huey
        self.runs = {}
        task = huey.task
        self.add = task(name="add")(lambda a, b: a + b)
        self.told = task(name="told")(lambda word: note(f"huey:{word}"))
        self.fail = task(name="fail")(self._fail)
        self.flaky = task(name="flaky", retries=3, retry_delay=0)(self._flaky)
        self.again = task(name="again", context=True)(self._again)
        self.locked = task(name="locked", retries=20, retry_delay=0.1)(huey.lock_task("one-at-a-time")(self._locked))
        self.nap = task(name="nap")(time.sleep)
        self.each = huey.periodic_task(crontab(minute="*"), name="each")(lambda: note(f"huey:each-minute:{huey.name}"))

    @staticmethod
    def _fail(text):
        raise ValueError(text)

    def _flaky(self, word, failures):
        self.runs[word] = self.runs.get(word, 0) + 1
        if self.runs[word] <= failures:
            raise RuntimeError("not yet")
        return self.runs[word]

    def _again(self, word, task=None):
        self.runs[word] = self.runs.get(word, 0) + 1
        if self.runs[word] == 1:
            raise RetryTask(delay=0.5)
        return self.runs[word]

    @staticmethod
    def _locked(word):
        note(f"huey:in:{word}")
        time.sleep(0.15)
        note(f"huey:out:{word}")


@huey.task()
def elsewhere(n):
    note(f"huey:elsewhere-{n}")
    return os.getpid()
