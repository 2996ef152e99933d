"""What one pass worked out and the next one would work out again. Forgetting it costs time, never truth.

Only pure results are kept, each beside the input that it came from; a result is used again only for an equal
input. Two facts are in here: `bound`, which rows were bound when the last pass was committed (R14), and `rivals`,
which containers were refused a row because another one holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from controller.engine.listing import ListedItem
from controller.labels import LabelNames
from controller.loop.compare import compare
from controller.loop.dispatch import Dispatched, Ignored, dispatch
from controller.loop.observe import Observation, Unreadable, gather, read_container
from store.records import Assignment, Change, Container, Snapshot

Read = Container | Unreadable


@dataclass(frozen=True, slots=True)
class _Decision:
    """A pass's decision, and what it was made from."""

    containers: tuple[Container, ...]
    unreadable: tuple[Unreadable, ...]
    rows: Mapping[str, Assignment]
    workloads: object
    dispatched: Dispatched
    change: Change


@dataclass(slots=True)
class Memory:
    """Belongs to one loop, and is used by one pass at a time."""

    bound: Mapping[str, str | None] | None = None
    rivals: dict[str, set[str]] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    _read: dict[bytes, Read] = field(default_factory=dict)
    _decision: _Decision | None = None

    def observe(self, items: Sequence[ListedItem], names: LabelNames) -> Observation:
        """As :func:`controller.loop.observe.observe`; a text of the last listing is not read again."""
        before, now, readings = self._read, {}, []
        for item in items:
            reading = before.get(item.text)
            if reading is None:
                reading = read_container(item.value, names)
            if item.text:
                now[item.text] = reading
            readings.append(reading)
        self._read = now
        return gather(readings)

    def decide(
        self, observation: Observation, snapshot: Snapshot, names: LabelNames, horizon: Mapping[str, str | None]
    ) -> tuple[Dispatched, Change]:
        """Dispatch and compare, unless both would say again what they said of the same world."""
        last = self._decision
        if last is not None and _is_settled(last.change) and self._is_same(last, observation, snapshot):
            return last.dispatched, last.change
        dispatched = dispatch(observation.containers, snapshot, names, observation.unreadable_ids)
        change = compare(
            snapshot,
            dispatched.assignments,
            observation.listed_ids,
            may_sweep=observation.every_id_legible,
            horizon=horizon,
        )
        world = (observation.containers, observation.unreadable, snapshot.rows, snapshot.workloads)
        self._decision = _Decision(*world, dispatched, change)
        return dispatched, change

    def note_rivals(self, ignored: Iterable[Ignored]) -> None:
        """Remember who would take a row if its holder went, so that a targeted pass can ask for them."""
        for each in ignored:
            if each.row_id:
                self.rivals.setdefault(each.row_id, set()).add(each.container.id)

    @staticmethod
    def _is_same(last: _Decision, observation: Observation, snapshot: Snapshot) -> bool:
        return (
            last.containers == observation.containers
            and last.unreadable == observation.unreadable
            and last.rows == snapshot.rows
            and last.workloads == snapshot.workloads
        )


def _is_settled(change: Change) -> bool:
    """Whether every row was either seen or is missing already: no row was spared that the next pass may sweep."""
    return change.empty and not change.unseen
