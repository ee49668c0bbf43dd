"""A pytest plugin for scripts/compat: a test that stops at a command which the server does not have
is skipped and counted under that command's name, so what fails is what differs."""

import collections
import re

import pytest

UNKNOWN = re.compile(r"unknown (?:sub)?command '([^']+)'")
missing = collections.Counter()


def skip_when_missing(outcome):
    error, texts = outcome.excinfo and outcome.excinfo[1], []
    while error is not None:
        texts.append(str(error))
        error = error.__cause__ or error.__context__
    found = UNKNOWN.search(" ".join(texts))
    if found:
        name = found.group(1).upper()
        missing[name] += 1
        outcome.force_exception(pytest.skip.Exception(f"the server has no {name}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item):
    skip_when_missing((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    skip_when_missing((yield))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_teardown(item):
    skip_when_missing((yield))


def pytest_terminal_summary(terminalreporter):
    if missing:
        names = ", ".join(f"{name} {count}" for name, count in missing.most_common())
        terminalreporter.write_line(f"skipped for want of a command: {names}")
