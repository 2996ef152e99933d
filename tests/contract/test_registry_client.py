"""`controller.plugins.triggers.registry_client`: token servers, rate limits and refusals.

Debian's registry has none of them; a server of the test's own answers as those on the internet document it.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from controller.plugins.contract import LookFailed, Retry
from controller.plugins.triggers.registry_client import RegistryClient, Tagged, pause_of, repository_at
from tests.builders import NOW

DIGEST = f"sha256:{'a' * 64}"
BASIC = f"Basic {base64.b64encode(b'me:hunter2').decode()}"
CREDENTIALS = {"username": "me", "password": "hunter2"}


class Hub:
    """A registry with a token server. ``answers`` come in place of the usual ones, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str]]] = {}
        self.asked: list[tuple[str, str, str]] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Keep silent."""

            def do_GET(self) -> None:
                hub._answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815  # http.server's names

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def client(self, credentials: dict[str, str] | None = None) -> RegistryClient:
        """One look at it."""
        return RegistryClient(repository_at(f"{self.url[7:]}/team/shop"), credentials, NOW.timestamp())

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0))).decode()
        path = request.path.partition("?")[0]
        given = request.headers.get("Authorization", "")
        self.asked.append((request.command, request.path + (f" {body}" if body else ""), given))
        status, headers, content = self._usual(path, given, request.headers.get("If-None-Match", ""))
        if path in self.answers:
            (status, headers), content = self.answers[path], ""
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content.encode())

    def _usual(self, path: str, given: str, etag: str) -> tuple[int, dict[str, str], str]:
        if path == "/token":
            return 200, {}, json.dumps({"token": "t-anonymous" if not given else "t-me"})
        if not given.startswith("Bearer t-"):
            realm = f'Bearer realm="{self.url}/token",service="hub",scope="repository:team/shop:pull"'
            return 401, {"WWW-Authenticate": realm}, ""
        if path.endswith("/tags/list"):
            return 200, {}, json.dumps({"name": "team/shop", "tags": ["1.0", "1.1"]})
        if etag == '"1"':
            return 304, {}, ""
        return 200, {"Docker-Content-Digest": DIGEST, "ETag": '"1"'}, ""


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A registry with a token server."""
    made = Hub()
    yield made
    made.close()


MANIFEST = "/v2/team/shop/manifests/1.0"


@pytest.mark.parametrize(
    ("credentials", "given", "token"),
    [(None, "", "t-anonymous"), (CREDENTIALS, BASIC, "t-me")],
    ids=["anonymous", "password"],
)
def test_a_token_is_asked_for(hub: Hub, credentials: dict[str, str] | None, given: str, token: str) -> None:
    """S1: of the server that the registry names, for pulling, and used for the rest of the look."""
    client = hub.client(credentials)
    assert client.tags() == ["1.0", "1.1"]
    assert client.digest_of("1.0") == Tagged(DIGEST, '"1"')
    assert client.digest_of("1.0", '"1"') is None
    assert [each for each in hub.asked if each[1].startswith("/token")] == [
        ("GET", "/token?service=hub&scope=repository%3Ateam%2Fshop%3Apull", given)
    ]
    assert hub.asked[-1] == ("HEAD", MANIFEST, f"Bearer {token}")


def test_an_identity_token_is_exchanged(hub: Hub) -> None:
    """S1: as `docker login` leaves it where the registry gives one."""
    assert hub.client({"identitytoken": "refresh-me"}).digest_of("1.0") is not None
    method, asked, _ = next(each for each in hub.asked if each[1].startswith("/token"))
    assert method == "POST"
    assert "grant_type=refresh_token&refresh_token=refresh-me" in asked


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "120"}, 120),
        (429, {"RateLimit-Remaining": "0;w=21600"}, 21600),
        (429, {}, 60),
        (429, {"Retry-After": "999999999"}, 21600),
        (503, {"Retry-After": "30"}, 30),
    ],
)
def test_a_registry_that_wants_to_be_left_alone(
    hub: Hub, status: int, headers: dict[str, str], seconds: float
) -> None:
    """S1: for as long as it says, six hours at most; its token server as well."""
    hub.answers[MANIFEST] = (status, headers)
    with pytest.raises(Retry) as told:
        hub.client().digest_of("1.0")
    assert told.value.after_seconds == seconds
    if status == 429:
        hub.answers = {"/token": (status, headers)}
        with pytest.raises(Retry) as told:
            hub.client().digest_of("1.0")
        assert told.value.after_seconds == seconds


def test_a_limit_that_is_used_up_is_heard_in_a_good_answer() -> None:
    """S1: the next look waits for the limit's window; a date is one too."""
    assert pause_of({"ratelimit-remaining": "0;w=600"}, 0) == 600
    assert pause_of({"ratelimit-remaining": "7;w=600"}, 0) is None
    assert pause_of({"retry-after": "Thu, 01 Jan 1970 00:01:30 GMT"}, 0) == 90
    assert pause_of({"retry-after": "soon"}, 0) == 60


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((404, {}), "no such image or tag"),
        ((403, {}), "may not pull"),
        ((500, {}), "status 500"),
        ((200, {}), "tells no digest"),
        ((200, {"Docker-Content-Digest": "md5:1"}), "tells no digest"),
        ((302, {"Location": "http://127.0.0.1:1/"}), "status 302"),
        ((401, {"WWW-Authenticate": "Negotiate"}), "wants credentials"),
        ((401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}), "to be trusted"),
    ],
)
def test_an_answer_of_no_use(hub: Hub, answer: tuple[int, dict[str, str]], said: str) -> None:
    """S1: told in words, without what was tried; no redirect is followed."""
    hub.answers[MANIFEST] = answer
    with pytest.raises(LookFailed, match=said) as told:
        hub.client(CREDENTIALS).digest_of("1.0")
    assert "hunter2" not in str(told.value)


def test_nobody_answers(hub: Hub) -> None:
    """S1."""
    client = hub.client()
    hub.close()
    with pytest.raises(LookFailed, match="no answer"):
        client.digest_of("1.0")


@pytest.mark.parametrize(
    ("repository", "options", "expected"),
    [
        ("nginx", {}, ("https://registry-1.docker.io", "library/nginx")),
        ("team/shop", {}, ("https://registry-1.docker.io", "team/shop")),
        ("docker.io/team/shop", {}, ("https://registry-1.docker.io", "team/shop")),
        ("registry.example/a/b/c", {}, ("https://registry.example", "a/b/c")),
        ("localhost:5000/shop", {}, ("http://localhost:5000", "shop")),
        ("127.0.0.1:5000/shop", {}, ("http://127.0.0.1:5000", "shop")),
        ("127.0.0.1.evil.example/shop", {}, ("https://127.0.0.1.evil.example", "shop")),
        ("registry.example:5000/shop", {"plain_http": True}, ("http://registry.example:5000", "shop")),
    ],
)
def test_where_a_repository_is(repository: str, options: dict[str, Any], expected: tuple[str, str]) -> None:
    """S1: TLS everywhere but on this machine, unless plain HTTP is declared."""
    found = repository_at(repository, **options)
    assert (found.base, found.name) == expected
