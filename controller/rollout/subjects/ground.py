"""What subjects of deployers that act on an engine have in common: a store, a counted engine, routers, and clean-up.

Each ground has a prefix of its own, so that it sees and removes only what it made; one engine may have several.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from controller.engine.containers import ContainerSeen
from controller.engine.endpoint import endpoint_from
from controller.engine.verbs import EngineVerbs
from controller.plugins.contract import EngineTools
from controller.rollout.deployer import Applied, Deployer, Deployment, Done, Revision, RuntimeConfig, Workload
from controller.rollout.equipment import Equipment
from store import hosts
from store.database import open_database
from store.index import list_containers
from store.records import Host, WorkloadKind
from store.schema import migrate
from store.workloads import apply_workloads

_HOST = "conformance"
_DECLARED_AT = datetime(2000, 1, 1, tzinfo=UTC)
_CONNECT_SECONDS = 5.0
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"


class Ground:
    """A store in a folder of its own, an engine whose calls are counted, and routers that remember what they hear.

    :param docker_host: the engine; empty for that of ``DOCKER_HOST``.
    :raises SettingInvalid: the engine's address is wrong.
    """

    def __init__(self, docker_host: str = "") -> None:
        endpoint = endpoint_from({**os.environ, "DOCKER_HOST": docker_host} if docker_host else os.environ)
        self.prefix = f"t{uuid.uuid4().hex[:8]}"
        self.calls = 0
        self._folder = tempfile.TemporaryDirectory(prefix="tallyd-conformance-")
        self.folder = Path(self._folder.name)
        self._database = open_database(f"sqlite:///{self.folder / 'tallyd.db'}")
        migrate(self._database)
        hosts.register(self._database, Host(_HOST))
        self._routed: dict[str, RuntimeConfig] = {}
        self._marks: list[tuple[str, str]] = []
        self._verbs = EngineVerbs(endpoint, observer=self._called, own=())
        self.look = EngineVerbs(endpoint, own=())
        """The same engine, for the subject's own eyes: not counted, and never broken."""

    @property
    def tools(self) -> EngineTools:
        """For the deployer's ``equip``."""
        return Equipment(
            self.prefix,
            self._verbs,
            self._database,
            _HOST,
            self._route,
            manifests=self.folder,
            sites=self.folder / "sites",
        )

    def with_rows(self, deployer: Deployer) -> Deployer:
        """The deployer, given the rows of the index as a controller gives them; the kit knows none."""
        return _WithRows(deployer, self)

    def declare(self, name: str, source_kind: str, kind: WorkloadKind = WorkloadKind.PROJECT) -> Workload:
        """A workload, stored as declared."""
        made = Workload(name, name, kind, f"{self.prefix}-{name}", source_kind=source_kind)
        apply_workloads(self._database, [made], _DECLARED_AT)
        site = kind is WorkloadKind.SITE
        self._marks.append((self.label("static-site"), made.ref) if site else (self.label("workload.id"), name))
        return made

    def containers(self, revision_id: str = "") -> list[ContainerSeen]:
        """All containers of the workloads declared here, or of one revision, by name."""
        found = [each for mark in self._marks for each in self.look.list_containers(dict([mark]))]
        return [each for each in found if not revision_id or each.labels.get(self.label("revision")) == revision_id]

    def addresses(self, revision_id: str) -> list[str]:
        """Where the running containers of a revision are reached from this machine, the first network of each."""
        running = [each for each in self.containers(revision_id) if each.state == "running"]
        return [next(filter(None, each.addresses.values())) for each in running if any(each.addresses.values())]

    def label(self, name: str) -> str:
        """A label of ours, such as ``workload.id``."""
        return f"{self.prefix}.{name}"

    def snapshot(self) -> object:
        """Containers and what the routers were told, without times."""
        seen = [(each.id, each.name, each.state, dict(each.labels)) for each in self.containers()]
        return {"containers": seen, "routed": dict(self._routed)}

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`: what the routers were told last."""
        routed = self._routed.get(workload.id)
        return {each["revision_id"]: each["weight"] for each in routed.blocks} if routed else {}

    def answers(self, revision_id: str, port: int) -> bool:
        """Whether a server of the revision answers a request there; asks once."""
        for address in self.addresses(revision_id):
            with contextlib.suppress(OSError), _connected(address, port) as connection:
                connection.sendall(_REQUEST)
                if connection.recv(1):
                    return True
        return False

    @contextmanager
    def session(self, revision_id: str, port: int) -> Iterator[None]:
        """A connection to the revision that has asked for half a page."""
        with _connected(self.addresses(revision_id)[0], port) as connection:
            connection.sendall(_REQUEST[:8])
            yield

    def break_engine(self) -> None:
        """From now on no call of the deployer reaches the engine."""
        self._verbs.cancel()

    def close(self) -> None:
        """Remove every container that was made, and the store."""
        self._verbs.cancel()
        try:
            for each in self.containers():
                self.look.remove_container(each.id)
        finally:
            self.look.cancel()
            self._database.close()
            self._folder.cleanup()

    def rows_of(self, deployment: Deployment) -> Deployment:
        """The deployment with the rows of its workload as they are stored now."""
        return replace(deployment, rows=tuple(list_containers(self._database, workload_id=deployment.workload.id)))

    def _called(self, *_: object) -> None:
        self.calls += 1

    def _route(self, runtime: RuntimeConfig) -> bool:
        self.calls += 1
        before, self._routed[runtime.workload_id] = self._routed.get(runtime.workload_id), runtime
        return before != runtime


class EngineSubject:
    """What a `Subject` whose deployer acts on an engine answers by its ground."""

    def __init__(self, docker_host: str = "") -> None:
        self._ground = Ground(docker_host)

    def provider_calls(self) -> int:
        """See `Subject`."""
        return self._ground.calls

    def snapshot(self) -> object:
        """See `Subject`."""
        return self._ground.snapshot()

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """See `Subject`."""
        return self._ground.traffic(workload)

    def break_provider(self) -> None:
        """See `BreaksItsProvider`: the engine is out of reach."""
        self._ground.break_engine()

    def close(self) -> None:
        """See `Subject`."""
        self._ground.close()


class ServingSubject(EngineSubject):
    """One whose revisions are containers of an image that a person names, which serves HTTP.

    :param image: at hand on the engine, or in a registry that the engine may pull from.
    :param port: where it listens in its container.
    :param command: what it is started with, in a shell's words; empty for the image's own.
    :param docker_host: the engine; empty for that of ``DOCKER_HOST``.
    """

    def __init__(self, *, image: str, port: str = "80", command: str = "", docker_host: str = "") -> None:
        self._image = image
        self._port = port_of(port)
        self._command = shlex.split(command)
        super().__init__(docker_host)

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """See `Subject`."""
        return self._ground.answers(revision.id, self._port)

    def session(self, workload: Workload, revision: Revision) -> AbstractContextManager[None]:
        """See `HoldsSessions`."""
        return self._ground.session(revision.id, self._port)


@contextmanager
def _connected(address: str, port: int) -> Iterator[socket.socket]:
    with contextlib.closing(socket.create_connection((address, port), _CONNECT_SECONDS)) as connection:
        yield connection


class _WithRows:
    def __init__(self, inner: Deployer, ground: Ground) -> None:
        self.inner = inner
        self.ground = ground
        self.kind = inner.kind

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        return self.inner.stage(self.ground.rows_of(deployment), revision_id)

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        return self.inner.warm(self.ground.rows_of(deployment), revision_id)

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        return self.inner.drain(self.ground.rows_of(deployment), revision_id)

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        return self.inner.archive(self.ground.rows_of(deployment), revision_id)

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        return self.inner.apply_traffic_split(self.ground.rows_of(deployment))

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        return self.inner.report_runtime_config(self.ground.rows_of(deployment))


def port_of(text: str) -> int:
    """A port as a person gives it.

    :raises ValueError: it is none.
    """
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        raise ValueError(f"port={text!r}; allowed: 1 to 65535")
    return int(text)


def changed_by(sequence: int) -> Mapping[str, str]:
    """Environment that makes the revisions of one workload differ."""
    return {"CONFORMANCE_REVISION": str(sequence)}
