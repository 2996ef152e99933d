"""The fake engine itself: the part of Docker's HTTP API (1.41) that tallyd uses, over a real Unix socket."""

from __future__ import annotations

import contextlib
import json
import queue
import re
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import orjson

from tests.builders import CREATED, ENGINE_ID, IMAGE, IMAGE_ID, id_of
from tests.fakes.faults import Fault, Faults, Misbehaviour
from tests.fakes.world import Event, Events, FakeWorld

STOP_SECONDS = 5.0
_CHUNK_BYTES = 32 * 1024
_ONE_PIECE_BYTES = 2048
_VERSIONED = re.compile(r"^/v(\d+)\.(\d+)(/.*)$")
_KNOWN_FILTERS = frozenset({"id", "label"})

Query = Mapping[str, list[str]]


class FakeDocker:
    """An engine whose containers are in ``world``.

    ``requests`` counts the requests by path without version. ``keep_alive=False`` ends each connection after its
    answer, as some proxies do. A ``server`` that begins with Libpod tells a new id at each request, as Podman.
    """

    def __init__(self, *, engine_id: str = ENGINE_ID, api: str = "1.41", minimum_api: str = "1.12") -> None:
        self.world = FakeWorld()
        self.engine_id = engine_id
        self.api = api
        self.minimum_api = minimum_api
        self.server = "Docker/20.10.24 (linux)"
        self.keep_alive = True
        self.images: list[dict[str, Any]] = [_image(IMAGE, None)]
        self.requests: Counter[str] = Counter()
        self.directory = Path(tempfile.mkdtemp(prefix="fake-docker-"))
        self.socket_path = self.directory / "docker.sock"
        self.endpoint = f"unix://{self.socket_path}"
        self.faults = Faults()
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._acceptor = threading.Thread(target=self._accept, name="fake-docker", daemon=True)

    def start(self) -> Self:
        """Listen; answers as soon as this returns."""
        self._listener.bind(str(self.socket_path))
        self._listener.listen(128)
        self._acceptor.start()
        return self

    def stop(self) -> None:
        """Close everything, join every thread, remove the socket. Idempotent."""
        self.stopping.set()
        self.faults.clear()
        self.world.end_event_streams()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self._acceptor.ident is not None:
            self._acceptor.join(STOP_SECONDS)
        threads = list(self._connections.values())
        self.drop_connections()
        for thread in threads:
            thread.join(STOP_SECONDS)
        assert not any(thread.is_alive() for thread in threads), "a connection of the fake engine did not end"
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answer_with(self, path: str, mode: Fault | bytes, *, interval_seconds: float = 0.02) -> None:
        """Misbehave on `path` (without version; ``*`` is all) until :meth:`answer_normally`."""
        self.faults.set(path, mode, interval_seconds)

    def answer_normally(self, *paths: str) -> None:
        """End the faults on these paths, on all without arguments; hanging requests get their answers now."""
        self.faults.clear(*paths)

    @contextlib.contextmanager
    def answering(self, path: str, mode: Fault | bytes, *, interval_seconds: float = 0.02) -> Iterator[None]:
        """:meth:`answer_with` for the length of a block."""
        self.answer_with(path, mode, interval_seconds=interval_seconds)
        try:
            yield
        finally:
            self.answer_normally(path)

    @property
    def held(self) -> int:
        """How many requests hang or drip right now."""
        return self.faults.held

    def drop_connections(self) -> None:
        """Break every open connection, as an engine that restarts."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def become(self, engine_id: str) -> None:
        """Let another engine take over the socket."""
        self.engine_id = engine_id
        self.drop_connections()

    def add_image(self, tag: str, labels: Mapping[str, str] | None) -> None:
        """A local image with labels baked in."""
        self.images.append(_image(tag, labels))

    def body(self, path: str, query: Query) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        if path == "/containers/json":
            filters = _filters(query)
            if unknown := filters.keys() - _KNOWN_FILTERS:
                return 400, _message(f"Invalid filter '{min(unknown)}'")
            everything = query.get("all", ["0"])[0] in ("1", "true", "True")
            return 200, self.world.body(filters, everything=everything)
        told = {"/version": self._version, "/info": self._info, "/images/json": lambda: self.images}
        if path not in told:
            return 404, _message("page not found")
        return 200, orjson.dumps(told[path]()) + b"\n"

    def refusal(self, major: int, minor: int) -> str:
        """Why a request of this API version is refused; empty where it is not."""
        if (major, minor) > _numbers(self.api):
            return f"client version {major}.{minor} is too new. Maximum supported API version is {self.api}"
        if (major, minor) < _numbers(self.minimum_api):
            return f"client version {major}.{minor} is too old. Minimum supported API version is {self.minimum_api}"
        return ""

    def _version(self) -> object:
        return {
            "Version": "20.10.24",
            "ApiVersion": self.api,
            "MinAPIVersion": self.minimum_api,
            "Os": "linux",
            "Arch": "amd64",
        }

    def _info(self) -> object:
        engine_id = str(uuid.uuid4()) if self.server.startswith("Libpod") else self.engine_id
        return {"ID": engine_id, "Name": "fake", "DockerRootDir": str(self.directory), "OSType": "linux"}

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(connection,), name="fake-docker", daemon=True)
            with self._lock:
                self._connections[connection] = thread
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            _Handler(connection, ("", 0), self)  # type: ignore[arg-type]  # it only keeps the server for itself
        except OSError:
            pass  # the client has left, or the connection was broken on purpose
        finally:
            with self._lock:
                self._connections.pop(connection, None)
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """One connection, request after request."""

    protocol_version = "HTTP/1.1"
    server: FakeDocker  # type: ignore[assignment]

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        versioned = _VERSIONED.match(split.path)
        path, query = versioned[3] if versioned else split.path, parse_qs(split.query)
        self.server.requests[path] += 1
        self.close_connection = not self.server.keep_alive
        fault = self.server.faults.on(path)
        if fault is not None:
            self._misbehave(fault, path, query)
        elif versioned and (refusal := self.server.refusal(int(versioned[1]), int(versioned[2]))):
            self._answer(_message(refusal), status=400)
        else:
            self._route(path, query)

    def _route(self, path: str, query: Query) -> None:
        if path == "/events":
            self._stream_events(query)
        elif path == "/_ping":
            self._answer(b"OK", content_type="text/plain; charset=utf-8")
        else:
            status, body = self.server.body(path, query)
            self._answer(body, status=status)

    def _answer(self, body: bytes, *, status: int = 200, content_type: str = "application/json") -> None:
        # Go's server sends a small body in one piece and chunks any other.
        if len(body) <= _ONE_PIECE_BYTES:
            self._send_head({"Content-Length": str(len(body))}, status=status, content_type=content_type)
            self.wfile.write(body)
            return
        self._send_head({"Transfer-Encoding": "chunked"}, status=status, content_type=content_type)
        for begin in range(0, len(body), _CHUNK_BYTES):
            self._write_chunk(body[begin : begin + _CHUNK_BYTES])
        self._write_chunk(b"")

    def _send_head(
        self, length: Mapping[str, str], *, status: int = 200, content_type: str = "application/json"
    ) -> None:
        self.send_response(status)
        own = {"Api-Version": self.server.api, "Ostype": "linux", "Content-Type": content_type}
        closing = {"Connection": "close"} if self.close_connection else {}
        for name, value in (own | dict(length) | closing).items():
            self.send_header(name, value)
        self.end_headers()

    def _write_chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _misbehave(self, fault: Misbehaviour, path: str, query: Query) -> None:
        whole: dict[Fault | bytes, bytes] = {Fault.NULL: b"null\n", Fault.EMPTY: b""}
        if isinstance(fault.mode, bytes) or fault.mode in whole:
            self._answer(whole.get(fault.mode, fault.mode))  # type: ignore[arg-type]
        elif fault.mode is Fault.HTML:
            self._answer(b"<html><body>It works!</body></html>", content_type="text/html")
        elif fault.mode is Fault.ERROR:
            self._answer(_message("containerd is not running"), status=500)
        elif fault.mode is Fault.HANG:
            self._hang(fault, path, query)
        elif fault.mode is Fault.CLOSE:
            self.close_connection = True
        else:
            self._break_off(fault, self.server.body(path, query)[1])

    def _hang(self, fault: Misbehaviour, path: str, query: Query) -> None:
        with self.server.faults.holding():
            fault.ended.wait()
        if self.server.stopping.is_set():
            self.close_connection = True
        else:
            self._route(path, query)

    def _break_off(self, fault: Misbehaviour, body: bytes) -> None:
        if fault.mode is Fault.CUT:
            self._send_head({"Transfer-Encoding": "chunked"})
            self._write_chunk(body[: len(body) // 2])
            self.close_connection = True
            return
        self._send_head({"Content-Length": str(len(body))})
        if fault.mode is Fault.TRUNCATED:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        with self.server.faults.holding():
            for position in range(len(body)):
                self.wfile.write(body[position : position + 1])
                if fault.ended.wait(fault.interval_seconds):
                    self.wfile.write(body[position + 1 :])
                    return

    def _stream_events(self, query: Query) -> None:
        since, until = (float(query[name][0]) if name in query else None for name in ("since", "until"))
        filters = _filters(query)
        with self.server.world.subscribed(since) as events:
            self._send_head({"Transfer-Encoding": "chunked"})
            while (event := _next(events, until)) is not None:
                if _matches(event, filters):
                    self._write_chunk(orjson.dumps(event) + b"\n")
            self._write_chunk(b"")

    def version_string(self) -> str:
        """The Server header."""
        return self.server.server

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


def _next(events: Events, until: float | None) -> Event | None:
    try:
        return events.get(timeout=None if until is None else max(0.0, until - time.time()))
    except queue.Empty:
        return None


def _matches(event: Event, filters: Mapping[str, Iterable[str]]) -> bool:
    # `health_status` matches "health_status: healthy" (moby#25798).
    said = {"type": event["Type"], "event": event["Action"].partition(":")[0], "container": event["Actor"]["ID"]}
    return all(said.get(name) in wanted for name, wanted in filters.items())


def _filters(query: Query) -> dict[str, list[str]]:
    # Docker takes {"id": ["a"]} and, from older clients, {"id": {"a": true}}.
    return {name: list(wanted) for name, wanted in json.loads(query.get("filters", ["{}"])[0]).items()}


def _message(text: str) -> bytes:
    return orjson.dumps({"message": text}) + b"\n"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _image(tag: str, labels: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "Containers": -1,
        "Created": CREATED,
        "Id": IMAGE_ID if tag == IMAGE else f"sha256:{id_of(tag)}",
        "Labels": None if labels is None else dict(labels),
        "ParentId": "",
        "RepoDigests": None,
        "RepoTags": [tag],
        "SharedSize": -1,
        "Size": 1_984_172,
        "VirtualSize": 1_984_172,
    }
