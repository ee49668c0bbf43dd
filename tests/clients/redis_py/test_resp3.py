"""What differs between the protocols, and decoding of replies to str."""

import pytest
import redis


def test_decoded_replies(rd):
    rd.mset({"name": "Zoë", "empty": ""})
    assert rd.get("name") == "Zoë"
    assert rd.mget("name", "empty", "missing") == ["Zoë", "", None]
    assert set(rd.scan_iter()) == {"name", "empty"}
    assert rd.keys("n*") == ["name"]
    assert rd.type("name") == "string"
    assert rd.object("encoding", "name") == "embstr"


def test_bytes_that_are_no_text(rd):
    rd.set("a", b"\xff\xfe")
    with pytest.raises(UnicodeDecodeError):
        rd.get("a")
    assert rd.strlen("a") == 2


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp1252"])
def test_encodings(connect, encoding):
    client = connect(encoding=encoding, decode_responses=True)
    client.flushall()
    client.set("a", "grün")
    assert client.get("a") == "grün"


def test_raw_types(r, protocol):
    from redis.connection import Connection

    port = r.connection_pool.connection_kwargs["port"]
    connection = Connection(host="127.0.0.1", port=port, protocol=protocol)
    connection.connect()

    def send(*args):
        connection.send_command(*args)
        return connection.read_response()

    assert send("CONFIG", "GET", "maxmemory") == ({b"maxmemory": b"0"} if protocol == 3 else [b"maxmemory", b"0"])
    docs = send("COMMAND", "DOCS", "GET")
    assert (docs[b"get"] if protocol == 3 else docs[1]) is not None
    assert isinstance(docs, dict) == (protocol == 3)
    flags = send("COMMAND", "INFO", "GET")[0][2]
    assert sorted(flags) == [b"fast", b"readonly"]
    assert isinstance(flags, set) == (protocol == 3) or isinstance(flags, list)
    assert b"redis_version" in send("INFO", "server")
    connection.disconnect()
