"""`controller.http.reload`: who may reload, what they may say, and what they are told."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from hypothesis import given
from hypothesis import strategies as st

from controller.declared.reloaded import ReloadAnswer
from controller.errors import (
    BranchUnknown,
    ConfigInvalid,
    GitFailed,
    LockTimeout,
    ReloadFailed,
    StoreUnavailable,
    TallydError,
    UsageError,
)
from controller.http.reload import (
    MOST_BODY_BYTES,
    PATH,
    ReloadAccess,
    ReloadRequest,
    build_reload,
    parse,
)
from tests.unit.served import Browser

CURRENT = "the current secret, long enough."
PREVIOUS = "the previous secret, long enough"
RIGHT = {"Authorization": f"Bearer {CURRENT}"}
HERE = "0123456789abcdef0123456789abcdef01234567"
FORWARDED = ReloadAnswer(True, "fast-forwarded", "", HERE, None, 3)


@dataclass
class Reloads:
    """Stands where the reload worker is plugged in."""

    outcome: Callable[[], ReloadAnswer] = lambda: FORWARDED
    here: Callable[[str], bool] = HERE.startswith
    asked: list[str | None] = field(default_factory=list)

    def holds(self, commit: str) -> bool:
        return self.here(commit)

    def reload(self, branch: str | None) -> ReloadAnswer:
        self.asked.append(branch)
        return self.outcome()


def browser(reloads: Reloads, *tokens: str) -> Browser:
    """A client of an application with the webhook alone."""
    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess(tokens or (CURRENT, PREVIOUS)), reloads))
    return Browser(app)


def raising(error: TallydError) -> Callable[[], ReloadAnswer]:
    """An outcome that is an error."""

    def outcome() -> ReloadAnswer:
        raise error

    return outcome


NO_TOKEN: dict[str, Any] = {
    "missing": {},
    "empty": {"Authorization": ""},
    "scheme alone": {"Authorization": "Bearer"},
    "scheme and blanks": {"Authorization": "Bearer   "},
    "basic": {"Authorization": f"Basic {CURRENT}"},
    "no scheme": {"Authorization": CURRENT},
    "glued": {"Authorization": f"Bearer{CURRENT}"},
    "tab": {"Authorization": f"Bearer\t{CURRENT}"},
    "other scheme": {"Authorization": "Bëarer x".encode("latin-1")},
}
WRONG: dict[str, Any] = {
    "wrong": {"Authorization": "Bearer wrong"},
    "prefix": {"Authorization": f"Bearer {CURRENT[:-1]}"},
    "longer": {"Authorization": f"Bearer {CURRENT}x"},
    "other case": {"Authorization": f"Bearer {CURRENT.upper()}"},
    "latin-1": {"Authorization": b"Bearer \xfc\xff\x80"},
    "utf-8": {"Authorization": "Bearer ☃".encode()},
    "right, twice": {"Authorization": f"Bearer {CURRENT} {CURRENT}"},
}


@pytest.mark.parametrize("presented", [*NO_TOKEN, *WRONG])
def test_a_stranger_is_told_nothing(presented: str) -> None:
    """H2: one body for all of them; without a bearer token it is the same answer where no secret is set."""
    reloads = Reloads()
    headers = (NO_TOKEN | WRONG)[presented]
    told = browser(reloads).post(PATH, headers=headers)
    reference = browser(reloads).post(PATH)
    assert (told.status_code, told.content) == (401, reference.content)
    assert told.headers.raw == reference.headers.raw
    assert told.headers["WWW-Authenticate"] == "Bearer"
    unset = _without_secret(reloads).post(PATH, headers=headers)
    if presented in NO_TOKEN:
        assert (unset.status_code, unset.content, unset.headers.raw) == (401, told.content, told.headers.raw)
    else:
        assert (unset.status_code, unset.json()["error"]) == (503, "reload not configured")
    assert reloads.asked == []


def _without_secret(reloads: Reloads) -> Browser:
    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess(), reloads))
    return Browser(app)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR", "Bearer  "])
@pytest.mark.parametrize("token", [CURRENT, PREVIOUS])
def test_either_secret_opens_it(scheme: str, token: str) -> None:
    """H2: the scheme in any case; both secrets while they are rotated."""
    reloads = Reloads()
    assert browser(reloads).post(PATH, headers={"Authorization": f"{scheme} {token}"}).status_code == 200
    assert browser(reloads, CURRENT).post(PATH, headers={"Authorization": f"{scheme} {token}"}).status_code == (
        200 if token == CURRENT else 401
    )


def test_a_secret_of_any_characters() -> None:
    """H2, pitfall 18: bytes are compared, so one that is not ASCII neither fails nor is refused."""
    secret = "ein längeres Geheimnis: ☃☃☃☃☃☃☃☃☃☃☃"
    headers: Any = {"Authorization": f"Bearer {secret}".encode()}
    assert browser(Reloads(), secret).post(PATH, headers=headers).status_code == 200


def test_every_secret_is_compared_whatever_the_first_one_says() -> None:
    """H2: constant time is a property of the code's shape: `compare_digest` on bytes, over all, no way out early."""
    body = ast.parse(inspect.getsource(ReloadAccess.allows).strip()).body[0]
    calls = [ast.unparse(each) for each in ast.walk(body) if isinstance(each, ast.Call)]
    assert "hmac.compare_digest(presented, token.encode())" in calls
    compared = next(each for each in ast.walk(body) if isinstance(each, ast.ListComp))  # a list is built to its end
    assert [(ast.unparse(each.iter), each.ifs) for each in compared.generators] == [("self.tokens", [])]
    assert not [each for each in ast.walk(body) if isinstance(each, ast.Compare | ast.If | ast.IfExp | ast.BoolOp)]


