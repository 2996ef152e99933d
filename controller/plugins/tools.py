"""What a source that acts is given to act with. A source that has a method ``equip`` gets it before its first call.

A source knows neither Docker nor the store; this is all of them that it sees. Everything here may be called from any
thread, and each call has a deadline of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from controller.engine.compose import ComposeDone, ComposeRun
from controller.engine.containers import ContainerSeen, ContainerSpec, Progress, VolumeSeen
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig
from store.records import Workload


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether something may be healed now, and why (not), for people."""

    given: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class SecretSeen:
    """What may be known of a secret: the generation of its value, and why it cannot be read; empty where it can."""

    generation: int
    trouble: str = ""


class GitAnswer(Protocol):
    """How one call of git ended. ``trouble`` is what it complained about, fit to be shown."""

    @property
    def ok(self) -> bool:
        """Whether git succeeded."""

    @property
    def output(self) -> bytes:
        """What it wrote."""

    @property
    def text(self) -> str:
        """The same as text, without the last line end."""

    @property
    def trouble(self) -> str:
        """In one line, without the secrets of a URL."""

    @property
    def timed_out(self) -> bool:
        """Whether it was ended because its time was over."""


class GitCommand(Protocol):
    """The `git` command in one folder, hardened against what comes from a remote. Each call has a deadline."""

    def ask(
        self,
        *arguments: str,
        seconds: float | None = None,
        feed: bytes = b"",
        into: IO[bytes] | None = None,
    ) -> GitAnswer:
        """Run git to its end, whatever that is; with ``into``, that file gets its output.

        :raises GitFailed: git is not installed.
        """

    def ask_remote(self, *arguments: str) -> GitAnswer:
        """The same, for a command that talks to a remote."""


