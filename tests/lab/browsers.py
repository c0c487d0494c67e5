"""Two browsers beside Chromium, each by the road that it speaks itself: Firefox by WebDriver BiDi, WebKitGTK by WebDriver."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import pytest

PATIENCE = 120  # seconds for a browser to come up, and for an answer
MINI = "/usr/lib/*/webkit2gtk-4.*/MiniBrowser"


class Tab(Protocol):
    """One page of a browser."""

    def goto(self, address: str) -> None: ...

    def evaluate(self, body: str, argument: Any = None) -> Any:
        """The answer, as JSON carries it, of an async function's body that sees ``arg``."""


def _called(body: str, argument: Any) -> str:
    return f"(async (arg) => {{ {body} }})({json.dumps(argument)}).then((answer) => JSON.stringify(answer ?? null))"


class _Firefox:
    def __init__(self, address: str):
        from websocket import create_connection

        self._socket = create_connection(f"{address}/session", timeout=PATIENCE, suppress_origin=True)
        self._numbers = count(1)
        self._send("session.new", capabilities={})
        self._page = self._send("browsingContext.getTree")["contexts"][0]["context"]

    def _send(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def goto(self, address: str) -> None:
        self._send("browsingContext.navigate", context=self._page, url=address, wait="complete")

    def evaluate(self, body: str, argument: Any = None) -> Any:
        target = {"context": self._page}
        found = self._send("script.evaluate", expression=_called(body, argument), target=target, awaitPromise=True)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def close(self) -> None:
        self._socket.close()


class _WebKit:
    def __init__(self, address: str, program: Path):
        self._address = address
        options = {"webkitgtk:browserOptions": {"binary": str(program), "args": ["--automation"]}}
        session = self._send("/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        self._address = f"{address}/session/{session}"
        self._send("/timeouts", {"script": 1000 * PATIENCE, "pageLoad": 1000 * PATIENCE})

    def _send(self, path: str, body: dict[str, Any], method: str = "POST") -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(
            self._address + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.loads(answer.read())["value"]

    def goto(self, address: str) -> None:
        self._send("/url", {"url": address})

    def evaluate(self, body: str, argument: Any = None) -> Any:
        script = f"const done = arguments[0]; {_called(body, argument)}.then(done, (error) => done('!' + error));"
        answer = self._send("/execute/async", {"script": script, "args": []})
        assert not answer.startswith("!"), answer
        return json.loads(answer)

    def close(self) -> None:
        self._send("", {}, "DELETE")


@contextlib.contextmanager
def firefox(folder: Path) -> Iterator[Tab]:
    """A headless Firefox with a profile of its own under ``folder``."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("optional: no Firefox (apt-get install firefox-esr)")
    pytest.importorskip("websocket", reason="optional: no websocket-client")
    words = [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port=0"]
    with _running(words, folder / "firefox.log", HOME=str(folder)) as log:
        tab = _Firefox(_said(log, r"WebDriver BiDi listening on (ws://\S+)"))
        with contextlib.closing(tab):
            yield tab


@contextlib.contextmanager
def webkit(folder: Path) -> Iterator[Tab]:
    """WebKitGTK's MiniBrowser on a screen that nobody sees."""
    driver, screen = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    program = next(iter(sorted(Path("/").glob(MINI[1:]))), None)
    if not (driver and screen and program):
        pytest.skip("optional: no WebKitGTK (apt-get install webkit2gtk-driver xvfb)")
    with _running([screen, "-displayfd", "1", "-screen", "0", "1280x800x24"], folder / "xvfb.log") as shown:
        place = {"DISPLAY": ":" + _said(shown, r"(?m)^(\d+)$"), "HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        port = free_port()
        with _running([driver, f"--port={port}"], folder / "driver.log", **place):
            _wait_for(port)
            with contextlib.closing(_WebKit(f"http://127.0.0.1:{port}", program)) as tab:
                yield tab


@contextlib.contextmanager
def _running(words: list[str], log: Path, **place: str) -> Iterator[Path]:
    """A program and all that it starts, ended with the block; what it says goes into the log."""
    with log.open("w") as said:
        process = subprocess.Popen(
            words, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, **place}, start_new_session=True
        )
    try:
        yield log
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def _said(log: Path, pattern: str) -> str:
    for _ in range(10 * PATIENCE):
        if found := re.search(pattern, log.read_text(errors="replace")):
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"within {PATIENCE} s it did not say {pattern}: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    """One at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(10 * PATIENCE):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=5):
            return
        time.sleep(0.1)
    raise AssertionError(f"nothing answers at port {port}")


BROWSERS = {"firefox": firefox, "webkit": webkit}
