"""Bounding a blocking call in time, which neither docker-py nor requests can.

Their time-out is per socket read: an engine that drips one byte at a time is never too late, and one that is
stopped before it answers cannot be interrupted. So each call runs on a thread that is left behind at the deadline
or at :meth:`Calls.cancel`; it ends with its own socket time-out, and what it brings is dropped. One thread that has
nothing to do is kept for the next call: starting one costs more than a whole listing of one container.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from queue import SimpleQueue
from typing import Any, TypeVar

from controller.errors import EngineCallCancelled, EngineTimeout

T = TypeVar("T")
Abandoned = Callable[[], bool]
Settle = Callable[[], object]


class Calls:
    """The calls in flight. Once cancelled it stays cancelled: a stopping controller makes no new call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_flight: set[Future[Any]] = set()
        self._at_rest: _Caller | None = None
        self._cancelled = False

    def begin(self, operation: str, call: Callable[[Abandoned], T]) -> Future[T]:
        """Start ``call``. It is given a predicate that says whether anybody still waits for it.

        :raises EngineCallCancelled: :meth:`cancel` was called before.
        """
        future: Future[T] = Future()
        self._enter(future, operation)
        with self._lock:
            caller, self._at_rest = self._at_rest, None
        (caller or _Caller(self._rest)).give(lambda: _outcome(future, call))
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
            caller, self._at_rest = self._at_rest, None
        if caller is not None:
            caller.give(None)
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

    def _rest(self, caller: _Caller) -> bool:
        with self._lock:
            if self._cancelled or self._at_rest is not None:
                return False
            self._at_rest = caller
            return True


class _Caller:
    """A thread that makes one call after the other. ``rest`` says whether it is to wait for another one."""

    def __init__(self, rest: Callable[[_Caller], bool]) -> None:
        self._rest = rest
        self._given: SimpleQueue[Callable[[], Settle] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="engine-call", daemon=True).start()

    def give(self, call: Callable[[], Settle] | None) -> None:
        """Have it make this call next; ``None`` ends it."""
        self._given.put(call)

    def _run(self) -> None:
        while (call := self._given.get()) is not None:
            settle = call()
            # In this order: who is told the outcome may begin the next call at once.
            stays = self._rest(self)
            settle()
            del call, settle
            if not stays:
                return


def _outcome(future: Future[T], call: Callable[[Abandoned], T]) -> Settle:
    """Make the call; returns what tells the waiter of it."""
    try:
        result = call(future.done)
    except BaseException as error:  # noqa: BLE001  # a thread ends here; the waiter gets the error
        raised = error  # the name above is gone at the end of its block
        return lambda: _settle(future, raised)
    return lambda: _succeed(future, result)


def _succeed(future: Future[T], result: T) -> None:
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
