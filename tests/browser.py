"""A headless chromium without a network: what a page asks for, what it complains about, and how it
looks.

It is driven through the pipes of the DevTools protocol, so that no port and no further package is
needed.
"""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    "The browser's path, or None."
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page in a browser of its own: `with Browser(profile_folder) as browser:
    browser.open(path)`.
    """

    def __init__(self, profile, width=1200, height=900, reaches_this_machine=False):
        self.profile, self.width, self.height = Path(profile), width, height
        self.names = "MAP * ~NOTFOUND" + ", EXCLUDE 127.0.0.1" * reaches_this_machine
        self.numbers, self.buffer, self.events = itertools.count(1), b"", []

    def __enter__(self):
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--remote-debugging-pipe",
            f"--host-resolver-rules={self.names}",
            f"--user-data-dir={self.profile}",
            f"--window-size={self.width},{self.height}",
        ]

        # what the protocol reads and writes, whatever numbers the pipes got here
        def as_three_and_four():
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read_there, write_there)]
            for end, number in zip(ends, (3, 4)):
                os.dup2(end, number)

        # Python's own descriptors are not inherited anyway; closing all would close these two.
        self.process = subprocess.Popen(
            [chromium(), *flags],
            preexec_fn=as_three_and_four,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)
        self.reader, self.writer, self.session = read_here, write_here, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=self.width,
            height=self.height,
            deviceScaleFactor=1,
            mobile=False,
        )
        return self

    def __exit__(self, *error):
        os.close(self.writer)
        os.close(self.reader)
        self.process.terminate()
        self.process.wait(20)

    def message(self, seconds):
        "The next message of the browser, or None after so many seconds."
        end = time.monotonic() + seconds
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.reader], [], [], max(0, end - time.monotonic()))
            if not ready:
                return None
            read = os.read(self.reader, 1 << 20)
            if not read:
                raise RuntimeError("the browser ended")
            self.buffer += read
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, seconds=60, **params):
        "The result of a command."
        number = next(self.numbers)
        command = dict(id=number, method=method, params=params) | (
            dict(sessionId=self.session) if self.session else {}
        )
        waiting = json.dumps(command).encode() + b"\0"
        while waiting:
            waiting = waiting[os.write(self.writer, waiting) :]
        while answer := self.message(seconds):
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.events.append(answer)
        raise TimeoutError(method)

    def open(self, path, seconds=60, settle=1.0):
        """Opens a file or an address, and waits until it is loaded and its scripts have had their
        turn.
        """
        self.events.clear()
        url = path if str(path).startswith("http") else Path(path).resolve().as_uri()
        self.call("Page.navigate", url=url)
        end = time.monotonic() + seconds
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            if event := self.message(end - time.monotonic()):
                self.events.append(event)
            elif time.monotonic() > end:
                raise TimeoutError(f"{path} was not loaded in {seconds} s")
        end = time.monotonic() + settle
        while event := self.message(max(0, end - time.monotonic())):
            self.events.append(event)

    def of(self, *methods):
        "The parameters of all events of these kinds since the page was opened."
        return [event["params"] for event in self.events if event.get("method") in methods]

    def requests(self):
        "Whatever the page asked for that is not in its own file."
        asked = [event["request"]["url"] for event in self.of("Network.requestWillBeSent")]
        return [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def complaints(self):
        "Errors and warnings of the page's console."
        said = [
            " ".join(str(a.get("value", a.get("description"))) for a in event["args"])
            for event in self.of("Runtime.consoleAPICalled")
            if event["type"] in ("error", "warning", "assert")
        ]
        thrown = [
            event["exceptionDetails"].get("exception", {}).get("description")
            or event["exceptionDetails"]["text"]
            for event in self.of("Runtime.exceptionThrown")
        ]
        logged = [
            event["entry"]["text"]
            for event in self.of("Log.entryAdded")
            if event["entry"]["level"] in ("error", "warning")
        ]
        return said + thrown + logged

    def run(self, script):
        "The value of a JavaScript expression."
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def height_of_page(self):
        return self.run("document.documentElement.scrollHeight")

    def screenshot(self, path, top=0, height=None, left=0, width=None, scale=1):
        "A picture of a part of the page, also of what lies below the window."
        clip = dict(
            x=left, y=top, width=width or self.width, height=height or self.height, scale=scale
        )
        shot = self.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        Path(path).write_bytes(base64.b64decode(shot["data"]))
