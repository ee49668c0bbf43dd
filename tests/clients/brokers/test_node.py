"""The tests that are written in JavaScript, for BullMQ, ioredis and node-redis: `node --test` runs them.

BROKER_NODE names a node of version 20 or newer; its modules are where NODE_PATH says. The counts of
the single tests are told at the end of the run.
"""

import os
import re
import subprocess

import pytest

import programs

FILES = sorted((programs.HERE / "node").glob("*.test.cjs"))
NODE = os.environ.get("BROKER_NODE", "node")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.removesuffix(".test.cjs"))
def test_javascript(file, clean, record_property):
    options = ["--test-concurrency=1", "--test-timeout=180000", "--test-force-exit", "--test-reporter=tap"]
    run = subprocess.run(
        [NODE, "--test", *options, file],
        env={**os.environ, "BROKER_PORT": str(clean.port)},
        cwd=file.parent,
        capture_output=True,
        text=True,
        timeout=580,
    )
    counts = {word: int(n) for word, n in re.findall(r"^# (tests|pass|fail|cancelled) (\d+)$", run.stdout, re.MULTILINE)}
    record_property("javascript", counts)
    failures = re.findall(r"^ *not ok \d+ - .*(?:\n(?! *ok).*){0,25}", run.stdout, re.MULTILINE)
    assert run.returncode == 0 and not failures, "\n".join(failures) or run.stdout[-3000:] + run.stderr[-2000:]
    assert counts["pass"] == counts["tests"] > 0
