"""What a reader can paste works: links, manifests, commands, and the plugin."""

from __future__ import annotations

import os
import random
import re
import threading
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.declared.manifests import parse_manifests
from controller.loop.converge import ConvergeLimits, Converger, Reconciled, requests_for
from controller.plugins.contract import (
    Found,
    Look,
    LookFailed,
    Outcome,
    ReconcileRequest,
    Result,
    Retry,
    Source,
    Terminal,
    Trigger,
    TriggerIntent,
)
from controller.plugins.registry import SOURCES_GROUP, Registry, load_registry
from store.records import NO_PORTS, Assignment, Workload, WorkloadKind
from tests.docs.markdown import PAGES, ROOT, anchors, block, blocks, codes, commands, links, names, page, table
from tests.docs.test_docs import COMMANDS, ROOT_COMMAND

PLUGINS = "docs/plugins.md"
HOST = "web-1"
NOW = datetime(2026, 11, 29, tzinfo=UTC)


def _name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else str(value)


# Links


@pytest.mark.parametrize("path", PAGES, ids=_name)
def test_every_link_within_the_repository_leads_somewhere(path: Path) -> None:
    """Files exist, and the headings that are linked to."""
    lost = []
    for target in links(path):
        file, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = (path.parent / file).resolve() if file else path
        if not found.exists() or (anchor and anchor not in anchors(found)):
            lost.append(target)
    assert lost == []


def test_every_page_is_linked_from_the_index() -> None:
    """A page that nobody finds is not written."""
    linked = {(ROOT / "docs" / target.partition("#")[0]).resolve() for target in links(ROOT / "docs" / "index.md")}
    assert {path for path in PAGES if path.is_relative_to(ROOT / "docs")} - linked == {ROOT / "docs" / "index.md"}


# Commands


def _parse(words: list[str]) -> None:
    """Parse a command as the program does, and run nothing. What names a command and no more is only looked up."""
    if " ".join(words) in COMMANDS:
        return
    command, name, rest, parent = ROOT_COMMAND, words[0], words[1:], None
    while True:
        context = command.make_context(name, rest, parent=parent)
        if not hasattr(command, "commands"):
            return
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        parent = context


SHELL = [(place, words) for path in PAGES for place, pipe in commands(path) for words in pipe]


@pytest.mark.parametrize(
    "words", sorted({tuple(words) for _, words in SHELL if words[0] == "tallyd" and len(words) > 1}), ids=" ".join
)
def test_every_tallyd_command_in_the_docs_can_be_given(words: tuple[str, ...]) -> None:
    """O1: the command and all its options exist."""
    _parse([word for word in words if re.fullmatch(r"\[[A-Z]+\]", word) is None])  # what may be left out


@pytest.mark.parametrize("line", ["pss", "ps --al", "explain one two", "--output json ps", "workload apply -o xml"])
def test_a_command_that_cannot_be_given_is_noticed(line: str) -> None:
    """The test above can fail."""
    with pytest.raises(Exception, match=r"(?i)no such|unexpected|missing|invalid|not one of"):
        _parse(["tallyd", *line.split()])


def test_the_quick_start_has_its_commands() -> None:
    """The two commands, and the five of the first workload."""
    given = [words for place, words in SHELL if place.startswith("README.md")]
    assert ["make", "run"] in given
    assert ["make", "test"] in given
    named = [words[1] for words in given if words[0] == "tallyd"]
    assert named[named.index("workload") :][:3] == ["workload", "tick", "plan"]


def test_every_make_target_in_the_docs_exists() -> None:
    """And the list in CONTRIBUTING names none that is not there."""
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.M))
    asked = {words[1] for _, words in SHELL if words[0] == "make"}
    assert asked >= {"run", "test", "lint"}
    assert asked <= targets


# Manifests

YAML = [each for path in PAGES for each in blocks(path) if each.words[:1] == ("yaml",)]


def _registry() -> Registry:
    installed = load_registry()
    return Registry({**installed.sources, "image-policy": _example()}, installed.triggers)


def test_every_manifest_in_the_docs_is_valid() -> None:
    """O7: a manifest that is shown can be applied; every block of YAML is YAML."""
    documents = {each.place: (each.text, yaml.safe_load(each.text)) for each in YAML}
    texts = {place: text for place, (text, value) in documents.items() if "workloads" in value}
    assert len(texts) >= 2
    for place, text in texts.items():
        assert parse_manifests({place: text}, _registry(), "tallyd")


def test_the_manifest_of_the_first_workload_is_valid() -> None:
    """O7: the one that the README prints into the command."""
    printed = [words[1] for place, words in SHELL if place.startswith("README.md") and words[0] == "printf"]
    assert len(printed) == 1
    declared = parse_manifests({"stdin": printed[0]}, load_registry(), "tallyd")
    assert [(each.id, each.kind, each.ref) for each in declared] == [("hello", WorkloadKind.SITE, "hello.example")]
    assert "--label tallyd.static-site=hello.example" in page("README.md")


# The plugin


def _example() -> Any:
    group = tomllib.loads(block(PLUGINS, "toml", "plugin"))["project"]["entry-points"][SOURCES_GROUP]
    (kind, target), *others = group.items()
    assert not others
    names_of: dict[str, Any] = {"__name__": target.partition(":")[0]}
    exec(block(PLUGINS, "python", "plugin"), names_of)
    plugin = names_of[target.partition(":")[2]]()
    assert plugin.kind == kind
    return plugin


