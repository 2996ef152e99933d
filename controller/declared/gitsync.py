"""A working tree of declared files follows its remote: fetched, fast-forwarded, or kept aside and reset (H5).

The remote's branch is what counts. Whatever was only here stays reachable on a branch `conflicts/<UTC>`, and a
change that the new commit does not touch stays where it is. Nothing is ever pushed; no lock file of git's is ever
removed, because a person's git may run at the same time.
"""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from filelock import FileLock, Timeout

from controller.declared.conflicts import keep, snapshot, unhide
from controller.declared.git import Git, GitAnswer, GitLimits, failure_of
from controller.errors import BranchUnknown, GitFailed, LockTimeout

LOCK_FILE = "tallyd.lock"
MOST_BRANCH_CHARACTERS = 200
_HEADS = "refs/heads/"
_MOST_NAMED = 20
_NO_TREE = ("not a git repository", "must be run in a work tree", "cannot use bare repository")


class SyncOutcome(StrEnum):
    """How a sync ended (H5)."""

    IN_SYNC = "in-sync"
    FAST_FORWARDED = "fast-forwarded"
    DIVERGED = "diverged"
    FETCH_FAILED = "fetch-failed"


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did. ``commit`` and ``previous`` are HEAD after and before it, empty where there was none yet;
    ``kept_on`` the branch that holds what was only here; ``detail`` why a fetch failed, in words one can act on.
    """

    outcome: SyncOutcome
    commit: str
    previous: str
    kept_on: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Followed:
    """A branch of a remote (``source``, a full ref), and the local branch that follows it."""

    remote: str
    source: str
    local: str

    @property
    def tracking(self) -> str:
        """Where its commit is remembered here."""
        return f"refs/remotes/{self.remote}/{self.source.removeprefix(_HEADS)}"


class WorkingTree:
    """The working tree that holds the declared files."""

    def __init__(self, git: Git, git_folder: Path) -> None:
        """:param git_folder: shared by all working trees of this repository."""
        self.folder = git.folder
        self._git = git
        self._git_folder = git_folder
        self._in_process = threading.Lock()

    @classmethod
    def around(
        cls, folder: Path, environment: Mapping[str, str], limits: GitLimits | None = None
    ) -> WorkingTree | None:
        """The working tree that holds this folder; ``None`` where there is none, or where it ignores the folder.

        :param environment: the process's; git gets the little of it that it needs.
        :raises GitFailed: git is not installed, or refuses a tree that belongs to another user.
        """
        folder = folder.resolve()
        if not any((each / ".git").exists() for each in (folder, *folder.parents)):
            return None
        git = Git(folder, environment, limits or GitLimits())
        found = git.ask("rev-parse", "--show-toplevel", "--path-format=absolute", "--git-common-dir")
        if any(each in found.trouble for each in _NO_TREE):
            return None
        if not found.ok:
            raise GitFailed(f"git cannot work in {folder}: {failure_of(found)}")
        # (This one command refuses to take paths literally.)
        if git.ask("check-ignore", "--quiet", "--", str(folder), variables={"GIT_LITERAL_PATHSPECS": "0"}).ok:
            return None
        top, shared = found.text.split("\n")
        return cls(Git(Path(top), environment, git.limits), Path(shared))

    def holds(self, commit: str) -> bool:
        """Whether a commit (4 to 40 hex digits) is HEAD or an ancestor of it (H4). Takes no lock and asks no remote;
        any failure is a no.
        """
        try:
            full = self._resolve(commit)
            # A branch may be called `beef`; it is not the commit that was meant.
            return full.startswith(commit.lower()) and self._is_ancestor(full, "HEAD")
        except GitFailed:
            return False

    def head(self) -> str:
        """The commit that is checked out; empty before the first one.

        :raises GitFailed: git cannot tell.
        """
        return self._resolve("HEAD")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository's lock: against our threads, then against other processes (H5). Not re-entrant.

        :raises LockTimeout: somebody else holds it for too long.
        :raises GitFailed: the lock file cannot be written.
        """
        path = self._git_folder / LOCK_FILE
        seconds = self._git.limits.lock_seconds
        busy = f"{path}: another sync of this repository did not end within {seconds:g} s"
        if not self._in_process.acquire(timeout=seconds):
            raise LockTimeout(busy)
        try:
            lock = FileLock(path, timeout=seconds, thread_local=False)
            try:
                lock.acquire()
            except Timeout as exc:
                raise LockTimeout(busy) from exc
            except OSError as exc:
                raise GitFailed(f"{path}: cannot be locked: {exc.strerror or exc}") from exc
            try:
                yield
            finally:
                lock.release()
        finally:
            self._in_process.release()

    def sync(self, branch: str | None, now: datetime) -> SyncReport:
        """Bring the tree to the remote's commit of a branch (H5); to be called inside :meth:`locked`.

        :param branch: a branch of the remote; none: the one that the checked-out branch follows.
        :raises BranchUnknown: it is no name of a branch, or the remote has no such branch.
        :raises GitFailed: git cannot work here; what it had done is kept, and the next sync goes on.
        """
        followed = self._followed(branch)
        before, at = self.head(), self._checked_out()
        if failure := self._fetch(followed):
            return SyncReport(SyncOutcome.FETCH_FAILED, before, before, detail=failure)
        wanted = self._resolve(followed.tracking)
        if not wanted:
            raise GitFailed(f"{self.folder}: {followed.tracking} is no commit, though it was fetched just now")
        tips = [self._resolve(_HEADS + followed.local), before if at is None else ""]
        displaced = [tip for tip in dict.fromkeys(tips) if tip and not self._is_ancestor(tip, wanted)]
        if before == wanted and at == followed.local:
            return SyncReport(SyncOutcome.IN_SYNC, wanted, before)
        kept_on = self._move(followed.local, wanted, displaced, before, now)
        outcome = _outcome(before, wanted, displaced)
        return SyncReport(outcome, wanted, before, kept_on, f"kept on {kept_on}" if kept_on else "")

    def cancel(self) -> None:
        """End a git that runs, within a second; every later call but :meth:`holds` raises ``GitFailed``."""
        self._git.cancel()

    def _followed(self, branch: str | None) -> Followed:
        at = self._checked_out()
        if branch is None and at is None:
            raise GitFailed(f"{self.folder}: HEAD is detached, so it follows no branch; name one, or check one out")
        own = self._upstream_of(at) if at is not None else None
        if branch is None and own is not None:
            return own
        assert branch is not None
        self._check_name(branch)
        if own is not None and own.source == _HEADS + branch:
            return own
        return Followed(own.remote if own else "origin", _HEADS + branch, branch)

    def _upstream_of(self, local: str) -> Followed:
        remote = self._git.ask("config", "--get", f"branch.{local}.remote").text
        source = self._git.ask("config", "--get", f"branch.{local}.merge").text
        if remote in ("", ".") or not source.startswith(_HEADS):
            return Followed("origin", _HEADS + local, local)
        return Followed(remote, source, local)

    def _check_name(self, branch: str) -> None:
        fits = 1 <= len(branch) <= MOST_BRANCH_CHARACTERS and branch.isprintable() and branch[0] != "-"
        # `--branch` also takes what stands for a branch, such as @{-1}, and tells which; that is no name.
        if not fits or self._git.ask("check-ref-format", "--branch", branch).text != branch:
            raise BranchUnknown(f"{branch[:MOST_BRANCH_CHARACTERS]!r} is no name of a branch")

    def _fetch(self, followed: Followed) -> str:
        """Fetch one branch; why that failed, or nothing."""
        if followed.remote not in self._git.tell("remote").split("\n"):
            return f"there is no remote {followed.remote!r}: git remote add {followed.remote} URL"
        refspec = f"+{followed.source}:{followed.tracking}"
        fetched = self._git.ask_remote("fetch", "--quiet", "--no-tags", "--refmap=", "--", followed.remote, refspec)
        if fetched.ok:
            return ""
        if "couldn't find remote ref" in fetched.trouble:
            raise BranchUnknown(self._unknown(followed))
        return why_unfetched(fetched, self._git.limits.remote_seconds)

    def _unknown(self, followed: Followed) -> str:
        listed = self._git.ask_remote("ls-remote", "--heads", "--", followed.remote).text
        there = [line.partition("\t")[2].removeprefix(_HEADS) for line in listed.split("\n") if line]
        wanted = followed.source.removeprefix(_HEADS)
        near = difflib.get_close_matches(wanted, there, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        more = f" and {len(there) - _MOST_NAMED} more" if len(there) > _MOST_NAMED else ""
        return f"{followed.remote} has no branch {wanted!r}; {hint}it has: {', '.join(there[:_MOST_NAMED])}{more}"

    def _move(self, local: str, wanted: str, displaced: Sequence[str], before: str, now: datetime) -> str | None:
        """Check out ``wanted`` as ``local``; the branch that keeps what would have been lost by it."""
        kept_on = keep(self._git, displaced, now) if displaced else None
        moved = self._git.ask("checkout", "--quiet", "--no-overwrite-ignore", "-B", local, wanted, "--")
        if not moved.ok:
            if moved.code < 0 or ".lock': File exists" in moved.trouble:
                raise GitFailed(f"{self.folder}: {failure_of(moved)}")
            # It refuses to overwrite what is not committed: keep that too, then insist.
            if unsaved := snapshot(self._git, self._git_folder, wanted, [*displaced, before], now):
                kept_on = keep(self._git, [unsaved], now, kept_on)
            unhide(self._git)
            self._git.tell("checkout", "--quiet", "--force", "-B", local, wanted, "--")
        return kept_on

    def _checked_out(self) -> str | None:
        """The branch that is checked out; ``None`` for a detached HEAD."""
        at = self._git.ask("symbolic-ref", "--quiet", "HEAD")
        return at.text.removeprefix(_HEADS) if at.ok else None

    def _resolve(self, name: str) -> str:
        """The full id of a commit; empty where there is none of that name."""
        return self._git.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}").text

    def _is_ancestor(self, commit: str, of: str) -> bool:
        answer = self._git.ask("merge-base", "--is-ancestor", commit, of)
        if answer.code not in (0, 1):
            raise GitFailed(f"{self.folder}: {failure_of(answer)}")
        return answer.ok


def _outcome(before: str, wanted: str, displaced: Sequence[str]) -> SyncOutcome:
    if displaced:
        return SyncOutcome.DIVERGED
    return SyncOutcome.IN_SYNC if before == wanted else SyncOutcome.FAST_FORWARDED


_REASONS = (
    (
        ("terminal prompts disabled", "Authentication failed", "Permission denied", "error: 403", "error: 401"),
        "the remote asks for credentials; give git some for it (a credential helper, a deploy key)",
    ),
    (("Host key verification failed",), "ssh does not know the remote's host key; add it to known_hosts"),
    (("dubious ownership",), "the remote is a folder of another user"),
    (("cannot lock ref",), "a branch that was remembered is in the way; git remote prune removes it"),
)


def why_unfetched(answer: GitAnswer, seconds: float) -> str:
    """Why a fetch failed, in words one can act on."""
    if answer.timed_out:
        return f"the remote did not answer in full within {seconds:g} s"
    for signs, reason in _REASONS:
        if any(each in answer.trouble for each in signs):
            return f"{reason}: {answer.trouble}"
    return f"the remote cannot be fetched from: {failure_of(answer)}"
