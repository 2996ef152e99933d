"""A working tree follows a real remote: every outcome, and nothing that was only here is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.declared.gitsync import SyncOutcome, WorkingTree
from controller.errors import BranchUnknown, GitFailed
from tests.harness.git import Forge, GitHttpServer, write
from tests.integration.trees import KEPT, NOW, Tree

FIRST = {"a.yaml": "first", "b.yaml": "first"}


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A remote with one commit of two files."""
    return Forge(tmp_path)


@pytest.fixture
def tree(forge: Forge) -> Tree:
    """Its clone, which follows `main`."""
    return Tree(forge, forge.clone("tree"))


@pytest.fixture(params=["file", "http"])
def over_each_transport(forge: Forge, request: pytest.FixtureRequest) -> Iterator[Tree]:
    """The clone of a path, and one of a smart HTTP server."""
    with contextlib.closing(GitHttpServer(forge.folder)) as server:
        yield Tree(forge, forge.clone("tree", server.url() if request.param == "http" else ""))


def test_each_outcome(over_each_transport: Tree) -> None:
    """H5: in-sync, fast-forwarded, diverged, with the commits before and after."""
    tree, forge = over_each_transport, over_each_transport.forge
    first = tree.working.head()
    report = tree.sync()
    assert (report.outcome, report.commit, report.previous) == (SyncOutcome.IN_SYNC, first, first)
    second = forge.push({"a.yaml": "second"})
    report = tree.sync()
    assert (report.outcome, report.commit, report.previous) == (SyncOutcome.FAST_FORWARDED, second, first)
    assert tree.files == {"a.yaml": "second", "b.yaml": "first"}
    mine = tree.commit({"b.yaml": "mine"})
    third = forge.push({"a.yaml": "third"})
    report = tree.sync()
    assert (report.outcome, report.commit, report.previous) == (SyncOutcome.DIVERGED, third, mine)
    assert (report.kept_on, report.detail) == (KEPT, f"kept on {KEPT}")
    assert tree.git("rev-parse", KEPT) == mine
    assert tree.files == {"a.yaml": "third", "b.yaml": "first"}
    assert (tree.at, tree.unchanged, tree.git("rev-parse", "origin/main")) == ("main", True, third)
    assert tree.sync().outcome == SyncOutcome.IN_SYNC


@pytest.mark.parametrize("back", [True, False], ids=["to an older commit", "to another commit"])
def test_a_remote_that_was_force_pushed(tree: Tree, back: bool) -> None:
    """H5: the remote counts, also where it went back; what it forgot is kept here."""
    forge = tree.forge
    first = tree.working.head()
    second = forge.push({"a.yaml": "second"})
    tree.sync()
    forge.run("reset", "--quiet", "--hard", first)
    wanted = first if back else forge.commit({"a.yaml": "other"})
    forge.run("push", "--quiet", "--force", "origin", "HEAD:main")
    report = tree.sync()
    assert (report.outcome, report.commit, report.kept_on) == (SyncOutcome.DIVERGED, wanted, KEPT)
    assert tree.git("rev-parse", KEPT) == second
    assert tree.files["a.yaml"] == ("first" if back else "other")


def _modified(tree: Tree) -> None:
    write(tree.path / "a.yaml", "mine")


def _staged(tree: Tree) -> None:
    write(tree.path / "a.yaml", "mine")
    tree.git("add", "a.yaml")


def _untracked(tree: Tree) -> None:
    write(tree.path / "new.yaml", "mine")


def _ignored(tree: Tree) -> None:
    write(tree.path / ".git" / "info" / "exclude", "new.yaml\n")
    write(tree.path / "new.yaml", "mine")


def _folder(tree: Tree) -> None:
    write(tree.path / "new.yaml" / "inside", "mine")


def _ignored_folder(tree: Tree) -> None:
    write(tree.path / ".git" / "info" / "exclude", "new.yaml\n")
    write(tree.path / "new.yaml" / "inside", "mine")


def _file_for_folder(tree: Tree) -> None:
    write(tree.path / "more", "mine")


def _assumed_unchanged(tree: Tree) -> None:
    tree.git("update-index", "--assume-unchanged", "a.yaml")
    _modified(tree)


def _skipped(tree: Tree) -> None:
    tree.git("update-index", "--skip-worktree", "a.yaml")
    _modified(tree)


