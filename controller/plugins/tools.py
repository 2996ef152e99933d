"""What a source that acts is given to act with. A source that has a method ``equip`` gets it before its first call.

A source knows neither Docker nor the store; this is all of them that it sees. Everything here may be called from any
thread, and each call has a deadline of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from controller.engine.containers import ContainerSeen, ContainerSpec, Progress
from controller.rollout.deployer import Deployment, Revision, RuntimeConfig
from store.records import Workload


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether something may be healed now, and why (not), for people."""

    given: bool
    message: str = ""


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

    def last_lines(self, container_id: str, count: int) -> list[str]:
        """The last lines that a container wrote."""


@runtime_checkable
class EngineTools(Protocol):
    """An engine, and the little of the store that a deployer needs. ``prefix`` is that of our labels."""

    @property
    def prefix(self) -> str:
        """The prefix of labels and names."""

    @property
    def engine(self) -> ActingEngine:
        """The engine of this host."""

    def answers(self, address: str, port: int) -> bool:
        """Whether something accepts a TCP connection there, at once or nearly so."""

    def bind_row(self, workload: Workload, revision: Revision, seen: ContainerSeen, role: str) -> None:
        """Give a container of a project its row, with revision and addresses in the deployer's columns (R9).

        Where it has one already, that is brought up to date.
        """

    def drop_rows(self, workload: Workload, revision: Revision) -> None:
        """Take the rows of a revision of a project away; none is no error."""

    def deployment(self, workload: Workload) -> Deployment | None:
        """The workload with its revisions and its split, as stored; ``None`` where none is."""

    def enforce(self, runtime: RuntimeConfig) -> bool:
        """Have the routers follow a workload's split; returns when they do, and whether that changed anything."""

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
