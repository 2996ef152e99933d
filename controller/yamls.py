"""YAML with places: every value of a document knows its line, and no key is silently lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from controller.errors import ManifestInvalid, UsageError

Path = Sequence[int | str]

# libyaml where PyYAML was built with it: ten times as fast.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its plain value, and the node tree that knows the lines."""

    value: Any
    node: yaml.Node

    def line_of(self, path: Path) -> int:
        """Line (from 1) of the key or item at ``path``, or of the nearest thing above it that is there."""
        node, line = self.node, self.node.start_mark.line
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            node, line = found
        return int(line) + 1


def read_documents(text: str, source: str, invalid: type[UsageError] = ManifestInvalid) -> list[Document]:
    """All documents of a YAML text that are not empty.

    :param source: name of the text, for messages.
    :param invalid: what is raised when it is not YAML, or a mapping has a key twice.
    """
    try:
        nodes = list(yaml.compose_all(text, Loader=_LOADER))
        documents = list(yaml.load_all(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise invalid(f"{source}:{line}: not YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise invalid(f"{source}: not YAML: {error}") from error
    looked_at: set[int] = set()
    for node in nodes:
        for twice in _repeated_keys(node, looked_at):
            raise invalid(f"{source}:{twice.start_mark.line + 1}: key {twice.value!r} stands twice")
    pairs = zip(documents, nodes, strict=True)
    return [Document(value, node) for value, node in pairs if value is not None]


def _child(node: yaml.Node, step: int | str) -> tuple[yaml.Node, int] | None:
    """The node below, and the line where it is named: that of its key, or its own in a list."""
    if isinstance(node, yaml.MappingNode):
        return next(((value, key.start_mark.line) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], node.value[step].start_mark.line
    return None


def _repeated_keys(node: yaml.Node | None, looked_at: set[int]) -> Iterator[yaml.ScalarNode]:
    if id(node) in looked_at:
        return  # an alias; a few of them can stand for millions of nodes, or for a circle
    looked_at.add(id(node))
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    yield key
                seen.add(key.value)
            yield from _repeated_keys(value, looked_at)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, looked_at)