ONLY_HERE = {
    "modified": (_modified, "a.yaml"),
    "staged": (_staged, "a.yaml"),
    "hidden by assume-unchanged": (_assumed_unchanged, "a.yaml"),
    "hidden by skip-worktree": (_skipped, "a.yaml"),
    "untracked": (_untracked, "new.yaml"),
    "ignored": (_ignored, "new.yaml"),
    "a folder where a file comes": (_folder, "new.yaml/inside"),
    "an ignored folder where a file comes": (_ignored_folder, "new.yaml/inside"),
    "a file where a folder comes": (_file_for_folder, "more"),
}


@pytest.mark.parametrize("case", ONLY_HERE)
@pytest.mark.parametrize("diverged", [False, True], ids=["fast-forward", "diverged"])
def test_what_would_be_overwritten_is_kept(tree: Tree, case: str, diverged: bool) -> None:
    """H5: nothing is lost: not what is uncommitted, untracked, or even ignored, where the new commit has it too."""
    mine = tree.commit({"b.yaml": "mine"}) if diverged else ""
    make, kept = ONLY_HERE[case]
    make(tree)
    wanted = tree.forge.push({"a.yaml": "second", "new.yaml": "second", "more/c.yaml": "second"})
    report = tree.sync()
    assert report.outcome == (SyncOutcome.DIVERGED if diverged else SyncOutcome.FAST_FORWARDED)
    assert (report.commit, report.kept_on, tree.kept) == (wanted, KEPT, [KEPT])
    assert tree.shows(kept, KEPT) == "mine"
    assert tree.files == {"a.yaml": "second", "b.yaml": "first", "new.yaml": "second", "more/c.yaml": "second"}
    assert tree.unchanged
    if diverged:
        assert tree.git("merge-base", "--is-ancestor", mine, KEPT) == ""
    assert tree.sync().outcome == SyncOutcome.IN_SYNC


def test_what_is_not_in_the_way_stays(tree: Tree) -> None:
    """H5: a change that the new commit does not touch is left alone, and no branch is made for it."""
    write(tree.path / "b.yaml", "mine")
    write(tree.path / "mine.yaml", "mine")
    tree.forge.push({"a.yaml": "second"})
    report = tree.sync()
    assert (report.outcome, report.kept_on, tree.kept) == (SyncOutcome.FAST_FORWARDED, None, [])
    assert tree.files == {"a.yaml": "second", "b.yaml": "mine", "mine.yaml": "mine"}


def test_a_deleted_file_and_a_staged_one_that_was_changed_again(tree: Tree) -> None:
    """H5: both states of a file are kept, the staged one on a parent of the other."""
    write(tree.path / "a.yaml", "staged")
    tree.git("add", "a.yaml")
    write(tree.path / "a.yaml", "then changed")
    write(tree.path / "b.yaml", None)
    tree.forge.push({"a.yaml": "second", "b.yaml": "second"})
    assert tree.sync().kept_on == KEPT
    assert tree.git("ls-tree", "--name-only", KEPT) == "a.yaml"
    assert (tree.shows("a.yaml", KEPT), tree.shows("a.yaml", f"{KEPT}^2")) == ("then changed", "staged")
    assert tree.files == {"a.yaml": "second", "b.yaml": "second"}


def test_an_unfinished_merge_is_kept(tree: Tree) -> None:
    """H5: with its conflict marks, as a person left it."""
    tree.git("checkout", "--quiet", "-b", "side")
    tree.commit({"a.yaml": "side"})
    tree.git("checkout", "--quiet", "main")
    mine = tree.commit({"a.yaml": "mine"})
    with pytest.raises(AssertionError):
        tree.git("merge", "side")
    wanted = tree.forge.push({"a.yaml": "second"})
    report = tree.sync()
    assert (report.outcome, report.commit, report.kept_on) == (SyncOutcome.DIVERGED, wanted, KEPT)
    assert "<<<<<<<" in tree.shows("a.yaml", KEPT)
    assert tree.git("rev-parse", f"{KEPT}^") == mine
    assert tree.unchanged


@pytest.mark.parametrize("commits", [False, True])
def test_a_repository_inside(tree: Tree, commits: bool) -> None:
    """H5: one that is in the way is named and nothing is moved, for it cannot be kept; any other stays."""
    inside = tree.path / "more"
    tree.forge.run("init", "--quiet", str(inside))
    write(inside / "c.yaml", "mine")
    if commits:
        tree.forge.commit({"c.yaml": "mine"}, cwd=inside)
    before = tree.working.head()
    tree.forge.push({"more/c.yaml": "second"})
    with pytest.raises(GitFailed, match="another git repository is where files are to come; move it: more"):
        tree.sync()
    assert (tree.working.head(), (inside / "c.yaml").read_text(), tree.kept) == (before, "mine", [])
    inside.rename(tree.path / "moved")
    write(tree.path / "a.yaml", "mine")
    tree.forge.push({"a.yaml": "third"})
    assert (tree.sync().kept_on, tree.shows("a.yaml", KEPT)) == (KEPT, "mine")
    assert (tree.path / "moved" / "c.yaml").read_text() == "mine"


