"""The source `compose` before the conformance kit: a project of one service, with an image that is named."""

from __future__ import annotations

from typing import Any

from controller.plugins.sources.compose import ComposeSource
from controller.rollout.deployer import Revision, Workload
from controller.rollout.subjects.ground import ServingSubject, changed_by
from store.records import WorkloadKind

_DRAIN_SECONDS = 2


class ComposeSubject(ServingSubject):
    """Projects of one service, whose revisions differ by an environment variable."""

    one_at_a_time = True

    def __init__(self, *, image: str, port: str = "80", command: str = "", docker_host: str = "") -> None:
        super().__init__(image=image, port=port, command=command, docker_host=docker_host)
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

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        return bool(self._ground.look.find_image(self._image))
