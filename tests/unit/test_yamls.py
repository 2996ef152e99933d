"""`controller.yamls`: YAML with places, in which no key is silently lost."""

from __future__ import annotations

import pytest

from controller.errors import ManifestInvalid
from controller.yamls import read_documents

TWO = """\
# a comment
workloads:
- id: shop
  source:
    kind: report
    config: {containers: 2}
---
workloads:
  -
    id: blog
"""


def test_many_documents() -> None:
    """O1: each with its value; empty ones are none."""
    documents = read_documents(f"---\n{TWO}---\n", "x.yaml")
    assert [document.value["workloads"][0]["id"] for document in documents] == ["shop", "blog"]
    assert read_documents("", "x.yaml") == []
    assert read_documents("# nothing\n---\n---\n", "x.yaml") == []


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 2),
        (("workloads",), 2),
        (("workloads", 0), 3),
        (("workloads", 0, "id"), 3),
        (("workloads", 0, "source"), 4),
        (("workloads", 0, "source", "kind"), 5),
        (("workloads", 0, "source", "config", "containers"), 6),
        (("workloads", 0, "source", "config", "nowhere"), 6),
        (("workloads", 7), 2),
        (("workloads", "id"), 2),
        (("nowhere",), 2),
    ],
)
def test_every_value_knows_its_line(path: tuple[int | str, ...], line: int) -> None:
    """O1: that of its key; of the nearest thing above where there is none."""
    assert read_documents(TWO, "x.yaml")[0].line_of(path) == line


def test_lines_count_from_the_beginning_of_the_file() -> None:
    """O1: also in a second document."""
    assert read_documents(TWO, "x.yaml")[1].line_of(("workloads", 0, "id")) == 10


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: 1\nb: 2\na: 3\n", "x.yaml:3: key 'a' stands twice"),
        ("workloads:\n- id: a\n  kind: site\n  id: b\n", "x.yaml:4: key 'id' stands twice"),
        ("a: {b: 1, b: 2}\n", "x.yaml:1: key 'b' stands twice"),
        ("a: 1\n---\nb: 1\nb: 2\n", "x.yaml:4: key 'b' stands twice"),
        ("a: [1, 2\nb: 3\n", "x.yaml:2: not YAML"),
        ("a: 'open\n", "x.yaml:2: not YAML"),
        ("\tx: 1\n", "x.yaml:1: not YAML"),
        ("a: !!python/object:os.system x\n", "x.yaml:1: not YAML"),
        ("a: *nobody\n", "x.yaml:1: not YAML"),
        ("a: \x01\n", "x.yaml: not YAML"),
        ("? [a]\n: b\n", "x.yaml:1: not YAML"),
        ("a: " + "[" * 5000, "x.yaml:1: not YAML"),
        ("a: 2026-99-99\n", "x.yaml: not YAML"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_is_wrong_is_told_with_its_line(text: str, place: str) -> None:
    """O1: file, line and the reason; nothing but our own error is raised."""
    with pytest.raises(ManifestInvalid) as refused:
        read_documents(text, "x.yaml")
    assert str(refused.value).startswith(place)


def test_aliases_do_not_multiply() -> None:
    """O1: a text of a few lines cannot keep us busy for hours, nor turn round in a circle."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30))
    assert len(read_documents(f"l0: &l0 x\n{levels}\n", "x.yaml")) == 1
    assert len(read_documents("a: &a\n  b: *a\n", "x.yaml")) == 1
