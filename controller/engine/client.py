"""The engine's API as tallyd uses it: a listing is complete and from a known engine, or it is an error.

Built on docker-py's low-level client for its transports (Unix socket, TCP, TLS). Not on its `containers()`:
that has no deadline, cannot be cancelled, and returns `None` for an answer of `null` (moby#16403).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import orjson
import requests
from docker import APIClient
from docker.errors import DockerException
from requests.exceptions import ConnectionError as RequestsConnectionError
from urllib3.exceptions import HTTPError

from controller.engine.calls import Abandoned, Calls
from controller.engine.endpoint import Endpoint
from controller.engine.listing import ListedItem, ListingDecoder, decode_whole
from controller.engine.transport import open_session
from controller.errors import EngineAnswerInvalid, EngineError, EngineTimeout, EngineUnreachable

MAX_ANSWER_BYTES = 512 * 1024 * 1024
DEFAULT_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 256 * 1024

Params = Mapping[str, str | int]


class Observer(Protocol):
    """Told of every request: the operation, ``ok`` or the error's class name, and its seconds."""

    def __call__(self, operation: str, result: str, seconds: float, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Listing:
    """A complete answer to "which containers are there", still as the engine's JSON, one part each."""

    parts: tuple[ListedItem, ...]
    engine_id: str

    @property
    def items(self) -> tuple[object, ...]:
        """The containers, decoded."""
        return tuple(part.value for part in self.parts)


@dataclass(frozen=True, slots=True)
class EngineVersion:
    """What the engine says of itself. ``api`` is the newest API version that it speaks."""

    server: str
    api: str
    minimum_api: str
    operating_system: str


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    headers: Mapping[str, str]
    connection: object


def _unobserved(_operation: str, _result: str, _seconds: float, /) -> None:
    return None


class EngineClient:
    """A connection to one engine, kept for the life of the process. Not for use from several threads at once,
    except :meth:`cancel` and :meth:`close`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        observer: Observer = _unobserved,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout_seconds
        self._observer = observer
        self._monotonic = monotonic
        self._calls = Calls()
        self._session: APIClient | None = None
        self._api_version: str | None = None
        self._decoder = ListingDecoder()
        self._identified: tuple[object, str] | None = None

    def list_containers(self, only: Collection[str] | None = None) -> Listing:
        """The containers of the engine, in any state, with the id of the engine that answered.

        :param only: whole container ids to look for; all containers without it.
        :raises EngineError: no complete and well-formed answer; nothing may be concluded from it (R6).
        """
        return self._begin_listing(only, decode_whole)()

    def begin_listing(self, only: Collection[str] | None = None) -> Callable[[], Listing]:
        """As :meth:`list_containers`, in two steps: the engine is at work when this returns.

        :returns: what waits for the listing; to be called once.
        :raises EngineError: also by what is returned.
        """
        return self._begin_listing(only, self._decoder.decode if only is None else decode_whole)

    def _begin_listing(self, only: Collection[str] | None, decode: Callable[[bytes], Any]) -> Callable[[], Listing]:
        params: dict[str, str | int] = {"all": 1}
        if only is not None:
            params["filters"] = orjson.dumps({"id": sorted(only)}).decode()
        finish = self._begin("list" if only is None else "list_some", "/containers/json", params)
        return lambda: self._listing(finish(), decode)

    def _listing(self, answer: _Answer, decode: Callable[[bytes], Any]) -> Listing:
        items = _parse(answer.body, "list", list, decode)
        return Listing(tuple(items), self._engine_id(answer.connection))

    def engine_id(self) -> str:
        """The engine's own id, stable across its restarts (R18).

        :raises EngineError: the engine does not tell.
        """
        answer = self._get("info", "/info")
        said = _parse(answer.body, "info", dict)
        if answer.headers.get("Server", "").startswith("Libpod"):
            # Podman's compatible API makes a new id for every answer; where it keeps its data is stable.
            return f"podman:{said.get('Name', '')}:{said.get('DockerRootDir', '')}"
        if not said.get("ID"):
            raise EngineAnswerInvalid(f"info: the engine at {self.endpoint.url} tells no id")
        return str(said["ID"])

    def version(self) -> EngineVersion:
        """Versions of the engine, for `doctor` and the log.

        :raises EngineError: the engine does not tell.
        """
        said = _parse(self._get("version", "/version").body, "version", dict)
        return EngineVersion(
            server=str(said.get("Version", "")),
            api=str(said.get("ApiVersion", "")),
            minimum_api=str(said.get("MinAPIVersion", "")),
            operating_system=str(said.get("Os", "")),
        )

    def time(self) -> datetime:
        """The engine's clock, to the second, from the header of its answer.

        :raises EngineError: no answer, or none that tells the time.
        """
        said = self._get("ping", "/_ping").headers.get("Date", "")
        try:
            return parsedate_to_datetime(said)
        except ValueError as error:
            raise EngineAnswerInvalid(f"ping: the engine's Date is {said!r}") from error

    def image_labels(self) -> dict[str, Mapping[str, str]]:
        """Labels baked into the local images, by image name (or id where it has none).

        :raises EngineError: no complete answer.
        """
        images = _parse(self._get("images", "/images/json").body, "images", list)
        named = [image for image in images if isinstance(image, dict) and isinstance(image.get("Labels"), dict)]
        return {(image.get("RepoTags") or [image.get("Id", "")])[0]: image["Labels"] for image in named}

    def cancel(self) -> None:
        """End the call in flight, if any, and refuse later ones (R3)."""
        self._calls.cancel()

    def close(self) -> None:
        """Cancel, and give the connections back."""
        self.cancel()
        if self._session is not None:
            self._session.close()

    def _engine_id(self, connection: object) -> str:
        # The same open connection leads to the same engine process, so it is asked only once for each. An answer
        # that ended its connection leaves none to be known by.
        if connection is None or self._identified is None or self._identified[0] is not connection:
            self._identified = (connection, self.engine_id())
        return self._identified[1]

    def _get(self, operation: str, path: str, params: Params | None = None) -> _Answer:
        return self._begin(operation, path, params)()

    def _begin(self, operation: str, path: str, params: Params | None = None) -> Callable[[], _Answer]:
        began = self._monotonic()
        call = self._calls.begin(operation, lambda abandoned: self._fetch(operation, path, params, abandoned))
        return lambda: self._finish(operation, call, began)

    def _finish(self, operation: str, call: Future[_Answer], began: float) -> _Answer:
        result = "ok"
        try:
            return self._calls.finish(operation, call, self._timeout, self._monotonic() - began)
        except EngineError as error:
            result = type(error).__name__
            self._forget()
            raise
        finally:
            self._observer(operation, result, self._monotonic() - began)

    def _fetch(self, operation: str, path: str, params: Params | None, abandoned: Abandoned) -> _Answer:
        try:
            session = self._open_session()
            version = self._negotiate(session)
            url = f"{session.base_url}{version}{path}"
            with session.get(url, params=params, stream=True, timeout=self._timeout) as response:
                return _read(response, operation, abandoned)
        except requests.exceptions.Timeout as error:
            raise EngineTimeout(f"{operation}: the engine at {self.endpoint.url} does not answer") from error
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise EngineUnreachable(f"{operation}: {self._explain(error)}") from error
        except DockerException as error:
            raise EngineUnreachable(f"{operation}: engine at {self.endpoint.url}: {error}") from error

    def _open_session(self) -> APIClient:
        if self._session is None:
            self._session = open_session(self.endpoint, self._timeout)
        return self._session

    def _negotiate(self, session: APIClient) -> str:
        if self._api_version is None:
            ping = session.get(f"{session.base_url}/_ping", timeout=self._timeout)
            said = ping.headers.get("Api-Version", "")
            self._api_version = f"/v{said}" if said else ""
        return self._api_version

    def _forget(self) -> None:
        session, self._session = self._session, None
        self._api_version = self._identified = None
        if session is not None:
            session.close()

    def _explain(self, error: Exception) -> str:
        cause = _root(error)
        where = self.endpoint.url
        if isinstance(cause, PermissionError):
            return f"permission denied on {where}; run as root, or as a member of the socket's group"
        if isinstance(cause, FileNotFoundError):
            return f"there is no socket at {where}; is the engine running? (DOCKER_HOST says where it is)"
        if isinstance(cause, ConnectionRefusedError):
            return f"nothing listens at {where}; is the engine running?"
        if isinstance(error, RequestsConnectionError):
            return f"cannot reach the engine at {where}: {cause}"
        return f"the answer of the engine at {where} broke off: {cause}"


def _root(error: BaseException) -> BaseException:
    while isinstance(error, Exception):
        inner = (
            error.__cause__ or error.__context__ or next((a for a in error.args if isinstance(a, Exception)), None)
        )
        if inner is None or inner is error:
            break
        error = inner
    return error


def _read(response: requests.Response, operation: str, abandoned: Abandoned) -> _Answer:
    connection = getattr(response.raw.connection, "sock", None)
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if abandoned():
            raise EngineTimeout(f"{operation}: given up")
        if size > MAX_ANSWER_BYTES:
            raise EngineAnswerInvalid(f"{operation}: the engine's answer is over {MAX_ANSWER_BYTES} bytes")
    body = b"".join(chunks)
    if response.status_code != requests.codes.ok:
        raise EngineAnswerInvalid(f"{operation}: the engine answered {response.status_code}: {_excerpt(body)}")
    return _Answer(body, response.headers, connection)


def _parse(body: bytes, operation: str, shape: type[Any], decode: Callable[[bytes], Any] = orjson.loads) -> Any:
    try:
        said = decode(body)
    except orjson.JSONDecodeError as error:
        raise EngineAnswerInvalid(f"{operation}: the engine's answer is not JSON: {_excerpt(body)}") from error
    if not isinstance(said, shape):
        wanted = "list" if shape is list else "object"
        raise EngineAnswerInvalid(f"{operation}: the engine's answer is no {wanted}: {_excerpt(body)}")
    return said


def _excerpt(body: bytes) -> str:
    text = body[:120].decode("utf-8", "replace").strip()
    return repr(text) if text else "an empty body"
