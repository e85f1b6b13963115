"""A real headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)  # fmt: skip
NAMES = ("chromium", "chromium-browser", "google-chrome")


def executable() -> str:
    """Chromium's path; the test is skipped where there is none."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium (apt-get install chromium)")


class Tab:
    """One page."""

    def __init__(self, browser: Browser, target: dict[str, Any]) -> None:
        from websockets.sync.client import connect

        self._browser = browser
        self._id = target["id"]
        self._socket = connect(target["webSocketDebuggerUrl"], max_size=2**26, compression=None)
        self._numbers = itertools.count(1)
        self.said: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("method") == "Log.entryAdded":
                self.said.append(message["params"]["entry"].get("text", ""))
            if message.get("id") == number:
                assert "error" not in message, message
                return dict(message["result"])

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.evaluate("document.body ? document.body.innerText : ''") or "")

    def until(self, condition: Callable[[str], bool], seconds: float = 30) -> str:
        """Wait until what can be read satisfies a condition."""
        end = time.monotonic() + seconds
        while not condition(text := self.text()):
            assert time.monotonic() < end, f"not within {seconds} s: {text!r} {self.said}"
            time.sleep(0.1)
        return text

    def picture(self) -> np.ndarray:
        """(H, W, 3) BGR."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))

    def close(self) -> None:
        self._socket.close()
        urllib.request.urlopen(f"{self._browser.address}/json/close/{self._id}", timeout=10).read()


class Browser:
    """The process; a context manager that leaves nothing behind."""

    def __init__(self, size: tuple[int, int] = (1100, 720)) -> None:
        program = executable()
        self._folder = tempfile.TemporaryDirectory(prefix="rpweb", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._process = subprocess.Popen(
            [program, *FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            end = time.monotonic() + 30
            while not (folder / "DevToolsActivePort").is_file():
                assert time.monotonic() < end and self._process.poll() is None, "Chromium did not start"
                time.sleep(0.1)
            port = (folder / "DevToolsActivePort").read_text().split()[0]
        except BaseException:
            self.close()
            raise
        self.address = f"http://127.0.0.1:{port}"

    def tab(self, url: str = "about:blank") -> Tab:
        request = urllib.request.Request(f"{self.address}/json/new?about:blank", method="PUT")
        tab = Tab(self, json.load(urllib.request.urlopen(request, timeout=20)))
        tab.open(url)
        return tab

    def close(self) -> None:
        import os

        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait()
        self._folder.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
