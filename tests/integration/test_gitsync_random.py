"""Whatever somebody did in a working tree, and whatever happened at its remote: a sync loses nothing."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from controller.declared.gitsync import SyncOutcome
from tests.harness.git import Forge, write
from tests.integration.trees import Tree

PATHS = ["a.yaml", "b.yaml", "d", "d/c.yaml", "d/e/f.yaml", "x", "x/y.yaml", "ü ä.yaml", "-dash", ":(top)z"]
SEEDS = range(4)
ROUNDS = 6


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Life:
    """Random edits here and at the remote."""

    def __init__(self, tree: Tree, seed: int) -> None:
        self.tree = tree
        self.chance = random.Random(seed)
        self.number = 0
        self.history: list[str] = []

    def here(self) -> None:
        """One thing that a person does in the tree."""
        name = self.chance.choice(PATHS)
        action = self.chance.choice([self._edit, self._edit, self._edit, self._hide, self._commit, self._leave])
        self.history.append(f"{action.__name__} {name}")
        action(name)

    def _edit(self, name: str) -> None:
        if self.chance.random() < 0.2 and (self.tree.path / name).is_file():
            write(self.tree.path / name, None)
        elif self._write(self.tree.path, name) and self.chance.random() < 0.3:
            self._git("add", "--force", "--", name)
            self._write(self.tree.path, name)

    def _hide(self, name: str) -> None:
        if not self._write(self.tree.path, name):
            return
        if self._git("ls-files", "--", name):
            option = self.chance.choice(["--assume-unchanged", "--skip-worktree"])
            self.tree.git("update-index", option, "--", name)
        else:
            with (self.tree.path / ".git" / "info" / "exclude").open("a") as exclude:
                exclude.write("/" + name.replace(":", "?").replace("(", "?") + "\n")

    def _commit(self, _name: str) -> None:
        if self.chance.random() < 0.7:
            self.tree.git("add", "--all")
        self.tree.git("commit", "--quiet", "--allow-empty", "--message", "here")

    def _leave(self, _name: str) -> None:
        if self.chance.random() < 0.5:
            self.tree.git("checkout", "--quiet", "--detach")
        else:
            self.tree.git("checkout", "--quiet", "-B", f"mine-{self.number}")

    def _git(self, *arguments: str) -> str:
        return self.tree.git("--literal-pathspecs", *arguments)

    def there(self) -> None:
        """One thing that happens at the remote."""
        author = self.tree.forge.author
        action = self.chance.choice(["write", "write", "write", "delete", "rewind"])
        name = self.chance.choice(PATHS)
        self.history.append(f"remote {action} {name}")
        if action == "write":
            self._write(author, name)
        elif action == "delete" and (author / name).is_file():
            write(author / name, None)
        elif action == "rewind" and int(self.tree.forge.run("rev-list", "--count", "HEAD")) > 2:
            self.tree.forge.run("reset", "--quiet", "--hard", "HEAD^")
        self.tree.forge.run("add", "--all")
        self.tree.forge.run("commit", "--quiet", "--allow-empty", "--message", "there")

    def _write(self, root: Path, name: str) -> bool:
        path = root / name
        if path.is_dir() or any((root / above).is_file() for above in Path(name).parents):
            return False
        self.number += 1
        write(path, f"{root.name} {self.number}")
        return True

    def contents(self) -> set[str]:
        """Every content that the tree still has: in files, in the index, on a branch or HEAD."""
        inside = (each for each in self.tree.path.rglob("*") if each.is_file() and ".git" not in each.parts)
        files = {_blob(each.read_bytes()) for each in inside}
        staged = {line.split()[1] for line in self.tree.git("ls-files", "--stage").split("\n") if line}
        listed = self.tree.git("rev-list", "--objects", "--no-object-names", "--branches", "HEAD").split("\n")
        return files | staged | set(listed)


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost(tmp_path: Path, seed: int) -> None:
    """H5: every content and commit from before a sync is there after it; and the tree is at the remote's commit."""
    forge = Forge(tmp_path)
    life = Life(Tree(forge, forge.clone("tree")), seed)
    for _ in range(ROUNDS):
        for _ in range(life.chance.randint(0, 5)):
            life.here()
        for _ in range(life.chance.randint(0, 3)):
            life.there()
        forge.run("push", "--quiet", "--force", "origin", "HEAD:main")
        before = life.contents()
        report = life.tree.sync("main")
        life.history.append(f"→ {report.outcome} {report.kept_on}")
        assert before - life.contents() == set(), life.history
        assert report.outcome != SyncOutcome.FETCH_FAILED
        assert (life.tree.working.head(), life.tree.at) == (forge.run("rev-parse", "HEAD"), "main")
        assert life.tree.sync().outcome == SyncOutcome.IN_SYNC
