"""A headless Chromium by its DevTools protocol: as much of it as tests of the console need.

What a test waits for is awaited in the page, by a promise. Elements are given as JavaScript
expressions, and are pressed and typed into as by a hand: where they are seen, by mouse and keys.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from awaited import LONG_S, wait_until

PROGRAM = "chromium"
# By the wall clock, and only for what never comes.
GUARD_S = 4 * LONG_S
_LOOKS_MS = 5000
# Nobody sees these windows: a browser lets what nobody sees wait.
_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-background-networking", "--disable-extensions"),
    *("--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows"),
    "--disable-renderer-backgrounding",
)
# What an evaluation says of a page that is left or that has not been shown yet.
_ON_ITS_WAY = ("context", "navigated", "collected")


def missing():
    """Why no browser can be driven here; empty if one can."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed"
    try:
        import websockets.sync.client  # noqa: F401
    except ModuleNotFoundError:
        return "the Python package websockets is not installed"
    return ""


class Refused(Exception):
    """The browser did not do what it was asked; the message is its own."""


class Chromium:
    """A browser with a profile of its own in a folder. Context manager; ended at its end."""

    def __init__(self, folder):
        self._profile = Path(folder) / "chromium"
        self._profile.mkdir()
        self._number = 0

    def __enter__(self):
        from websockets.sync.client import connect

        line = [PROGRAM, *_OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={self._profile}"]
        with (self._profile / "said.txt").open("w") as said:
            self._process = subprocess.Popen(
                [*line, "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, "XDG_CONFIG_HOME": str(self._profile)},
                start_new_session=True,
            )
        try:
            self._socket = connect(self._address(), max_size=None, ping_interval=None)
        except BaseException:
            self._kill()
            raise
        return self

    def _address(self):
        """Of the whole browser: its second line, the first is the port."""
        place = self._profile / "DevToolsActivePort"
        wait_until(
            lambda: place.exists() and len(place.read_text().split()) == 2,
            "the browser's port",
            self._process,
            (self._profile / "said.txt").read_text,
        )
        port, path = place.read_text().split()
        return f"ws://127.0.0.1:{port}{path}"

    def __exit__(self, *_):
        try:
            self.call("Browser.close")
            self._socket.close()
            self._process.wait(LONG_S)
        finally:
            self._kill()

    def _kill(self):
        """The browser and what it has started: its session is its own."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def call(self, method, session=None, **given):
        """What the browser answers to a method. Raises Refused."""
        self._number += 1
        asked = {"id": self._number, "method": method, "params": given}
        self._socket.send(json.dumps(asked | ({"sessionId": session} if session else {})))
        while True:
            heard = json.loads(self._socket.recv(GUARD_S))
            if heard.get("id") == self._number:
                if "error" in heard:
                    raise Refused(f"{method}: {heard['error']['message']}")
                return heard["result"]

    def open(self, address, width=1280, height=1000):
        """A window on an address, with cookies of its own: as another browser."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        window = {"url": "about:blank", "newWindow": True, "browserContextId": context}
        target = self.call("Target.createTarget", **window)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        tab.call("Emulation.setFocusEmulationEnabled", enabled=True)
        tab.size(width, height)
        tab.go(address)
        return tab


class Tab:
    """One window of a browser."""

    def __init__(self, browser, session):
        self._browser, self._session = browser, session

    def call(self, method, **given):
        return self._browser.call(method, self._session, **given)

    def size(self, width, height):
        given = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **given)

    def go(self, address):
        """Another page, once it hears what is pressed."""
        self.call("Page.navigate", url=address)
        self._await_page()

    def reload(self):
        """The same page again, once it hears what is pressed."""
        self.value("window.left = true")
        self.call("Page.reload")
        self._await_page()

    def _await_page(self):
        ready = "document.readyState === 'complete' && window.socket && window.socket.connected"
        self.until("the page", f"!window.left && {ready}")

    def value(self, expression):
        """Of a JavaScript expression, awaited where it is a promise. Raises Refused."""
        given = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self.call("Runtime.evaluate", **given)
        if wrong := answer.get("exceptionDetails"):
            raise Refused(wrong.get("exception", wrong).get("description", str(wrong)))
        return answer["result"].get("value")

    def until(self, what, true):
        """Wait for a JavaScript expression to be true; its value."""
        look = f"""new Promise((done) => {{
            const end = performance.now() + {_LOOKS_MS};
            const look = () => {{
                let found = null;
                try {{ found = {true}; }} catch {{ /* what it looks at is not there yet */ }}
                if (found || performance.now() > end) done(found || null);
                else setTimeout(look, 50);
            }};
            look();
        }})"""
        end_s = time.monotonic() + GUARD_S
        while True:
            try:
                found = self.value(look)
            except Refused as error:
                if not any(word in str(error) for word in _ON_ITS_WAY):
                    raise
                found = None
            if found:
                return found
            assert time.monotonic() < end_s, f"no {what}; the page shows: {self.text()}"

    def text(self):
        """All that the page shows."""
        return self.value("document.body.innerText")

    # --- as by a hand -----------------------------------------------------------------------

    def click(self, element):
        """Press an element, once it can be pressed, stands still and nothing covers it."""
        x, y = self.until(
            f"{element} to press",
            f"""(() => {{
                const found = {element};
                if (!found || found.matches(':disabled, [aria-disabled=true]')) return null;
                found.scrollIntoView({{ block: 'center', behavior: 'instant' }});
                const box = found.getBoundingClientRect();
                const place = [box.x + box.width / 2, box.y + box.height / 2];
                const still = String(window.place) === String(place);
                window.place = place;
                return still && found.contains(document.elementFromPoint(...place)) && place;
            }})()""",
        )
        for kind, buttons in (("mousePressed", 1), ("mouseReleased", 0)):
            given = {"x": x, "y": y, "button": "left", "buttons": buttons, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", type=kind, **given)

    def key(self, key, code, number=0):
        """A key, by what it writes, its place on the keyboard and its Windows number."""
        given = {"key": key, "code": code, "windowsVirtualKeyCode": number or ord(key.upper())}
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **given, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **given)
