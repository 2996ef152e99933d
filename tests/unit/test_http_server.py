"""The HTTP port's life: it serves with uvicorn's headers, and ends at once although it sleeps in between."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.request
from email.utils import parsedate_to_datetime

import pytest
from fastapi import FastAPI

from controller.http.server import HttpServer
from tests.harness import wait_until


def _alive() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_a_server_serves_tells_the_date_and_ends_when_told() -> None:
    """R3: `stop` waits half a second at most, and the thread has ended by then, whenever in its sleep it is told."""
    for _ in range(3):
        server = HttpServer("127.0.0.1", 0, FastAPI)
        server.start()
        server.hurry()
        with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=20) as answer:
            assert parsedate_to_datetime(answer.headers["Date"]).tzinfo is not None
        assert "http" in _alive()
        server.stop()
        assert "http" not in _alive()


def test_a_server_that_is_stopped_before_it_serves() -> None:
    """R3: nothing is left of it, and nobody waits for it."""
    server = HttpServer("127.0.0.1", 0, FastAPI)
    server.start()
    server.stop()
    wait_until(lambda: "http" not in _alive(), 20, "the thread has ended")


@pytest.mark.parametrize(
    "said", [b"", b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"]
)
def test_a_connection_that_asks_for_nothing_is_closed(said: bytes) -> None:
    """O4: silent sockets, as many as the port takes, cannot hold it for ever."""
    server = HttpServer("127.0.0.1", 0, FastAPI, idle_seconds=1)
    server.start()
    server.hurry()
    host, _, port = server.url.removeprefix("http://").partition(":")
    try:
        silent = [socket.create_connection((host, int(port)), timeout=30) for _ in range(300)]
        for each in silent:
            with contextlib.suppress(OSError):  # it is closed already
                each.sendall(said)
        ends = [_end_of(each) for each in silent]
        assert set(ends) <= {"closed", "refused"}
        assert ends.count("closed") >= 200
        with urllib.request.urlopen(f"{server.url}/openapi.json", timeout=20) as answer:
            assert answer.status == 200
    finally:
        server.stop()


def _end_of(connection: socket.socket) -> str:
    """How the server ended a connection: with an answer that it is full, or without any."""
    with connection:
        try:
            return "refused" if connection.recv(100) else "closed"
        except ConnectionError:
            return "closed"
