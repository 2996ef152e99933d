"""What may go wrong between a working tree and its remote: network, credentials, hostile names, kills, races."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controller.declared.git import GitLimits
from controller.declared.gitsync import SyncOutcome, SyncReport, WorkingTree
from controller.errors import BranchUnknown, GitFailed, LockTimeout
from tests.harness import require, wait_until
from tests.harness.git import Forge, GitHttpServer, write
from tests.integration.trees import KEPT, Tree

FIRST = {"a.yaml": "first", "b.yaml": "first"}
PASSWORD = "pass@word/of'theirs"
PUSHES = 12


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """A remote with one commit of two files."""
    return Forge(tmp_path)


@pytest.fixture
def server(forge: Forge) -> Iterator[GitHttpServer]:
    """Its smart HTTP server."""
    with contextlib.closing(GitHttpServer(forge.folder)) as each:
        yield each


@pytest.fixture
def tree(forge: Forge) -> Tree:
    """Its clone, by path."""
    return Tree(forge, forge.clone("tree"))


def _fetch_failed(tree: Tree, *said: str) -> SyncReport:
    head = tree.working.head()
    report = tree.sync()
    assert (report.outcome, report.commit, report.previous) == (SyncOutcome.FETCH_FAILED, head, head)
    assert all(each in report.detail for each in said), report.detail
    assert (tree.files, tree.kept) == (FIRST, [])
    return report


def test_a_remote_that_cannot_be_reached(tree: Tree, server: GitHttpServer) -> None:
    """H5: fetch-failed with the reason, the tree untouched; and it goes on when the remote is back."""
    tree.forge.path.rename(tree.forge.folder / "away")
    _fetch_failed(tree, "cannot be fetched from", "does not appear to be a git repository")
    tree.git("remote", "set-url", "origin", "http://127.0.0.1:1/remote.git?key=hidden")
    assert "hidden" not in _fetch_failed(tree, "Failed to connect").detail
    tree.git("remote", "set-url", "origin", server.url().replace("remote.git", "other.git"))
    _fetch_failed(tree, "cannot be fetched from")
    tree.git("remote", "remove", "origin")
    _fetch_failed(tree, "there is no remote 'origin': git remote add origin URL")
    (tree.forge.folder / "away").rename(tree.forge.path)
    tree.git("remote", "add", "origin", tree.forge.url)
    wanted = tree.forge.push({"a.yaml": "second"})
    assert tree.sync().commit == wanted


def test_a_remote_that_asks_for_credentials(tree: Tree, server: GitHttpServer) -> None:
    """H5: nothing is asked on a terminal; a credential that git has is used, and none reaches a message."""
    server.password = "secret-of-theirs"
    tree.git("remote", "set-url", "origin", server.url())
    _fetch_failed(tree, "asks for credentials", "terminal prompts disabled")
    tree.git("remote", "set-url", "origin", server.url("me:" + PASSWORD.replace("@", "%40").replace("/", "%2F")))
    detail = _fetch_failed(tree, "asks for credentials").detail
    assert not re.search(r"pass|word|theirs|me:", detail)
    tree.git("remote", "set-url", "origin", server.url(f"me:{server.password}"))
    wanted = tree.forge.push({"a.yaml": "second"})
    assert tree.sync().commit == wanted


def test_git_gets_the_little_that_it_needs(forge: Forge, server: GitHttpServer) -> None:
    """O6, H5: none of our secrets are in the environment of what git runs, and ssh cannot ask either."""
    server.password = "secret"
    secrets = {"TALLYD_RELOAD_TOKEN": "x" * 32, "GIT_ASKPASS": "/bin/true", "GIT_DIR": "/nowhere"}
    tree = Tree(forge, forge.clone("tree"), environment=secrets)
    seen, called = forge.folder / "seen", forge.folder / "called"
    tree.git("config", "credential.helper", f"!env >{seen}; false")
    tree.git("remote", "set-url", "origin", server.url())
    _fetch_failed(tree, "asks for credentials")
    assert not re.search("^(TALLYD_|GIT_ASKPASS=|GIT_DIR=/nowhere)", seen.read_text(), re.M)
    ssh = forge.folder / "ssh"
    ssh.write_text(f'#!/bin/sh\necho "$@" >>{called}\necho "Host key verification failed." >&2\nexit 255\n')
    ssh.chmod(0o755)
    tree.git("config", "core.sshCommand", f"{ssh} -i key")
    tree.git("remote", "set-url", "origin", "ssh://git@127.0.0.1/remote.git")
    _fetch_failed(tree, "add it to known_hosts")
    assert "-i key -o BatchMode=yes" in called.read_text()


@pytest.mark.parametrize("held", ["info/refs", "git-upload-pack"])
def test_a_remote_that_hangs(forge: Forge, server: GitHttpServer, held: str) -> None:
    """H5: given up after its time, at whatever step; the next sync works."""
    tree = Tree(forge, forge.clone("tree", server.url()), GitLimits(remote_seconds=1.0))
    wanted = forge.push({"a.yaml": "second"})
    with server.hanging(held):
        _fetch_failed(tree, "did not answer in full within 1 s")
    patient = Tree(forge, tree.path)
    assert patient.sync().commit == wanted


def test_a_stop_ends_a_fetch(forge: Forge, server: GitHttpServer) -> None:
    """R3, H5: what runs is ended with all that it started, and nothing runs afterwards."""
    tree = Tree(forge, forge.clone("tree", server.url()))
    forge.push({"a.yaml": "second"})
    with server.hanging("info/refs"), ThreadPoolExecutor(1) as threads:
        pending = threads.submit(tree.sync)
        assert server.reached.wait(10)
        assert _running_in(tree)
        tree.working.cancel()
        with pytest.raises(GitFailed, match="the controller stops"):
            pending.result(10)
        assert not _running_in(tree)
    with pytest.raises(GitFailed, match="the controller stops"):
        tree.sync()
    assert not tree.working.holds(forge.run("rev-parse", "HEAD"))
    assert tree.files == FIRST


def _running_in(tree: Tree) -> list[int]:
    """Processes of git that were told to work in this tree."""
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            command = (each / "cmdline").read_bytes().split(b"\0")
            if b"git" in command[0] and str(tree.path).encode() in command:
                found.append(int(each.name))
    return found


def test_a_git_that_is_killed_in_a_fetch(forge: Forge, server: GitHttpServer) -> None:
    """H5: the tree is as it was, and the next sync goes on."""
    tree = Tree(forge, forge.clone("tree", server.url()))
    wanted = forge.push({"a.yaml": "second"})
    with server.hanging("git-upload-pack"), ThreadPoolExecutor(1) as threads:
        pending = threads.submit(_fetch_failed, tree, "cannot be fetched from")
        assert server.reached.wait(10)
        for pid in _running_in(tree):
            os.kill(pid, signal.SIGKILL)
        pending.result(10)
    assert tree.sync().commit == wanted


def test_a_git_that_is_killed_in_a_checkout(tree: Tree) -> None:
    """H5: its lock file is named and not removed, because a person's git may hold it; then the next sync goes on."""
    hold, reached = tree.forge.folder / "hold", tree.forge.folder / "reached"
    os.mkfifo(hold)
    tree.git("config", "filter.slow.smudge", f"touch {reached}; cat; cat {hold}")
    wanted = tree.forge.push({".gitattributes": "*.yaml filter=slow\n", "a.yaml": "second", "c.yaml": "second"})
    with ThreadPoolExecutor(1) as threads, contextlib.ExitStack() as stack:
        stack.callback(os.close, os.open(hold, os.O_RDWR))  # the filter waits until it is closed
        pending = threads.submit(tree.sync)
        wait_until(reached.exists, what="git checks out")
        for pid in _running_in(tree):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(GitFailed, match="ended by signal 9"):
            pending.result(10)
    tree.git("config", "filter.slow.smudge", "cat")
    with pytest.raises(GitFailed, match=r"index\.lock.*if none runs, remove that file"):
        tree.sync()
    assert (tree.path / ".git" / "index.lock").exists()
    (tree.path / ".git" / "index.lock").unlink()
    report = tree.sync()
    assert (report.outcome, report.commit) == (SyncOutcome.FAST_FORWARDED, wanted)
    assert (tree.files["a.yaml"], tree.files["c.yaml"], tree.unchanged) == ("second", "second", True)


