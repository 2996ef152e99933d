"""One request to the engine and its answer, bounded in time: what the verbs are built of.

Each request has a session of its own, so any thread may make one; a verb changes the world and takes longer than
connecting does. An answer that is no success is an :class:`~controller.errors.EngineError` in the engine's own words.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import requests
from docker import APIClient
from docker.errors import DockerException
from urllib3.exceptions import HTTPError

from controller.engine.calls import Abandoned, Calls
from controller.engine.client import Observer
from controller.engine.endpoint import Endpoint
from controller.engine.transport import open_session
from controller.errors import (
    EngineActionFailed,
    EngineAnswerInvalid,
    EngineConflict,
    EngineError,
    EngineNotFound,
    EngineTimeout,
    EngineUnreachable,
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
_NOT_FOUND, _CONFLICT, _NOT_MODIFIED = 404, 409, 304


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. ``operation`` names it in metrics and messages; ``line`` is given the answer line by line."""

    operation: str
    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    line: Callable[[bytes], None] | None = None


class Exchange:
    """Requests to one engine, from any thread. Once cancelled it makes no more (R3)."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeout_seconds: float,
        observer: Observer,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout_seconds
        self._observer = observer
        self._monotonic = monotonic
        self._calls = Calls()
        self._api = ""

    def ask(self, request: Request, extra_seconds: float = 0.0) -> bytes:
        """The body of the answer.

        :param extra_seconds: how much longer than usual the engine may take.
        :raises EngineNotFound: 404.
        :raises EngineConflict: 409.
        :raises EngineActionFailed: any other answer that is no success.
        :raises EngineError: there was no whole answer.
        """
        began, result = self._monotonic(), "ok"
        timeout = self._timeout + extra_seconds
        try:
            call = self._calls.begin(request.operation, lambda abandoned: self._send(request, timeout, abandoned))
            return self._calls.finish(request.operation, call, timeout, self._monotonic() - began)
        except EngineError as error:
            result = type(error).__name__
            raise
        finally:
            self._observer(request.operation, result, self._monotonic() - began)

    def cancel(self) -> None:
        """End the calls in flight and refuse later ones."""
        self._calls.cancel()

    def _send(self, request: Request, timeout: float, abandoned: Abandoned) -> bytes:
        try:
            with contextlib.closing(open_session(self._endpoint, timeout)) as session:
                url = f"{session.base_url}{self._version(session)}{request.path}"
                with session.request(
                    request.method,
                    url,
                    params=dict(request.params),
                    json=request.body,
                    headers=dict(request.headers),
                    stream=True,
                    timeout=timeout,
                ) as response:
                    return _read(request, response, abandoned)
        except requests.exceptions.Timeout as error:
            raise EngineTimeout(f"{request.operation}: the engine at {self._endpoint.url} does not answer") from error
        except (requests.exceptions.RequestException, HTTPError, OSError, DockerException) as error:
            self._api = ""
            where = self._endpoint.url
            raise EngineUnreachable(
                f"{request.operation}: the engine at {where} cannot be reached: {error}"
            ) from error

    def _version(self, session: APIClient) -> str:
        if not self._api:
            said = session.get(f"{session.base_url}/_ping", timeout=self._timeout).headers.get("Api-Version", "")
            self._api = f"/v{said}" if said else ""
        return self._api


def decoded(operation: str, body: bytes, shape: type[Any]) -> Any:
    """An answer's JSON.

    :raises EngineAnswerInvalid: it is none, or of another shape.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise EngineAnswerInvalid(f"{operation}: the engine's answer is not JSON: {body[:120]!r}") from error
    if not isinstance(said, shape):
        raise EngineAnswerInvalid(f"{operation}: the engine's answer has another shape: {body[:120]!r}")
    return said


def _read(request: Request, response: requests.Response, abandoned: Abandoned) -> bytes:
    good = response.ok or response.status_code == _NOT_MODIFIED
    kept: list[bytes] = []
    size = 0
    for part in _parts(response, by_line=good and request.line is not None):
        if abandoned():
            raise EngineTimeout(f"{request.operation}: given up")
        if good and request.line is not None:
            request.line(part)
            continue
        kept.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise EngineAnswerInvalid(f"{request.operation}: the answer is over {MAX_ANSWER_BYTES} bytes")
    body = b"".join(kept)
    if not good:
        raise _refusal(request.operation, response.status_code, body)
    return body


def _parts(response: requests.Response, *, by_line: bool) -> Iterator[bytes]:
    return response.iter_lines() if by_line else response.iter_content(65_536)


def _refusal(operation: str, status: int, body: bytes) -> EngineError:
    try:
        said = str(orjson.loads(body)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        said = body[:200].decode("utf-8", "replace")
    kinds: Mapping[int, type[EngineError]] = {_NOT_FOUND: EngineNotFound, _CONFLICT: EngineConflict}
    return kinds.get(status, EngineActionFailed)(f"{operation}: {said.strip() or f'status {status}'}")
