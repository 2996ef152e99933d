"""The engine's event stream: hints, never truth (R20).

It has a connection of its own. docker-py's `events()` has no time-out at all, so the stream is read here: one
that stays silent for too long is given up and opened again by whoever reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from socket import SHUT_RDWR, socket

import orjson
import requests
from docker.errors import DockerException
from urllib3.exceptions import HTTPError, ReadTimeoutError

from controller.engine.endpoint import Endpoint
from controller.engine.transport import open_session
from controller.errors import EngineAnswerInvalid, EngineCallCancelled, EngineTimeout, EngineUnreachable

CONNECT_SECONDS = 5.0
IDLE_SECONDS = 60.0
MAX_LINE_BYTES = 4 * 1024 * 1024
_LONGEST_ATTRIBUTE = 255

# What can change a row. Each run of a health check makes three exec events, which are none of it.
ACTIONS = (
    "create",
    "start",
    "restart",
    "stop",
    "kill",
    "die",
    "oom",
    "pause",
    "unpause",
    "rename",
    "update",
    "destroy",
    "health_status",
)


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """That something happened to a container. ``at`` is the engine's time, in seconds since the epoch.

    ``name``, ``exit_code`` and ``signal`` are what it tells besides; empty where it does not.
    """

    action: str
    container_id: str
    at: float
    name: str = ""
    exit_code: str = ""
    signal: str = ""


class EventStream:
    """One open stream. :meth:`close` may be called from another thread, and ends the iteration."""

    def __init__(self, endpoint: Endpoint, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._endpoint = endpoint
        self._idle = idle_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._socket: socket | None = None
        self._session: requests.Session | None = None
        self._response: requests.Response | None = None

    def open(self, since: float | None) -> None:
        """Subscribe. Events from ``since`` on are replayed, as far as the engine remembers them (256).

        :raises EngineError: no stream.
        """
        params = {"filters": orjson.dumps({"type": ["container"], "event": list(ACTIONS)}).decode()}
        if since is not None:
            params["since"] = f"{since:.9f}"
        try:
            session = self._session = open_session(self._endpoint, self._idle)
            response = session.get(
                f"{session.base_url}/events", params=params, stream=True, timeout=(CONNECT_SECONDS, self._idle)
            )
        except requests.exceptions.Timeout as error:
            raise EngineTimeout(f"events: the engine at {self._endpoint.url} does not answer") from error
        except (requests.exceptions.RequestException, HTTPError, OSError, DockerException) as error:
            raise EngineUnreachable(f"events: cannot reach the engine at {self._endpoint.url}: {error}") from error
        if response.status_code != requests.codes.ok:
            response.close()
            raise EngineAnswerInvalid(f"events: the engine answered {response.status_code}")
        self._keep(response)

    def __iter__(self) -> Iterator[EngineEvent]:
        """Events as they come.

        :raises EngineTimeout: none came for ``idle_seconds``.
        :raises EngineUnreachable: the stream ended.
        :raises EngineCallCancelled: :meth:`close` was called.
        """
        assert self._response is not None
        rest = b""
        try:
            for chunk in self._response.raw.stream(65_536):
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > MAX_LINE_BYTES:
                    raise EngineAnswerInvalid(f"events: a line is over {MAX_LINE_BYTES} bytes")
                yield from (event for line in lines if line.strip() and (event := _event(line)) is not None)
        except ReadTimeoutError as error:
            self._raise_if_closed()
            raise EngineTimeout(f"events: none for {self._idle:g} s") from error
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            self._raise_if_closed()
            raise EngineUnreachable(f"events: the stream broke off: {error}") from error
        self._raise_if_closed()
        raise EngineUnreachable("events: the engine ended the stream")

    def close(self) -> None:
        """End the stream, now."""
        with self._lock:
            self._closed = True
            opened, self._socket = self._socket, None
        if opened is not None:
            try:
                opened.shutdown(SHUT_RDWR)
            except OSError:
                return  # it had ended by itself

    def release(self) -> None:
        """Give the connection back; for the thread that reads."""
        with self._lock:
            self._socket = None
        if self._response is not None:
            self._response.close()
        if self._session is not None:
            self._session.close()

    def _keep(self, response: requests.Response) -> None:
        with self._lock:
            self._response = response
            self._socket = getattr(response.raw.connection, "sock", None)
            closed = self._closed
        if closed:
            response.close()
            raise EngineCallCancelled("events: not read, the controller stops")

    def _raise_if_closed(self) -> None:
        if self._closed:
            raise EngineCallCancelled("events: the stream was closed, the controller stops") from None


def _event(line: bytes) -> EngineEvent | None:
    """One line → an event; ``None`` where it names no container. API 1.52 has no `status` and `id` any more."""
    try:
        said = orjson.loads(line)
        actor = said["Actor"]["ID"]
        action = str(said["Action"]).partition(":")[0]
        at = int(said.get("timeNano") or 0) / 1e9
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise EngineAnswerInvalid(f"events: unreadable: {line[:120]!r}") from error
    if not isinstance(actor, str) or not actor:
        return None
    told = said["Actor"].get("Attributes")
    name, exit_code, signal = (_attribute(told, key) for key in ("name", "exitCode", "signal"))
    return EngineEvent(action, actor, at, name, exit_code, signal)


def _attribute(told: object, key: str) -> str:
    return str(told.get(key, ""))[:_LONGEST_ATTRIBUTE] if isinstance(told, dict) else ""