class Body:
    """A body in pieces, of no declared length, that knows how many were taken."""

    def __init__(self, pieces: int, size: int) -> None:
        self.taken = self.taken_when_answered = 0
        self._pieces = pieces
        self._size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._pieces):
            self.taken += 1
            yield b" " * self._size


def _posted(reloads: Reloads, *, token: str, content: Any, tokens: tuple[str, ...] = (CURRENT,)) -> int:
    """The status of a request whose body is taken piece by piece, as the server does it."""
    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess(tokens), reloads))
    statuses: list[int] = []
    pieces = aiter(content)

    async def receive() -> dict[str, Any]:
        try:
            return {"type": "http.request", "body": await anext(pieces), "more_body": True}
        except StopAsyncIteration:
            return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            content.taken_when_answered = content.taken
            statuses.append(message["status"])

    headers = [(b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    return statuses[0]


def test_the_caller_is_checked_before_the_body() -> None:
    """H2: not a byte of it is taken from a stranger, nor where no secret is set."""
    body, reloads = Body(10, 10), Reloads()
    assert _posted(reloads, token="wrong", content=body) == 401
    assert _posted(reloads, token="any", content=body, tokens=()) == 503
    assert (body.taken, reloads.asked) == (0, [])
    for content in (b"{", b"\xff", b"x" * 1_000_000):
        assert browser(reloads).post(PATH, content=content).status_code == 401


def test_a_body_has_a_limit() -> None:
    """H3: 64 KiB, by its declared length and by what really comes; the answer waits for no more than shows that.

    The rest is thrown away, but not for ever, so that a caller who is still sending hears the answer.
    """
    reloads = Reloads()
    largest = b'{"branch": "main"}'.ljust(MOST_BODY_BYTES)
    assert browser(reloads).post(PATH, content=largest, headers=RIGHT).status_code == 200
    refused = browser(reloads).post(PATH, content=largest + b" ", headers=RIGHT)
    assert (refused.status_code, refused.headers["Connection"]) == (413, "close")
    for declared in ("9" * 5000, "65537"):
        headers = RIGHT | {"Content-Length": declared}
        assert browser(reloads).post(PATH, content=b"{}", headers=headers).status_code == 413
    body, without_end = Body(1000, 1024), Body(1_000_000, 1024)
    assert _posted(reloads, token=CURRENT, content=body) == 413
    assert (body.taken_when_answered, body.taken) == (65, 1000)
    assert _posted(reloads, token=CURRENT, content=without_end) == 413
    assert (without_end.taken_when_answered, without_end.taken) == (65, 65 + 16 * 1024 + 1)
    assert _posted(reloads, token=CURRENT, content=Body(64, 1024)) == 200
    assert reloads.asked == ["main", None]


def test_a_caller_who_goes_away_starts_nothing() -> None:
    """H3: a body that ends too early is no request for the default."""
    reloads = Reloads()
    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess((CURRENT,)), reloads))
    said: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(message)

    headers = [(b"authorization", f"Bearer {CURRENT}".encode())]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "headers": headers}
    asyncio.run(app(scope, receive, send))
    assert (said[0]["status"], reloads.asked) == (400, [])


