"""A working tree under test, and what is asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from controller.declared.git import GitLimits
from controller.declared.gitsync import SyncReport, WorkingTree
from tests.harness.git import Forge

NOW = datetime(2026, 11, 29, 22, 52, 27, tzinfo=UTC)
KEPT = "conflicts/20261129T225227Z"


@dataclass
class Tree:
    """A clone that the controller follows."""

    forge: Forge
    path: Path
    limits: GitLimits = field(default_factory=GitLimits)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = WorkingTree.around(self.path, self.forge.environment | self.environment, self.limits)
        assert found is not None
        self.working = found

    def sync(self, branch: str | None = None) -> SyncReport:
        """One sync, as the controller does it."""
        with self.working.locked():
            return self.working.sync(branch, NOW)

    def git(self, *arguments: str) -> str:
        """What a person does in it."""
        return self.forge.run(*arguments, cwd=self.path)

    def commit(self, files: Mapping[str, str | None]) -> str:
        """Commit here, without pushing."""
        return self.forge.commit(files, cwd=self.path)

    def shows(self, name: str, at: str = "HEAD") -> str:
        """A file of a commit."""
        return self.git("show", f"{at}:{name}")

    @property
    def files(self) -> dict[str, str]:
        """Every file of the tree."""
        inside = (each for each in self.path.rglob("*") if each.is_file() and ".git" not in each.parts)
        return {str(each.relative_to(self.path)): each.read_text() for each in inside}

    @property
    def kept(self) -> list[str]:
        """Branches that hold what was only here."""
        listed = self.git("for-each-ref", "--format=%(refname:short)", "refs/heads/conflicts")
        return listed.split("\n") if listed else []

    @property
    def at(self) -> str:
        """The branch that is checked out."""
        return self.git("symbolic-ref", "--short", "HEAD")

    @property
    def unchanged(self) -> bool:
        """Whether nothing is uncommitted."""
        return self.git("status", "--porcelain") == ""
