"""Locks: redis-py's own, blocking and asyncio, and Redlock over three servers by two packages."""

import asyncio
import threading
import time
import uuid

import pottery
import pytest
import redis
import redis.asyncio
import redlock
from pottery.nextid import NextID
from redis.exceptions import LockError, LockNotOwnedError

import programs
from programs import eventually

DB = 13


@pytest.fixture
def client(clean):
    with redis.Redis(port=clean.port, db=DB, socket_timeout=20) as client:
        client.flushdb()
        yield client


def test_acquire_and_release(client):
    lock = client.lock("l")
    assert lock.acquire(blocking=False)
    assert client.get("l") == lock.local.token and client.ttl("l") == -1
    assert lock.locked() and lock.owned()
    lock.release()
    assert client.get("l") is None and not lock.locked()


def test_it_keeps_others_out(client):
    lock, other = client.lock("l", timeout=20), client.lock("l", timeout=20)
    assert lock.acquire(blocking=False) and not other.acquire(blocking=False)
    begin = time.monotonic()
    assert not other.acquire(blocking_timeout=0.3)
    assert 0.2 <= time.monotonic() - begin < 30
    with pytest.raises(LockError):
        other.release()
    lock.release()
    assert other.acquire(blocking=False)
    other.release()


def test_the_timeout(client):
    lock = client.lock("l", timeout=0.4)
    assert lock.acquire(blocking=False) and 0 < client.pttl("l") <= 400
    second = client.lock("l", timeout=10)
    assert second.acquire(blocking_timeout=5)
    assert not lock.owned()
    with pytest.raises(LockNotOwnedError):
        lock.release()
    assert second.owned()


def test_extend(client):
    lock = client.lock("l", timeout=10)
    lock.acquire(blocking=False)
    assert lock.extend(10) and 18_000 < client.pttl("l") <= 20_000
    assert lock.extend(5, replace_ttl=True) and client.pttl("l") <= 5000
    client.set("l", "another's")
    with pytest.raises(LockNotOwnedError):
        lock.extend(10)
    forever = client.lock("m", timeout=None)
    forever.acquire(blocking=False)
    with pytest.raises(LockError):
        forever.extend(10)


def test_reacquire(client):
    lock = client.lock("l", timeout=10)
    lock.acquire(blocking=False)
    client.pexpire("l", 1000)
    assert lock.reacquire() and 8000 < client.pttl("l") <= 10_000
    client.delete("l")
    with pytest.raises(LockNotOwnedError):
        lock.reacquire()


def test_the_context_manager(client):
    with client.lock("l", blocking_timeout=0.2) as lock:
        assert client.get("l") == lock.local.token
        with pytest.raises(LockError):
            with client.lock("l", blocking_timeout=0.1):
                raise AssertionError("two at once")
    assert client.get("l") is None


def test_scripts_that_the_server_forgot(client):
    lock = client.lock("l", timeout=10)
    lock.acquire()
    client.script_flush()
    lock.extend(1)
    client.script_flush()
    lock.release()


def test_contention(client):
    inside, most, rounds = [0], [0], [0]

    def run():
        mine = redis.Redis(port=client.connection_pool.connection_kwargs["port"], db=DB)
        for _ in range(20):
            with mine.lock("shared", timeout=20, sleep=0.002):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                rounds[0] += 1
                inside[0] -= 1
        mine.close()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (most[0], rounds[0]) == (1, 120)


def test_the_lock_of_asyncio(clean):
    async def run():
        order = []
        async with redis.asyncio.Redis(port=clean.port, db=DB) as client:

            async def work(name):
                async with client.lock("async", timeout=10, sleep=0.005):
                    order.append(name)
                    await asyncio.sleep(0.01)
                    order.append(name)

            await asyncio.gather(*(work(n) for n in range(8)))
            lock = client.lock("async", timeout=10)
            assert await lock.acquire(blocking=False)
            await lock.extend(5)
            await lock.reacquire()
            assert await lock.owned()
            await lock.release()
        return order

    order = asyncio.run(asyncio.wait_for(run(), 60))
    assert len(order) == 16 and order[::2] == order[1::2]


@pytest.fixture(scope="module")
def three(clean):
    """Independent servers, as Redlock wants them."""
    others = [programs.Server(clean.shards) for _ in range(2)]
    yield [clean, *others]
    for server in others:
        if server.program.process.poll() is None:
            server.stop()


