"""The source `compose` before the conformance kit: a project of one service, with an image that is named."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from controller.plugins.sources.compose import ComposeSource
from controller.rollout.deployer import Revision, Workload
from controller.rollout.subjects.ground import Ground, changed_by, port_of
from store.records import WorkloadKind

_DRAIN_SECONDS = 2


class ComposeSubject:
    """Projects of one service, whose revisions differ by an environment variable.

    :param image: one that serves HTTP: at hand on the engine, or in a registry that the engine may pull from.
    :param port: where it listens in its container.
    :param command: what it is started with, in a shell's words; empty for the image's own.
    :param docker_host: the engine; empty for that of ``DOCKER_HOST``.
    """

    one_at_a_time = True

    def __init__(self, *, image: str, port: str = "80", command: str = "", docker_host: str = "") -> None:
        self._image = image
        self._port = port_of(port)
        self._command = shlex.split(command)
        self._ground = Ground(docker_host)
        self._source = ComposeSource()
        self._source.equip(self._ground.tools)
        self.deployer = self._ground.with_rows(self._source)

    def workload(self, name: str) -> Workload:
        """See `Subject`."""
        return self._ground.declare(name, "compose", WorkloadKind.STACK)

    def revision(self, workload: Workload, sequence: int) -> Revision:
        """See `Subject`."""
        revision_id = f"{workload.id}-{sequence}"
        # The ground knows containers by these labels; and without a network of its own a project leaves nothing else.
        labels = {self._ground.label("workload.id"): workload.id, self._ground.label("revision"): revision_id}
        service: dict[str, Any] = {"image": self._image, "labels": labels, "network_mode": "bridge"}
        service |= {"environment": dict(changed_by(sequence)), "restart": "no"}
        if self._command:
            service["command"] = self._command
        config = {"inline": {"services": {"web": service}}, "web": {"service": "web", "port": self._port}}
        frozen = self._source.freeze({**config, "drain_seconds": _DRAIN_SECONDS, "stop_grace_seconds": 0})
        reference, digest = self._source.resolve(frozen)
        return Revision(revision_id, workload.id, sequence, reference, digest, "", frozen)

    def provider_calls(self) -> int:
        """See `Subject`."""
        return self._ground.calls

    def snapshot(self) -> object:
        """See `Subject`."""
        return self._ground.snapshot()

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """See `Subject`."""
        return self._ground.answers(revision.id, self._port)

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`."""
        return self._ground.traffic(workload)

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        return bool(self._ground.look.find_image(self._image))

    def session(self, workload: Workload, revision: Revision) -> AbstractContextManager[None]:
        """See `HoldsSessions`."""
        return self._ground.session(revision.id, self._port)

    def break_provider(self) -> None:
        """See `BreaksItsProvider`: the engine is out of reach."""
        self._ground.break_engine()

    def close(self) -> None:
        """See `Subject`."""
        self._ground.close()
