"""Connections: handshake, names, databases, passwords, pools, timeouts."""

import threading
import time

import pytest
import redis
from conftest import STAND_IN, Server, needs_corelane


def text(reply):
    """redis-py decodes some replies whatever the client asked for."""
    return reply.decode() if isinstance(reply, bytes) else reply


def test_ping_and_echo(r, rd):
    assert r.ping() is True
    assert rd.echo("ünï") == "ünï"
    assert r.echo(b"\x00\xff") == b"\x00\xff"


def test_hello_tells_the_protocol(r, protocol):
    reply = r.execute_command("HELLO", protocol)
    fields = reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2]))
    assert fields[b"server"] == b"redis"
    assert fields[b"proto"] == protocol
    assert fields[b"mode"] == b"standalone"
    assert fields[b"role"] == b"master"


def test_handshake_leaves_name_library_and_database(connect):
    client = connect(client_name="worker", db=7)
    assert text(client.client_getname()) == "worker"
    info = client.client_info()
    assert (info["name"], info["db"]) == ("worker", 7)
    if not STAND_IN:
        assert "redis-py" in info["lib-name"] and info["lib-ver"] == redis.__version__


def test_client_setname_id_list(r, connect):
    assert r.client_setname("first")
    assert text(r.client_getname()) == "first"
    other = connect(client_name="second")
    other.ping()
    listed = {c["name"]: c for c in r.client_list()}
    assert {"first", "second"} <= set(listed)
    assert int(listed["second"]["id"]) == other.client_id() != r.client_id()
    only = r.client_list(client_id=[other.client_id()])
    assert [c["name"] for c in only] == ["second"]


def test_client_kill(r, connect):
    victim = connect(single_connection_client=True, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    assert r.client_kill_filter(_id=victim.client_id()) == 1
    with pytest.raises(redis.ConnectionError):
        for _ in range(2):
            victim.ping()
    assert r.client_kill_filter(_id="999999999") == 0


def test_client_no_evict_and_pause_of_replies(r):
    assert r.client_no_evict("ON") in (True, b"OK")
    with pytest.raises(redis.ResponseError, match="syntax error"):
        r.client_no_evict("MAYBE")


def test_from_url(server, protocol):
    client = redis.from_url(f"redis://127.0.0.1:{server.port}/9?protocol={protocol}")
    client.set("a", "1")
    assert client.client_info()["db"] == 9
    client.flushdb()
    client.close()


def test_reset_and_quit(r):
    with r.client() as one:
        one.execute_command("SELECT", 4)
        one.set("only-in-4", 1)
        assert one.execute_command("RESET") in (b"RESET", "RESET")
    assert r.exists("only-in-4") == 0
    assert r.execute_command("QUIT") in (True, b"OK")


def test_password(protocol):
    server = Server(2, "--requirepass", "secret")
    try:
        once = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        options = {"port": server.port, "protocol": protocol, "retry": once}
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(**options).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(**options, password="wrong").ping()
        assert redis.Redis(**options, password="secret").ping()
        assert redis.Redis(**options, username="default", password="secret").ping()
    finally:
        server.stop()


def test_pool_shared_by_threads(r, connect):
    client = connect(max_connections=20)
    errors = []

    def work(number):
        try:
            for i in range(200):
                key = f"t{number}:{i}"
                client.set(key, i)
                assert client.get(key) == str(i).encode()
                client.incr("shared")
        except Exception as error:  # reported by the main thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert r.get("shared") == b"2000"
    assert r.dbsize() == 2001


def test_health_check_and_reconnect(r, connect):
    client = connect(health_check_interval=1)
    client.ping()
    r.client_kill_filter(_type="normal", skipme=True)
    time.sleep(1.1)
    assert client.ping()


@needs_corelane
def test_unix_socket(tmp_path):
    path = str(tmp_path / "corelane.sock")
    server = Server(3, "--unixsocket", path, "--unixsocketperm", "700")
    try:
        # In RESP3 this release of the library asks a socket for its host, which this one doesn't have.
        client = redis.Redis(unix_socket_path=path, protocol=2)
        assert client.mset({f"k{i}": i for i in range(100)})
        assert client.mget([f"k{i}" for i in range(100)]) == [str(i).encode() for i in range(100)]
    finally:
        server.stop()
