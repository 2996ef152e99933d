"""What this process gives to triggers that look: git, hardened and bounded in time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from controller.declared.git import Git, GitLimits
from controller.declared.gitsync import why_unfetched
from controller.errors import GitFailed

REMOTE_SECONDS = 30.0


class Tools:
    """The :class:`~controller.plugins.trigger.TriggerTools` of a running controller, or of one command."""

    def __init__(self, environment: Mapping[str, str], remote_seconds: float = REMOTE_SECONDS) -> None:
        self._git = Git(Path("/"), environment, GitLimits(remote_seconds=remote_seconds))

    def branch_head(self, repository: str, branch: str) -> str:
        """See `TriggerTools`."""
        ref = f"refs/heads/{branch}"
        answer = self._git.ask_remote("ls-remote", "--", repository, ref)
        if not answer.ok:
            raise GitFailed(f"branch {branch}: {why_unfetched(answer, self._git.limits.remote_seconds)}")
        found = (line.partition("\t") for line in answer.text.splitlines())
        return next((commit for commit, _, name in found if name == ref), "")

    def cancel(self) -> None:
        """End what runs; nothing runs any more."""
        self._git.cancel()
