"""Strings through redis-py: every command and every option that the library can send."""

import datetime
import time

import pytest
import redis


def soon(seconds):
    return datetime.datetime.now() + datetime.timedelta(seconds=seconds)


def test_get_and_set(r):
    assert r.get("a") is None
    assert r.set("a", "value") is True
    assert r.get("a") == b"value"
    assert r.set("a", b"\x00\xff\r\n") is True
    assert r.get("a") == b"\x00\xff\r\n"
    assert r.set("number", 42) and r.get("number") == b"42"
    assert r.set("float", 1.5) and r.get("float") == b"1.5"
    assert r.set("", "empty key") and r.get("") == b"empty key"


def test_item_protocol(r):
    r["a"] = "foo"
    assert r["a"] == b"foo"
    assert "a" in r
    del r["a"]
    assert "a" not in r
    with pytest.raises(KeyError):
        r["a"]


def test_set_nx_xx(r):
    assert r.set("a", "1", xx=True) is None
    assert r.set("a", "1", nx=True) is True
    assert r.set("a", "2", nx=True) is None
    assert r.set("a", "3", xx=True) is True
    assert r.get("a") == b"3"


@pytest.mark.parametrize(
    "option, seconds",
    [
        ({"ex": 10}, 10),
        ({"ex": datetime.timedelta(seconds=10)}, 10),
        ({"px": 10000}, 10),
        ({"px": datetime.timedelta(milliseconds=10000)}, 10),
        ({"exat": lambda: soon(10)}, 10),
        ({"pxat": lambda: soon(10)}, 10),
        ({"exat": lambda: int(time.time()) + 10}, 10),
        ({"pxat": lambda: int(time.time() * 1000) + 10000}, 10),
    ],
)
def test_set_with_expiry(r, option, seconds):
    option = {k: v() if callable(v) else v for k, v in option.items()}
    assert r.set("a", "1", **option) is True
    assert 0 < r.ttl("a") <= seconds + 1


def test_set_keepttl(r):
    r.set("a", "1", ex=100)
    r.set("a", "2", keepttl=True)
    assert r.get("a") == b"2" and 0 < r.ttl("a") <= 100
    r.set("a", "3")
    assert r.ttl("a") == -1


def test_set_get(r):
    assert r.set("a", "1", get=True) is None
    assert r.set("a", "2", get=True) == b"1"
    assert r.set("a", "3", nx=True, get=True) == b"2"
    assert r.get("a") == b"2"


def test_set_refuses_a_bad_expiry(r):
    with pytest.raises(redis.ResponseError, match="invalid expire time in 'set' command"):
        r.set("a", "1", ex=0)
    with pytest.raises(redis.ResponseError, match="syntax error"):
        r.execute_command("SET", "a", "1", "EX", "1", "PX", "1")
    assert r.exists("a") == 0


@pytest.mark.parametrize("option", [{"ex": 10}, {"px": 10000}, {"exat": 4000000000}, {"pxat": 4000000000000}])
def test_getex(r, option):
    r.set("a", "1")
    assert r.getex("a", **option) == b"1"
    assert r.ttl("a") > 0
    assert r.getex("a", persist=True) == b"1"
    assert r.ttl("a") == -1
    assert r.getex("missing", ex=10) is None


def test_getdel_getset(r):
    r.set("a", "1")
    assert r.getset("a", "2") == b"1"
    assert r.getdel("a") == b"2"
    assert r.getdel("a") is None
    assert r.getset("a", "3") is None


def test_mget_mset(r):
    keys = {f"key:{i}": str(i).encode() for i in range(200)}
    assert r.mset(keys) is True
    assert r.mget(list(keys)) == list(keys.values())
    assert r.mget("key:1", "missing", "key:3") == [b"1", None, b"3"]
    assert r.mget([]) == []


def test_msetnx(r):
    assert r.msetnx({"a": "1", "b": "2", "c": "3"}) == 1
    assert r.msetnx({"x": "1", "a": "9"}) == 0
    assert r.exists("x") == 0 and r.get("a") == b"1"


def test_setex_psetex_setnx(r):
    assert r.setex("a", 60, "1") is True
    assert 0 < r.ttl("a") <= 60
    assert r.psetex("a", 60000, "2") is True
    assert 0 < r.pttl("a") <= 60000
    assert r.setnx("a", "3") is False
    assert r.setnx("b", "3") is True
    assert r.setex("a", datetime.timedelta(seconds=60), "1") is True


def test_append_strlen_ranges(r):
    assert r.append("a", "Hello") == 5
    assert r.append("a", " World") == 11
    assert r.strlen("a") == 11
    assert r.getrange("a", 0, 4) == b"Hello"
    assert r.substr("a", -5) == b"World"
    assert r.setrange("a", 6, "Redis") == 11
    assert r.get("a") == b"Hello Redis"
    assert r.setrange("b", 5, "x") == 6
    assert r.get("b") == b"\0\0\0\0\0x"


def test_counters(r):
    assert r.incr("n") == 1
    assert r.incr("n", amount=5) == 6
    assert r.incrby("n", 4) == 10
    assert r.decr("n") == 9
    assert r.decr("n", amount=4) == 5
    assert r.decrby("n", 10) == -5
    assert r.incrbyfloat("f") == 1.0
    assert r.incrbyfloat("f", 1.1) == 2.1
    assert r.get("f") == b"2.1"


def test_counters_refuse_what_is_no_number(r):
    r.set("a", "text")
    with pytest.raises(redis.ResponseError, match="value is not an integer or out of range"):
        r.incr("a")
    with pytest.raises(redis.ResponseError, match="value is not a valid float"):
        r.incrbyfloat("a", 1)
    r.set("a", 2**63 - 1)
    with pytest.raises(redis.ResponseError, match="increment or decrement would overflow"):
        r.incr("a")
    assert r.get("a") == str(2**63 - 1).encode()


def test_lcs(r):
    r.mset({"a": "ohmytext", "b": "mynewtext"})
    assert r.lcs("a", "b") == b"mytext"
    assert r.lcs("a", "b", len=True) == 6
    matches = [[[4, 7], [5, 8]], [[2, 3], [0, 1]]]
    whole = r.lcs("a", "b", idx=True)
    if isinstance(whole, dict):
        assert whole == {b"matches": matches, b"len": 6}
    else:
        assert whole == [b"matches", matches, b"len", 6]
    long = r.lcs("a", "b", idx=True, minmatchlen=4, withmatchlen=True)
    found = long[b"matches"] if isinstance(long, dict) else long[1]
    assert found == [[[4, 7], [5, 8], 4]]


@pytest.mark.parametrize("size", [0, 1, 44, 45, 1000, 16384, 100_000, 5_000_000])
def test_sizes(r, size):
    value = bytes(i % 251 for i in range(min(size, 4096))) * (size // min(max(size, 1), 4096) or 1)
    r.set("a", value)
    assert r.strlen("a") == len(value)
    assert r.get("a") == value
    assert r.mget("a", "a") == [value, value]


def test_encodings(r):
    r.mset({"int": 12345, "short": "hello", "long": "x" * 45})
    assert r.object("encoding", "int") == b"int"
    assert r.object("encoding", "short") == b"embstr"
    assert r.object("encoding", "long") == b"raw"
    assert r.object("encoding", "missing") is None
    assert r.object("refcount", "short") == 1
    assert isinstance(r.object("idletime", "short"), int)