def _row(image: str = "shop:1.4", state: str = "running") -> Assignment:
    row_id = f"shop:{image}"
    return Assignment(row_id, "shop", "project", "", row_id, "shop-1", image, "", state, "none", 0, NO_PORTS, "")


def _converge(source: Any, config: Mapping[str, Any], *rows: Assignment) -> Reconciled:
    workload = Workload(
        *("shop", "Shop", WorkloadKind.PROJECT, "tallyd-shop", source.kind, config), trigger_kind="manual"
    )
    converger = Converger(Registry({source.kind: source}), ConvergeLimits(), chance=random.Random(0))
    (done,) = converger.run_pass(requests_for([workload], rows, HOST))
    return done


@pytest.mark.parametrize(
    ("images", "row", "result", "message"),
    [
        (["shop:1.4"], _row(), "in_sync", ""),
        (["shop:1.5"], _row(), "drift", "shop-1 runs shop:1.4"),
        (["shop:1.4"], _row(state="restarting"), "retry", "a container is restarting"),
        ([], _row(), "terminal", "no image is allowed; declare one"),
    ],
)
def test_the_plugin_of_the_docs_works(images: list[str], row: Assignment, result: str, message: str) -> None:
    """S2: the example, through the real plugin pass, with every answer that it can give."""
    done = _converge(_example(), {"images": images}, row)
    assert (done.result, done.message) == (result, message)


def test_the_plugin_of_the_docs_is_a_source_in_thirty_lines() -> None:
    """S2: complete, checked when it is declared, and as short as the page says."""
    plugin = _example()
    assert isinstance(plugin, Source)
    assert plugin.config_schema()["required"] == ["images"]
    done = _converge(plugin, {"image": ["shop:1.4"]}, _row())
    assert (done.result, "images" in done.message) == ("unusable", True)
    assert sum(bool(line.strip()) for line in block(PLUGINS, "python", "plugin").splitlines()) <= 30


def test_the_trigger_of_the_docs_works(tmp_path: Path) -> None:
    """S1: the example fires once for each change of its file, by hand too, and says why it cannot look."""
    names_of: dict[str, Any] = {"__name__": "file_trigger"}
    exec(block(PLUGINS, "python", "trigger"), names_of)
    trigger = names_of["FileTrigger"]()
    assert isinstance(trigger, Trigger)
    file, config = tmp_path / "wanted", {"path": str(tmp_path / "wanted")}
    trigger.validate(config)
    workload = Workload("a", "a", WorkloadKind.PROJECT, "a", trigger_kind="file", trigger_config=config)

    def looked(state: Mapping[str, Any]) -> Found:
        tools: Any = None
        found: Found = trigger.look(Look(workload, state, NOW, tools))
        return found

    with pytest.raises(LookFailed, match="wanted"):
        looked({})
    file.write_text("1")
    first = looked({})
    (event,) = first.events
    intent = trigger.match(workload, event)
    assert intent == TriggerIntent("a", "the file changed", key=str(file.stat().st_mtime_ns))
    assert trigger.match(replace(workload, id="b"), event) is None
    assert looked(first.state).events == []
    os.utime(file, ns=(1, 1))
    assert len(looked(first.state).events) == 1


class _Scripted:
    """A source that answers as each workload's name says."""

    kind = "scripted"

    def __init__(self) -> None:
        self.release = threading.Event()

    def reconcile(self, request: ReconcileRequest) -> Outcome:
        wanted = request.workload.name
        if wanted in set(Result):
            return Outcome(Result(wanted))
        if wanted == "timeout":
            self.release.wait(30)
        raise {"retry": Retry(60, ""), "terminal": Terminal("")}.get(wanted, ValueError(wanted))


def test_every_result_is_documented_and_no_other() -> None:
    """R15, O5: each result of a plugin pass, and whether a call was made, as the table says."""
    documented = {codes(row["Result"])[0]: row["Call made"].startswith("yes") for row in table(PLUGINS, "Results")}
    assert len(documented) == len(names(table(PLUGINS, "Results"), "Result"))
    wanted = [*(str(each) for each in Result), "retry", "terminal", "failed", "timeout", "unusable"]
    workloads = [
        Workload(
            each, each, WorkloadKind.PROJECT, each, "other" if each == "unusable" else "scripted", trigger_kind="x"
        )
        for each in wanted
    ]
    scripted: Any = _Scripted()
    limits = ConvergeLimits(deadline_seconds=0.2, pass_seconds=30)
    requests = requests_for(workloads, [], HOST)
    converger = Converger(Registry({"scripted": scripted}), limits, chance=random.Random(0))
    first = {each.workload_id: each for each in converger.run_pass(requests)}
    assert {name: each.result for name, each in first.items()} == {name: name for name in wanted}
    second = converger.run_pass(requests)
    scripted.release.set()
    late = Converger(
        Registry({"scripted": scripted}), ConvergeLimits(workers=1, pass_seconds=0), chance=random.Random(0)
    )
    seen = [*first.values(), *second, *late.run_pass(requests)]
    assert {each.result for each in seen} == set(documented)
    assert {each.result for each in seen if each.called} == {name for name, called in documented.items() if called}
