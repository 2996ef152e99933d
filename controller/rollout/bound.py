"""That whoever acts on an engine acts on the one that this host is bound to (R18)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from controller.engine.client import EngineClient
from controller.engine.endpoint import Endpoint
from controller.settings import Settings
from store.database import Database
from store.errors import EngineRefused
from store.hosts import get_host


def engine_check(database: Database, settings: Settings, endpoint: Endpoint) -> Callable[[], None]:
    """A look that raises before anything is done to another engine; a host that is not bound yet may have any.

    What is returned raises :class:`EngineRefused`, :class:`EngineError` where the engine does not answer, and
    :class:`StoreError`.
    """

    def check() -> None:
        bound = get_host(database, settings.host).engine_id
        if not bound:
            return
        with closing(EngineClient(endpoint, timeout_seconds=settings.engine_timeout_seconds)) as client:
            found = client.engine_id()
        if found != bound:
            raise EngineRefused(settings.host, bound, found)

    return check
