"""What a public face may look like, so that a router can be told of it and of nothing else (T3). Pure.

The grammar is narrower than that of URLs: whatever a proxy's configuration language gives a meaning to is left out.
"""

from __future__ import annotations

import re
import unicodedata

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")
_LONGEST_HOST = 253
_LONGEST_PATH = 1024
# Of nginx's or Traefik's languages, or never in a decoded path: quotes, braces, variables, comments, queries.
_NOT_IN_PATHS = frozenset("\"'`\\{}$;#?%<>|^* ")


def host_problem(host: str) -> str:
    """Why this is no host name that can be routed, or nothing. A name may begin with ``*.`` (any name below it)."""
    if len(host) > _LONGEST_HOST or not _HOST.fullmatch(host):
        return f"host {host!r} is no DNS name"
    return ""


def path_problem(path: str) -> str:
    """Why this is no path prefix that can be routed, or nothing. It is compared with the decoded path."""
    if not path.startswith("/"):
        return f"path {path!r} does not begin with /"
    if len(path) > _LONGEST_PATH:
        return f"path {path[:40]!r}… is longer than {_LONGEST_PATH} characters"
    # Categories C*: control, format (which reorder what a person reads), surrogates; Z*: separators.
    wrong = next((each for each in path if each in _NOT_IN_PATHS or unicodedata.category(each)[0] in "CZ"), None)
    if wrong is not None:
        return f"path {path!r} has the character {wrong!r}"
    segments = path.split("/")[1:]
    if any(each in (".", "..") for each in segments) or "" in segments[:-1]:
        return f"path {path!r} has a segment that is empty, . or .."
    return ""


def normal_host(host: str) -> str:
    """The host of a request as faces name it: lower case, without port and without the root's dot (T4)."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].removesuffix(".")


def normal_path(path: str) -> str:
    """A path prefix without the slash at its end: ``/api`` and ``/api/`` are one face; the root is empty."""
    return path.rstrip("/")
