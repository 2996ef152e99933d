"""docs/plugins.md says what the conformance kit checks, and its subject works."""

from __future__ import annotations

import sys
import tomllib
import types
from typing import Any

import pytest

from controller.rollout.conformance import CHECKS, CONFORMANCE_GROUP, Verdict, report_of, run_checks
from controller.rollout.conformance.subject import BreaksItsProvider, HoldsSessions, ShowsWhatIsStaged, Subject
from tests.contract import folders
from tests.docs.conformance import deploying_kinds
from tests.docs.markdown import block, codes, names, section, table

PLUGINS = "docs/plugins.md"
HOOKS = (ShowsWhatIsStaged, HoldsSessions, BreaksItsProvider)


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """The subject of the page, in a module of its name; its deployer is the reference of the tests."""
    kind, place = next(iter(_entries().items()))
    module = types.ModuleType(place.partition(":")[0])
    monkeypatch.setitem(sys.modules, "folder_sites", folders)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(block(PLUGINS, "python", "conformance"), module.__dict__)
    found: type[Any] = getattr(module, place.partition(":")[2])
    assert kind == folders.FolderDeployer.kind
    return found


def _entries() -> dict[str, str]:
    entries = tomllib.loads(block(PLUGINS, "toml", "conformance"))["project"]["entry-points"]
    assert list(entries) == [CONFORMANCE_GROUP]
    found: dict[str, str] = entries[CONFORMANCE_GROUP]
    return found


def test_every_check_is_documented_and_no_other() -> None:
    """D9: name, promise and meaning, in the order in which they are run."""
    rows = table(PLUGINS, "Checks")
    documented = [(codes(row["Check"])[0], row["Promise"], row["What is checked"]) for row in rows]
    assert documented == [(each.name, each.promise, each.title) for each in CHECKS]


def test_the_table_has_the_verdict_of_every_source_that_deploys() -> None:
    """D9: a column for each installed one, from reports of real runs; none says that a promise is broken."""
    rows = table(PLUGINS, "Checks")
    kinds = [codes(each)[0] for each in rows[0] if each.startswith("`")]
    assert kinds == deploying_kinds()
    assert {row[f"`{kind}`"] for row in rows for kind in kinds} <= {Verdict.PASSED, Verdict.UNCHECKED}


def test_every_verdict_is_documented_and_no_other() -> None:
    """D9: what becomes of a check."""
    assert names(table(PLUGINS, "Verdicts"), "Verdict") == [str(each) for each in Verdict]


def test_every_member_of_a_subject_is_documented_and_no_other() -> None:
    """D9: those of the protocol, and those that a check may need."""
    required = [
        code.partition("(")[0] for row in table(PLUGINS, "What a subject does") for code in codes(row["Member"])
    ]
    members = [*Subject.__annotations__, *(each for each in vars(Subject) if not each.startswith("_"))]
    assert required == members
    optional = section(PLUGINS, "What a subject does").partition("Three more")[2]
    rows = [line.split("|") for line in optional.splitlines() if line.startswith("| `")]
    hooks = [each for hook in HOOKS for each in vars(hook) if not each.startswith("_")]
    assert [codes(row[1])[0].partition("(")[0] for row in rows] == hooks


def test_the_subject_of_the_docs_works(subject: type[Any]) -> None:
    """D9: everything passes but what the page says needs a hook; it is as short as it looks."""
    findings = list(run_checks(subject))
    unchecked = [each.check for each in findings if each.verdict is Verdict.UNCHECKED]
    assert [each.detail for each in findings if not each.kept] == []
    optional = section(PLUGINS, "What a subject does").partition("Three more")[2]
    assert sorted(unchecked) == sorted(code for row in optional.splitlines() for code in codes(row)[1:2])
    body = block(PLUGINS, "python", "conformance").partition("class ")[2]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20


def test_the_three_lines_of_the_docs_are_a_test_of_each_check(subject: type[Any]) -> None:
    """D9: what pytest will find in them."""
    text = block(PLUGINS, "python", "conformance-test")
    assert sum(bool(line) for line in text.splitlines()) == 3
    module: dict[str, Any] = {}
    exec(text, module)
    (mark,) = module["test_conformance"].pytestmark
    assert [each.id for each in mark.args[1]] == [each.name for each in CHECKS]


def test_the_documented_shape_of_conformance_is_its_shape(subject: type[Any]) -> None:
    """O1, D9: every key of the report and of a check in it, and no other."""
    report = report_of("folders", list(run_checks(subject, checks=CHECKS[:1])))
    assert [*report, *report["checks"][0]] == codes(section("docs/cli.md", "conformance"))[1:]
