"""Celery's control of workers, its events, queues with priorities, broadcast, lost connections."""

import contextlib
import threading
import time

import kombu
import pytest
import redis
from kombu import Connection, Consumer, Exchange, Producer, Queue

from programs import eventually, holds

WAIT = 90


@pytest.fixture(scope="module", autouse=True)
def workers(cluster):
    programs = {name: cluster.begin(name, queues="celery,to_all") for name in ("east", "west")}
    for name, program in programs.items():
        cluster.await_worker(program, name)
    return programs


@pytest.fixture
def tasks(cluster):
    return cluster.tasks


@pytest.fixture
def control(cluster):
    return cluster.app.control


@pytest.fixture
def inspect(control):
    return control.inspect(timeout=5.0, limit=2)  # waits for two replies, not for the time


BOTH = {"east@here", "west@here"}


def test_ping_reaches_all(control, inspect):
    replies = control.ping(timeout=5.0, limit=2)
    assert {name for reply in replies for name in reply} == BOTH
    assert inspect.ping() == {name: {"ok": "pong"} for name in BOTH}
    assert control.ping(destination=["east@here"], timeout=5.0, limit=1) == [{"east@here": {"ok": "pong"}}]


def test_stats_and_configuration(inspect, server):
    stats = inspect.stats()
    assert set(stats) == BOTH
    east = stats["east@here"]
    assert east["broker"]["port"] == server.port and east["broker"]["transport"] == "redis"
    assert len(east["pool"]["processes"]) == 2
    assert "celery_app.add" in inspect.registered()["west@here"]
    names = {queue["name"].split(".")[0] for queue in inspect.active_queues()["west@here"]}
    assert "celery" in names and len(names) == 2
    assert inspect.conf()["east@here"]["task_default_queue"] == "celery"


def test_active_reserved_and_scheduled(tasks, inspect):
    later = tasks.nap.apply_async((0,), countdown=60)
    running = [tasks.nap.delay(3) for _ in range(4)]

    # One worker may have fetched more of them than it runs at once.
    active = set()

    def seen():
        found = inspect.active() or {}
        active.update(task["id"] for tasks in found.values() for task in tasks)
        return active

    eventually(lambda: {task.id for task in running} <= seen())
    scheduled = [t["request"]["id"] for tasks in inspect.scheduled().values() for t in tasks]
    assert scheduled == [later.id]
    assert [list(found.values())[0] for found in inspect.query_task(later.id).values() if found]
    later.revoke()
    assert eventually(lambda: later.id in sum((inspect.revoked() or {}).values(), []))
    for task in running:
        task.get(timeout=WAIT)


def test_the_pool_grows_and_shrinks(control, inspect):
    size = lambda: len(inspect.stats()["east@here"]["pool"]["processes"])
    control.pool_grow(1, destination=["east@here"])
    eventually(lambda: size() == 3)
    control.pool_shrink(1, destination=["east@here"], reply=True, timeout=5.0, limit=1)
    eventually(lambda: size() == 2)


def test_limits_are_changed_at_run_time(control):
    replies = control.rate_limit("celery_app.add", "1000/s", reply=True, timeout=5.0, limit=2)
    assert {name: reply for one in replies for name, reply in one.items()} == {
        name: {"ok": "new rate limit set successfully"} for name in BOTH
    }
    replies = control.time_limit("celery_app.add", hard=60, soft=30, reply=True, timeout=5.0, limit=2)
    assert len(replies) == 2


def test_workers_take_up_and_leave_a_queue(tasks, control, r):
    result = tasks.add.apply_async((1, 2), queue="more")
    holds(lambda: not result.ready(), 0.5)
    assert r.llen("more") == 1
    assert len(control.add_consumer("more", reply=True, timeout=5.0, limit=2)) == 2
    assert result.get(timeout=WAIT) == 3
    assert len(control.cancel_consumer("more", reply=True, timeout=5.0, limit=2)) == 2
    time.sleep(1.2)  # a BRPOP that has begun is answered before the queue is left
    result = tasks.add.apply_async((1, 2), queue="more")
    holds(lambda: not result.ready(), 0.5)
    control.add_consumer("more", reply=True, timeout=5.0, limit=2)
    assert result.get(timeout=WAIT) == 3
    control.cancel_consumer("more", reply=True, timeout=5.0, limit=2)


def test_a_broadcast_reaches_each_worker_once(tasks, cluster, notes):
    # A sender has to say that the exchange is a fanout, it has no queue there itself.
    exchange = cluster.app.amqp.queues["to_all"].exchange
    for n in range(5):
        tasks.tell_all.apply_async((f"word{n}",), declare=[exchange])
    for n in range(5):
        eventually(lambda: len(notes.about(f"all:word{n}:")) >= 2)
    time.sleep(0.3)
    wanted = {f"all:word{n}:{name}" for n in range(5) for name in BOTH}
    assert sorted(notes.about("all:word")) == sorted(wanted)


