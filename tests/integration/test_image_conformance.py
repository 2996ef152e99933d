"""The source `image` passes the conformance kit on a real engine."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controller.daemon import CLOCK
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs
from controller.plugins.contract import Applied, Deployment, Revision, RuntimeConfig, Workload, WorkloadKind
from controller.plugins.sources.image import ImageSource
from controller.rollout.conformance import CHECKS, Check, Verdict, run_checks
from controller.rollout.equipment import Equipment
from store import hosts
from store.database import open_database
from store.index import list_containers
from store.records import ContainerRow, Host
from store.schema import migrate
from store.workloads import apply_workloads
from tests.harness import BUSYBOX, Engine
from tests.integration.deploys import HOST, SERVE, page


class Source(ImageSource):
    """Given the rows that a caller reads beside the revisions."""

    def __init__(self, rows: Callable[[Workload], Sequence[ContainerRow]]) -> None:
        super().__init__()
        self._rows = rows

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        """See `Deployer`."""
        return super().apply_traffic_split(replace(deployment, rows=self._rows(deployment.workload)))

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        """See `Deployer`."""
        return super().report_runtime_config(replace(deployment, rows=self._rows(deployment.workload)))


class ImageSubject:
    """The engine of the tests, a store, and routers that remember what they were told."""

    def __init__(self, engine: Engine) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._database = open_database(f"sqlite:///{Path(self._folder.name) / 'tallyd.db'}")
        migrate(self._database)
        hosts.register(self._database, Host(HOST))
        self._prefix = f"t{uuid.uuid4().hex[:6]}"
        self._calls = 0
        self._routed: dict[str, RuntimeConfig] = {}
        self._client = engine.client()
        self._verbs = EngineVerbs(endpoint_from({"DOCKER_HOST": engine.endpoint}), observer=self._called, own=())
        self.deployer = Source(lambda workload: list_containers(self._database, workload_id=workload.id))
        self.deployer.equip(Equipment(self._prefix, self._verbs, self._database, HOST, self._route))

    def workload(self, name: str) -> Workload:
        """See `Subject`."""
        made = Workload(name, name, WorkloadKind.PROJECT, f"{self._prefix}-{name}", source_kind="image")
        apply_workloads(self._database, [made], CLOCK.now())
        return made

    def revision(self, workload: Workload, sequence: int) -> Revision:
        """See `Subject`."""
        config = {"image": BUSYBOX, "command": SERVE, "port": 8080, "env": {"N": str(sequence)}}
        config |= {"drain_seconds": 2, "stop_grace_seconds": 0}
        digest = self._client.inspect_image(BUSYBOX)["Id"]
        return Revision(f"{workload.id}-{sequence}", workload.id, sequence, BUSYBOX, digest, "", config)

    def provider_calls(self) -> int:
        """See `Subject`."""
        return self._calls

    def snapshot(self) -> object:
        """See `Subject`."""
        containers = [(each["Id"], each["Names"], each["State"], each["Labels"]) for each in self._listed()]
        return {"containers": containers, "routed": dict(self._routed)}

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """See `Subject`."""
        with contextlib.suppress(OSError):
            return any(b"busybox:local" in page(each, 8080) for each in self._addresses(revision))
        return False

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`."""
        routed = self._routed.get(workload.id)
        return {each["revision_id"]: each["weight"] for each in routed.blocks} if routed else {}

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """See `ShowsWhatIsStaged`."""
        return bool(self._client.inspect_image(revision.image_digest))

    @contextmanager
    def session(self, workload: Workload, revision: Revision) -> Iterator[None]:
        """See `HoldsSessions`: a connection that has asked for half a page."""
        (address,) = self._addresses(revision)
        with contextlib.closing(socket.create_connection((address, 8080), 5)) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n")
            yield

    def break_provider(self) -> None:
        """See `BreaksItsProvider`: the engine is out of reach."""
        self._verbs.cancel()

    def close(self) -> None:
        """See `Subject`."""
        self._verbs.cancel()
        for each in self._listed():
            self._client.remove_container(each["Id"], force=True)
        self._client.close()
        self._database.close()
        self._folder.cleanup()

    def _called(self, *_: object) -> None:
        self._calls += 1

    def _route(self, runtime: RuntimeConfig) -> bool:
        self._calls += 1
        before, self._routed[runtime.workload_id] = self._routed.get(runtime.workload_id), runtime
        return before != runtime

    def _addresses(self, revision: Revision) -> list[str]:
        label = f"{self._prefix}.revision"
        running = [one for one in self._listed() if one["Labels"][label] == revision.id and one["State"] == "running"]
        return [each["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] for each in running]

    def _listed(self) -> list[dict[str, Any]]:
        found = self._client.containers(all=True, filters={"label": f"{self._prefix}.workload.id"})
        return sorted(found, key=lambda each: str(each["Names"]))


@pytest.mark.parametrize("check", [pytest.param(each, id=each.name) for each in CHECKS])
def test_the_source_image_keeps_the_contract(engine: Engine, check: Check) -> None:
    """D1, D2, D3, D4, D5, D6, D7, D8, D9: every check of the kit, none left out."""
    (finding,) = run_checks(lambda: ImageSubject(engine), checks=[check], deadline_seconds=60)
    assert finding.verdict is Verdict.PASSED, f"{finding.title}: {finding.verdict}: {finding.detail}"
