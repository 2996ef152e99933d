"""Secret values and what quotes: an engine that repeats a request, a container's last lines, tracebacks."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.engine.container_json import blotted, secret_values_of, wanted_json
from controller.engine.containers import ContainerSpec, VolumeSpec
from controller.engine.endpoint import Endpoint
from controller.engine.verbs import EngineVerbs
from controller.errors import EngineError

CANARY = "canary-77aa01"
SPEC = ContainerSpec("shop", "shop:1", environment={"A": "x"}, secrets={"PASSWORD": "PW"})
REVEALED = replace(SPEC, revealed={"PASSWORD": CANARY})


class Quoting(BaseHTTPRequestHandler):
    """An engine that refuses everything, and repeats what it was asked."""

    def do_GET(self) -> None:
        self._answer(200, b"OK")

    def do_POST(self) -> None:
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer(400, json.dumps({"message": f"invalid: {asked}"}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def quoting() -> Iterator[EngineVerbs]:
    """The verbs of such an engine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quoting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    verbs = EngineVerbs(Endpoint(f"tcp://127.0.0.1:{server.server_port}"), own=())
    try:
        yield verbs
    finally:
        verbs.cancel()
        server.shutdown()
        thread.join()
        server.server_close()


def test_an_engine_that_quotes_the_request_tells_nobody(quoting: EngineVerbs) -> None:
    """S4, D4: the error says what the engine said, without the value; so do its traceback and its causes."""
    with pytest.raises(EngineError, match=r"create: invalid: .*PASSWORD=\[secret\]") as caught:
        quoting.create_container(REVEALED)
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None


def test_a_value_is_in_the_request_and_in_no_digest() -> None:
    """S4: two specs that differ in what is revealed are the same spec; the name of a secret makes another one."""
    assert f"PASSWORD={CANARY}" in wanted_json(REVEALED)["Env"]
    assert REVEALED.digest == SPEC.digest
    assert replace(SPEC, secrets={"PASSWORD": "OTHER"}).digest != SPEC.digest
    assert CANARY not in repr(REVEALED)


def test_a_spec_without_secrets_has_the_digest_that_it_always_had() -> None:
    """S3: an upgrade does not make every container anew."""
    before = "ebf9ba8a"  # of the version that knew neither secrets nor scopes
    spec = ContainerSpec("shop-1", "shop:1", {"a": "b"}, {"A": "x"}, volumes=(VolumeSpec("data", "/data"),))
    assert spec.digest.startswith(before)


def test_values_of_secret_variables_are_known_from_the_container_itself() -> None:
    """S4: by the label under any prefix, the longest first; nothing without the label."""
    config = {
        "Env": ["A=one", "B=one more", "C=plain", "D=", "broken"],
        "Labels": {"acme.secret-variables": "A,B,D"},
    }
    assert secret_values_of({"Config": config}) == ["one more", "one"]
    assert secret_values_of({"Config": {"Env": ["A=one"], "Labels": None}}) == []
    assert secret_values_of({}) == []


def test_values_are_blotted_out() -> None:
    """S4: whole, and line by line where there are several; a short line is in every text."""
    assert blotted(f"it is {CANARY}!", [CANARY]) == "it is [secret]!"
    key = "-----BEGIN-----\nabcdef\nx\n-----END-----"
    assert blotted(f"{key}|abcdef|x", [key]) == "[secret]|[secret]|x"
    assert blotted("nothing", []) == "nothing"
