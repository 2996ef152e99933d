"""A connection that never asks for anything is closed, as one is that was kept after an answer.

uvicorn's own time-out begins with the first answer, so a few hundred silent sockets would hold the port for ever and
liveness with it. Imported only by the thread that serves.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol


class PromptProtocol(H11Protocol):
    """HTTP/1.1 with a limit for the head of the first request, of as many seconds as an idle connection has."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn narrows asyncio's
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(self.timeout_keep_alive, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._patience.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        if self.cycle is None:
            self.transport.close()
