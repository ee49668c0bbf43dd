"""Django's own cache backend for Redis, and django-redis with what it has beyond."""

import threading
import time

import django
import pytest
from django.conf import settings
from django.core.cache import caches

from programs import eventually

BACKENDS = {
    "core": {"BACKEND": "django.core.cache.backends.redis.RedisCache"},
    "django-redis": {"BACKEND": "django_redis.cache.RedisCache"},
    "zlib-json": {
        "BACKEND": "django_redis.cache.RedisCache",
        "OPTIONS": {
            "COMPRESSOR": "django_redis.compressors.zlib.ZlibCompressor",
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        },
    },
    "herd": {"BACKEND": "django_redis.cache.RedisCache", "OPTIONS": {"CLIENT_CLASS": "django_redis.client.HerdClient"}},
}


@pytest.fixture(scope="module")
def configured(clean):
    """Settings are for a process: they are made once and pointed to the server of the day."""
    wanted = {}
    for number, (name, options) in enumerate(BACKENDS.items()):
        wanted[name] = {**options, "LOCATION": clean.url(6 + number), "KEY_PREFIX": name, "TIMEOUT": 300}
    wanted["default"] = wanted["core"]
    if not settings.configured:
        settings.configure(CACHES=wanted, USE_TZ=True, SECRET_KEY="tests", SESSION_ENGINE="django.contrib.sessions.backends.cache")
        django.setup()
    settings.CACHES = wanted
    caches.close_all()
    for name in ("settings", "_settings", "_connections"):
        caches.__dict__.pop(name, None)
    caches.__init__(wanted)
    yield caches
    caches.close_all()


@pytest.fixture(params=list(BACKENDS))
def cache(configured, request):
    cache = configured[request.param]
    cache.clear()
    return cache


@pytest.fixture
def more(configured):
    """django-redis with its own methods."""
    cache = configured["django-redis"]
    cache.clear()
    return cache


def test_set_get_delete(cache):
    assert cache.get("k") is None and cache.get("k", "other") == "other"
    cache.set("k", {"a": [1, "zwei"]})
    assert cache.get("k") == {"a": [1, "zwei"]}
    assert "k" in cache and cache.has_key("k")
    assert cache.delete("k") and not cache.delete("k")
    assert "k" not in cache


def test_add_is_for_absent_keys(cache):
    assert cache.add("k", 1) and not cache.add("k", 2)
    assert cache.get("k") == 1


def test_many(cache):
    data = {f"k{n}": n for n in range(50)}
    assert not cache.set_many(data, timeout=100)
    assert cache.get_many([*data, "absent"]) == data
    cache.delete_many(list(data)[:49])
    assert cache.get_many(list(data)) == {"k49": 49}


def test_timeouts(cache):
    cache.set("short", 1, timeout=0.3 if "Herd" not in str(type(getattr(cache, "client", None))) else 1)
    cache.set("never", 1, timeout=None)
    cache.set("gone", 1, timeout=0)
    assert cache.get("gone") is None
    eventually(lambda: cache.get("short") is None, 10)
    assert cache.get("never") == 1


def test_touch(configured):
    for name in ("core", "django-redis"):
        cache = configured[name]
        cache.set("k", 1, timeout=1)
        assert cache.touch("k", 100) and not cache.touch("absent", 100)
        time.sleep(1.2)
        assert cache.get("k") == 1


def test_counting(configured):
    for name in ("core", "django-redis", "zlib-json"):
        cache = configured[name]
        cache.set("n", 10, timeout=100)
        assert cache.incr("n") == 11 and cache.incr("n", 5) == 16 and cache.decr("n", 6) == 10
        with pytest.raises(ValueError):
            cache.incr("absent")


def test_versions(configured):
    for name in ("core", "django-redis"):
        cache = configured[name]
        cache.set("k", "one", version=1)
        cache.set("k", "two", version=2)
        assert cache.get("k", version=1) == "one" and cache.get("k", version=2) == "two"
        assert cache.incr_version("k", version=2) == 3
        assert cache.get("k", version=3) == "two" and cache.get("k", version=2) is None


def test_get_or_set(cache):
    assert cache.get_or_set("k", lambda: 41) == 41
    assert cache.get_or_set("k", 42) == 41


