"""docs/promises.md lists every promise once, and claims no proof that is not there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, codes, sections, table

PROMISES = "docs/promises.md"
HOW_MANY = {"R": 22, "G": 11, "W": 10, "H": 8, "L": 3, "D": 9, "T": 6, "S": 5, "O": 7, "P": 9}
NUMBERS = [f"{letter}{number}" for letter, last in HOW_MANY.items() for number in range(1, last + 1)]

_NUMBER = re.compile(r"\b([RGWHLDTSOP])([1-9]\d?)\b(?:[–-]\1?([1-9]\d?)\b)?")
_STATUS = re.compile(r"^(proved|partly|later: issue [2-9])$")


@cache
def _rows() -> dict[str, dict[str, str]]:
    titles = [each.title for each in sections(PROMISES) if "| Promise |" in each.text]
    rows = [row for title in titles for row in table(PROMISES, title)]
    numbers = [row["Promise"] for row in rows]
    assert len(numbers) == len(set(numbers)), "a promise stands there twice"
    return {row["Promise"]: row for row in rows}


@cache
def _docstrings(path: Path) -> dict[str, str]:
    """The tests of a file, by their name as pytest knows it, with their docstrings."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        for each in inside:
            if isinstance(each, ast.FunctionDef) and each.name.startswith("test_"):
                name = f"{node.name}::{each.name}" if isinstance(node, ast.ClassDef) else each.name
                found[name] = ast.get_docstring(each) or ""
    return found


def _named_in(text: str) -> set[str]:
    """The promises that a text names; ``G1–G4`` names four."""
    named = set()
    for letter, first, last in _NUMBER.findall(text):
        named |= {f"{letter}{number}" for number in range(int(first), int(last or first) + 1)}
    return named


def _claims() -> list[tuple[str, str]]:
    return [(number, test) for number, row in _rows().items() for test in codes(row["Tests"])]


def test_every_promise_is_listed_once_and_in_order() -> None:
    """All of them, and nothing that was never promised."""
    assert list(_rows()) == NUMBERS


@pytest.mark.parametrize("number", NUMBERS)
def test_a_promise_has_a_sentence_and_an_honest_status(number: str) -> None:
    """What is proved names its tests; what comes later names none and says with which issue."""
    row = _rows()[number]
    assert row["What it means"].endswith(".")
    assert _STATUS.match(row["Status"])
    assert bool(codes(row["Tests"])) == (not row["Status"].startswith("later"))
    if row["Status"] == "partly":
        assert re.sub(r"`[^`]+`,? ?", "", row["Tests"]).strip(), "partly: say what is not proved yet"


@pytest.mark.parametrize(("number", "test"), _claims(), ids=lambda value: value)
def test_a_test_that_is_named_exists_and_says_what_it_proves(number: str, test: str) -> None:
    """The file, the test, and the number in its docstring."""
    path, _, name = test.partition("::")
    docstring = _docstrings(ROOT / path).get(name)
    assert docstring is not None, f"{test} does not exist"
    assert number in _named_in(docstring), f"the docstring of {test} does not name {number}"


def test_no_test_claims_a_promise_that_is_not_kept_yet() -> None:
    """A docstring that names a promise is about one that exists and is proved, in part at least."""
    wrong = [
        f"{path.relative_to(ROOT)}::{name} names {number}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for name, docstring in _docstrings(path).items()
        for number in _named_in(docstring)
        if number not in _rows() or _rows()[number]["Status"].startswith("later")
    ]
    assert wrong == []
