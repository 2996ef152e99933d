"""Applications behind a router, and visitors of it; all on loopback."""

from __future__ import annotations

import http.client
import itertools
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend:
    """A revision's container: tells who it is and what it was asked, and can hold an answer back."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.holding = threading.Event()
        self.release = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"backend": self}))
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it; connections in use are left to end by themselves."""
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    backend: Backend

    def do_GET(self) -> None:
        if self.headers.get("Upgrade") == "echo":
            self._echo()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/slow"):
            self.backend.holding.set()
            self.backend.release.wait(60)
        told = {"name": self.backend.name, "path": self.path, "headers": dict(self.headers), "read": len(body)}
        text = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.do_GET()

    def _echo(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "echo")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(self.rfile.readline().upper())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Told:
    """What a visitor was answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """What a backend tells."""
        assert self.status == 200, self
        return json.loads(self.body)

    @property
    def name(self) -> str:
        """The backend that answered."""
        return str(self.json["name"])

    @property
    def cookie(self) -> str:
        """The session cookie as it is sent back; empty where none was set."""
        return self.headers.get("set-cookie", "").partition(";")[0]


@dataclass
class Visitor:
    """One connection to a router, kept alive as long as the router keeps it."""

    port: int
    host: str = "shop.example"
    reopened: int = 0
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    def get(
        self, path: str = "/", *, cookie: str = "", method: str = "GET", body: bytes = b"", **headers: str
    ) -> Told:
        """One request. Where an idle connection was closed before a byte came, it is sent again (RFC 9112, 9.3.1)."""
        sent = {"Host": self.host, **({"Cookie": cookie} if cookie else {})}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        reused = self._connection is not None
        try:
            return self._ask(method, path, body, sent)
        except (http.client.RemoteDisconnected, ConnectionError):
            if not reused:
                raise
            self.close()
            self.reopened += 1
            return self._ask(method, path, body, sent)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Told:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self._connection.request(method, path, body or None, dict(headers))
        answer = self._connection.getresponse()
        try:
            read = answer.read()
        except ConnectionError as error:  # after the first byte nothing may be sent again
            raise http.client.IncompleteRead(b"") from error
        told = Told(answer.status, {name.lower(): value for name, value in answer.getheaders()}, read)
        if answer.will_close:
            self.close()
        return told


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Load:
    """Visitors that never pause, each on a thread; every answer is counted, and nothing may go wrong.

    :param posts: whether fresh ones post every other time.
    """

    def __init__(self, port: int, *, kept_alive: int, fresh: int, posts: bool = True) -> None:
        self._posts = posts
        self.answered: dict[str, int] = {}
        self.trouble: list[str] = []
        self._port = port
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        keeps = [True] * kept_alive + [False] * fresh
        self._threads = [threading.Thread(target=self._run, args=(each,), daemon=True) for each in keeps]
        for thread in self._threads:
            thread.start()

    @property
    def total(self) -> int:
        """Requests that were answered so far."""
        return sum(self.answered.values())

    def stop(self) -> None:
        """End it, every request answered."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self, keep: bool) -> None:
        visitor = Visitor(self._port)
        # On a connection that is kept alive a client may not repeat a POST: nobody knows whether it arrived.
        methods = itertools.cycle(["GET"] if keep or not self._posts else ["GET", "POST"])
        while not self._stopping.is_set():
            try:
                name = visitor.get(method=next(methods), body=b"x").name
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.trouble.append(repr(error))
                visitor.close()
                continue
            with self._lock:
                self.answered[name] = self.answered.get(name, 0) + 1
            if not keep:
                visitor.close()
        visitor.close()
