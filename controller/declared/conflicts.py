"""Keeps aside what exists only in this working tree, on branches `conflicts/<UTC>`, before a sync moves it (H5).

Reads the working tree and never changes it, nor any branch but its own.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from controller.declared.git import Git
from controller.errors import GitFailed

_HEADS = "refs/heads/"
_MESSAGE = "What was only here, kept by tallyd"


def keep(git: Git, commits: Sequence[str], now: datetime, replaced: str | None = None) -> str:
    """Put a branch on a commit, or on a merge of several; its name.

    :param replaced: one of these branches that is moved on instead; the commit descends from where it is.
    :raises GitFailed: it cannot be made.
    """
    commit = commits[0]
    if len(commits) > 1:
        commit = _commit(git, git.tell("rev-parse", f"{commit}^{{tree}}"), commits, now)
    listed = git.tell("for-each-ref", "--format=%(objectname) %(refname)", f"{_HEADS}conflicts/")
    there = {name.removeprefix(_HEADS): at for at, _, name in (line.partition(" ") for line in listed.split("\n"))}
    if replaced is None and (already := next((name for name, at in there.items() if at == commit), None)):
        return already  # of a sync that failed after this
    name = replaced or conflict_branch(now, there)
    git.tell("update-ref", _HEADS + name, commit, there.get(name, "0" * len(commit)))
    return name


def snapshot(git: Git, scratch_parent: Path, wanted: str, parents: Sequence[str], now: datetime) -> str | None:
    """A commit of all that is changed, staged or untracked here, and of what is ignored but in the way of ``wanted``;
    ``None`` where there is nothing of that. What was staged and then changed again is a parent of it.

    :raises GitFailed: a file cannot be read, another repository is in the way, or objects cannot be written.
    """
    index = Path(git.tell("rev-parse", "--path-format=absolute", "--git-path", "index"))
    with tempfile.TemporaryDirectory(prefix="tallyd-", dir=scratch_parent) as scratch:
        aside = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        if index.exists():
            shutil.copy2(index, aside["GIT_INDEX_FILE"])
        staged = git.ask("write-tree", variables=aside).text  # none in the middle of a merge
        unhide(git, aside)
        git.tell("add", "--update", variables=aside)
        if untracked := _untracked(git, wanted):
            told = ("--force", "--pathspec-from-file=-", "--pathspec-file-nul")
            git.tell("add", *told, variables=aside, feed=_fed(untracked))
        tree = git.tell("write-tree", variables=aside)
    above = [each for each in dict.fromkeys(parents) if each]
    committed = git.ask("rev-parse", "--verify", "--quiet", "HEAD^{tree}").text
    if staged and staged not in (committed, tree):
        above.append(_commit(git, staged, above, now))
    elif tree == committed:
        return None
    return _commit(git, tree, above, now)


def unhide(git: Git, variables: Mapping[str, str] | None = None) -> None:
    """Have the index look again at files that somebody told it to take for unchanged, and that are there.

    People hide local changes so; a checkout by force would overwrite some of them, and stumble over others.
    """
    listed = git.ask("ls-files", "-z", "-v", variables=variables).names
    flagged = (each[2:] for each in listed if each[0] == "S" or each[0].islower())
    hidden = [each for each in flagged if os.path.lexists(git.folder / each)]
    for option in ("--no-assume-unchanged", "--no-skip-worktree") if hidden else ():
        git.tell("update-index", option, "-z", "--stdin", variables=variables, feed=_fed(hidden))


def _untracked(git: Git, wanted: str) -> list[str]:
    """What is not tracked: all that is not ignored, and of what is ignored that which is in the way of ``wanted``."""
    found = git.ask("ls-files", "-z", "--others", "--exclude-standard").names
    ignored = git.ask("ls-files", "-z", "--others", "--ignored", "--exclude-standard").names
    coming = git.ask("ls-tree", "-r", "-z", "--name-only", wanted).names
    # Other repositories are listed with a slash, and what is in them is not ours to keep.
    others = [each.rstrip("/") for each in (*found, *ignored) if each.endswith("/")]
    if blocking := in_the_way(others, coming):
        raise GitFailed(f"{git.folder}: another git repository is where files are to come; move it: {blocking[0]}")
    return [each for each in (*found, *in_the_way(ignored, coming)) if not each.endswith("/")]


def _fed(paths: Iterable[str]) -> bytes:
    return b"\0".join(each.encode(errors="surrogateescape") for each in paths)


def _commit(git: Git, tree: str, parents: Iterable[str], now: datetime) -> str:
    stamp = f"{int(now.timestamp())} +0000"
    dates = {"GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp}
    options = [part for each in parents for part in ("-p", each)]
    return git.tell("commit-tree", *options, "-m", _MESSAGE, tree, variables=dates)


def conflict_branch(now: datetime, taken: Iterable[str]) -> str:
    """``conflicts/<UTC>``, with a number behind it where that is taken."""
    first = f"conflicts/{now.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    names, number = set(taken), 1
    while (name := first if number == 1 else f"{first}-{number}") in names:
        number += 1
    return name


def in_the_way(here: Iterable[str], coming: Iterable[str]) -> list[str]:
    """Those files that cannot stay when others come: the same path, or a folder where a file is to be, or the other
    way round. Paths have slashes and are relative to the same folder.
    """
    files = set(coming)
    folders = {str(above) for each in files for above in PurePosixPath(each).parents}
    return [
        each
        for each in here
        if each in files or each in folders or any(str(above) in files for above in PurePosixPath(each).parents)
    ]