@pytest.fixture
def masters(three):
    masters = [redis.Redis(port=server.port, db=DB, socket_timeout=5) for server in three]
    for master in masters:
        master.flushdb()
    yield masters
    for master in masters:
        master.close()


def test_pottery_s_redlock(masters):
    make = lambda: pottery.Redlock(key="printer", masters=set(masters), auto_release_time=5)
    lock, other = make(), make()
    assert lock.acquire(blocking=False)
    assert all(master.exists("redlock:printer") for master in masters)
    assert not other.acquire(blocking=True, timeout=0.3)
    assert 0 < lock.locked() <= 5
    time.sleep(1)
    before = lock.locked()
    lock.extend()
    assert lock.locked() > before
    lock.release()
    assert not lock.locked() and other.acquire(blocking=False)
    other.release()
    with pytest.raises(pottery.ReleaseUnlockedLock):
        other.release()


def test_pottery_s_redlock_needs_a_majority(masters):
    lock = pottery.Redlock(key="majority", masters=set(masters), auto_release_time=5)
    masters[0].set("redlock:majority", "another's", px=60_000)
    assert lock.acquire(blocking=False)
    lock.release()
    masters[1].set("redlock:majority", "another's", px=60_000)
    assert not lock.acquire(blocking=True, timeout=0.3)


def test_pottery_s_lock_keeps_threads_apart(masters):
    seen = []

    def run():
        for _ in range(4):
            with pottery.Redlock(key="apart", masters=set(masters), auto_release_time=20):
                seen.append("in")
                seen.append("out")

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == ["in", "out"] * 12


def test_redlock_py(masters, three):
    manager = redlock.Redlock([{"host": "127.0.0.1", "port": server.port, "db": DB} for server in three], retry_count=1)
    lock = manager.lock("resource", 20_000)
    assert lock and 15 < lock.validity / 1000 <= 20
    assert manager.lock("resource", 1000) is False
    manager.unlock(lock)
    again = manager.lock("resource", 2000)
    assert again
    assert eventually(lambda: manager.lock("resource", 5000))


def test_pottery_s_collections(masters):
    """Containers that are scripts, transactions and WATCH underneath."""
    client = masters[0]
    name = uuid.uuid4().hex
    mapping = pottery.RedisDict({"a": 1}, redis=client, key=f"dict-{name}")
    mapping.update({"b": [1, 2], "c": None})
    assert mapping == {"a": 1, "b": [1, 2], "c": None} and mapping.pop("a") == 1
    counter = pottery.RedisCounter("mississippi", redis=client, key=f"counter-{name}")
    assert counter.most_common(1) == [("i", 4)] or counter.most_common(1) == [("s", 4)]
    items = pottery.RedisList([3, 1, 2], redis=client, key=f"list-{name}")
    items.sort()
    items.insert(1, 9)
    assert list(items) == [1, 9, 2, 3]
    deque = pottery.RedisDeque("abc", maxlen=3, redis=client, key=f"deque-{name}")
    deque.append("d")
    deque.rotate(1)
    assert list(deque) == ["d", "b", "c"]
    members = pottery.RedisSet({1, 2, 3}, redis=client, key=f"set-{name}")
    members -= {2}
    assert members == {1, 3}
    queue = pottery.RedisSimpleQueue(redis=client, key=f"queue-{name}")
    queue.put("x")
    assert queue.get(timeout=5) == "x" and queue.empty()
    ids = NextID(key=f"ids-{name}", masters=set(masters))
    assert [next(ids) for _ in range(5)] == [1, 2, 3, 4, 5]
    seen = pottery.BloomFilter(num_elements=100, false_positives=0.001, redis=client, key=f"bloom-{name}")
    seen.update({"x", "y"})
    assert "x" in seen and "nothing" not in seen
    log = pottery.HyperLogLog(range(500), redis=client, key=f"hll-{name}")
    assert 480 <= len(log) <= 520


@pytest.mark.slow
def test_pottery_s_redlock_with_one_server_lost(masters, three):
    three[2].stop()
    lock = pottery.Redlock(key="survives", masters=set(masters), auto_release_time=5)
    assert lock.acquire(blocking=True, timeout=10)
    lock.release()
