"""Starts Corelane for the tests: with one shard and with three, spoken to in RESP2 and in RESP3.

CORELANE_BIN names the server; by default it is the debug build. A redis-server or valkey-server may
stand in for it, to test the tests.
"""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest
import redis

ROOT = pathlib.Path(__file__).resolve().parents[3]


def binary():
    named = os.environ.get("CORELANE_BIN")
    if named:
        return shutil.which(named) or named
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "corelane")


STAND_IN = os.path.basename(binary()) in ("redis-server", "valkey-server")
needs_corelane = pytest.mark.skipif(STAND_IN, reason="only Corelane has shards")


def free_port():
    """A port with room after it for the ports of the shards."""
    for port in range(32000 - os.getpid() % 400 * 10, 12000, -10):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port")


class Server:
    def __init__(self, shards, *args):
        self.shards = shards
        self.directory = tempfile.mkdtemp(prefix="corelane-py-")
        self.port = free_port()
        self.log = open(os.path.join(self.directory, "log"), "w+")
        command = [binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.directory]
        command += ["--save", "", "--appendonly", "no", "--enable-debug-command", "yes"]
        if not STAND_IN:
            command += ["--shards", str(shards)]
        self.process = subprocess.Popen(command + list(args), stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.log.seek(0)
                raise RuntimeError(f"the server did not start:\n{self.log.read()}")
            time.sleep(0.02)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(1) in (b"+", b"-")
        except OSError:
            return False

    def stop(self):
        ended = self.process.poll()
        if ended is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                ended = self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                ended = "no end after SIGTERM"
        self.log.seek(0)
        text = self.log.read()
        self.log.close()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert ended == 0 and "panicked at" not in text, f"exit {ended}:\n{text[-3000:]}"


@pytest.fixture(scope="session", params=[1] if STAND_IN else [1, 3], ids=lambda n: f"{n}-shards")
def server(request):
    server = Server(request.param)
    yield server
    server.stop()


@pytest.fixture(params=[2, 3], ids=lambda n: f"resp{n}")
def protocol(request):
    return request.param


@pytest.fixture
def connect(server, protocol):
    """Makes clients of the current server and protocol, and closes them at the end."""
    made = []

    def make(**options):
        options.setdefault("protocol", protocol)
        options.setdefault("socket_timeout", 20)
        client = redis.Redis(host="127.0.0.1", port=server.port, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def r(connect):
    """A client over empty databases; replies are bytes."""
    client = connect()
    client.flushall()
    return client


@pytest.fixture
def rd(connect):
    """A client over empty databases; replies are str."""
    client = connect(decode_responses=True)
    client.flushall()
    return client