def test_a_sync_that_failed_after_it_kept_something(tree: Tree) -> None:
    """H5: trying again makes no second branch of the same commits."""
    mine = tree.commit({"b.yaml": "mine"})
    wanted = tree.forge.push({"a.yaml": "second"})
    write(tree.path / ".git" / "index.lock", "")
    for _ in range(2):
        with pytest.raises(GitFailed, match=r"index\.lock"):
            tree.sync()
    assert (tree.working.head(), tree.kept) == (mine, [KEPT])
    (tree.path / ".git" / "index.lock").unlink()
    report = tree.sync()
    assert (report.outcome, report.commit, report.kept_on, tree.kept) == (SyncOutcome.DIVERGED, wanted, KEPT, [KEPT])


HOSTILE = [
    "",
    "-b",
    "--upload-pack=touch marker",
    "--output=marker",
    "main:refs/heads/evil",
    "+main",
    "+refs/heads/main:refs/heads/evil",
    "refs/heads/main",
    "origin/main",
    "@{-1}",
    "@",
    "HEAD",
    "main^",
    "main~1",
    "main..main",
    "../../main",
    "main.lock",
    "main ",
    "ma in",
    "*",
    "$(touch marker)",
    "ext::sh -c touch% marker",
    "main\nmain",
    "main\0",
    "main\x7f",
    "\ud800",
    "x" * 201,
    "ü" * 200,
]


