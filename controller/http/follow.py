"""History as server-sent events: a bounded number of streams, none of which can hold up the controller or its end.

A stream reads the store in small steps on a thread of the pool. A client that takes nothing is dropped; it goes on
where it was by `Last-Event-ID`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from controller.errors import StoreError
from controller.views import event_view
from store.database import Database
from store.history import last_event_id, read_events
from store.history_records import Event, EventFilter

MOST_STREAMS = 16
POLL_SECONDS = 0.5
KEEP_ALIVE_SECONDS = 15.0
SLOW_SECONDS = 5.0
AT_ONCE = 100


class EventFeed:
    """The events of one stream, step by step.

    :param after: the event to go on from; ``None``: only what is written from now on.
    """

    def __init__(
        self, database: Database, wanted: EventFilter, after: int | None, ending: Callable[[], bool]
    ) -> None:
        self._database = database
        self._wanted = replace(wanted, newest=False, limit=AT_ONCE)
        self._after = after
        self.ending = ending

    def read(self) -> list[Event]:
        """What is new since the last call.

        :raises StoreError: the store cannot be read.
        """
        if self._after is None:
            self._after = last_event_id(self._database)
        found = read_events(self._database, replace(self._wanted, after_id=self._after))
        self._after = found[-1].id if found else self._after
        return found


class Streams:
    """How many there are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    def open(self, feed: EventFeed) -> Response:
        """A response that streams, or says that there are too many of them."""
        with self._lock:
            if self._open >= MOST_STREAMS:
                detail = f"{MOST_STREAMS} streams are open, and no more are served; ask again later"
                return JSONResponse({"detail": detail}, 503, {"Retry-After": "30"})
            self._open += 1
        return _Stream(feed, self._closed)

    def _closed(self) -> None:
        with self._lock:
            self._open -= 1


class _Stream(Response):
    media_type = "text/event-stream"

    def __init__(self, feed: EventFeed, closed: Callable[[], None]) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._feed = feed
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the client goes, is too slow, or the controller stops."""
        gone = asyncio.create_task(_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            with contextlib.suppress(TimeoutError, StoreError):
                await self._follow(send, gone)
            with contextlib.suppress(TimeoutError):
                await _within(send, b"", more=False)
        finally:
            gone.cancel()
            self._closed()

    async def _follow(self, send: Send, gone: asyncio.Task[None]) -> None:
        silent = 0.0
        await _within(send, b": tallyd\n\n")
        while not gone.done() and not self._feed.ending():
            events = await run_in_threadpool(self._feed.read)
            if events:
                silent = 0.0
                await _within(send, b"".join(map(_frame, events)))
                continue
            await asyncio.wait([gone], timeout=POLL_SECONDS)
            silent += POLL_SECONDS
            if silent >= KEEP_ALIVE_SECONDS:
                silent = 0.0
                await _within(send, b": still here\n\n")


async def _within(send: Send, body: bytes, *, more: bool = True) -> None:
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    await asyncio.wait_for(send(message), SLOW_SECONDS)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def _frame(event: Event) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.id,
        event.kind.encode("ascii", "replace").replace(b"\n", b"?"),
        orjson.dumps(event_view(event)),
    )
