"""`/api/v1/events` and `/api/v1/holds`: history, also as a stream, and what is left alone (S5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from controller.errors import UsageError
from controller.healing.keeping import Place, hold_place, release_place
from controller.http.auth import Access
from controller.http.follow import EventFeed, Streams
from controller.http.guards import guarded_by
from controller.http.problems import answers
from controller.views import event_view, hold_view
from store.database import Database
from store.healing import list_holds
from store.history import read_events
from store.history_records import MOST_READ, EventFilter

_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class HistoryContext:
    """What these routes need. ``ending`` says that the controller stops; ``host_holds``, why a host is left alone."""

    host: str
    database: Database
    now: Callable[[], datetime]
    ending: Callable[[], bool] = lambda: False
    host_holds: Callable[[], list[str]] = list


class EventQuery(BaseModel):
    """Which events are wanted."""

    model_config = ConfigDict(extra="forbid")

    workload: Annotated[str | None, Field(max_length=255)] = None
    host: Annotated[str | None, Field(max_length=255)] = None
    kind: Annotated[list[str], Field(max_length=20, description="May be given several times.")] = []
    since: Annotated[AwareDatetime | None, Field(description="Not older than this, with its zone.")] = None
    after: Annotated[int | None, Field(ge=0, lt=2**63, description="Written later than this event.")] = None
    limit: Annotated[int, Field(ge=1, le=MOST_READ)] = 100

    def filter(self) -> EventFilter:
        """As the store is asked: the newest, or, from an event on, the next ones."""
        return EventFilter(
            self.workload, self.host, tuple(self.kind), self.since, self.after or 0, self.limit, self.after is None
        )


class HoldBody(BaseModel):
    """What is to be left alone."""

    model_config = ConfigDict(extra="forbid")

    workload_id: Annotated[str, Field(max_length=255, description="Empty: the whole host.")] = ""
    slot: Annotated[str, Field(max_length=255, description="Name of a container; empty: the whole workload.")] = ""
    host: Annotated[str | None, Field(max_length=255, description="None: the host that answers.")] = None
    reason: Annotated[str, Field(max_length=1000)] = ""
    lasts: Annotated[str | None, Field(max_length=20, description="Such as `2h`; none: until it is released.")] = None


def build_history(context: HistoryContext, access: Access) -> APIRouter:
    """The routes of history and holds."""
    always: dict[str, Any] = {"prefix": "/api/v1", "tags": ["history"], "responses": answers(401, 403, 422, 503)}
    reads = APIRouter(route_class=guarded_by(access.check_read), **always)
    writes = APIRouter(route_class=guarded_by(access.check_write), **always)
    _add_events(reads, context)
    _add_holds(reads, writes, context)
    together = APIRouter()
    for each in (reads, writes):
        together.include_router(each)
    return together


def _add_events(router: APIRouter, context: HistoryContext) -> None:
    streams = Streams()

    @router.get(
        "/events",
        summary="History, the oldest first; as a stream with `Accept: text/event-stream`.",
        response_class=JSONResponse,
    )
    def events(
        request: Request,
        asked: Annotated[EventQuery, Query()],
        last_event_id: Annotated[
            str | None, Header(alias="Last-Event-ID", description="What a stream goes on from.")
        ] = None,
    ) -> Response:
        wanted = asked.filter()
        if _STREAM in request.headers.get("Accept", ""):
            resumed = _resumed(last_event_id, asked.after)
            return streams.open(EventFeed(context.database, wanted, resumed, context.ending))
        found = read_events(context.database, wanted)
        last = found[-1].id if found else asked.after or 0
        return JSONResponse({"items": [event_view(each) for each in found], "last_id": last})


def _resumed(last_event_id: str | None, after: int | None) -> int | None:
    if last_event_id is None:
        return after
    if not last_event_id.isascii() or not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise UsageError(f"Last-Event-ID is {last_event_id[:40]!r}; allowed: the id of an event")
    return int(last_event_id)


def _add_holds(reads: APIRouter, writes: APIRouter, context: HistoryContext) -> None:
    @reads.get("/holds", summary="What is left alone, by whom, why and until when.")
    def holds(
        host: Annotated[str | None, Query(max_length=255)] = None,
        workload: Annotated[str | None, Query(max_length=255)] = None,
    ) -> dict[str, Any]:
        found = list_holds(context.database, host=host, workload_id=workload, now=context.now())
        return {"items": [hold_view(each) for each in found]}

    @writes.post("/holds", summary="Leave a slot, a workload or a host alone.", responses=answers(400, 404))
    def put_hold(body: HoldBody) -> dict[str, Any]:
        place = Place(context.host if body.host is None else body.host, body.workload_id, body.slot)
        made = hold_place(context.database, place, context.now(), reason=body.reason, lasts=body.lasts)
        return hold_view(made)

    @writes.delete("/holds", summary="Look after it again.", responses=answers(404))
    def release(
        workload: Annotated[str, Query(max_length=255)] = "",
        slot: Annotated[str, Query(max_length=255)] = "",
        host: Annotated[str | None, Query(max_length=255)] = None,
    ) -> dict[str, Any]:
        place = Place(context.host if host is None else host, workload, slot)
        ended = release_place(context.database, place, context.now())
        return {"released": [hold_view(each) for each in ended]}