@pytest.mark.parametrize("branch", HOSTILE, ids=ascii)
def test_hostile_names_of_branches(tree: Tree, branch: str) -> None:
    """H3: none is an option, a refspec, an expression, a path or a command; each is told as unknown."""
    refs = tree.git("for-each-ref")
    with pytest.raises(BranchUnknown):
        tree.sync(branch)
    assert (tree.git("for-each-ref"), tree.files, tree.unchanged) == (refs, FIRST, True)
    assert not [each for each in tree.forge.folder.rglob("*marker*") if "test_" not in each.name]


@pytest.mark.parametrize("branch", ["a-b", "feature/ü", "1", "x" * 200, "#7", "a'b\"c;d", "conflicts/x", "%00"])
def test_unusual_names_of_branches(tree: Tree, branch: str) -> None:
    """H3: whatever git takes for a name works."""
    wanted = tree.forge.push({"a.yaml": "second"}, branch)
    assert (tree.sync(branch).commit, tree.at) == (wanted, branch)


def test_no_hook_runs(tree: Tree) -> None:
    """H5: neither the repository's own hooks nor those that its configuration names."""
    marker, hooks = tree.forge.folder / "marker", tree.path / ".git" / "hooks"
    tree.git("config", "core.hooksPath", str(hooks))
    tree.git("config", "core.fsmonitor", str(hooks / "post-checkout"))
    for name in (
        "post-checkout",
        "post-merge",
        "post-index-change",
        "reference-transaction",
        "pre-commit",
        "pre-auto-gc",
    ):
        write(hooks / name, f"#!/bin/sh\ntouch {marker}\n")
        (hooks / name).chmod(0o755)
    write(tree.path / "a.yaml", "mine")
    tree.forge.push({"a.yaml": "second"})
    assert tree.sync().kept_on == KEPT
    assert not marker.exists()


def test_a_remote_that_is_a_command(tree: Tree) -> None:
    """H5: git's ext transport is off, also where its configuration turns it on."""
    marker = tree.forge.folder / "marker"
    tree.git("config", "protocol.ext.allow", "always")
    tree.git("remote", "set-url", "origin", f"ext::sh -c touch% {marker}")
    _fetch_failed(tree, "transport 'ext' not allowed")
    assert not marker.exists()


def test_a_tree_of_another_user(tree: Tree) -> None:
    """H5: refused with git's own advice, because its configuration can run commands; allowed where that is said."""
    require("root")
    subprocess.run(["chown", "-R", "65532:65532", tree.path], check=True)
    environment = tree.forge.environment
    with pytest.raises(GitFailed, match=r"dubious ownership.*safe\.directory"):
        WorkingTree.around(tree.path, environment)
    trusted = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": str(tree.path)}
    assert WorkingTree.around(tree.path, environment | trusted) is not None


