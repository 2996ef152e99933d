"""Bounding a blocking call in time, which neither docker-py nor requests can.

Their time-out is per socket read: an engine that drips one byte at a time is never too late, and one that is
stopped before it answers cannot be interrupted. So each call has a thread of its own, which is left behind at
the deadline or at :meth:`Calls.cancel`; it ends with its own socket time-out, and what it brings is dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from typing import Any, TypeVar

from controller.errors import EngineCallCancelled, EngineTimeout

T = TypeVar("T")
Abandoned = Callable[[], bool]


class Calls:
    """The calls in flight. Once cancelled it stays cancelled: a stopping controller makes no new call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: set[Future[Any]] = set()
        self._cancelled = False

    def begin(self, operation: str, call: Callable[[Abandoned], T]) -> Future[T]:
        """Start ``call``. It is given a predicate that says whether anybody still waits for it.

        :raises EngineCallCancelled: :meth:`cancel` was called before.
        """
        future: Future[T] = Future()
        self._enter(future, operation)
        threading.Thread(target=_fulfil, args=(future, call), name=f"engine-{operation}", daemon=True).start()
        return future

    def finish(self, operation: str, future: Future[T], timeout_seconds: float, waited_seconds: float = 0.0) -> T:
        """Wait for a call that was begun, until the deadline.

        :param waited_seconds: how much of the time-out has passed already.
        :raises EngineTimeout: the deadline passed.
        :raises EngineCallCancelled: :meth:`cancel` was called.
        :raises Exception: whatever the call raised.
        """
        try:
            return future.result(max(0.0, timeout_seconds - waited_seconds))
        except TimeoutError:
            late = EngineTimeout(f"{operation}: no complete answer from the engine within {timeout_seconds:g} s")
            if _settle(future, late):
                raise late from None
            return future.result()

    def cancel(self) -> None:
        """End all waiting, now and from now on."""
        with self._lock:
            self._cancelled = True
            in_flight = list(self._in_flight)
        for future in in_flight:
            _settle(future, EngineCallCancelled("the call to the engine was cancelled: the controller stops"))

    def _enter(self, future: Future[T], operation: str) -> None:
        with self._lock:
            if self._cancelled:
                raise EngineCallCancelled(f"{operation}: not called, the controller stops")
            self._in_flight.add(future)
        future.add_done_callback(self._leave)

    def _leave(self, future: Future[Any]) -> None:
        with self._lock:
            self._in_flight.discard(future)


def _fulfil(future: Future[T], call: Callable[[Abandoned], T]) -> None:
    try:
        result = call(future.done)
    except BaseException as error:  # noqa: BLE001  # a thread ends here; the waiter gets the error
        _settle(future, error)
    else:
        try:
            future.set_result(result)
        except InvalidStateError:
            return  # the waiter has left


def _settle(future: Future[T], error: BaseException) -> bool:
    try:
        future.set_exception(error)
    except InvalidStateError:
        return False
    return True
