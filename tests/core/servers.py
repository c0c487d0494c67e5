"""A web server on localhost that misbehaves as it is told: what downloads are tested against."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server has, and how it behaves.

    Attributes:
        files: path → content. faults: one for each request, the first first; none left: it behaves.
        etag: the name of the present version, sent and compared with If-Range.
        seen: of each request, its Range header.
    """

    files: dict[str, bytes]
    faults: list[str] = field(default_factory=list)
    etag: str = '"one"'
    seen: list[str | None] = field(default_factory=list)
    url: str = ""
    gate: threading.Event = field(default_factory=threading.Event)  # what `held` answers wait for half-way


@contextmanager
def serving(**how: object) -> Iterator[Site]:
    """The faults: ``drop N`` (cut the connection after N bytes), ``no range``, ``other range``, ``wrong bytes``, ``status N``,
    ``stall N`` (send N bytes, then nothing), ``no length``, ``gzip`` (call the file an encoding), ``held``; and such as no
    honest server has: ``from 0 N`` (a 206 from the start, whatever is asked for, cut after N bytes), ``endless`` (no length,
    the file over and over), ``early N`` (no length, closed in good order after N bytes), ``trickle`` (a byte at a time),
    ``garbage`` (no HTTP), ``long header``, ``bad chunks``."""
    site = Site(**how)  # type: ignore[arg-type]

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            site.seen.append(self.headers["Range"])
            fault, _, count = (site.faults.pop(0) if site.faults else "").partition(" ")
            if fault == "status":
                return self.send_error(int(count))
            body = site.files.get(self.path)
            if body is None:
                return self.send_error(404)
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
            same = self.headers["If-Range"] in (None, site.etag)
            start = int(asked[1]) if asked and same and f"{fault} {count}" != "no range" else 0
            if start and start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                return self.end_headers()
            if fault == "garbage":
                return self.wfile.write(b"\x00\xff" * 1000)
            if fault == "from":
                start, count = 0, count.removeprefix("0 ")
            self.send_response(206 if start or fault == "from" else 200)
            if fault == "from":
                self.send_header("Content-Range", f"bytes 0-{len(body) - 1}/{len(body)}")
            if fault == "long":
                self.send_header("X-Long", "x" * 200_000)
            if fault == "bad":
                self.send_header("Transfer-Encoding", "chunked")
            if start:
                said = start + 1 if fault == "other" else start
                self.send_header("Content-Range", f"bytes {said}-{len(body) - 1}/{len(body)}")
            if f"{fault} {count}" != "no length" and fault not in ("endless", "early", "bad"):
                self.send_header("Content-Length", str(len(body) - start))
            if fault == "gzip":
                self.send_header("Content-Encoding", "gzip")
            if site.etag:
                self.send_header("ETag", site.etag)
            self.end_headers()
            rest = bytes(len(body))[start:] if fault == "wrong" else body[start:]
            if fault == "bad":
                return self.wfile.write(b"ffffffffffffffff\r\n" + rest[:1000] + b"zz\r\n")
            if fault == "endless":
                while True:
                    self.wfile.write(body)
            if fault == "early":
                return self.wfile.write(rest[: int(count)])
            if fault == "trickle":
                for k in range(len(rest)):
                    self.wfile.write(rest[k : k + 1])
                    self.wfile.flush()
                    if site.gate.wait(0.01):
                        return
            if fault == "from":
                fault = "drop"
            if fault in ("drop", "stall", "held"):
                self.wfile.write(rest[: int(count)])
                self.wfile.flush()
                if fault != "drop":
                    site.gate.wait(60)
                if fault != "held":
                    return self.connection.shutdown(socket.SHUT_RDWR)
                rest = rest[int(count) :]
            self.wfile.write(rest)

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:  # a client that went away is no news
            pass

    server = Server(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield site
    finally:
        site.gate.set()
        server.shutdown()
        server.server_close()
