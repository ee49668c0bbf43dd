"""Servers to compare: how they are found, started, stopped and looked at."""

import contextlib
import os
import pathlib
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
HOST = "127.0.0.1"
START_SECONDS_MAX = 10


class Peer:
    """A server program: where it is, and the flags for a port, some shards, shard ports."""

    def __init__(self, name, path, flags, sharded=False):
        self.name, self.path, self.flags, self.sharded = name, path, flags, sharded
        self.version = version_of(path)

    def label(self):
        return f"{self.name} {self.version}".strip()


def version_of(path):
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"\d+\.\d+\.\d+", done.stdout)
    return "" if not found else found[0].replace("255.255.255", "(development)")


def redis_flags(port, _shards, _ports, folder):
    return ["--port", str(port), "--bind", HOST, "--save", "", "--appendonly", "no",
            "--dir", folder]


def corelane_flags(port, shards, ports, folder):
    flags = redis_flags(port, shards, ports, folder) + ["--shards", str(shards)]
    return flags + (["--cluster-mode", "emulated"] if ports else [])


def kevy_flags(port, shards, ports, folder):
    flags = ["--port", str(port), "--bind", HOST, "--threads", str(shards), "--no-aof",
             "--dir", folder]
    return flags + (["--cluster"] if ports else [])


def find_peers(wanted, notes):
    known = [
        ("redis", os.environ.get("REDIS", "redis-server"), redis_flags, False),
        ("valkey", os.environ.get("VALKEY", "valkey-server"), redis_flags, False),
        ("kevy", os.environ.get("KEVY", "kevy"), kevy_flags, True),
        ("corelane", os.environ.get("CORELANE", str(TARGET / "corelane")), corelane_flags, True),
    ]
    unknown = set(wanted) - {name for name, *_ in known}
    if unknown:
        sys.exit(f"bench: unknown server {', '.join(sorted(unknown))}")
    peers = []
    for name, program, flags, sharded in known:
        path = shutil.which(program)
        if wanted and name not in wanted:
            continue
        if path:
            peers.append(Peer(name, path, flags, sharded))
        else:
            notes.append(f"{name} was left out: no {program}")
    return peers


class Server:
    """A running server process; only its own pid is ever signalled."""

    def __init__(self, peer, way, cpus, folder):
        self.peer, self.way = peer, way
        shards = 1 if way == "one" else 2
        self.folder = tempfile.mkdtemp(prefix=f"{peer.name}-", dir=folder)
        self.port = free_ports(shards + 1)
        self.log = pathlib.Path(self.folder, "log")
        command = ["taskset", "-c", ",".join(map(str, cpus)), peer.path,
                   *peer.flags(self.port, shards, way == "ports", self.folder)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.folder)
        self.pid = self.process.pid

    def wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError):
                with socket.create_connection((HOST, self.port), timeout=1) as client:
                    client.sendall(b"PING\r\n")
                    if client.recv(16).startswith(b"+PONG"):
                        return
            time.sleep(0.05)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.peer.label()} did not start:\n{tail}")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        if self.process.poll() is None:
            self.resume()
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def rss(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def cpu_ns(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int((task / "schedstat").read_text().split()[0])
        return total


def free_ports(count):
    """The first of `count` ports in a row that nobody listens on."""
    for base in range(21000 + os.getpid() % 4000, 32000, count):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(base, base + count):
                probe = stack.enter_context(socket.socket())
                probe.bind((HOST, port))
            return base
    raise RuntimeError("no free ports")


class Machine:
    """Which CPUs the servers and the generator run on: different ones, if there are enough."""

    def __init__(self, shard_cpus):
        self.cpus = sorted(os.sched_getaffinity(0))
        self.shard_cpus = shard_cpus or self.cpus[:2]

    def server(self, way):
        return self.cpus[:1] if way == "one" else self.shard_cpus

    def generator(self, way):
        rest = [cpu for cpu in self.cpus if cpu not in self.server(way)]
        return rest[:2] or self.cpus


def ratio(value, base):
    return "" if base is None else f"{value / base:.2f}"


def cpu_model():
    with contextlib.suppress(OSError):
        found = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
        if found:
            return found[1]
    return platform.machine()
