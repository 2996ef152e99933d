"""What an author of a deployer brings along, so that it can be checked: a deployer, and a look at its provider.

The provider has to be a real one. What a fake would answer says nothing of what the deployer will meet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from controller.rollout.deployer import Deployer, Revision, Workload


class Subject(Protocol):
    """A fresh deployer and a provider that is ready for it. Made anew for every check, and closed after it.

    All but the deployer's own verbs must leave the provider as it is, and must not count as calls of it.
    """

    deployer: Deployer

    def workload(self, name: str) -> Workload:
        """A workload of this source. Its id must be one that no other subject uses at the same time."""

    def revision(self, workload: Workload, sequence: int) -> Revision:
        """A revision of it that can be deployed; for each sequence number from 1 another one, with its own id."""

    def provider_calls(self) -> int:
        """How many calls the deployer has made to the provider so far (D4)."""

    def snapshot(self) -> object:
        """The provider's world, to be compared by ``==``: what is there, without times and counters (D7)."""

    def answers(self, workload: Workload, revision: Revision) -> bool:
        """Whether the revision answers now. Asks once, and does not wait (D8)."""

    def traffic(self, workload: Workload) -> Mapping[str, int]:
        """What the provider enforces now: revision id → basis points. Where it is 0, it may be left out (D5, D6)."""

    def close(self) -> None:
        """Take away all that the subject and its deployer made. Also called while a verb hangs."""


@runtime_checkable
class ShowsWhatIsStaged(Protocol):
    """A subject that can tell whether `stage` did its work."""

    def staged(self, workload: Workload, revision: Revision) -> bool:
        """Whether all that the revision needs is at hand, its image by digest (D8)."""


@runtime_checkable
class HoldsSessions(Protocol):
    """A subject that can use a revision as a client does."""

    def session(self, workload: Workload, revision: Revision) -> AbstractContextManager[object]:
        """A session in flight while the block lasts. The source's ``drain_seconds`` must be longer than 1."""


@runtime_checkable
class BreaksItsProvider(Protocol):
    """A subject that can make its provider fail."""

    def break_provider(self) -> None:
        """From now on every call of the provider fails, in a way that happens in real life (D4)."""


@runtime_checkable
class OneAtATime(Protocol):
    """A subject whose deployer has one revision of a workload at a time: warming one takes the other's place.

    Such a deployer has to refuse a split over several. Checks that move traffic bring up who gets it first.
    """

    one_at_a_time: bool


SubjectFactory = Callable[[], Subject]
