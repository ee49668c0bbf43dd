"""Workers and other Celery programs for the tests, and the application set to the server."""

import importlib
import itertools
import os

import celery_app
from programs import Program, eventually, python

numbers = itertools.count(1)


class Cluster:
    """The application, connected to one server, and the workers, beats and others that run for it."""

    def __init__(self, server, workplace):
        self.server = server
        self.workplace = workplace
        self.started = []
        self.env = {"BROKER_URL": server.url(0), "RESULT_URL": server.url(1)}
        os.environ.update(self.env)
        # A new application for every server: the old one holds connections to the server before.
        self.tasks = importlib.reload(celery_app)
        self.app = self.tasks.app
        self.app.set_current()

    def run(self, *args, env=None):
        log = self.workplace / f"celery-{next(numbers)}.log"
        command = python("-m", "celery", "-A", "celery_app", *args)
        program = Program(*command, log=log, env={**self.env, **(env or {})})
        self.started.append(program)
        return program

    def begin(self, name, *args, queues="celery", concurrency=2, env=None):
        options = ["--hostname", f"{name}@here", "-Q", queues, "-c", concurrency, "-l", "info"]
        options += ["--heartbeat-interval", "1", "-E"]
        return self.run("worker", *options, *args, env=env)

    def worker(self, name, *args, **options):
        program = self.begin(name, *args, **options)
        self.await_worker(program, name)
        return program

    def await_worker(self, program, name):
        """A worker is ready a moment before it listens to what is broadcast: asks until it answers."""
        program.says(" ready.")
        ping = lambda: self.app.control.ping(destination=[f"{name}@here"], timeout=1.0, limit=1)
        eventually(ping, 20)

    def close(self):
        for program in self.started:
            if program.process.poll() is None:
                program.stop()
        self.app.close()
