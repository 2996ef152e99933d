"""Reading our Markdown: sections, tables, fenced blocks, links, anchors. As much of it as the docs use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_HEADING = re.compile(r"^(#{1,6}) (.+)$")
_FENCE = re.compile(r"^(```+)(.*)$")
_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CELL = re.compile(r"(?<!\\)\|")
_ASSIGNMENT = re.compile(r"^[A-Z_]+=")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the words after the fence, its text, and its place for messages."""

    words: tuple[str, ...]
    text: str
    place: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what follows it up to the next heading of any level."""

    title: str
    text: str


def page(name: str) -> str:
    """The text of a page by its path from the root of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def sections(name: str) -> list[Section]:
    """All sections of a page, in order; headings inside fenced blocks are none."""
    found: list[tuple[str, list[str]]] = [("", [])]
    for line, fenced in _lines(page(name)):
        heading = None if fenced else _HEADING.match(line)
        if heading:
            found.append((heading[2].strip(), []))
        else:
            found[-1][1].append(line)
    return [Section(title, "\n".join(lines)) for title, lines in found]


def section(name: str, title: str) -> str:
    """The text of the one section with this title."""
    found = [each.text for each in sections(name) if each.title == title]
    assert len(found) == 1, f"{name} has {len(found)} sections titled {title!r}"
    return found[0]


def table(name: str, title: str) -> list[dict[str, str]]:
    """The first table of a section: each row as heading → cell."""
    lines = section(name, title).splitlines()
    start = next((number for number, line in enumerate(lines) if line.startswith("|")), None)
    assert start is not None, f"{name}, section {title!r}, has no table"
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]])
    headings, _, *body = rows
    assert all(len(row) == len(headings) for row in body), f"{name}, section {title!r}: a row has a cell too many"
    return [dict(zip(headings, row, strict=True)) for row in body]


def codes(cell: str) -> list[str]:
    """All that stands in back-ticks in a text."""
    return _CODE.findall(cell)


def names(rows: list[dict[str, str]], heading: str) -> list[str]:
    """All names in back-ticks of one column, and that none stands there twice."""
    found = [name for row in rows for name in codes(row[heading])]
    assert len(found) == len(set(found)), f"listed twice: {sorted({each for each in found if found.count(each) > 1})}"
    return found


def blocks(path: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found: list[Block] = []
    words: tuple[str, ...] = ()
    lines: list[str] = []
    start = 0
    for number, (line, fenced) in enumerate(_lines(path.read_text(encoding="utf-8")), start=1):
        fence = _FENCE.match(line)
        if fence and fenced == "begin":
            words, lines, start = tuple(fence[2].split()), [], number
        elif fence and fenced == "end":
            found.append(Block(words, "\n".join(lines) + "\n", f"{path.relative_to(ROOT)}:{start}"))
        elif fenced:
            lines.append(line)
    return found


def block(name: str, *words: str) -> str:
    """The text of the one block of a page whose fence says these words."""
    found = [each.text for each in blocks(ROOT / name) if each.words == words]
    assert len(found) == 1, f"{name} has {len(found)} blocks marked {' '.join(words)!r}"
    return found[0]


def links(path: Path) -> list[str]:
    """Targets of all links of a page, outside fenced blocks."""
    prose = [line for line, fenced in _lines(path.read_text(encoding="utf-8")) if not fenced]
    return [target for line in prose for target in _LINK.findall(line)]


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub makes for the headings of a page."""
    titles = [each.title for each in sections(str(path.relative_to(ROOT)))]
    plain = (re.sub(r"[^\w\- ]", "", title.lower()) for title in titles)
    return {title.strip().replace(" ", "-") for title in plain}


def commands(path: Path) -> list[tuple[str, list[list[str]]]]:
    """Every line of shell in a page with its place, split into the words of each command of its pipe.

    Lines of blocks without a language: those after ``$ `` where the block has such lines, else those that begin
    with a known program. Of prose: what stands in back-ticks and begins with ``tallyd``.
    """
    found = []
    for each in blocks(path):
        if not each.words:
            shell = [line[2:] for line in each.text.splitlines() if line.startswith("$ ")]
            found += [(each.place, line) for line in shell or each.text.splitlines()]
    for line, fenced in _lines(path.read_text(encoding="utf-8")):
        if not fenced:
            found += [(path.name, code) for code in codes(line) if re.match(r"(tallyd|make) [a-z-]", code)]
    return [(place, pipe) for place, line in found if (pipe := _pipe(line))]


def _pipe(line: str) -> list[list[str]]:
    if not re.match(r"([A-Z_]+=\S+ )?(tallyd|make|printf)\b", line):
        return []
    pipe: list[list[str]] = [[]]
    for word in shlex.split(re.sub(r"\s[<>]\s*\S+", "", line), comments=True):
        if word in ("|", "&&", ";"):
            pipe.append([])
        elif pipe[-1] or not _ASSIGNMENT.match(word):
            pipe[-1].append(word)
    return pipe


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Each line, and where it stands: ``begin`` and ``end`` of a fenced block, ``inside`` one, or an empty text."""
    fence = ""
    for line in text.splitlines():
        found = _FENCE.match(line)
        if not fence and found:
            fence = found[1]
            yield line, "begin"
        elif fence and line.strip() == fence:
            fence = ""
            yield line, "end"
        else:
            yield line, "inside" if fence else ""
