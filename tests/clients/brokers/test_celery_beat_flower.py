"""Programs beside Celery's workers: beat with RedBeat's schedule in the server, and Flower's API."""

import base64
import json
import urllib.request

import pytest

from programs import eventually, free_port, holds

WAIT = 90


@pytest.fixture(scope="module", autouse=True)
def worker(cluster):
    return cluster.worker("one", queues="celery,other")


@pytest.fixture
def tasks(cluster):
    return cluster.tasks


def beat(cluster):
    return cluster.run("beat", "-S", "redbeat.RedBeatScheduler", "-l", "debug", "--pidfile=")


def ticks(notes, name):
    return len(notes.about(f"tick:{name}"))


def test_redbeat_runs_the_schedule_and_one_beat_only(cluster, notes, r):
    from redbeat import RedBeatSchedulerEntry
    from redbeat.schedulers import get_redis

    r.select(1)
    first = beat(cluster)
    first.says("Acquired lock")
    eventually(lambda: ticks(notes, "beat") >= 2)
    assert 0 < r.pttl("redbeat::lock") <= 6000
    assert r.zcard("redbeat::schedule") >= 1 and r.smembers("redbeat::statics") >= {"each-second"}

    second = beat(cluster)
    second.says("Acquiring lock")
    holds(lambda: "Acquired lock" not in second.text(), 1.5)

    # A schedule that is made while they run is taken up, changed, and given up.
    from celery.schedules import schedule

    entry = RedBeatSchedulerEntry("mine", "celery_app.tick", schedule(0.5, app=cluster.app), args=["mine"], app=cluster.app)
    entry.save()
    eventually(lambda: ticks(notes, "mine") >= 2)
    loaded = RedBeatSchedulerEntry.from_key(entry.key, app=cluster.app)
    assert loaded.args == ["mine"] and loaded.total_run_count >= 1
    loaded.enabled = False
    loaded.save()
    loaded.delete()
    assert not r.exists(entry.key) and get_redis(cluster.app).zrank("redbeat::schedule", entry.key) is None

    # The lock is freed by a beat that ends, and runs out when a beat is lost.
    first.stop()
    second.says("Acquired lock", 20)
    before = ticks(notes, "beat")
    eventually(lambda: ticks(notes, "beat") > before)
    second.kill()
    third = beat(cluster)
    third.says("Acquired lock", 25)
    before = ticks(notes, "beat")
    eventually(lambda: ticks(notes, "beat") > before)
    third.stop()


def ask(port, path, data=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    request.add_header("Authorization", "Basic " + base64.b64encode(b"me:secret").decode())
    if data is not None:
        request.data = json.dumps(data).encode()
    with urllib.request.urlopen(request, timeout=15) as answer:
        return json.loads(answer.read())


def test_flower(cluster, tasks):
    port = free_port()
    options = [f"--port={port}", "--address=127.0.0.1", "--basic-auth=me:secret"]
    flower = cluster.run("flower", *options)
    flower.says("Connected to redis", 40)

    workers = eventually(lambda: (found := ask(port, "/api/workers?refresh=1")).get("one@here", {}).get("active_queues") and found)
    assert {queue["name"] for queue in workers["one@here"]["active_queues"]} == {"celery", "other"}
    assert workers["one@here"]["stats"]["broker"]["transport"] == "redis"
    assert "celery_app.add" in workers["one@here"]["registered"]

    result = tasks.add.delay(2, 2)
    result.get(timeout=WAIT)
    eventually(lambda: ask(port, "/api/tasks").get(result.id, {}).get("state") == "SUCCESS")
    assert ask(port, f"/api/task/info/{result.id}")["result"] == "4"

    sent = ask(port, "/api/task/async-apply/celery_app.add", {"args": [5, 6]})
    eventually(lambda: ask(port, f"/api/task/result/{sent['task-id']}").get("result") == 11)
    waited = ask(port, "/api/task/apply/celery_app.add", {"args": [1, 6]})
    assert waited["result"] == 7

    tasks.add.apply_async((1, 1), queue="nobody")
    lengths = ask(port, "/api/queues/length")["active_queues"]
    assert {queue["name"] for queue in lengths} >= {"celery", "other"}
    later = tasks.nap.apply_async((0,), countdown=30)
    assert "Revoked" in ask(port, f"/api/task/revoke/{later.id}", {})["message"]
    assert ask(port, "/api/worker/pool/grow/one@here?n=1", {})["message"]
    eventually(lambda: len(cluster.app.control.inspect(timeout=5, limit=1).stats()["one@here"]["pool"]["processes"]) == 3)
    flower.stop()