def test_a_sparse_checkout(tree: Tree) -> None:
    """H5: what is not checked out stays so, and is not taken for deleted."""
    tree.forge.push({"deep/c.yaml": "second"})
    tree.sync()
    tree.git("sparse-checkout", "set", "--no-cone", "/*.yaml")
    write(tree.path / "a.yaml", "mine")
    tree.forge.push({"a.yaml": "third", "deep/c.yaml": "third"})
    assert tree.sync().kept_on == KEPT
    assert (tree.shows("a.yaml", KEPT), tree.shows("deep/c.yaml", KEPT)) == ("mine", "second")
    assert tree.files == {"a.yaml": "third", "b.yaml": "first"}


def test_two_conflicts_in_one_second(tree: Tree) -> None:
    """H5: each has a branch of its own."""
    for number in (1, 2):
        tree.commit({"b.yaml": f"mine {number}"})
        tree.forge.push({"a.yaml": f"change {number}"})
        tree.sync()
    assert tree.kept == [KEPT, f"{KEPT}-2"]
    assert [tree.shows("b.yaml", each) for each in tree.kept] == ["mine 1", "mine 2"]


def test_another_branch_can_be_followed(tree: Tree) -> None:
    """H3, H5: and back; what is committed on the branch that is left stays on it."""
    mine = tree.commit({"b.yaml": "mine"})
    tree.forge.run("checkout", "--quiet", "-b", "next")
    wanted = tree.forge.push({"a.yaml": "next"}, "next")
    report = tree.sync("next")
    assert (report.outcome, report.commit, report.kept_on) == (SyncOutcome.FAST_FORWARDED, wanted, None)
    assert (tree.at, tree.files["a.yaml"], tree.git("rev-parse", "main")) == ("next", "next", mine)
    assert tree.sync().outcome == SyncOutcome.IN_SYNC
    report = tree.sync("main")
    assert (report.outcome, report.kept_on, tree.at) == (SyncOutcome.DIVERGED, KEPT, "main")
    assert tree.git("rev-parse", KEPT) == mine


def test_a_local_name_that_follows_another(tree: Tree) -> None:
    """H5: the upstream decides, whatever the branch is called here."""
    tree.git("branch", "--quiet", "--move", "main", "production")
    wanted = tree.forge.push({"a.yaml": "second"})
    assert tree.sync().commit == wanted
    wanted = tree.forge.push({"a.yaml": "third"})
    assert (tree.sync("main").commit, tree.at) == (wanted, "production")


def test_a_branch_that_the_remote_does_not_have(over_each_transport: Tree) -> None:
    """H3: it is named, with those that are there and the nearest; the tree stays."""
    tree = over_each_transport
    tree.forge.push({}, "release/1")
    with pytest.raises(BranchUnknown, match=r"no branch 'mian'; did you mean 'main'\? it has: main, release/1$"):
        tree.sync("mian")
    tree.git("branch", "--quiet", "--move", "main", "gone")
    tree.git("config", "branch.gone.merge", "refs/heads/gone")
    with pytest.raises(BranchUnknown, match="no branch 'gone'"):
        tree.sync()
    assert (tree.files, tree.kept) == (FIRST, [])


def test_a_detached_head(tree: Tree) -> None:
    """H5: follows nothing until a branch is named; what was committed on it is kept."""
    tree.git("checkout", "--quiet", "--detach")
    with pytest.raises(GitFailed, match="HEAD is detached"):
        tree.sync()
    mine = tree.commit({"b.yaml": "mine"})
    wanted = tree.forge.push({"a.yaml": "second"})
    report = tree.sync("main")
    assert (report.outcome, report.commit, report.previous) == (SyncOutcome.DIVERGED, wanted, mine)
    assert (tree.at, tree.git("rev-parse", KEPT)) == ("main", mine)


def test_two_tips_that_would_be_lost(tree: Tree) -> None:
    """H5: a detached HEAD and a branch that diverged are both on the one branch that is told."""
    branch = tree.commit({"b.yaml": "mine"})
    tree.git("checkout", "--quiet", "--detach", "HEAD^")
    detached = tree.commit({"c.yaml": "mine"})
    tree.forge.push({"a.yaml": "second"})
    assert (tree.sync("main").kept_on, tree.kept) == (KEPT, [KEPT])
    for commit in (branch, detached):
        assert tree.git("merge-base", "--is-ancestor", commit, KEPT) == ""