@pytest.mark.parametrize(
    ("body", "request_"),
    [
        (b"", ReloadRequest()),
        (b" \n", ReloadRequest()),
        (b"{}", ReloadRequest()),
        (b'{"branch": "main"}', ReloadRequest("main")),
        (b'{"commit": "0aF9"}', ReloadRequest(None, "0aF9")),
        (json.dumps({"branch": "ü" * 200, "commit": HERE}).encode(), ReloadRequest("ü" * 200, HERE)),
    ],
)
def test_what_may_be_said(body: bytes, request_: ReloadRequest) -> None:
    """H3: nothing, or a branch and a commit."""
    assert parse(body) == request_


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"9" * 5000, "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "not a JSON object; allowed keys: branch"),
        (b"null", "not a JSON object"),
        (b'"main"', "not a JSON object"),
        (b'{"brunch": "main"}', "unknown key 'brunch'; did you mean 'branch'? allowed: branch: a string of 1 to 200"),
        (b'{"url": "http://x"}', "unknown key 'url'; allowed"),
        (b'{"path": "/etc"}', "unknown key 'path'; allowed"),
        (b'{"branch": "a", "branch": "b"}', "a key stands twice"),
        (b'{"branch": ""}', "branch is ''; allowed: a string of 1 to 200 characters"),
        (b'{"branch": null}', "branch is None; allowed"),
        (b'{"branch": 7}', "branch is 7; allowed"),
        (b'{"branch": ["main"]}', "branch is ['main']; allowed"),
        (json.dumps({"branch": "x" * 201}).encode(), "allowed: a string of 1 to 200 characters"),
        (b'{"commit": "abc"}', "commit is 'abc'; allowed: a string of 4 to 40 hex digits"),
        (b'{"commit": "abcg"}', "commit is 'abcg'; allowed"),
        (b'{"commit": "abcd\\n"}', "commit is 'abcd\\n'; allowed"),
        (json.dumps({"commit": "a" * 41}).encode(), "4 to 40 hex digits"),
        ('{"commit": "١٢٣٤"}'.encode(), "4 to 40 hex digits"),
    ],
)
def test_what_may_not_be_said(body: bytes, said: str) -> None:
    """H3: 422 with the key, what is allowed and the nearest key; nothing is started."""
    reloads = Reloads()
    told = browser(reloads).post(PATH, content=body, headers=RIGHT)
    assert (told.status_code, reloads.asked) == (422, [])
    assert said in told.json()["detail"]
    assert len(told.json()["detail"]) < 300


@given(
    st.binary(max_size=200)
    | st.recursive(st.text() | st.none() | st.integers(), st.lists).map(json.dumps).map(str.encode)
)
def test_any_body_is_a_request_or_refused(body: bytes) -> None:
    """H3: nothing else comes of it."""
    try:
        assert isinstance(parse(body), ReloadRequest)
    except UsageError as refusal:
        assert str(refusal)


def test_a_commit_that_is_here_already() -> None:
    """H4, H8: 200 and not changed, without a reload."""
    reloads = Reloads()
    for commit in (HERE, HERE[:4]):
        told = browser(reloads).post(PATH, json={"commit": commit, "branch": "main"}, headers=RIGHT)
        assert told.status_code == 200
        assert told.json() == {"changed": False, "outcome": "already-here", "commit": commit}
    assert reloads.asked == []


