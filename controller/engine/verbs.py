"""What tallyd does to an engine, as typed verbs with a deadline. The only code that changes a container.

No verb ever acts on the container that the controller runs in. Each may be repeated: what is so already is no error.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from controller.engine.client import DEFAULT_TIMEOUT_SECONDS, Observer
from controller.engine.compose import Compose, ComposeDone, ComposeRun
from controller.engine.connections import count_connections
from controller.engine.container_json import blotted, secret_values_of, seen_of, wanted_json
from controller.engine.containers import ContainerSeen, ContainerSpec, Progress, VolumeSeen
from controller.engine.endpoint import Endpoint
from controller.engine.exchange import Exchange, Request, decoded
from controller.engine.images import Credentials, Images
from controller.engine.own import is_one_of, own_ids
from controller.engine.volumes import Volumes
from controller.errors import EngineActionFailed, EngineConflict, EngineError, EngineNotFound, OwnContainer

_FRAME_HEADER = 8
_LONGEST_LINE = 500
_WITHOUT_PROCESSES = ("created", "exited", "dead", "removing")


def unobserved(_operation: str, _result: str, _seconds: float, /) -> None:
    """An observer that does not look."""


def unheard(_line: str) -> None:
    """A listener that does not listen."""


class EngineVerbs:
    """Verbs of one engine, from any thread.

    :param pulled: hears of every pull whose caller does not listen itself.
    :param own: ids of the container that the controller runs in, whole or shortened; found out where not given.
    :param acting: told of a container before it is stopped or removed, so that its end is known for ours.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        observer: Observer = unobserved,
        pulled: Progress = unheard,
        own: Collection[str] | None = None,
        acting: Callable[[str], None] = lambda _container_id: None,
    ) -> None:
        self._acting = acting
        self._exchange = Exchange(endpoint, timeout_seconds, observer)
        self._images = Images(self._exchange)
        self._volumes = Volumes(self._exchange)
        self._pulled = pulled
        self._own = own_ids() if own is None else own
        self._observer = observer
        self._compose = Compose({"DOCKER_HOST": endpoint.url, **endpoint.variables})

    def find_image(self, reference: str) -> str:
        """See :meth:`Images.find`."""
        return self._images.find(reference)

    def resolve_image(self, reference: str, credentials: Credentials | None = None) -> str:
        """See :meth:`Images.resolve`."""
        return self._images.resolve(reference, credentials)

    def pull_image(self, reference: str, credentials: Credentials | None = None, told: Progress = unheard) -> None:
        """See :meth:`Images.pull`."""
        self._images.pull(reference, credentials, self._pulled if told is unheard else told)

    def create_container(self, spec: ContainerSpec) -> str:
        """Create a container and return its id; it is not started. One that cannot be made whole is not left behind.

        :raises EngineConflict: the name is taken.
        :raises EngineNotFound: there is no such image or network.
        :raises EngineError: the engine failed.
        """
        for network in spec.networks:
            self._exchange.ask(Request("inspect_network", "GET", f"/networks/{quote(network, safe='')}"))
        request = Request("create", "POST", "/containers/create", {"name": spec.name}, wanted_json(spec))
        try:
            made = str(decoded("create", self._exchange.ask(request), dict)["Id"])
        except EngineError as error:
            # The engine may quote what it does not like; the error as it was is not kept either.
            raise type(error)(blotted(str(error), [*spec.revealed.values()])) from None
        try:
            for network in spec.networks[1:]:
                path = f"/networks/{quote(network, safe='')}/connect"
                self._exchange.ask(Request("connect", "POST", path, body={"Container": made}))
        except EngineError:
            self.remove_container(made)
            raise
        return made

    def start_container(self, container_id: str) -> None:
        """Start a container; nothing happens where it runs.

        :raises EngineActionFailed: it cannot be started, for example because its port is taken.
        :raises EngineNotFound: it is gone, or a network of it is.
        :raises OwnContainer: it is the controller's own.
        """
        self._check_own(container_id)
        self._exchange.ask(Request("start", "POST", f"/containers/{quote(container_id, safe='')}/start"))

    def stop_container(self, container_id: str, grace_seconds: int) -> None:
        """Stop a container: its stop signal, and SIGKILL after the grace period. One that is gone is stopped.

        :raises OwnContainer: it is the controller's own.
        :raises EngineError: the engine failed.
        """
        self._check_own(container_id)
        self._acting(container_id)
        path = f"/containers/{quote(container_id, safe='')}/stop"
        try:
            self._exchange.ask(Request("stop", "POST", path, {"t": str(grace_seconds)}), float(grace_seconds))
        except EngineNotFound:
            return

    def remove_container(self, container_id: str) -> None:
        """Remove a container, running or not, and its nameless volumes. One that is gone, or just going, is removed.

        :raises OwnContainer: it is the controller's own.
        :raises EngineError: the engine failed.
        """
        self._check_own(container_id)
        self._acting(container_id)
        path = f"/containers/{quote(container_id, safe='')}"
        try:
            self._exchange.ask(Request("remove", "DELETE", path, {"force": "1", "v": "1"}))
        except EngineNotFound:
            return
        except EngineConflict as error:
            if "in progress" not in str(error):
                raise

    def inspect_container(self, container_id: str) -> ContainerSeen | None:
        """A container by id or name; ``None`` where there is none.

        :raises EngineError: the engine does not tell.
        """
        said = self._inspected(container_id)
        return None if said is None else seen_of(said)

    def open_connections(self, container_id: str) -> int | None:
        """How many connections from outside a container has; ``None`` where that cannot be seen from here.

        One that is gone or stopped has none. See :mod:`controller.engine.connections`.

        :raises EngineError: the engine does not tell.
        """
        said = self._inspected(container_id)
        if said is None or seen_of(said).state in _WITHOUT_PROCESSES:
            return 0
        return count_connections(said)

    def list_containers(self, labels: Mapping[str, str]) -> list[ContainerSeen]:
        """The containers that carry all these labels, in any state, by name.

        :raises EngineError: the engine does not tell.
        """
        wanted = [f"{name}={value}" for name, value in labels.items()]
        params = {"all": "1", "filters": orjson.dumps({"label": wanted}).decode()}
        answer = self._exchange.ask(Request("list_labelled", "GET", "/containers/json", params))
        listed = decoded("list_labelled", answer, list)
        seen = (self.inspect_container(str(each["Id"])) for each in listed)
        return sorted((each for each in seen if each is not None), key=lambda each: each.name)

    def last_lines(self, container_id: str, count: int) -> list[str]:
        """The last lines that a container wrote, shortened; none where it is gone, or going.

        Values of its secret variables are blotted out: a program that fails likes to print its environment.

        :raises EngineError: the engine does not tell.
        """
        params = {"stdout": "1", "stderr": "1", "tail": str(count)}
        path = f"/containers/{quote(container_id, safe='')}/logs"
        try:
            answer = self._exchange.ask(Request("logs", "GET", path, params))
            values = secret_values_of(self._inspected(container_id) or {})
        except (EngineNotFound, EngineConflict):
            return []
        text = blotted(b"".join(_frames(answer)).decode("utf-8", "replace"), values)
        return [line[:_LONGEST_LINE] for line in text.splitlines()[-count:]]

    def compose(self, run: ComposeRun) -> ComposeDone:
        """See :meth:`Compose.run`. It is up to the caller that the controller's own container is not of the project.

        :raises EngineError: it could not be run to its end.
        """
        for each in run.ending:
            self._acting(each)
        began, result = time.monotonic(), "ok"
        try:
            done = self._compose.run(run)
            result = "ok" if done.code == 0 else EngineActionFailed.__name__
            return done
        except EngineError as error:
            result = type(error).__name__
            raise
        finally:
            self._observer(f"compose_{run.arguments[0]}", result, time.monotonic() - began)

    def is_own(self, container_id: str) -> bool:
        """Whether a container, by its whole id, is the one that the controller runs in. Asks nobody."""
        return is_one_of(container_id, self._own)

    def create_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """See :meth:`Volumes.create`."""
        return self._volumes.create(name, labels)

    def list_volumes(self, labels: Mapping[str, str]) -> list[VolumeSeen]:
        """See :meth:`Volumes.list`."""
        return self._volumes.list(labels)

    def remove_volume(self, name: str) -> None:
        """See :meth:`Volumes.remove`."""
        self._volumes.remove(name)

    def cancel(self) -> None:
        """End the calls in flight and refuse later ones (R3)."""
        self._exchange.cancel()
        self._compose.cancel()

    def _inspected(self, container_id: str) -> dict[str, Any] | None:
        path = f"/containers/{quote(container_id, safe='')}/json"
        try:
            return dict(decoded("inspect", self._exchange.ask(Request("inspect", "GET", path)), dict))
        except EngineNotFound:
            return None

    def _check_own(self, container_id: str) -> None:
        if not self._own:
            return
        seen = self.inspect_container(container_id)
        if seen is not None and is_one_of(seen.id, self._own):
            raise OwnContainer(
                f"container {seen.name!r} ({seen.id[:12]}) is the controller's own; it is not acted on"
            )


def _frames(answer: bytes) -> Iterator[bytes]:
    """The output itself: an engine puts a header of eight bytes before each piece, unless there is a terminal."""
    place = 0
    while place < len(answer):
        header = answer[place : place + _FRAME_HEADER]
        if len(header) < _FRAME_HEADER or header[0] > 2 or header[1:4] != b"\0\0\0":
            yield answer[place:]
            return
        size = int.from_bytes(header[4:], "big")
        yield answer[place + _FRAME_HEADER : place + _FRAME_HEADER + size]
        place += _FRAME_HEADER + size