def test_clear_is_for_its_own_database(configured, r):
    configured["core"].set("k", 1)
    configured["django-redis"].set("k", 2)
    configured["core"].clear()
    assert configured["core"].get("k") is None and configured["django-redis"].get("k") == 2


def test_a_large_value(cache):
    cache.set("k", "0123456789" * 200_000)
    assert cache.get("k") == "0123456789" * 200_000


def test_counting_from_many_threads(configured):
    cache = configured["django-redis"]
    cache.set("n", 0, timeout=None)
    run = lambda: [cache.incr("n") for _ in range(100)]
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert cache.get("n") == 800


def test_sessions(configured):
    from django.contrib.sessions.backends.cache import SessionStore

    session = SessionStore()
    session["user"] = 7
    session.save()
    assert SessionStore(session.session_key)["user"] == 7
    old = session.session_key
    session.cycle_key()
    assert SessionStore(session.session_key)["user"] == 7
    assert not SessionStore().exists(old)
    session.flush()


def test_ttl_and_expiry(more):
    more.set("k", 1, timeout=100)
    more.set("for-ever", 1, timeout=None)
    assert 98 <= more.ttl("k") <= 100 and 98_000 <= more.pttl("k") <= 100_000
    assert more.ttl("for-ever") is None and more.ttl("absent") == 0
    assert more.expire("k", 50) and 48 <= more.ttl("k") <= 50
    assert more.pexpire("k", 20_000) and 18 <= more.ttl("k") <= 20
    assert more.expire_at("k", int(time.time()) + 30) and 20 <= more.ttl("k") <= 30
    assert more.persist("k") and more.ttl("k") is None
    assert not more.expire("absent", 5)


def test_set_with_nx_and_xx(more):
    assert more.set("k", 1, nx=True) and not more.set("k", 2, nx=True)
    assert more.set("k", 3, xx=True) and not more.set("absent", 1, xx=True)
    assert more.get("k") == 3


def test_keys_and_patterns(more):
    more.set_many({f"foo_{n}": n for n in range(300)} | {f"bar_{n}": n for n in range(20)})
    assert sorted(more.keys("foo_*")) == sorted(f"foo_{n}" for n in range(300))
    assert sorted(more.iter_keys("bar_*", itersize=7)) == sorted(f"bar_{n}" for n in range(20))
    assert more.delete_pattern("foo_*", itersize=50) == 300
    assert more.keys("foo_*") == [] and len(more.keys("*")) == 20


def test_locks(more):
    with more.lock("l", timeout=10) as lock:
        assert lock.owned() and not more.lock("l", blocking_timeout=0.1).acquire()
    assert more.lock("l", blocking_timeout=0.1).acquire()


def test_a_lock_keeps_threads_apart(more):
    seen = []

    def run():
        for _ in range(5):
            with more.lock("apart", timeout=20, sleep=0.005):
                seen.append("in")
                time.sleep(0.003)
                seen.append("out")

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == ["in", "out"] * 20


def test_sets_and_hashes(more):
    assert more.sadd("s", "a", "b", "c") == 3
    assert more.scard("s") == 3 and more.sismember("s", "a") and more.smembers("s") == {"a", "b", "c"}
    more.sadd("t", "b", "d")
    assert more.sinter("s", "t") == {"b"} and more.sunion("s", "t") == {"a", "b", "c", "d"} and more.sdiff("s", "t") == {"a", "c"}
    assert more.sinterstore("u", "s", "t") == 1 and more.smove("s", "t", "a")
    assert set(more.sscan_iter("t")) == {"a", "b", "d"}
    more.hset("h", "field", 1)
    assert more.hlen("h") == 1 and more.hexists("h", "field") and more.hdel("h", "field") == 1


def test_sharded_over_two_databases(clean):
    from django_redis.cache import RedisCache

    options = {"OPTIONS": {"CLIENT_CLASS": "django_redis.client.ShardClient"}, "KEY_PREFIX": "sharded"}
    cache = RedisCache([clean.url(11), clean.url(12)], options)
    cache.clear()
    data = {f"k{n}": n for n in range(40)}
    cache.set_many(data)
    assert cache.get_many(list(data)) == data
    assert cache.delete_many(list(data)) == 40
