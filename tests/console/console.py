#!/usr/bin/env python3
"""Looks at the console in a headless Chromium, in its light and its dark colours.

    tests/console/console.py <redis port> <admin port> [--pictures <directory>] [--password <word>]

A server listens on both ports; this gives it something to show. Exits with 0 when the page shows
that, without errors of scripts or of the content security policy, and text of clients is text. With
--pictures, light.png and dark.png are written, and narrow-light.png and narrow-dark.png of a telephone's
width; the load then goes on while they are taken. Needs only Python and a Chromium (CHROMIUM names another
binary); the browser is driven through a pipe.
"""

import argparse
import base64
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

WIDTH = 1360
NARROW = 390
HOSTILE = "<img/src=x/onerror=document.title='owned'>"


class Browser:
    """Chromium's DevTools protocol: JSON with a zero byte behind each message."""

    def __init__(self, binary):
        self.profile = tempfile.mkdtemp()
        to_child, self.out = os.pipe()
        self.into, from_child = os.pipe()

        def place():
            # Moved out of the way first: one of them may be 3 or 4 itself.
            one, other = os.dup2(to_child, 50), os.dup2(from_child, 51)
            os.dup2(one, 3)
            os.dup2(other, 4)

        arguments = [binary, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                     "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(arguments, preexec_fn=place, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_child)
        os.close(from_child)
        self.rest, self.number, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ["Page", "Runtime", "Log"]:
            self.call(domain + ".enable")

    def message(self):
        while b"\0" not in self.rest:
            piece = os.read(self.into, 1 << 20)
            if not piece:
                sys.exit("the browser has ended")
            self.rest += piece
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") == self.number:
                if "error" in answer:
                    sys.exit(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def value(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return result["result"].get("value")

    def wait(self, expression, what):
        for _ in range(200):
            if self.value(expression):
                return
            time.sleep(0.1)
        sys.exit(f"waited in vain for {what}: {self.value('document.body.innerText')}")

    def complaints(self):
        """Errors of scripts, of the console and of the policy, but for the page's own picture."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(params["exceptionDetails"])
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(params["entry"])
        return found

    def end(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)


class Client:
    def __init__(self, port, password):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb")
        if password:
            self.run("AUTH", password)

    def send(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(w), w) for w in words]
        return b"".join(parts)

    def run(self, *words):
        self.socket.sendall(self.send(*words))
        return self.reply()

    def reply(self):
        line = self.file.readline().rstrip()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest

    def pipeline(self, requests):
        self.socket.sendall(b"".join(self.send(*request) for request in requests))
        for _ in requests:
            self.reply()


def load(port, password, seconds):
    """What a small shop could do: sessions, a cache, a few queues, now and then something slow."""
    chance = random.Random(1)
    clients = [Client(port, password) for _ in range(6)]
    names = ["web-1", "web-2", "celery-worker-1", "celery-beat", "reports", HOSTILE]
    for client, name in zip(clients, names):
        client.run("CLIENT", "SETNAME", name)
    clients[0].run("CONFIG", "SET", "hot-keys-sampling", 10, "slowlog-log-slower-than", 10000)
    clients[0].pipeline([("HSET", f"user:{n}", "name", f"user {n}", "visits", n) for n in range(2000)])
    clients[0].pipeline([("SETEX", f"page:{n}", 600, "x" * 300) for n in range(1500)])
    for key, count in [("celery", 37), ("celery:mail", 412), ("events", 0)]:
        clients[2].run("DEL", key)
        clients[2].pipeline([("LPUSH", key, "task %d" % n) for n in range(count)])
    for n in range(250):
        clients[2].run("XADD", "events", "*", "n", n)
    end, at = time.time() + seconds, 0
    while time.time() < end:
        wave = 1 + (at // 25) % 4
        for client in clients[:2]:
            requests = [("GET", f"page:{int(chance.paretovariate(0.7)) % 1900}") for _ in range(40 * wave)]
            requests += [("HINCRBY", f"user:{chance.randrange(40)}", "visits", 1) for _ in range(10)]
            requests += [("SETEX", f"page:{chance.randrange(1500)}", 600, "y" * 300) for _ in range(5)]
            client.pipeline(requests)
        clients[2].pipeline([("LPUSH", "celery", "task")] * chance.randrange(1, 6))
        clients[3].pipeline([("RPOP", "celery")] * chance.randrange(1, 6))
        clients[4].run("MGET", *[f"page:{chance.randrange(1500)}" for _ in range(20)])
        if at % 60 == 30:
            clients[4].run("EVAL", "local n = 0 for i = 1, ARGV[1] do n = n + i end return n", 0, 600000)
            clients[5].run("DEBUG", "SLEEP", "0.012")
            clients[5].run("EVAL", "return #ARGV[1]", 0, HOSTILE)
        at += 1
        time.sleep(0.02)
    return clients


def take(browser, width, path):
    """A picture of the whole page at that width."""
    height = 600
    for _ in range(3):
        # What is drawn at the new width may take another height.
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                     deviceScaleFactor=1, mobile=False)
        time.sleep(1.2)
        height = int(browser.value("document.documentElement.scrollHeight"))
    picture = browser.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
    with open(path, "wb") as file:
        file.write(base64.b64decode(picture))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("admin", type=int)
    parser.add_argument("--pictures")
    parser.add_argument("--password", default="")
    parser.add_argument("--seconds", type=float, default=6)
    options = parser.parse_args()
    binary = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not binary:
        sys.exit("there is no Chromium")
    if options.pictures:
        steady = (options.port, options.password, options.seconds + 150)
        threading.Thread(target=load, args=steady, daemon=True).start()
    clients = load(options.port, options.password, options.seconds)
    threshold = ("CONFIG", "SET", "slowlog-log-slower-than")
    clients[5].pipeline([(*threshold, 0), ("ECHO", HOSTILE), (*threshold, 10000)])
    browser = Browser(binary)
    if options.password:
        word = base64.b64encode(f"console:{options.password}".encode()).decode()
        browser.call("Network.enable")
        browser.call("Network.setExtraHTTPHeaders", headers={"Authorization": "Basic " + word})
    address = f"http://127.0.0.1:{options.admin}/?keys=celery,celery:mail,events"
    for scheme in ["light", "dark"]:
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=media)
        browser.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=900,
                     deviceScaleFactor=1, mobile=False)
        browser.call("Page.navigate", url=address)
        browser.wait("document.body && document.body.dataset.ready === 'yes'", "the first state")
        browser.wait("document.querySelectorAll('#queues tbody tr').length === 3", "the queues")
        # In a picture the queues' last minute is to be seen.
        load(options.port, options.password, 50 if options.pictures else 2.5)
        text = browser.value("document.body.innerText")
        for word in ["Throughput", "shard 0", "HINCRBY", "celery:mail", "412", "list", "stream", "web-1",
                     "Last snapshot", "page:", HOSTILE]:
            if word not in text:
                sys.exit(f"the page does not show {word!r}:\n{text}")
        if browser.value("document.title") != "Corelane" or browser.value("document.images.length"):
            sys.exit("text of a client has become markup")
        dark = browser.value("getComputedStyle(document.body).backgroundColor") == "rgb(12, 17, 22)"
        if dark != (scheme == "dark"):
            sys.exit(f"the page is not {scheme}")
        drawn = browser.value("""[...document.querySelectorAll('canvas.chart')].every(canvas => {
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            return data.some(byte => byte !== 0); })""")
        if not drawn:
            sys.exit("a chart is empty")
        for narrow in [NARROW, WIDTH]:
            browser.call("Emulation.setDeviceMetricsOverride", width=narrow, height=900,
                         deviceScaleFactor=1, mobile=False)
            if browser.value("document.documentElement.scrollWidth") > narrow:
                sys.exit(f"the page is wider than {narrow} pixels")
        if options.pictures:
            for width, name in [(WIDTH, scheme), (NARROW, "narrow-" + scheme)]:
                take(browser, width, os.path.join(options.pictures, name + ".png"))
    complaints = browser.complaints()
    browser.end()
    if complaints:
        sys.exit(f"the browser complains: {json.dumps(complaints, indent=1)}")
    print("ok")


main()
