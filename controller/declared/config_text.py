"""The text of a config file after a change: comments and order of what stays are kept."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import yaml


def render_config(path: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The text of ``path`` once it says ``after``: JSON for ``*.json``, else YAML.

    :param before: what it says now.
    """
    if path.suffix == ".json":
        return json.dumps(after, indent=2, ensure_ascii=False) + "\n"
    text = path.read_text(encoding="utf-8") if before else ""
    edited = _edited(text, after) if "#" in text else ""
    if edited and yaml.safe_load(edited) == after:  # two versions of YAML meet here
        return edited
    plain: str = yaml.safe_dump(dict(after), sort_keys=False, allow_unicode=True, width=118)
    return plain


def _edited(text: str, after: Mapping[str, Any]) -> str:
    # Imported only where there are comments to keep: it is a whole YAML implementation.
    from ruamel.yaml import YAML
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 118
    tree = editor.load(text)
    # A word such as `no` is a text for this library, and false for the one that reads configs.
    _bring(tree, after, lambda text: text if yaml.safe_load(text) == text else SingleQuotedScalarString(text))
    edited = io.StringIO()
    editor.dump(tree, edited)
    return edited.getvalue()


def _bring(tree: MutableMapping[str, Any], after: Mapping[str, Any], quoted: Callable[[str], str]) -> None:
    for key in [key for key in tree if key not in after]:
        del tree[key]
    for key, value in after.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), MutableMapping):
            _bring(tree[key], value, quoted)
        elif key not in tree or tree[key] != value:
            tree[key] = quoted(value) if isinstance(value, str) else value
