"""docs/api.md says what the HTTP port offers, to whom, and with which status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from controller.declared.config import ConfigTable
from controller.declared.reload_status import ReloadStatus
from controller.errors import TallydError
from controller.http.app import HttpContext, build_app
from controller.http.auth import Access
from controller.http.config import ConfigContext
from controller.http.history import HistoryContext
from controller.http.reload import ReloadAccess
from controller.loop.schedule import Loop, LoopHooks
from controller.loop.status import LoopStatus
from controller.metrics import Metrics
from controller.plugins.registry import load_registry
from controller.rollout.secrets import Secrets
from store.database import Database
from tests.docs.conftest import CLOCK, HOST, SITE
from tests.docs.markdown import codes, names, section, table
from tests.docs.test_docs import OPERATIONS, SAMPLES, _tree
from tests.unit.served import Reloads, deploys_of, dispatcher_of

API = "docs/api.md"
TOKEN = "a-token-of-the-tests"
ROUTES = table(API, "HTTP API")


def _unused(*_: object) -> Any:
    raise AssertionError("no pass runs here")


def _app(database: Database, *, token: str | None = TOKEN, on_loopback: bool = True) -> FastAPI:
    reloads = Reloads(ReloadStatus(CLOCK.now))
    return build_app(
        HttpContext(
            host=HOST,
            label_prefix=lambda: "tallyd",
            database=database,
            registry=load_registry(),
            loop=Loop(LoopHooks(_unused, _unused, _unused), CLOCK, 30),
            status=LoopStatus(30, CLOCK.monotonic),
            metrics=Metrics(),
            access=Access(token, on_loopback),
            now=CLOCK.now,
            longest_silence_seconds=lambda: 60.0,
            deploys=deploys_of(database, load_registry(), CLOCK.now),
            reloader=reloads,
            reload_access=ReloadAccess(),
            config=ConfigContext(HOST, "instance", ConfigTable(database, CLOCK.now), reloads.status, reloads),
            history=HistoryContext(HOST, database, CLOCK.now),
            secrets=Secrets(database, None),
            triggers=dispatcher_of(database, load_registry(), CLOCK),
        )
    )


def _ask(app: FastAPI, method: str, path: str, **options: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://tallyd") as client:
            return await client.request(method, path, **options)

    return asyncio.run(ask())


def _operations(app: FastAPI) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_every_route_is_documented_and_no_other(database: Database) -> None:
    """O4: the table is the API's own description, and where that is found."""
    app = _app(database)
    served = {(method, path) for method, path, _ in _operations(app)}
    served |= {("GET", app.docs_url), ("GET", app.openapi_url)}
    assert {(row["Method"], codes(row["Path"])[0]) for row in ROUTES} == served
    for path in (app.docs_url, app.openapi_url):
        assert _ask(app, "GET", str(path)).status_code == 200


def test_every_parameter_is_documented(database: Database) -> None:
    """O4: what can be asked for stands beside the route."""
    documented = {(row["Method"], codes(row["Path"])[0]): row["What it does"] for row in ROUTES}
    for method, path, operation in _operations(_app(database)):
        for parameter in operation.get("parameters", []):
            if parameter["in"] != "path":
                assert parameter["name"] in documented[method, path], f"{method} {path}: {parameter['name']}"


@pytest.mark.parametrize("row", ROUTES, ids=lambda row: f"{row['Method']} {row['Path'].strip('`')}")
def test_a_route_needs_what_is_documented(row: dict[str, str], database: Database) -> None:
    """O4: writes need the token, off loopback so do reads, the rest needs none."""
    path = codes(row["Path"])[0].replace("{workload_id}", SITE.id)
    refused = {
        on_loopback: _status(_app(database, on_loopback=on_loopback), row["Method"], path) in (401, 403)
        for on_loopback in (True, False)
    }
    assert (
        refused
        == {
            "nothing": {True: False, False: False},
            "read": {True: False, False: True},
            "write": {True: True, False: True},
        }[row["Needs"]]
    )


def _status(app: FastAPI, method: str, path: str) -> int:
    return _ask(app, method, path, json={"kind": "site"} if method == "PUT" else None).status_code


def test_without_a_token_every_write_is_refused(database: Database) -> None:
    """O4: 403 where no token is configured, as the page says."""
    headers = {"Authorization": "Bearer anything"}
    answer = _ask(_app(database, token=None), "DELETE", f"/api/v1/workloads/{SITE.id}", headers=headers)
    assert answer.status_code == 403
    assert "403" in section(API, "Who may do what")


@pytest.mark.parametrize(
    ("method", "match", "status"),
    [
        ("PUT", None, 200),
        ("PUT", "*", 200),
        ("PUT", '"1"', 200),
        ("PUT", '"3"', 412),
        ("PUT", '"0"', 412),
        ("DELETE", '"3"', 412),
        ("DELETE", '"1"', 200),
        ("PUT", "3", 422),
    ],
)
def test_if_match_guards_a_change(method: str, match: str | None, status: int, database: Database) -> None:
    """O4: If-Match as documented; a change that was refused changed nothing."""
    headers = {"Authorization": f"Bearer {TOKEN}"} | ({"If-Match": match} if match else {})
    body = {"kind": "site", "ref": "other.example"} if method == "PUT" else None
    app, path = _app(database), f"/api/v1/workloads/{SITE.id}"
    assert _ask(app, "GET", path).headers["ETag"] == '"1"'
    answer = _ask(app, method, path, headers=headers, json=body)
    after = _ask(app, "GET", path)
    assert answer.status_code == status
    if status == 412:
        assert (answer.json()["expected"], answer.json()["current"]) == (int((match or "").strip('"')), 1)
    assert (after.status_code == 200 and after.json()["ref"] == SITE.ref) == (status >= 400)


@pytest.mark.parametrize("kind", sorted(set(_tree()), key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_an_error_has_the_documented_status(kind: type[TallydError], database: Database) -> None:
    """O4: the column of statuses, and that the API's own page lists each of them."""
    documented = {codes(row["Error"])[0]: row["HTTP"] for row in table(OPERATIONS, "Errors")}
    handler: Any = _app(database).exception_handlers[TallydError]
    answer = handler(None, SAMPLES.get(kind) or kind("as an example"))
    assert str(answer.status_code) == documented[kind.__name__]
    assert documented[kind.__name__] in [row["Status"] for row in table(API, "Errors")]


def test_every_use_of_if_match_is_documented_once() -> None:
    """O4: left out, a star, a generation, and none yet."""
    assert names(table(API, "Changing a workload that others change too"), "`If-Match`") == ["*", '"3"', '"0"']