@pytest.mark.parametrize("here", [lambda _commit: False, lambda _commit: raising(GitFailed("no git"))() and False])
def test_a_commit_that_is_not_here_or_cannot_be_looked_for(here: Callable[[str], bool]) -> None:
    """H4: any failure of the check falls through to the sync."""
    reloads = Reloads(here=here)
    told = browser(reloads).post(PATH, json={"commit": "ffff", "branch": "main"}, headers=RIGHT)
    assert (told.json()["changed"], reloads.asked) == (True, ["main"])


@pytest.mark.parametrize(
    "done",
    [
        FORWARDED,
        ReloadAnswer(True, "diverged", "kept on conflicts/x", HERE, "conflicts/x", 3),
        ReloadAnswer(False, "in-sync", "", HERE, None, 3),
        ReloadAnswer(False, "fetch-failed", "the remote did not answer", HERE, None, 3),
        ReloadAnswer(True, "no-git", "", "", None, 4),
    ],
    ids=lambda done: done.outcome,
)
def test_every_outcome_is_told(done: ReloadAnswer) -> None:
    """H5: whether anything changed, how the sync ended, and where things were kept."""
    told = browser(Reloads(lambda: done)).post(PATH, headers=RIGHT)
    assert told.status_code == 200
    assert told.json() == {
        "changed": done.changed,
        "outcome": done.outcome,
        "detail": done.detail,
        "commit": done.commit,
        "kept_on": done.kept_on,
        "generation": done.generation,
    }


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (BranchUnknown("origin has no branch 'x'"), 400, "branch unknown"),
        (LockTimeout("held"), 503, "another reload is going on"),
        (ReloadFailed("bad manifest"), 500, "previous state serving"),
        (ReloadFailed("half swapped", restart_required=True), 500, "restart required"),
        (GitFailed("index.lock"), 500, "previous state serving"),
        (ConfigInvalid("line 3"), 500, "previous state serving"),
        (StoreUnavailable("locked"), 500, "previous state serving"),
    ],
)
def test_every_failure_is_told(error: TallydError, status: int, told: str) -> None:
    """H3, H6: which state serves, and why."""
    answer = browser(Reloads(raising(error))).post(PATH, headers=RIGHT)
    assert (answer.status_code, answer.json()) == (status, {"error": told, "detail": str(error)})
    assert answer.headers.get("Retry-After") == ("5" if status == 503 else None)


def test_reloads_that_wait_keep_nobody_else_waiting() -> None:
    """H5: a hundred of them, and a read is answered; each is answered in the end."""
    go_on, waiting = threading.Event(), threading.Semaphore(0)

    def outcome() -> ReloadAnswer:
        waiting.release()
        assert go_on.wait(20)
        return FORWARDED

    app = FastAPI()
    app.router.routes.extend(build_reload(ReloadAccess((CURRENT,)), Reloads(outcome)))

    @app.get("/read")
    def read() -> str:
        return "read"

    async def ask() -> tuple[Response, list[Response]]:
        client = AsyncClient(transport=ASGITransport(app=app), base_url="http://tallyd")
        async with client, asyncio.timeout(20):
            pending = [asyncio.create_task(client.post(PATH, headers=RIGHT)) for _ in range(100)]
            while not waiting.acquire(blocking=False):
                await asyncio.sleep(0)
            between = await client.get("/read")
            go_on.set()
            return between, await asyncio.gather(*pending)

    between, answers = asyncio.run(ask())
    assert between.json() == "read"
    assert {each.status_code for each in answers} == {200}


def test_other_methods_and_the_description() -> None:
    """H1: POST only; OpenAPI does not show it."""
    client = browser(Reloads())
    for method in ("GET", "PUT", "DELETE", "HEAD"):
        assert client.request(method, PATH, headers=RIGHT).status_code == 405
    assert PATH not in client.get("/openapi.json").json()["paths"]
