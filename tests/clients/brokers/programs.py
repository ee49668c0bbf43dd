"""Servers and workers as processes, started and ended for the tests, and waits that end.

BROKER_SERVER names the server under test, by default the debug build of Corelane. With a
redis-server or valkey-server there the suites test themselves: they must pass.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
STAND_INS = ("redis-server", "valkey-server")


def binary():
    named = os.environ.get("BROKER_SERVER") or os.environ.get("CORELANE_BIN")
    if named:
        return shutil.which(named) or named
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "corelane")


STAND_IN = os.path.basename(binary()) in STAND_INS


def shard_counts():
    return [1] if STAND_IN else [int(n) for n in os.environ.get("BROKER_SHARDS", "1 4").split()]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(what, timeout=60.0, every=0.02):
    """Waits until `what()` is true and returns it; fails after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {timeout} s; at last it was {value!r}"
        time.sleep(every)


def holds(what, seconds, every=0.05):
    """Looks for a while whether `what()` stays true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert what(), "it did not stay true"
        time.sleep(every)


def descendants(pid):
    found = []
    with contextlib.suppress(OSError):
        for child in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


class Program:
    """A process with its log in a file. Ended by its pid, and its children by theirs."""

    def __init__(self, *command, log, env=None, cwd=HERE):
        self.path = log
        self.log = open(log, "ab")
        environment = {**os.environ, "PYTHONPATH": str(HERE), **(env or {})}
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment, cwd=cwd
        )

    @property
    def pid(self):
        return self.process.pid

    def children(self):
        return descendants(self.pid)

    def text(self):
        return pathlib.Path(self.path).read_text(errors="replace")

    def says(self, words, timeout=90.0):
        """Waits until the log has these words."""

        def look():
            assert self.process.poll() is None, f"ended with {self.process.poll()}:\n{self.text()[-3000:]}"
            return words in self.text()

        try:
            eventually(look, timeout, 0.05)
        except AssertionError as cause:
            raise AssertionError(f"no {words!r} in the log:\n{self.text()[-3000:]}") from cause

    def stop(self, timeout=60.0):
        """Asks it to end, insists after a while. Returns the exit code."""
        children = self.children()
        code = self.process.poll()
        if code is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                code = self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                code = self.process.wait()
        self.end_all(children)
        self.log.close()
        return code

    def kill(self):
        """What a lost machine looks like: the process and its children are gone at once."""
        children = self.children()
        self.process.kill()
        self.process.wait()
        self.end_all(children)
        self.log.close()

    @staticmethod
    def end_all(children):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


class Server:
    def __init__(self, shards=1, *args):
        self.shards = shards
        self.directory = tempfile.mkdtemp(prefix="corelane-brokers-")
        self.port = free_port()
        command = [binary(), "--port", self.port, "--bind", "127.0.0.1", "--dir", self.directory]
        command += ["--save", "", "--appendonly", "no"]
        if not STAND_IN:
            command += ["--shards", shards]
        self.program = Program(*command, *args, log=os.path.join(self.directory, "log"), cwd=self.directory)
        try:
            eventually(self.answers, 20)
        except AssertionError as cause:
            raise RuntimeError(f"the server did not start:\n{self.program.text()}") from cause

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
                probe.sendall(b"PING\r\n")
                return probe.recv(1) in (b"+", b"-")
        except OSError:
            return False

    def url(self, db=0):
        return f"redis://127.0.0.1:{self.port}/{db}"

    def stop(self):
        ended = self.program.stop()
        text = self.program.text()
        shutil.rmtree(self.directory, ignore_errors=True)
        assert ended == 0 and "panicked at" not in text, f"exit {ended}:\n{text[-3000:]}"


def python(*args):
    return [sys.executable, *args]


class Notes:
    """What tasks did, told in a file and so beside the server under test: one line a note."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.touch()

    def lines(self):
        return self.path.read_text().split()

    def about(self, word):
        return [line for line in self.lines() if line.startswith(word)]


def note(line):
    """Called by tasks. A short append is one write, whole also when several processes do it."""
    with open(os.environ["BROKER_NOTES"], "ab", buffering=0) as notes:
        notes.write(line.encode() + b"\n")
