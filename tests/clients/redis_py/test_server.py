"""INFO, CONFIG, COMMAND, TIME through redis-py's parsers."""

import pytest
import redis


def test_info(r, server):
    r.mset({"a": 1, "b": 2})
    r.expire("a", 100)
    info = r.info()
    assert info["tcp_port"] == server.port
    assert info["process_id"] == server.process.pid
    assert info["db0"]["keys"] == 2 and info["db0"]["expires"] == 1
    assert info["connected_clients"] >= 1
    assert info["redis_version"].count(".") == 2
    section = r.info("keyspace")
    assert set(section) == {"db0"}
    assert r.info("clients", "server")["connected_clients"] >= 1


def test_config(r):
    assert r.config_get("maxmemory") == {"maxmemory": "0"}
    assert r.config_set("timeout", 0) is True
    several = r.config_get("timeout", "tcp-keepalive", "maxclients")
    assert several["timeout"] == "0" and several["tcp-keepalive"] == "300"
    assert len(r.config_get()) > 30
    with pytest.raises(redis.ResponseError, match="Unknown option or number of arguments for CONFIG SET"):
        r.config_set("nosuch", 1)
    assert r.config_resetstat() is True


def test_command(r):
    commands = r.command()
    assert commands["get"]["arity"] == 2
    assert commands["mset"]["step_count"] == 2
    assert "readonly" in {f.decode() if isinstance(f, bytes) else f for f in commands["get"]["flags"]}
    assert r.command_count() == len(commands)
    assert r.command_getkeys("MSET", "a", 1, "b", 2) in ([b"a", b"b"], ["a", "b"])
    assert len(r.command_list()) >= len(commands)
    assert r.command_list(pattern="getr*") in ([b"getrange"], ["getrange"])
    assert r.command_getkeysandflags("SET", "k", "v")[0][0] == b"k"


def test_time_and_lolwut(r):
    seconds, micros = r.time()
    assert seconds > 1_700_000_000 and 0 <= micros < 1_000_000
    assert r.lolwut()


def test_debug_object(r):
    r.set("a", "foo")
    debug = r.execute_command("DEBUG", "OBJECT", "a")
    if isinstance(debug, dict):  # redis-py parses it for RESP2
        assert debug["refcount"] == 1 and debug["encoding"] == "embstr" and debug["serializedlength"] > 0
    else:
        assert b" refcount:1 encoding:embstr serializedlength:" in debug


def test_dbsize_over_many_keys(r):
    pipe = r.pipeline(transaction=False)
    for i in range(3000):
        pipe.set(f"key:{i}", i)
    pipe.execute()
    assert r.dbsize() == 3000
    assert r.info("keyspace")["db0"]["keys"] == 3000
    assert len(r.keys("*")) == 3000
