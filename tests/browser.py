"""A headless Chromium for tests of pages: driven over a pipe with the DevTools protocol, by the standard library alone.

It needs no package and no port. What a page logs, throws or would fetch is kept, for a test to say that there is none.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_S = 90.0  # for one answer; a busy machine is slow
# Chromium reads commands from descriptor 3 and writes answers to 4, each ended by a zero byte.
_HANDOVER = """
import fcntl, os, sys
reads, writes = (fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3])
os.dup2(reads, 3), os.dup2(writes, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
KEYS = {  # key -> code, Windows' number
    "ArrowRight": ("ArrowRight", 39), "ArrowLeft": ("ArrowLeft", 37), "ArrowDown": ("ArrowDown", 40),
    "ArrowUp": ("ArrowUp", 38), "Home": ("Home", 36), "End": ("End", 35), "Escape": ("Escape", 27),
    "Enter": ("Enter", 13), "Tab": ("Tab", 9), "n": ("KeyN", 78), "N": ("KeyN", 78), " ": ("Space", 32),
    "*": ("Digit8", 56), "w": ("KeyW", 87), "b": ("KeyB", 66), "g": ("KeyG", 71), "G": ("KeyG", 71), "c": ("KeyC", 67),
}  # fmt: skip
MODIFIERS = {"ctrl": 2, "shift": 8}


class Page:
    """One page of a browser."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session
        self.complaints: list[str] = []  # what it threw and logged as an error
        self.requests: list[str] = []  # every address that it asked for

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, parameters, self._session)

    def open(self, path: Path, *, width: int, height: int = 844, dark: bool = False, touch: bool = False) -> None:
        """Show a file, and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self._browser.wait_for(self._session, "Page.loadEventFired")

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, awaited."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def press(self, key: str, *modifiers: str) -> None:
        code, number = KEYS[key]
        text = {"text": key} if len(key) == 1 and "ctrl" not in modifiers else {}
        about = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        about["modifiers"] = sum(MODIFIERS[one] for one in modifiers)
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def place(self, expression: str) -> tuple[float, float]:
        """The middle of the first line of an element, scrolled to."""
        self.value(f"{expression}.scrollIntoView({{block: 'center'}})")
        self.settle()
        x, y = self.value(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({expression}.getClientRects()[0])"
        )
        return x, y

    def settle(self) -> None:
        """Wait until what was asked for is on the screen."""
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def tap(self, expression: str) -> None:
        """A finger on an element."""
        x, y = self.place(expression)
        self.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        self.settle()

    def point(self, expression: str) -> None:
        """The mouse over an element."""
        x, y = self.place(expression)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Keep a PNG of it, the whole page or what is on the screen."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))


class Browser:
    """The process, and what it says."""

    def __init__(self, profile: Path) -> None:
        reads, self._to = os.pipe()
        self._from, writes = os.pipe()
        self._process = subprocess.Popen(
            [
                sys.executable, "-c", _HANDOVER, str(reads), str(writes), str(CHROMIUM), "--headless=new",
                "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(reads, writes), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(reads)
        os.close(writes)
        self._heard, self._last = b"", 0
        self._answers: dict[int, dict[str, Any]] = {}
        self._events: list[tuple[str, str]] = []
        self._pages: dict[str, Page] = {}

    def page(self) -> Page:
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        return self._pages.setdefault(session, Page(self, session))

    def call(self, method: str, parameters: dict[str, Any], session: str | None = None) -> dict[str, Any]:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        os.write(self._to, json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0")
        number = self._last
        self._hear_until(lambda: number in self._answers, method)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def wait_for(self, session: str, event: str) -> None:
        self._hear_until(lambda: (session, event) in self._events, event)
        self._events.remove((session, event))

    def close(self) -> None:
        os.close(self._to)
        self._process.terminate()
        self._process.wait()
        os.close(self._from)

    def _hear_until(self, is_there: Any, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not is_there():
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no answer to {what} within {PATIENCE_S:g} s"
            data = os.read(self._from, 1 << 20)
            assert data, f"Chromium ended before {what} was answered"
            *messages, self._heard = (self._heard + data).split(b"\0")
            for message in messages:
                self._take(json.loads(message))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers[message["id"]] = message
            return
        method, about, page = message["method"], message["params"], self._pages.get(message.get("sessionId", ""))
        self._events.append((message.get("sessionId", ""), method))
        if page is None:
            return
        if method == "Runtime.exceptionThrown":
            page.complaints.append(json.dumps(about["exceptionDetails"]))
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            page.complaints.append(about["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            page.complaints.append(f"console.{about['type']}")
        elif method == "Network.requestWillBeSent":
            page.requests.append(about["request"]["url"])


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser that is closed at the end."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
