"""A deployer with a provider that is small and real: folders of files on disk. It keeps the whole contract.

An image is a file with its digest, a revision that runs is a file that says `answers`, a session in flight is a file.
Every operation on them goes through :class:`Folders`, which counts.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from controller.errors import VerbFailed
from controller.rollout.deployer import (
    Applied,
    Deployment,
    Done,
    Revision,
    RuntimeConfig,
    SplitEntry,
    Workload,
    revision_of,
    split_of,
)
from store.records import WorkloadKind

DRAIN_SECONDS = 20.0
PORT = 8080


class Folders:
    """The provider: files under one folder. Fails as file systems do when that is gone."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.calls = 0

    def read(self, name: str) -> str | None:
        """The text of a file, nothing where there is none."""
        self._call()
        path = self.root / name
        return path.read_text() if path.exists() else None

    def write(self, name: str, text: str) -> bool:
        """Have a file say this; whether it did not."""
        if self.read(name) == text:
            return False
        self._call()
        (self.root / name).parent.mkdir(exist_ok=True)
        (self.root / name).write_text(text)
        return True

    def remove(self, name: str) -> bool:
        """Have no such file; whether there was one."""
        there = self.read(name) is not None
        if there:
            self._call()
            (self.root / name).unlink()
        return there

    def peek(self, name: str) -> str | None:
        """As :meth:`read`, for who only watches: not counted."""
        return self.everything().get(name)

    def everything(self) -> Mapping[str, str]:
        """The text of every file by its name. Not counted."""
        files = (path for path in sorted(self.root.rglob("*")) if path.is_file())
        return {str(path.relative_to(self.root)): path.read_text() for path in files}

    def _call(self) -> None:
        self.calls += 1
        self.root.stat()


class FolderDeployer:
    """The reference: each verb does what its promise says, and no more."""

    kind = "folders"

    def __init__(self, folders: Folders) -> None:
        self.folders = folders
        self.pause = threading.Event()

    def stage(self, deployment: Deployment, revision_id: str) -> Done:
        revision = revision_of(deployment, revision_id)
        with self.told(deployment, revision_id, "stage"):
            changed = self.folders.write(name_of(deployment, revision_id, "image"), revision.image_digest)
        return Done(deployment.workload.id, revision_id, changed)

    def warm(self, deployment: Deployment, revision_id: str) -> Done:
        revision_of(deployment, revision_id)
        with self.told(deployment, revision_id, "warm"):
            changed = self.start(deployment, revision_id)
        return Done(deployment.workload.id, revision_id, changed, checks={"answers": "yes"})

    def start(self, deployment: Deployment, revision_id: str) -> bool:
        """Start it and see it answer."""
        name = name_of(deployment, revision_id, "up")
        drained = self.folders.remove(name_of(deployment, revision_id, "drained"))
        if self.folders.read(name) == "answers":
            return drained
        self.folders.write(name, "starting")
        return self.folders.write(name, "answers")

    def drain(self, deployment: Deployment, revision_id: str) -> Done:
        revision_of(deployment, revision_id)
        with self.told(deployment, revision_id, "drain"):
            changed = self.folders.write(name_of(deployment, revision_id, "drained"), "yes")
            self.wait_for_sessions(deployment, revision_id)
        return Done(deployment.workload.id, revision_id, changed)

    def wait_for_sessions(self, deployment: Deployment, revision_id: str) -> None:
        """Until the last one ended, or had its time."""
        ends = time.monotonic() + DRAIN_SECONDS
        while self.folders.read(name_of(deployment, revision_id, "session")) and time.monotonic() < ends:
            self.pause.wait(0.01)

    def archive(self, deployment: Deployment, revision_id: str) -> Done:
        revision_of(deployment, revision_id)
        with self.told(deployment, revision_id, "archive"):
            changed = self.take_away(deployment, revision_id)
        return Done(deployment.workload.id, revision_id, changed)

    def take_away(self, deployment: Deployment, revision_id: str) -> bool:
        """Remove all of it; whether there was any."""
        names = (name_of(deployment, revision_id, what) for what in ("up", "drained", "image"))
        return sum(self.folders.remove(each) for each in names) > 0

    def apply_traffic_split(self, deployment: Deployment) -> Applied:
        split = split_of(deployment)
        with self.told(deployment, "", "apply_traffic_split"):
            changed = self.enforce(deployment, split.entries)
        return Applied(deployment.workload.id, tuple(split.entries), changed)

    def enforce(self, deployment: Deployment, entries: Any) -> bool:
        """Write the weights down where the provider obeys them; whether they were others."""
        weights = {each.revision_id: each.weight for each in entries}
        return self.folders.write(f"{deployment.workload.id}/split", json.dumps(weights))

    def report_runtime_config(self, deployment: Deployment) -> RuntimeConfig:
        entries = deployment.split.entries if deployment.split else ()
        return RuntimeConfig(deployment.workload.id, [self.block(deployment, each) for each in entries])

    def block(self, deployment: Deployment, entry: SplitEntry) -> Mapping[str, Any]:
        """What a router is told about one entry."""
        targets = [{"address": f"{deployment.workload.id}-{entry.revision_id}", "port": PORT}]
        return {"revision_id": entry.revision_id, "weight": entry.weight, "targets": targets}

    @contextmanager
    def told(self, deployment: Deployment, revision_id: str, verb: str) -> Iterator[None]:
        """Failures of the provider, in words that name what they are about."""
        try:
            yield
        except OSError as error:
            about = f"workload {deployment.workload.id!r}, revision {revision_id!r}"
            raise VerbFailed(f"{about}: {verb} failed in the folders: {error}") from error


def name_of(deployment: Deployment, revision_id: str, what: str) -> str:
    """The file that stands for something of a revision."""
    return f"{deployment.workload.id}/{revision_id}.{what}"


class FolderSubject:
    """The subject of the reference, with every hook. ``make_deployer`` puts another deployer on the same provider."""

    def __init__(self, make_deployer: Callable[[Folders], Any] = FolderDeployer) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="tallyd-folders-"))
        self.folders = Folders(self.root / "provider")
        self.folders.root.mkdir()
        self.deployer = make_deployer(self.folders)
        self.unique = uuid.uuid4().hex[:8]

    def workload(self, name: str) -> Workload:
        return Workload(f"{name}-{self.unique}", name, WorkloadKind.PROJECT, name, source_kind="folders")

    def revision(self, workload: Workload, sequence: int) -> Revision:
        digest, image = f"sha256:{sequence:064x}", f"{workload.name}:{sequence}"
        return Revision(f"{workload.id}-r{sequence}", workload.id, sequence, image, digest, "")

    def provider_calls(self) -> int:
        return self.folders.calls

    def snapshot(self) -> Mapping[str, str]:
        return self.folders.everything()

    def staged(self, workload: Workload, revision: Revision) -> bool:
        return self.folders.peek(f"{workload.id}/{revision.id}.image") == revision.image_digest

    def answers(self, workload: Workload, revision: Revision) -> bool:
        return self.folders.peek(f"{workload.id}/{revision.id}.up") == "answers"

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        weights: dict[str, int] = json.loads(self.folders.peek(f"{workload.id}/split") or "{}")
        return weights

    @contextmanager
    def session(self, workload: Workload, revision: Revision) -> Iterator[None]:
        path = self.folders.root / workload.id / f"{revision.id}.session"
        path.write_text("in flight")
        try:
            yield
        finally:
            path.unlink()

    def break_provider(self) -> None:
        self.folders.root.rename(self.root / "gone")

    def close(self) -> None:
        shutil.rmtree(self.root)