def test_a_shallow_clone(forge: Forge) -> None:
    """H4, H5: works, with the history that is there."""
    first = forge.run("rev-parse", "HEAD")
    forge.push({"a.yaml": "second"})
    tree = Tree(forge, forge.clone("shallow", "", "--depth=1"))
    assert not tree.working.holds(first)
    third, wanted = forge.push({"a.yaml": "third"}), forge.push({"a.yaml": "fourth"})
    assert (tree.sync().outcome, tree.working.head()) == (SyncOutcome.FAST_FORWARDED, wanted)
    assert tree.working.holds(third)
    mine = tree.commit({"a.yaml": "mine"})
    forge.push({"a.yaml": "fifth"})
    assert (tree.sync().outcome, tree.git("rev-parse", KEPT)) == (SyncOutcome.DIVERGED, mine)


def test_a_tree_without_a_commit(forge: Forge) -> None:
    """H5: `git init` and `git remote add` are enough; a file that is there already is kept."""
    path = forge.folder / "fresh"
    forge.run("init", "--quiet", "--initial-branch=main", str(path))
    forge.run("remote", "add", "origin", forge.url, cwd=path)
    write(path / "a.yaml", "mine")
    tree = Tree(forge, path)
    assert tree.working.head() == ""
    report = tree.sync()
    assert (report.outcome, report.previous, report.kept_on) == (SyncOutcome.FAST_FORWARDED, "", KEPT)
    assert (tree.files, tree.shows("a.yaml", KEPT)) == (FIRST, "mine")


def test_a_linked_working_tree(tree: Tree) -> None:
    """H5: one made by `git worktree` shares branches and lock with the others, and is synced alone."""
    tree.git("worktree", "add", "--quiet", "-b", "linked", str(tree.forge.folder / "linked"), "main")
    tree.git("config", "branch.linked.remote", "origin")
    tree.git("config", "branch.linked.merge", "refs/heads/main")
    linked = Tree(tree.forge, tree.forge.folder / "linked")
    wanted = tree.forge.push({"a.yaml": "second"})
    assert linked.sync().commit == wanted
    assert (linked.files["a.yaml"], tree.files["a.yaml"]) == ("second", "first")
    assert linked.working.sync("main", NOW).outcome == SyncOutcome.IN_SYNC


def test_which_folder_is_in_a_working_tree(tree: Tree, tmp_path: Path) -> None:
    """H5: one below it is; one that it ignores, a bare repository and any other folder are not."""
    environment = tree.forge.environment
    write(tree.path / ".git" / "info" / "exclude", "private/\n")
    for inside in ("deep/er", "private"):
        (tree.path / inside).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tree.path / "deep")
    for folder in (tree.path, tree.path / "deep" / "er", tmp_path / "link"):
        found = WorkingTree.around(folder, environment)
        assert found is not None
        assert found.folder == tree.path
    empty = tmp_path / "empty"
    (empty / ".git").mkdir(parents=True)
    for folder in (tree.path / "private", tmp_path, tree.forge.path, empty, tree.path / ".git", tmp_path / "no"):
        assert WorkingTree.around(folder, environment) is None


def test_a_commit_that_is_here_already(tree: Tree) -> None:
    """H4: any ancestor of HEAD, abbreviated or not; no lock and no remote is needed. Anything else is a no."""
    first = tree.working.head()
    unseen = tree.forge.push({"a.yaml": "second"})
    mine = tree.commit({"b.yaml": "mine"})
    tree.git("branch", "beef")
    tree.forge.path.rename(tree.forge.folder / "gone")
    with tree.working.locked():
        for commit in (first, mine, first[:7], first[:4], first.upper()):
            assert tree.working.holds(commit)
        for commit in (unseen, "beef", "0" * 40, "HEAD", "-h", "", "\0"):
            assert not tree.working.holds(commit)
        tree.git("reset", "--quiet", "--hard", first)
        assert not tree.working.holds(mine)
    assert Tree(tree.forge, tree.path).working.holds(first)


def test_our_own_push_is_here_already(tree: Tree) -> None:
    """H8: the push of a commit that was made in this tree changes nothing again."""
    mine = tree.commit({"a.yaml": "mine"})
    tree.git("push", "--quiet", "origin", "main")
    assert tree.working.holds(mine)
    assert tree.sync().outcome == SyncOutcome.IN_SYNC
