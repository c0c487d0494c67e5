"""A plain file server for the built website, localhost only; no header beyond a Content-Security-Policy, if asked."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from richness.site.places import SiteError, built_site
from richness.site.policy import site_policy


class Handler(SimpleHTTPRequestHandler):
    """Serves `directory` under the path `prefix`, quietly and with `policy`; anything outside of it is a 404."""

    extensions_map = {  # noqa: RUF012 (as the class above it has it)
        **SimpleHTTPRequestHandler.extensions_map,
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".woff2": "font/woff2",
        ".svg": "image/svg+xml",
    }

    def __init__(self, *args: object, prefix: str = "", policy: str = "", **kwargs: object) -> None:
        self.prefix, self.policy = prefix, policy
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]

    def translate_path(self, path: str) -> str:
        """The file for an address; a name that cannot exist for one outside of the prefix."""
        if self.prefix and not path.startswith(self.prefix + "/"):
            return str(Path(self.directory) / "outside-of-the-prefix")
        return super().translate_path(path[len(self.prefix) :])

    def end_headers(self) -> None:
        """Send the policy with every answer: a worker's script is held to its own answer's, not to the page's."""
        if self.policy:
            self.send_header("Content-Security-Policy", self.policy)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """A threaded server that takes a browser's hanging up for what it is."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing where the other side closed the connection; else what the class above says."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def server(site: Path, port: int = 0, prefix: str = "", policy: str = "") -> ThreadingHTTPServer:
    """A server for `site` on localhost; port 0 lets the system choose.

    With a `policy` each answer carries it as its Content-Security-Policy.

    Raises:
        SiteError: if the port is taken.
    """
    try:
        return Server(("127.0.0.1", port), partial(Handler, directory=str(site), prefix=prefix, policy=policy))
    except OSError as error:
        raise SiteError(f"Port {port} cannot be had ({error.strerror}): choose another with --port, or 0.") from error


@contextmanager
def background(site: Path, prefix: str = "", policy: str = "") -> Iterator[str]:
    """Serve `site` from a thread while the context lasts; yields the address of its root, with a slash at the end."""
    running = server(site, prefix=prefix, policy=policy)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}{prefix}/"
    finally:
        running.shutdown()
        running.server_close()


def serve(port: int) -> int:
    """Serve the built website under its policy until interrupted."""
    site = built_site()
    running = server(site, port, policy=site_policy(site))
    print(f"The book: http://localhost:{running.server_address[1]}/  (Ctrl+C ends it)", flush=True)
    try:
        running.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        running.server_close()
    return 0
