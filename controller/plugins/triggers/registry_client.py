"""Asks an image registry, by the API of the OCI distribution specification: digests of tags, and lists of tags.

Credentials go to the registry, and to the token server that it names; never along a redirect, never into a message.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urljoin, urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from controller.plugins.contract import LookFailed, Retry

TIMEOUT_SECONDS = 15.0
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_HUB, _HUB_API = "docker.io", "registry-1.docker.io"
_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?")
_PARAMETER = re.compile(r'(\w+)="([^"]*)"')
_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')
_WINDOW = re.compile(r"(\d+)(?:;w=(\d+))?")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_BYTES = 4 * 1024 * 1024
_MOST_PAGES = 50
_LEAST_RETRY, _MOST_RETRY = 1.0, 6 * 3600.0
_UNTOLD_RETRY = 60.0


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at a registry, as the API addresses it."""

    base: str
    name: str

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine."""
        return _LOOPBACK.fullmatch(urlsplit(self.base).netloc) is not None


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a tag stands for. ``pause_seconds``: leave the registry alone for so long, as it asks."""

    digest: str
    etag: str = ""
    pause_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whatever its status; header names are in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)


def repository_at(repository: str, *, plain_http: bool = False) -> Repository:
    """Where a reference without tag is asked for: https, but for this machine, or where plain HTTP is declared."""
    first, slash, rest = repository.partition("/")
    if not slash or not (set(first) & {".", ":"} or first == "localhost"):
        first, rest = _HUB, repository
    if first in (_HUB, "index.docker.io"):
        first, rest = _HUB_API, rest if "/" in rest else f"library/{rest}"
    scheme = "http" if plain_http or _LOOPBACK.fullmatch(first) else "https"
    return Repository(f"{scheme}://{first}", rest)


def pause_of(headers: Mapping[str, str], now_timestamp: float) -> float | None:
    """For how many seconds an answer asks to be left alone: `Retry-After`, or a rate limit that is used up. Pure."""
    told = headers.get("retry-after", "").strip()
    if told.isdecimal():
        return _bounded(float(told[:12]))
    if told:
        try:
            return _bounded(parsedate_to_datetime(told).timestamp() - now_timestamp)
        except (ValueError, TypeError):
            return _UNTOLD_RETRY
    left = _WINDOW.match(headers.get("ratelimit-remaining", "").strip())
    if left is not None and int(left[1]) == 0:
        return _bounded(float(left[2] or _UNTOLD_RETRY))
    return None


def _bounded(seconds: float) -> float:
    return min(_MOST_RETRY, max(_LEAST_RETRY, seconds))


