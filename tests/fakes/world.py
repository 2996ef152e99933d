"""What a fake engine holds: containers that are changed as an operator would, and the events this makes."""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import orjson

from tests.builders import CREATED, IMAGE, id_of, listed

REPLAYED_EVENTS = 256
UP = frozenset({"running", "paused", "restarting"})

Event = dict[str, Any]
Events = queue.SimpleQueue[Event | None]
Port = int | tuple[int, str]


class FakeWorld:
    """Containers of a fake engine. Methods are named as those of :class:`tests.harness.World`."""

    def __init__(self) -> None:
        self.events_muted = False
        self._lock = threading.RLock()
        self._items: dict[str, Any] = {}
        self._pieces: dict[str, bytes] = {}
        self._ports: dict[str, list[dict[str, Any]]] = {}
        self._body: bytes | None = None
        self._numbers = itertools.count(1)
        self._free_ports = itertools.count(32768)
        self._history: deque[Event] = deque(maxlen=REPLAYED_EVENTS)
        self._streams: list[Events] = []

    def create(
        self,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        image: str = IMAGE,
        command: Sequence[str] = ("sleep", "86400"),
        exposed: Iterable[Port] = (),
        published: Mapping[Port, int | None] | None = None,
        created: int | None = None,
    ) -> str:
        """Create a container and return its id; its ports are listed while it runs."""
        number = next(self._numbers)
        name = name or f"fake-{number}"
        item = listed(
            name,
            labels,
            container_id=id_of(f"{name}/{number}"),
            state="created",
            created=CREATED + number if created is None else created,
            image=image,
            command=" ".join(command),
        )
        container: str = item["Id"]
        with self._lock:
            self._ports[container] = [_port(port) for port in exposed] + [
                _port(port) | {"IP": "127.0.0.1", "PublicPort": public or next(self._free_ports)}
                for port, public in (published or {}).items()
            ]
            self._put(container, item)
            self._emit(container, "create")
        return container

    def run(self, name: str | None = None, labels: Mapping[str, str] | None = None, **options: Any) -> str:
        """`create` and start."""
        container = self.create(name, labels, **options)
        self.start(container)
        return container

    def many(
        self, count: int, labels: Callable[[int], Mapping[str, str]] = lambda _: {}, *, running: bool = False
    ) -> list[str]:
        """So many containers at once, without events; `labels` are those of each number."""
        state = "running" if running else "created"
        with self._lock:
            made = [listed(f"many-{next(self._numbers)}", labels(number), state=state) for number in range(count)]
            for item in made:
                self._put(item["Id"], item)
        return [item["Id"] for item in made]

    def start(self, container: str) -> None:
        """Start a created or stopped container."""
        self.set_state(container, "running")
        self._emit(container, "start")

    def stop(self, container: str) -> None:
        """Stop a running container."""
        self._end(container)
        self._emit(container, "stop")

    def kill(self, container: str) -> None:
        """Kill a running container."""
        self._end(container)

    def restart(self, container: str) -> None:
        """Restart a container."""
        self.stop(container)
        self.start(container)
        self._emit(container, "restart")

    def rm(self, container: str) -> None:
        """Remove a container by force."""
        with self._lock:
            if self.state(container) in UP:
                self._end(container)
            self._emit(container, "destroy")
            for kept in (self._items, self._pieces, self._ports):
                kept.pop(container, None)
            self._body = None

    def pause(self, container: str) -> None:
        """Freeze a running container."""
        self.set_state(container, "paused")
        self._emit(container, "pause")

    def unpause(self, container: str) -> None:
        """Thaw a paused container."""
        self.set_state(container, "running")
        self._emit(container, "unpause")

    def rename(self, container: str, name: str) -> None:
        """Give a container another name."""
        with self._lock:
            before = self._items[container]["Names"][0]
            self.replace(container, Names=[f"/{name}"])
            self._emit(container, "rename", oldName=before)

    def set_health(self, container: str, health: str) -> None:
        """Let a running container's health check be ``starting``, ``healthy`` or ``unhealthy``."""
        words = "health: starting" if health == "starting" else health
        self.replace(container, Status=f"Up 3 seconds ({words})")
        if health != "starting":
            self._emit(container, f"health_status: {health}")

    def set_state(self, container: str, state: str) -> None:
        """Put a container into any state, also one that no engine knows; without an event."""
        with self._lock:
            shown = self._ports.get(container, []) if state in ("running", "paused") else []
            self.replace(container, State=state, Status=listed(state=state)["Status"], Ports=shown)

    def replace(self, container: str, **fields: Any) -> None:
        """Overwrite fields of a container's item with whatever JSON; without an event."""
        with self._lock:
            self._put(container, self._items[container] | fields)

    def add_raw(self, item: object) -> str:
        """List any JSON value as if it were a container; returns the key that `remove_raw` takes."""
        said = item.get("Id") if isinstance(item, dict) else None
        key = said if isinstance(said, str) and said else f"raw-{next(self._numbers)}"
        with self._lock:
            self._put(key, item)
        return key

    def remove_raw(self, key: str) -> None:
        """List a value no longer; without an event."""
        with self._lock:
            del self._items[key], self._pieces[key]
            self._body = None

    def clear(self) -> None:
        """Forget every container; without events."""
        with self._lock:
            for kept in (self._items, self._pieces, self._ports):
                kept.clear()
            self._body = None

    def state(self, container: str) -> str:
        """The state in the listing, or nothing when the container is not listed."""
        with self._lock:
            return str(self._items[container]["State"]) if container in self._items else ""

    def listing(self) -> list[Any]:
        """The complete listing."""
        return list(orjson.loads(self.body()))

    def body(self, filters: Mapping[str, Iterable[str]] | None = None, *, everything: bool = True) -> bytes:
        """The body of ``GET /containers/json``; that of a complete listing is kept until something changes."""
        with self._lock:
            if filters or not everything:
                wanted = [key for key, item in self._items.items() if _selected(item, filters or {}, everything)]
                return _joined(self._pieces[key] for key in wanted)
            if self._body is None:
                self._body = _joined(self._pieces.values())
            return self._body

    @contextmanager
    def subscribed(self, since: float | None) -> Iterator[Events]:
        """Events from now on, ``None`` for the end; with ``since`` (epoch) first those of the last that are kept."""
        events: Events = queue.SimpleQueue()
        with self._lock:
            for event in self._history if since is not None else ():
                if event["timeNano"] >= (since or 0) * 10**9:
                    events.put(event)
            self._streams.append(events)
        try:
            yield events
        finally:
            with self._lock:
                self._streams.remove(events)

    def end_event_streams(self) -> None:
        """End every event stream without an error, as an engine that is killed."""
        with self._lock:
            for events in self._streams:
                events.put(None)

    def _end(self, container: str) -> None:
        with self._lock:
            self._emit(container, "kill", signal="9")
            self.set_state(container, "exited")
            self._emit(container, "die", exitCode="137")

    def _put(self, key: str, item: Any) -> None:
        self._items[key] = item
        self._pieces[key] = _encoded(item)
        self._body = None

    def _emit(self, container: str, action: str, **attributes: str) -> None:
        with self._lock:
            item = self._items[container]
            own = {"image": item["Image"], "name": item["Names"][0].removeprefix("/")}
            nanoseconds = time.time_ns()
            event = {
                "status": action,
                "id": container,
                "from": item["Image"],
                "Type": "container",
                "Action": action,
                "Actor": {"ID": container, "Attributes": item["Labels"] | own | attributes},
                "scope": "local",
                "time": nanoseconds // 10**9,
                "timeNano": nanoseconds,
            }
            self._history.append(event)
            for events in () if self.events_muted else self._streams:
                events.put(event)


def _selected(item: Any, filters: Mapping[str, Iterable[str]], everything: bool) -> bool:
    if not isinstance(item, dict) or not (everything or item.get("State") in UP):
        return False
    ids = filters.get("id")
    if ids is not None and not any(str(item.get("Id")).startswith(prefix) for prefix in ids):
        return False
    labels = item.get("Labels") or {}
    return set(filters.get("label", ())) <= {f"{name}={value}" for name, value in labels.items()} | set(labels)


def _joined(pieces: Iterable[bytes]) -> bytes:
    # The engine lists the newest first.
    return b"[" + b",".join(reversed(list(pieces))) + b"]\n"


def _encoded(item: Any) -> bytes:
    try:
        return orjson.dumps(item)
    except TypeError:  # such as a lone surrogate, which only an escape can express
        return json.dumps(item).encode()


def _port(port: Port) -> dict[str, Any]:
    number, protocol = port if isinstance(port, tuple) else (port, "tcp")
    return {"PrivatePort": number, "Type": protocol}