def test_events_tell_a_task_s_life(tasks, cluster):
    seen, online, ready, receivers = [], set(), threading.Event(), []

    def on_event(event):
        seen.append(event)
        if event["type"].startswith("worker-"):
            online.add(event["hostname"])
            if online == BOTH:
                ready.set()

    def capture():
        with cluster.app.connection_for_read() as connection:
            receiver = cluster.app.events.Receiver(connection, handlers={"*": on_event})
            receivers.append(receiver)
            with contextlib.suppress(TimeoutError):
                receiver.capture(limit=None, timeout=25, wakeup=True)

    thread = threading.Thread(target=capture, daemon=True)
    thread.start()
    assert ready.wait(20), seen
    result = tasks.add.delay(4, 4)
    result.get(timeout=WAIT)
    kinds = lambda: [e["type"] for e in seen if e.get("uuid") == result.id]
    wanted = ["task-sent", "task-received", "task-started", "task-succeeded"]
    eventually(lambda: sorted(kinds()) == sorted(wanted))
    # The sender's event and the worker's come by different publishers; the worker's are in order.
    assert [kind for kind in kinds() if kind != "task-sent"] == wanted[1:]
    failing = tasks.fail.delay("x")
    eventually(lambda: [e for e in seen if e["type"] == "task-failed" and e["uuid"] == failing.id])
    eventually(lambda: {e["hostname"] for e in seen if e["type"] == "worker-heartbeat"} >= BOTH)
    receivers[0].should_stop = True
    thread.join(10)


def test_the_state_of_events_is_kept(tasks, cluster):
    state = cluster.app.events.State()
    result = []

    def started(event):
        state.event(event)
        if not result and len([w for w in state.workers.values() if w.alive]) == 2:
            result.append(tasks.add.delay(1, 1))
        if result and event["type"] == "task-succeeded" and event["uuid"] == result[0].id:
            receiver.should_stop = True

    with cluster.app.connection_for_read() as connection:
        receiver = cluster.app.events.Receiver(connection, handlers={"*": started})
        receiver.capture(limit=None, timeout=25)
    assert state.tasks[result[0].id].state == "SUCCESS"
    assert state.tasks[result[0].id].name == "celery_app.add"


def test_purge(tasks, control, r):
    for n in range(30):
        tasks.add.apply_async((n, n), queue="other", priority=n % 10)
    keys = sorted(r.scan_iter("other*"))
    assert keys == ["other", "other\x06\x163", "other\x06\x166", "other\x06\x169"]
    assert sum(r.llen(key) for key in keys) == 30
    assert control.purge() == 30
    assert not list(r.scan_iter("other*"))


def test_priorities(tasks, cluster, notes):
    """Zero is the highest; ten values are four steps."""
    wanted = [9, 3, 0, 6, 1, 9, 4, 0, 7, 3]
    for n, priority in enumerate(wanted):
        tasks.in_order.apply_async((f"{n}",), queue="other", priority=priority)
    worker = cluster.worker("ranks", queues="other", concurrency=1, env={"PREFETCH": "1"})
    eventually(lambda: len(notes.about("order:")) == len(wanted))
    order = [int(line.split(":")[1]) for line in notes.about("order:")]
    step = lambda n: max(s for s in (0, 3, 6, 9) if s <= wanted[n])
    assert order == sorted(range(len(wanted)), key=lambda n: (step(n), n))
    worker.stop()


def test_a_queue_before_another(tasks, cluster, notes):
    for n in range(5):
        tasks.in_order.apply_async((f"low{n}",), queue="other")
        tasks.in_order.apply_async((f"high{n}",), queue="vip")
    worker = cluster.worker("queues", queues="vip,other", concurrency=1, env={"PREFETCH": "1"})
    eventually(lambda: len(notes.about("order:low")) == 5)
    order = [line for line in notes.lines() if line.startswith(("order:low", "order:high"))]
    assert order == [f"order:high{n}" for n in range(5)] + [f"order:low{n}" for n in range(5)]
    worker.stop()


def test_connections_that_are_cut_come_back(tasks, r, control, inspect):
    def fifty():
        results = [tasks.add.delay(n, 1) for n in range(50)]
        assert [result.get(timeout=WAIT) for result in results] == [n + 1 for n in range(50)]

    # Between two rounds: of a message that a worker has just fetched kombu keeps nothing when it is cut off.
    fifty()
    r.client_kill_filter(_type="normal", skipme=True)
    r.client_kill_filter(_type="pubsub")
    fifty()

    def both_answer():
        with contextlib.suppress(redis.ConnectionError, kombu.exceptions.OperationalError):
            return set(inspect.ping() or {}) == BOTH

    eventually(both_answer, 60)