class ActingEngine(Protocol):
    """The engine's verbs. All raise `EngineError` or one of its children, with a text that one can act on.

    None acts on the container that the controller runs in: that is `OwnContainer`.
    """

    def find_image(self, reference: str) -> str:
        """The id of a local image; empty where there is none."""

    def resolve_image(self, reference: str, credentials: Mapping[str, str] | None = None) -> str:
        """The digest that a reference stands for now, as its registry says; the id of an image that has none."""

    def pull_image(
        self, reference: str, credentials: Mapping[str, str] | None = None, told: Progress = lambda _line: None
    ) -> None:
        """Pull an image; returns when it is there."""

    def create_container(self, spec: ContainerSpec) -> str:
        """Create a container; returns its id."""

    def start_container(self, container_id: str) -> None:
        """Start a container that does not run."""

    def stop_container(self, container_id: str, grace_seconds: int) -> None:
        """Stop a container; one that is gone is stopped."""

    def remove_container(self, container_id: str) -> None:
        """Remove a container, running or not; one that is gone is removed."""

    def inspect_container(self, container_id: str) -> ContainerSeen | None:
        """A container by id or name."""

    def list_containers(self, labels: Mapping[str, str]) -> list[ContainerSeen]:
        """The containers that carry all these labels, by name."""

    def open_connections(self, container_id: str) -> int | None:
        """How many connections from outside a container has; ``None`` where that cannot be seen from here."""

    def last_lines(self, container_id: str, count: int) -> list[str]:
        """The last lines that a container wrote; values of its secret variables are blotted out."""

    def create_volume(self, name: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Have a volume of this name; returns the labels that it has, which are older where it was there already."""

    def list_volumes(self, labels: Mapping[str, str]) -> list[VolumeSeen]:
        """The volumes that carry all these labels, by name."""

    def remove_volume(self, name: str) -> None:
        """Remove a volume with what is in it; one that is gone is removed."""

    def compose(self, run: ComposeRun) -> ComposeDone:
        """Run Compose against this engine. Ask `is_own` of the project's containers first."""

    def is_own(self, container_id: str) -> bool:
        """Whether a container is the one that the controller runs in."""


@runtime_checkable
class EngineTools(Protocol):
    """An engine, and the little of the store that a deployer needs. ``prefix`` is that of our labels."""

    @property
    def prefix(self) -> str:
        """The prefix of labels and names."""

    @property
    def engine(self) -> ActingEngine:
        """The engine of this host."""

    @property
    def manifests(self) -> Path | None:
        """The folder of the manifests, to which relative paths in a source's options belong; ``None``: not set."""

    @property
    def sites(self) -> Path:
        """The folder in which a source keeps files that containers mount, by workload."""

    def git(self, folder: Path) -> GitCommand:
        """The `git` command in a folder."""

    def answers(self, address: str, port: int) -> bool:
        """Whether something accepts a TCP connection there, at once or nearly so."""

    def bind_row(self, workload: Workload, revision: Revision, seen: ContainerSeen, role: str) -> None:
        """Give a container its row, with revision and addresses in the deployer's columns (R9).

        The row of a site or a stack is the one that a pass would give it (R10). Where it has one already, that is
        brought up to date.
        """

    def drop_rows(self, workload: Workload, revision: Revision) -> None:
        """Take the rows of a revision away; none is no error."""

    def deployment(self, workload: Workload) -> Deployment | None:
        """The workload with its revisions and its split, as stored; ``None`` where none is."""

    def reveal(self, workload: Workload, name: str) -> str:
        """The value of a secret of this workload: for a container that is being created, and for nothing else.

        :raises SecretUnreadable: it is not there, or cannot be decrypted; names workload and secret.
        """

    def secrets(self, workload: Workload) -> Mapping[str, SecretSeen]:
        """The secrets of a workload by name, without their values."""

    def declared_digest(self, workload: Workload) -> str:
        """The config digest of the revision that a deploy would make of the declaration now."""

    def host_path(self, path: str) -> str:
        """A path of the machine that may be mounted, with its symbolic links followed.

        :raises VolumeRefused: it is not under one of ``volume_roots``, or cannot be looked at.
        """

    def ask_deploy(self, workload: Workload, reason: str) -> bool:
        """Have what is declared of a workload deployed, soon and elsewhere; false where nobody does that.

        What was asked for already, and has not begun, is not asked for twice.
        """

    def busy(self, workload: Workload) -> str:
        """Who deploys the workload now, in whatever process, and what is being done; empty for nobody."""

    def turn(self, workload: Workload, doing: str) -> AbstractContextManager[object]:
        """While the block lasts nobody else deploys the workload. ``doing`` is what others are told. Never waits.

        :raises DeployUnderWay: somebody else has the turn.
        """

    def pause(self, seconds: float) -> bool:
        """Wait so long; returns at once, and true, when the process stops: leave things as they are then."""

    def enforce(self, runtime: RuntimeConfig) -> bool:
        """Have the routers follow a workload's split; returns when those that are known do, or after ten seconds.

        :returns: whether that changed anything.
        """

    def routed_elsewhere(self) -> str:
        """Empty when no router sends anybody to where the splits no longer lead; else why that is not certain."""

    def may_heal(self, workload: Workload, slot: str, why: str) -> Permission:
        """Ask before a container is started or made anew to repair it; deploys need not ask (S5).

        A yes is one attempt of the slot's budget, so ask only for what you then do.

        :param slot: the name of the container.
        :param why: what is wrong with it; becomes history.
        """


@runtime_checkable
class Equippable(Protocol):
    """A source that acts."""

    def equip(self, tools: EngineTools) -> None:
        """Take the tools; called once, before any other call that needs them."""


@runtime_checkable
class TearsDown(Protocol):
    """A source that can take away all that it made for a workload."""

    def teardown(self, workload: Workload, *, data: bool) -> Sequence[str]:
        """Remove containers, rows, and volumes that live no longer than a revision; returns what was removed.

        May be repeated: what is gone already is not told again.

        :param data: also the volumes that outlive revisions. Somebody was asked.
        :raises VerbFailed: something could not be removed.
        """
