"""The reload webhook, `POST /-/reload`: who calls is checked before what they say is read, then a reload runs.

It takes no path and no URL from a request. What a reload does is behind :class:`Reloader`.
"""

from __future__ import annotations

import difflib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from anyio import CapacityLimiter, to_thread
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from controller.declared.reloaded import ReloadAnswer
from controller.errors import BranchUnknown, LockTimeout, ReloadFailed, TallydError, UsageError
from controller.http.bodies import Early, read_body

PATH = "/-/reload"
MOST_BODY_BYTES = 64 * 1024
RETRY_SECONDS = 5
_MOST_AT_ONCE = 8
_KEYS = {
    "branch": (re.compile(r"(?s).{1,200}"), "a string of 1 to 200 characters"),
    "commit": (re.compile(r"[0-9A-Fa-f]{4,40}"), "a string of 4 to 40 hex digits"),
}
_ALLOWED = "; ".join(f"{name}: {allowed}" for name, (_, allowed) in _KEYS.items())
_PREVIOUS_SERVES = "previous state serving"


class Reloader(Protocol):
    """What the webhook starts."""

    def holds(self, commit: str) -> bool:
        """Whether this commit is here already (H4). Any failure is a no; takes no lock and asks no remote."""

    def reload(self, branch: str | None) -> ReloadAnswer:
        """Sync and rebuild under the repository's lock (H5); returns when every read sees the outcome (H7).

        :raises BranchUnknown: the remote has no such branch.
        :raises LockTimeout: somebody else syncs or reloads, for too long.
        :raises GitFailed: git cannot work on the tree.
        :raises ReloadFailed: the new state could not be built, or not be put in place whole (H6).
        """


@dataclass(frozen=True, slots=True)
class ReloadAccess:
    """The secrets that open the webhook: none, one, or a current and a previous one while they are rotated."""

    tokens: tuple[str, ...] = ()

    def allows(self, presented: bytes) -> bool:
        """Whether one of them was presented; takes as long whichever it is, and whether it is any (H2)."""
        compared = [hmac.compare_digest(presented, token.encode()) for token in self.tokens]
        return any(compared)


@dataclass(frozen=True, slots=True)
class ReloadRequest:
    """What a caller may say (H3)."""

    branch: str | None = None
    commit: str | None = None


def build_reload(access: ReloadAccess, reloader: Reloader) -> list[BaseRoute]:
    """The route; a plain one, so that nothing reads the body before we do and OpenAPI does not show it (H1)."""
    limiter = CapacityLimiter(_MOST_AT_ONCE)  # its own, so that reloads that wait keep no read from its thread

    async def reload(request: Request) -> Response:
        if refused := check(request.headers.get("Authorization", "").encode("latin-1"), access):
            return refused
        try:
            body = await read_body(request, MOST_BODY_BYTES)
        except ClientDisconnect:
            return _problem(400, "incomplete request", "the connection was closed before the end of the body")
        if body is None:
            return Early(_problem(413, "body too large", f"at most {MOST_BODY_BYTES} bytes are allowed"))
        try:
            asked = parse(body)
        except UsageError as refusal:
            return _problem(422, "request not understood", str(refusal))
        return await to_thread.run_sync(answer, reloader, asked, limiter=limiter)

    return [Route(PATH, reload, methods=["POST"], include_in_schema=False)]


def check(authorization: bytes, access: ReloadAccess) -> Response | None:
    """The answer to a caller that may not reload; ``None`` for one that may (H2).

    Whoever presents no bearer token gets 401 whether a secret is set or not.
    """
    scheme, _, presented = authorization.strip().partition(b" ")
    presented = presented.strip()
    if scheme.lower() != b"bearer" or not presented:
        return _unauthorized()
    if not access.tokens:
        return _problem(503, "reload not configured", "set TALLYD_RELOAD_TOKEN and restart")
    return None if access.allows(presented) else _unauthorized()


def _unauthorized() -> Response:
    told = _problem(401, "the right bearer token is needed", "Authorization: Bearer <token>")
    told.headers["WWW-Authenticate"] = "Bearer"
    return told


def parse(body: bytes) -> ReloadRequest:
    """Body → request; nothing at all asks for the branch that is followed (H3).

    :raises UsageError: it is not a JSON object of these keys and shapes.
    """
    if not body.strip():
        return ReloadRequest()
    try:
        value = json.loads(body, object_pairs_hook=_once_each)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise UsageError(f"the body is not a JSON object; allowed keys: {_ALLOWED}")
    for key, given in value.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(f"unknown key {_short(key)}; {hint}allowed: {_ALLOWED}")
        shape, allowed = _KEYS[key]
        if not isinstance(given, str) or shape.fullmatch(given) is None:
            raise UsageError(f"{key} is {_short(given)}; allowed: {allowed}")
    return ReloadRequest(**value)


def _once_each(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise UsageError(f"a key stands twice; allowed: {_ALLOWED}")
    return found


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else text[:80] + "…"


def answer(reloader: Reloader, asked: ReloadRequest) -> Response:
    """Reload, unless the commit is here already; blocks until that is over (H4 to H7)."""
    if asked.commit is not None and _is_here(reloader, asked.commit):
        return JSONResponse({"changed": False, "outcome": "already-here", "commit": asked.commit.lower()})
    try:
        done = reloader.reload(asked.branch)
    except BranchUnknown as error:
        return _problem(400, "branch unknown", str(error))
    except LockTimeout as error:
        told = _problem(503, "another reload is going on", str(error))
        told.headers["Retry-After"] = str(RETRY_SECONDS)
        return told
    except ReloadFailed as error:
        return _problem(500, "restart required" if error.restart_required else _PREVIOUS_SERVES, str(error))
    except TallydError as error:
        return _problem(500, _PREVIOUS_SERVES, str(error))
    return JSONResponse(
        {
            "changed": done.changed,
            "outcome": done.outcome,
            "detail": done.detail,
            "commit": done.commit,
            "kept_on": done.kept_on,
            "generation": done.generation,
        }
    )


def _is_here(reloader: Reloader, commit: str) -> bool:
    try:
        return reloader.holds(commit)
    except TallydError:
        return False  # H4: the sync that follows tells what is wrong


def _problem(status: int, error: str, detail: str) -> Response:
    return JSONResponse({"error": error, "detail": detail}, status)