def test_a_worker_that_is_asked_to_end_gives_its_tasks_back(tasks, cluster, notes, r):
    worker = cluster.worker("leaving", queues="other", concurrency=1)
    results = [tasks.nap.apply_async((1.5,), queue="other") for _ in range(6)]
    eventually(lambda: notes.about(f"nap:{results[0].id}"))
    assert worker.stop() == 0
    assert r.llen("other") >= 4 and not r.exists("unacked")
    worker = cluster.worker("coming", queues="other", concurrency=2)
    for result in results:
        result.get(timeout=WAIT)
    ids = [line.split(":")[1] for line in notes.about("nap:")]
    assert [ids.count(result.id) for result in results] == [1] * 6
    worker.stop()


def test_shutdown_by_broadcast(cluster, control):
    worker = cluster.worker("short-lived", queues="other")
    control.broadcast("shutdown", destination=["short-lived@here"])
    eventually(lambda: worker.process.poll() is not None)
    assert worker.process.returncode == 0


def test_kombu_exchanges(server):
    """Direct, topic and fanout without Celery: bindings are sets, fanout is pub/sub."""
    seen = []
    # A channel has one fanout queue of an exchange.
    with Connection(server.url(2)) as connection, connection.channel() as one, connection.channel() as two:
        topic, fanout = Exchange("t", "topic"), Exchange("f", "fanout")
        queues = [
            Queue("eu", topic, routing_key="orders.eu.*"),
            Queue("all", topic, routing_key="orders.#"),
            Queue("fan1", fanout),
            Queue("fan2", fanout),
        ]
        consumers = [
            Consumer(channel, [q], callbacks=[lambda body, message, q=q: (seen.append((q.name, body)), message.ack())])
            for q, channel in zip(queues, (one, one, one, two))
        ]
        for consumer in consumers:
            consumer.consume()
        with contextlib.suppress(TimeoutError):
            for _ in range(5):
                connection.drain_events(timeout=0.2)  # until it has subscribed
        producer = Producer(one)
        producer.publish("one", exchange=topic, routing_key="orders.eu.new")
        producer.publish("two", exchange=topic, routing_key="orders.us.new")
        producer.publish("three", exchange=fanout, routing_key="")
        wanted = [("all", "one"), ("all", "two"), ("eu", "one"), ("fan1", "three"), ("fan2", "three")]
        deadline = time.monotonic() + 15
        while len(seen) < len(wanted) and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=1)
        assert sorted(seen) == wanted
        for consumer in consumers:
            consumer.cancel()


def test_kombu_queues_that_expire_and_simple_queues(server, r):
    r.select(2)
    with Connection(server.url(2)) as connection:
        queue = Queue("brief", Exchange("b"), "brief", expires=1.0)
        with connection.Producer() as producer:
            producer.publish("gone", exchange=queue.exchange, routing_key="brief", declare=[queue])
        assert 0 < r.pttl("brief") <= 1000
        eventually(lambda: not r.exists("brief"))
        with connection.SimpleQueue("simple") as simple:
            for n in range(3):
                simple.put({"n": n})
            assert simple.qsize() == 3
            for n in range(3):
                message = simple.get(timeout=5)
                assert message.payload == {"n": n}
                message.ack()
            message = (simple.put("again"), simple.get(timeout=5))[1]
            message.requeue()
            message = simple.get(timeout=5)
            assert message.payload == "again"
            message.ack()
            with pytest.raises(simple.Empty):
                simple.get(timeout=0.3)


def test_kombu_with_a_prefix_for_all_keys(server, r):
    """The client rewrites its commands, the scripts' keys and the channels."""
    r.select(2)
    options = {"global_keyprefix": "app1:", "priority_steps": [0, 5]}
    with Connection(server.url(2), transport_options=options) as connection:
        with connection.SimpleQueue("prefixed") as simple:
            for n in range(3):
                simple.put(n, priority=9 - n)
            assert r.llen("app1:prefixed\x06\x165") == 3
            messages = [simple.get(timeout=5) for _ in range(3)]
            assert [message.payload for message in messages] == [0, 1, 2]
            assert r.hlen("app1:unacked") == 3
            for message in messages:
                message.ack()
            assert not r.exists("app1:unacked", "app1:unacked_index")
            simple.put("left")
            assert simple.clear() == 1