class RegistryClient:
    """One repository, for one look: a token that it got is used for the rest of it."""

    def __init__(self, repository: Repository, credentials: Mapping[str, str] | None, now_timestamp: float) -> None:
        self._repository = repository
        self._credentials = credentials or {}
        self._now = now_timestamp
        self._authorization = ""
        self._opener = _opener(repository.loopback)

    def digest_of(self, tag: str, etag: str = "") -> Tagged | None:
        """What a tag stands for now; ``None`` where that is still what it was when ``etag`` was told.

        :raises Retry: the registry wants to be left alone.
        :raises LookFailed: it cannot be asked, or has no such tag.
        """
        url = f"{self._repository.base}/v2/{quote(self._repository.name)}/manifests/{quote(tag)}"
        headers = {"Accept": _ACCEPT} | ({"If-None-Match": etag} if etag else {})
        answer = self._ask("HEAD", url, headers)
        if answer.status == 304:
            return None
        digest = answer.headers.get("docker-content-digest", "")
        if not _DIGEST.fullmatch(digest):
            raise LookFailed(f"{url}: the registry tells no digest (Docker-Content-Digest: {digest[:80]!r})")
        pause = pause_of(answer.headers, self._now) or 0.0
        return Tagged(digest, answer.headers.get("etag", ""), pause)

    def tags(self) -> list[str]:
        """All tags.

        :raises Retry: the registry wants to be left alone.
        :raises LookFailed: it cannot be asked, or has no such repository.
        """
        url = f"{self._repository.base}/v2/{quote(self._repository.name)}/tags/list?n=1000"
        found: list[str] = []
        for _ in range(_MOST_PAGES):
            answer = self._ask("GET", url, {})
            try:
                found += [str(each) for each in json.loads(answer.body)["tags"] or ()]
            except (ValueError, KeyError, TypeError) as error:
                raise LookFailed(f"{url}: no list of tags") from error
            following = _NEXT.search(answer.headers.get("link", ""))
            if following is None:
                return found
            url = urljoin(url, following[1])
            if not url.startswith(f"{self._repository.base}/"):
                raise LookFailed(f"{url}: the registry goes on elsewhere")
        raise LookFailed(f"{url}: more than {_MOST_PAGES} pages of tags")

    def _ask(self, method: str, url: str, headers: Mapping[str, str]) -> Answer:
        answer = self._send(method, url, headers)
        if answer.status == 401:
            self._authorization = self._authorize(answer.headers.get("www-authenticate", ""))
            answer = self._send(method, url, headers)
        if answer.status in (200, 304):
            return answer
        pause = pause_of(answer.headers, self._now)
        if answer.status == 429 or (answer.status == 503 and pause is not None):
            seconds = _UNTOLD_RETRY if pause is None else pause
            raise Retry(seconds, f"{self._repository.base} wants to be left alone for {seconds:g} s")
        raise LookFailed(f"{url}: {_meaning(answer.status)}")

    def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        given = {"User-Agent": "tallyd", **headers}
        if self._authorization and url.startswith(f"{self._repository.base}/"):
            given["Authorization"] = self._authorization
        try:
            request = Request(url, method=method, headers=given, data=body)
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return Answer(answer.status, _lowered(answer.headers), answer.read(_MOST_BYTES))
        except HTTPError as error:
            with error:
                return Answer(error.code, _lowered(error.headers))
        except (URLError, OSError, ValueError, HTTPException) as error:
            raise LookFailed(f"{url}: no answer: {getattr(error, 'reason', error)}") from error

    def _authorize(self, challenge: str) -> str:
        scheme, _, rest = challenge.partition(" ")
        name, password = self._credentials.get("username"), self._credentials.get("password", "")
        basic = f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}" if name else ""
        if scheme.lower() == "basic" and basic:
            return basic
        if scheme.lower() == "bearer":
            return f"Bearer {self._token(dict(_PARAMETER.findall(rest)), basic)}"
        raise LookFailed(f"{self._repository.base} wants credentials; declare credentials_file")

    def _token(self, told: Mapping[str, str], basic: str) -> str:
        """A token of the server that the registry names, for pulling."""
        realm = told.get("realm", "")
        if urlsplit(realm).scheme not in ("https", "http" if self._repository.base.startswith("http:") else "https"):
            raise LookFailed(f"{self._repository.base} names no token server that is to be trusted: {realm[:200]!r}")
        scope = told.get("scope", f"repository:{self._repository.name}:pull")
        wanted = {"service": told.get("service", ""), "scope": scope}
        refresh = self._credentials.get("identitytoken")
        if refresh:
            wanted |= {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": "tallyd"}
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._send("POST", realm, form, urlencode(wanted).encode())
        else:
            headers = {"Authorization": basic} if basic else {}
            answer = self._send("GET", f"{realm}{'&' if '?' in realm else '?'}{urlencode(wanted)}", headers)
        if answer.status == 429:
            raise Retry(pause_of(answer.headers, self._now) or _UNTOLD_RETRY, f"{realm} wants to be left alone")
        document = _json_of(answer.body)
        token = document.get("token") or document.get("access_token")
        if answer.status != 200 or not isinstance(token, str):
            raise LookFailed(f"{realm}: no token: {_meaning(answer.status)}")
        return token


class _NoRedirect(HTTPRedirectHandler):
    """A redirect would take the credentials along to wherever it points."""

    def redirect_request(self, *_: Any) -> None:
        """None is followed."""


def _opener(direct: bool) -> OpenerDirector:
    return build_opener(_NoRedirect, *([ProxyHandler({})] if direct else []))


def _lowered(headers: Message) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _json_of(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _meaning(status: int) -> str:
    known = {
        401: "the credentials are not the right ones, or there are none",
        403: "these credentials may not pull it",
        404: "no such image or tag",
    }
    return f"{known.get(status, 'unexpected answer')} (status {status})"
