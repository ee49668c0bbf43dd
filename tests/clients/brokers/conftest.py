"""The servers under test: with one shard and with four, as BROKER_SHARDS says."""

import os
import pathlib
import tempfile

import pytest
import redis

import programs


@pytest.fixture(scope="session", params=programs.shard_counts(), ids=lambda n: f"{n}-shards")
def server(request):
    server = programs.Server(request.param)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clean(server):
    """The server, empty at the start of the module."""
    with redis.Redis(port=server.port) as client:
        client.flushall()
    return server


@pytest.fixture
def r(server):
    with redis.Redis(port=server.port, decode_responses=True, socket_timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def workplace(clean):
    """A directory for logs and notes, of one module and one server. Below BROKER_LOGS it stays."""
    if os.environ.get("BROKER_LOGS"):
        yield pathlib.Path(tempfile.mkdtemp(prefix="tests-", dir=os.environ["BROKER_LOGS"]))
        return
    with tempfile.TemporaryDirectory(prefix="corelane-brokers-") as directory:
        yield pathlib.Path(directory)


@pytest.fixture(scope="module")
def notes(workplace):
    """Where tasks of this module tell what they did, also those that run in other processes."""
    path = workplace / "notes"
    before = os.environ.get("BROKER_NOTES")
    os.environ["BROKER_NOTES"] = str(path)
    yield programs.Notes(path)
    if before is None:
        del os.environ["BROKER_NOTES"]
    else:
        os.environ["BROKER_NOTES"] = before


@pytest.fixture(scope="module")
def cluster(clean, workplace, notes):
    """Celery on the server; its programs end with the module."""
    from celery_support import Cluster

    cluster = Cluster(clean, workplace)
    yield cluster
    cluster.close()


def pytest_terminal_summary(terminalreporter):
    """One pytest test runs a whole file of JavaScript tests: says how many those were."""
    total = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, counts in getattr(report, "user_properties", []):
                if name == "javascript" and report.when == "call":
                    for word, n in counts.items():
                        total[word] = total.get(word, 0) + n
    if total:
        failed = total["fail"] + total["cancelled"]
        terminalreporter.write_line(f"JavaScript tests: {total['pass']} passed, {failed} failed")
