"""Keys whatever they hold: existence, expiry, names, databases."""

import datetime
import time

import pytest
import redis


def test_exists_delete_unlink_touch(r):
    r.mset({f"k{i}": i for i in range(20)})
    names = [f"k{i}" for i in range(20)]
    assert r.exists(*names) == 20
    assert r.exists("k0", "k0", "missing") == 2
    assert r.touch(*names, "missing") == 20
    assert r.delete("k0", "k1", "missing") == 2
    assert r.unlink("k2", "k3") == 2
    assert r.exists(*names) == 16
    assert r.dbsize() == 16


@pytest.mark.parametrize("call, value", [("expire", 10), ("expire", datetime.timedelta(seconds=10)), ("pexpire", 10000)])
def test_expire(r, call, value):
    assert not getattr(r, call)("a", value)
    r.set("a", "foo")
    assert getattr(r, call)("a", value)
    assert 0 < r.ttl("a") <= 10
    assert 0 < r.pttl("a") <= 10000
    assert r.persist("a")
    assert r.ttl("a") == -1
    assert not r.persist("a")


def test_expireat(r):
    r.set("a", "foo")
    when = datetime.datetime.now() + datetime.timedelta(minutes=1)
    assert r.expireat("a", when)
    assert r.expiretime("a") == int(when.timestamp())
    assert r.pexpireat("a", 4000000000123)
    assert r.pexpiretime("a") == 4000000000123
    assert r.expireat("a", 1)
    assert r.exists("a") == 0
    assert (r.ttl("a"), r.pttl("a"), r.expiretime("a"), r.pexpiretime("a")) == (-2, -2, -2, -2)


def test_expire_conditions(r):
    r.set("a", "foo")
    assert r.expire("a", 100, xx=True) == 0
    assert r.expire("a", 100, gt=True) == 0
    assert r.expire("a", 100, nx=True) == 1
    assert r.expire("a", 200, nx=True) == 0
    assert r.expire("a", 50, gt=True) == 0
    assert r.expire("a", 200, gt=True) == 1
    assert r.expire("a", 500, lt=True) == 0
    assert r.expire("a", 50, lt=True) == 1
    with pytest.raises(redis.ResponseError, match="NX and XX, GT or LT options at the same time are not compatible"):
        r.expire("a", 1, nx=True, xx=True)


def test_keys_expire(r):
    r.mset({f"k{i}": "v" for i in range(300)})
    pipe = r.pipeline(transaction=False)
    for i in range(0, 300, 2):
        pipe.pexpire(f"k{i}", 50)
    assert all(pipe.execute())
    time.sleep(0.1)
    assert sum(r.exists(f"k{i}") for i in range(300)) == 150
    assert r.get("k0") is None and r.get("k1") == b"v"
    assert len(r.keys()) == 150


def test_keys_patterns(r):
    r.mset({"test_a": 1, "test_b": 2, "testc": 3, "other": 4})
    assert set(r.keys("test_*")) == {b"test_a", b"test_b"}
    assert set(r.keys("test*")) == {b"test_a", b"test_b", b"testc"}
    assert set(r.keys("*[ab]")) == {b"test_a", b"test_b"}
    assert len(r.keys()) == 4


def test_rename(r):
    r.set("a", "1", ex=100)
    assert r.rename("a", "b")
    assert r.get("a") is None and r.get("b") == b"1" and r.ttl("b") > 0
    with pytest.raises(redis.ResponseError, match="no such key"):
        r.rename("a", "b")
    r.set("a", "2")
    assert not r.renamenx("a", "b")
    assert r.renamenx("a", "c")
    for i in range(50):
        r.set(f"from:{i}", i)
        r.rename(f"from:{i}", f"to:{i}")
    assert [r.get(f"to:{i}") for i in range(50)] == [str(i).encode() for i in range(50)]


def test_copy_and_move(r, connect):
    r.set("a", "foo", ex=100)
    assert r.copy("a", "b") is True
    assert r.get("b") == b"foo" and r.ttl("b") > 0
    assert r.copy("a", "b") is False
    r.set("a", "new")
    assert r.copy("a", "b", replace=True) is True
    assert r.get("b") == b"new" and r.ttl("b") == -1
    other = connect(db=5)
    assert r.copy("a", "a", destination_db=5) is True
    assert other.get("a") == b"new"
    assert r.move("b", 5)
    assert other.get("b") == b"new" and r.get("b") is None
    assert not r.move("a", 5)


def test_randomkey_and_type(r):
    assert r.randomkey() is None
    r.mset({f"k{i}": i for i in range(10)})
    seen = {r.randomkey() for _ in range(300)}
    assert seen == {f"k{i}".encode() for i in range(10)}
    assert r.type("k0") == b"string"
    assert r.type("missing") == b"none"


def test_databases(r, connect):
    clients = [connect(db=n) for n in range(16)]
    for n, client in enumerate(clients):
        client.mset({f"k{i}": n for i in range(n + 1)})
    assert [c.dbsize() for c in clients] == list(range(1, 17))
    assert r.swapdb(3, 9)
    assert (clients[3].dbsize(), clients[9].dbsize()) == (10, 4)
    assert clients[3].get("k0") == b"9"
    clients[3].flushdb()
    assert (clients[3].dbsize(), clients[9].dbsize()) == (0, 4)
    r.flushall(asynchronous=True)
    assert [c.dbsize() for c in clients] == [0] * 16
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        connect(db=16).get("a")


def test_wrong_usage(r):
    with pytest.raises(redis.ResponseError, match="unknown command 'NOSUCH', with args beginning with: 'a' 'b'"):
        r.execute_command("NOSUCH", "a", "b")
    with pytest.raises(redis.ResponseError, match="wrong number of arguments for 'get' command"):
        r.execute_command("GET")
    with pytest.raises(redis.ResponseError, match="unknown subcommand 'NOSUCH'. Try OBJECT HELP"):
        r.execute_command("OBJECT", "NOSUCH", "a")
    assert r.ping()