def test_no_git_is_installed(tree: Tree, tmp_path: Path) -> None:
    """H5: said so where there is a working tree; not asked for where there is none."""
    bare = {"PATH": str(tmp_path)}
    with pytest.raises(GitFailed, match="is it installed"):
        WorkingTree.around(tree.path, bare)
    assert WorkingTree.around(tmp_path, bare) is None


def test_the_lock_is_waited_for_and_then_given_up(tree: Tree) -> None:
    """H5: against another thread and another process; one that dies gives it back."""
    impatient = Tree(tree.forge, tree.path, GitLimits(lock_seconds=0.2))
    with impatient.working.locked(), pytest.raises(LockTimeout, match="did not end within"):
        impatient.sync()
    with tree.working.locked(), pytest.raises(LockTimeout, match=r"tallyd\.lock"):
        impatient.sync()
    with _other_process(tree, "print('locked', flush=True); sys.stdin.read()") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(LockTimeout):
            impatient.sync()
        other.kill()
        other.wait()
        assert tree.sync().outcome == SyncOutcome.IN_SYNC


def _other_process(tree: Tree, action: str) -> subprocess.Popen[str]:
    """Another process that does something under the lock of this tree."""
    program = (
        "import os, sys, pathlib, datetime\n"
        "from controller.declared.gitsync import WorkingTree\n"
        "tree = WorkingTree.around(pathlib.Path(sys.argv[1]), os.environ)\n"
        f"with tree.locked():\n    {action}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(tree.path)],
        env=tree.forge.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


RACER = """
import datetime, os, pathlib, sys
from controller.declared.gitsync import WorkingTree
tree = WorkingTree.around(pathlib.Path(sys.argv[1]), os.environ)
now = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
print("up", flush=True)
for line in sys.stdin:
    with tree.locked():
        report = tree.sync(None, now)
        # Nobody else moves it while we hold the lock.
        assert tree.head() == report.commit and tree.holds(report.commit), report
        print(report.outcome, flush=True)
"""


def test_syncs_race_from_two_processes(tree: Tree) -> None:
    """H5: one at a time; each push arrives once, whole, and none of them is taken for a divergence."""
    command = [sys.executable, "-c", RACER, str(tree.path)]
    with contextlib.ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    command, env=tree.forge.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for _ in range(2)
        ]
        stack.callback(lambda: [each.kill() for each in racers])
        assert [each.stdout.readline() for each in racers if each.stdout] == ["up\n", "up\n"]
        outcomes = []
        for number in range(PUSHES):
            wanted = tree.forge.push({"a.yaml": f"change {number}", "b.yaml": f"change {number}"})
            for each in racers:
                assert each.stdin is not None
                each.stdin.write("sync\n")
                each.stdin.flush()
            told = sorted(each.stdout.readline().strip() for each in racers if each.stdout)
            outcomes.append(told)
            assert (tree.working.head(), tree.files["a.yaml"]) == (wanted, f"change {number}")
        for each in racers:
            each.communicate(timeout=20)
        assert [each.returncode for each in racers] == [0, 0]
    assert outcomes == [["fast-forwarded", "in-sync"]] * PUSHES
    assert (tree.unchanged, tree.kept) == (True, [])


def test_threads_share_one_tree(tree: Tree) -> None:
    """H4, H5: the check before a sync goes on while syncs run, and the syncs are serial."""
    wanted = tree.forge.push({"a.yaml": "second"})
    first = tree.working.head()
    begin = threading.Barrier(4)

    def sync() -> SyncOutcome:
        begin.wait()
        return tree.sync().outcome

    def look() -> bool:
        begin.wait()
        return all(tree.working.holds(first) for _ in range(20))

    with ThreadPoolExecutor(4) as threads:
        syncs = [threads.submit(sync) for _ in range(3)]
        looks = threads.submit(look)
        outcomes = sorted(each.result() for each in syncs)
        assert looks.result()
    assert outcomes == [SyncOutcome.FAST_FORWARDED, SyncOutcome.IN_SYNC, SyncOutcome.IN_SYNC]
    assert tree.working.head() == wanted
