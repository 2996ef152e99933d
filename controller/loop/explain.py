"""Why a container is in the index, or why not. Asks the same `match` and `dispatch` that a tick asks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.errors import NotFound
from controller.labels import COMPOSE_PROJECT, LabelNames
from controller.loop.dispatch import Ignored, Rule, catalog_of, deciding_rule, match
from controller.loop.observe import Unreadable
from controller.loop.tick import Preview
from store.records import Container, WorkloadKind

_PREFIX_LENGTH = 4


@dataclass(frozen=True, slots=True)
class RuleTried:
    """One rule, the label it looks at, what was found there, and what came of it."""

    rule: str
    label: str
    value: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole answer. ``row_id`` is empty where the container fills no row."""

    container_id: str
    name: str
    state: str
    rules: tuple[RuleTried, ...]
    winner: str
    result: str
    row_id: str
    nearest_miss: str

    def as_dict(self) -> dict[str, Any]:
        """For programs."""
        own = {name: getattr(self, name) for name in self.__slots__ if name != "rules"}
        return own | {"rules": [{name: getattr(each, name) for name in each.__slots__} for each in self.rules]}

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"container {self.name or '?'} ({self.container_id[:12]}) is {self.state or 'unreadable'}"]
        for number, each in enumerate(self.rules, start=1):
            found = repr(each.value) if each.value else "absent"
            lines.append(f"  {number}. {each.rule:16} {each.label} = {found}: {each.verdict}")
        lines.append(f"  winner: {self.winner or 'no rule'}")
        lines.append(f"  result: {self.result}")
        return [*lines, f"  nearest miss: {self.nearest_miss}"] if self.nearest_miss else lines


def find_container(seen: Preview, wanted: str) -> Container | Unreadable:
    """A listed container by name, id, or the beginning of an id (four characters at least).

    :raises NotFound: there is none, or more than one.
    """
    name = wanted.removeprefix("/")
    containers = seen.observation.containers
    exact = [each for each in containers if name in (each.name, each.id)]
    prefix = name if len(name) >= _PREFIX_LENGTH else "\0"  # with which no id begins
    begins = [each for each in containers if each.id.startswith(prefix)]
    named = _ids_of_name(name, seen.listing.items)
    unreadable = [(each.container_id or "", each) for each in seen.observation.unreadable]
    broken = [each for each_id, each in unreadable if each_id in named or each_id.startswith(prefix)]
    found: list[Container | Unreadable] = [*exact] or [*begins, *broken]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotFound(f"{wanted!r} is the beginning of {len(found)} container ids; give more of it")
    near = difflib.get_close_matches(name, [each.name for each in containers], n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise NotFound(f"the engine lists no container {wanted!r} (of {len(containers)}){hint}")


def _ids_of_name(name: str, items: Iterable[object]) -> set[object]:
    """Ids of the listed items with this name, whatever else is wrong with them."""
    shaped = [item for item in items if isinstance(item, dict) and isinstance(item.get("Names"), list)]
    return {item["Id"] for item in shaped if f"/{name}" in item["Names"] and isinstance(item.get("Id"), str)}


def explain_container(container: Container | Unreadable, seen: Preview, names: LabelNames) -> Explanation:
    """Everything that decided over this container."""
    labels = _labels_of(container, seen.listing.items)
    if isinstance(container, Unreadable):
        told = f"set aside, its row is kept as it is: {container.reason}"
        return Explanation(container.container_id or "", "", "", (), "", told, "", "")
    matched = match(container, catalog_of(seen.snapshot), names)
    lost = next((each for each in seen.dispatched.ignored if each.container.id == container.id), None)
    outcome = lost or matched
    ignored = isinstance(outcome, Ignored)
    rule = deciding_rule(container, names)
    row_id = next((row.id for row in seen.dispatched.assignments if row.container_id == container.id), "")
    result = (
        f"ignored ({outcome.reason}): {outcome.detail}" if isinstance(outcome, Ignored) else f"fills row {row_id}"
    )
    return Explanation(
        container_id=container.id,
        name=container.name,
        state=container.state,
        rules=tuple(_rules(container, names, rule, result)),
        winner=str(rule or ""),
        result=result,
        row_id=row_id,
        nearest_miss=_nearest_miss(container, labels, seen, names) if ignored else "",
    )


def _rules(container: Container, names: LabelNames, winner: Rule | None, result: str) -> Iterable[RuleTried]:
    looked_at = {
        Rule.WORKLOAD_ID: (names.workload_id, container.workload_id),
        Rule.STATIC_SITE: (names.static_site, container.static_site),
        Rule.COMPOSE_PROJECT: (COMPOSE_PROJECT, container.compose_project),
    }
    decided = False
    for rule, (label, value) in looked_at.items():
        if decided:
            verdict = "not tried, an earlier label decides"
        elif rule is winner:
            verdict, decided = f"decides → {result}", True
        elif value:
            verdict = f"does not start with {names.project_prefix!r}, next"
        else:
            verdict = "absent or empty, next"
        yield RuleTried(str(rule), label, value, verdict)


def _labels_of(container: Container | Unreadable, items: Iterable[object]) -> Mapping[str, str]:
    wanted = container.id if isinstance(container, Container) else container.container_id
    for item in items:
        if isinstance(item, dict) and item.get("Id") == wanted and isinstance(item.get("Labels"), dict):
            labels: Mapping[str, str] = item["Labels"]
            return labels
    return {}


def _nearest_miss(container: Container, labels: Mapping[str, str], seen: Preview, names: LabelNames) -> str:
    workloads = seen.snapshot.workloads
    if container.workload_id:
        near = difflib.get_close_matches(container.workload_id, workloads, n=1, cutoff=0.5)
        return f"workload {near[0]!r} exists" if near and near[0] != container.workload_id else ""
    wanted = {WorkloadKind.SITE: container.static_site, WorkloadKind.STACK: container.compose_project}
    for kind, ref in wanted.items():
        refs = [each.ref for each in workloads.values() if each.kind is kind]
        near = difflib.get_close_matches(ref, refs, n=1, cutoff=0.6) if ref else []
        if near and near[0] != ref:
            return f"{kind} with ref {near[0]!r} exists"
    return _nearest_label(container, labels, names)


def _nearest_label(container: Container, labels: Mapping[str, str], names: LabelNames) -> str:
    deciding = [names.workload_id, names.static_site]
    for label in labels:
        near = difflib.get_close_matches(label.lower(), deciding, n=1, cutoff=0.75)
        if near and label not in names.own:
            return f"label {label!r} looks like {near[0]!r}"
        if label in deciding and not labels[label]:
            return f"label {label!r} is there, but empty"
    if container.compose_project:
        return f"Compose project {container.compose_project!r} does not start with {names.project_prefix!r}"
    return f"none of its {len(labels)} label(s) is like {names.workload_id!r}"
