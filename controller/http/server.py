"""The HTTP port: opened at once, so that a taken one is a start error; served by a thread of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from controller.errors import SettingInvalid

if TYPE_CHECKING:
    from fastapi import FastAPI

    from controller.http.quiet import QuietServer

_STOP_SECONDS = 0.5
_HEAD_START_SECONDS = 2.0
_IDLE_CONNECTION_SECONDS = 10
_MOST_CONNECTIONS = 256
_BACKLOG = 128


class HttpServer:
    """uvicorn on an open socket. The application is built on the server's thread and after a head start for the
    first pass: importing it takes a while, and would compete with that.
    """

    def __init__(
        self, host: str, port: int, build: Callable[[], FastAPI], *, idle_seconds: int = _IDLE_CONNECTION_SECONDS
    ) -> None:
        """Open the port.

        :param idle_seconds: after which a connection that asks for nothing is closed.
        :raises SettingInvalid: it is taken, forbidden, or no address of this machine.
        """
        self._build = build
        self._idle_seconds = idle_seconds
        self._server: QuietServer | None = None
        self._stopping = threading.Event()
        self._go = threading.Event()
        self._socket = _open(host, port)
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)

    @property
    def url(self) -> str:
        """Where the port is reached."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        """Begin to serve; returns at once."""
        self._thread.start()

    def hurry(self) -> None:
        """The first pass is over: nothing speaks against serving now."""
        self._go.set()

    def stop(self) -> None:
        """Close the port; requests in flight have half a second."""
        self._stopping.set()
        self._go.set()
        if self._server is not None:  # else it is still loading, and will find that it need not serve
            self._server.end()
            self._thread.join(_STOP_SECONDS)
        self._socket.close()

    def _serve(self) -> None:
        self._go.wait(_HEAD_START_SECONDS)
        if self._stopping.is_set():
            return
        import uvicorn

        from controller.http.prompt import PromptProtocol
        from controller.http.quiet import QuietServer

        config = uvicorn.Config(
            self._build(),
            log_config=None,
            access_log=False,
            lifespan="off",
            http=PromptProtocol,
            timeout_keep_alive=self._idle_seconds,
            timeout_graceful_shutdown=1,
            limit_concurrency=_MOST_CONNECTIONS,
            server_header=False,
        )
        self._server = QuietServer(config)
        if not self._stopping.is_set():
            self._server.run(sockets=[self._socket])


def _open(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingInvalid(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(address)
        opened.listen(_BACKLOG)  # a port that is only bound can be bound by another process as well
    except OSError as error:
        opened.close()
        hint = "; TALLYD_LISTEN takes another port" if error.errno == 98 else ""
        raise SettingInvalid(f"cannot listen on {host}:{port}: {error.strerror}{hint}") from error
    return opened
