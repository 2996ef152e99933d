"""uvicorn without its heartbeat: a tenth of a second is what it sleeps between two looks at whether to end.

That was two thirds of all CPU time of an idle controller. This one is woken to end; otherwise it wakes up once a
second, for the `Date` header. Imported only by the thread that serves.
"""

from __future__ import annotations

import asyncio
import contextlib

import uvicorn

_DATE_SECONDS = 1.0
_RENEW_DATE = 0


class QuietServer(uvicorn.Server):
    """A server that another thread can end at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Serve no longer; safe from any thread, and at any time."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._ending.set)

    async def main_loop(self) -> None:
        """Until :meth:`end`; replaces uvicorn's own."""
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(_RENEW_DATE):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _DATE_SECONDS)
