"""A config file: edits by hand, kills in the middle of a change, races among processes (G4, G7–G9, G11)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from controller.declared.config import patch_config, set_config
from controller.declared.config_file import BY_HAND, ConfigFile
from controller.errors import ConfigInvalid, LockTimeout
from tests.builders import NOW

ROOT = Path(__file__).parents[2]
RACERS, THREADS, CHANGES = 2, 4, 1250
"""10,000 changes: what G9 promises."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the config is; its folder is made by the first change (G7)."""
    return tmp_path / "etc" / "tallyd" / "config.yaml"


@pytest.fixture
def store(path: Path) -> ConfigFile:
    """The config at `path`."""
    return ConfigFile(path, lambda: NOW, lock_timeout_seconds=0.05)


def edit(path: Path, text: str) -> None:
    """As an editor does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_an_edit_by_hand_is_the_next_generation(store: ConfigFile, path: Path) -> None:
    """G11: noticed by content, whoever reads first; white space and comments make none."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    edit(path, "interval_seconds: 8\n")
    found = store.read()
    assert (found.generation, found.content, found.author) == (2, {"interval_seconds": 8}, BY_HAND)
    edit(path, "# faster\n\ninterval_seconds:   8\n")
    assert store.read() == found
    assert ConfigFile(path, lambda: NOW).read() == found
    edit(path, "interval_seconds: 7\n")
    assert store.read().generation == 3, "going back is a change too"


def test_a_first_file_by_hand_is_generation_1(store: ConfigFile, path: Path) -> None:
    """G11: and a change goes on from there."""
    edit(path, "interval_seconds: 8\n")
    assert store.read().generation == 1
    changed = patch_config(store, {"log_level": "debug"}, author="ann", expected_generation=1)
    assert (changed.generation, changed.content) == (2, {"interval_seconds": 8, "log_level": "debug"})


def test_a_change_finds_an_edit_that_nobody_read(store: ConfigFile, path: Path) -> None:
    """G9, G11: an edit by hand is an update that may not be lost."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    edit(path, "interval_seconds: 7\nlabel_prefix: acme\n")
    changed = patch_config(store, {"log_level": "debug"}, author="bob")
    assert changed.generation == 3
    assert changed.content == {"interval_seconds": 7, "label_prefix": "acme", "log_level": "debug"}
    assert [each.author for each in store.history()] == ["bob", BY_HAND, "ann"]


def test_comments_and_order_are_kept(store: ConfigFile, path: Path) -> None:
    """A change touches the lines that it concerns."""
    edit(path, "# ours\nlog_level: debug  # while we look for it\n\ninterval_seconds: 8\n")
    patch_config(store, {"interval_seconds": 9, "label_prefix": "no"}, author="ann")
    text = path.read_text()
    assert text.startswith("# ours\nlog_level: debug  # while we look for it\n\ninterval_seconds: 9\n")
    assert store.read().content == {"log_level": "debug", "interval_seconds": 9, "label_prefix": "no"}


def test_json_stays_json(tmp_path: Path) -> None:
    """The suffix decides."""
    path = tmp_path / "config.json"
    edit(path, '{"interval_seconds": 8}')
    patch_config(ConfigFile(path, lambda: NOW), {"log_level": "debug"}, author="ann")
    assert json.loads(path.read_text()) == {"interval_seconds": 8, "log_level": "debug"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("interval_seconds: 8\nlog_levl: debug\n", ":2: log_levl is not a setting; did you mean log_level?"),
        ("log_level: debug\ninterval_seconds: soon\n", ":2: interval_seconds is 'soon'"),
        ("interval_seconds: [\n", ":2: not YAML"),
        ("log_level: debug\nlog_level: info\n", ":2: key 'log_level' stands twice"),
        ("- a list\n", "must be a mapping"),
        ("log_level: debug\n---\nlog_level: info\n", "2 YAML documents"),
    ],
)
def test_a_malformed_file_is_named_with_the_place(store: ConfigFile, path: Path, text: str, said: str) -> None:
    """G2: file, line, value, what is allowed; nothing is recorded, and a mended file goes on."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    edit(path, text)
    for act in (store.read, lambda: patch_config(store, {"log_level": "debug"}, author="bob")):
        with pytest.raises(ConfigInvalid) as refused:
            act()
        assert str(path) in str(refused.value)
        assert said in str(refused.value)
    assert path.read_text() == text
    edit(path, "interval_seconds: 9\n")
    assert store.read().generation == 2


def test_damaged_generations_are_named(store: ConfigFile) -> None:
    """G2: and how to go on."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    store.generations_path.write_text('{"generations": [{"generation"')
    with pytest.raises(ConfigInvalid, match=r"\.config\.yaml\.generations is damaged .* move it away"):
        store.read()
    store.generations_path.unlink()
    assert store.read().generation == 1


def test_a_deleted_file_keeps_its_generation(store: ConfigFile, path: Path) -> None:
    """Absent is no content, and the count goes on."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    path.unlink()
    found = store.read()
    assert (found.generation, found.content, found.absent) == (1, {}, True)
    assert set_config(store, {}, author="bob", expected_generation=1).generation == 2


def test_mode_is_kept_and_secrets_are_private(store: ConfigFile, path: Path) -> None:
    """A new config is its owner's; one that others may read stays so."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    set_config(store, {"interval_seconds": 8}, author="ann")
    assert path.stat().st_mode & 0o777 == 0o640
    assert store.generations_path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_written_through(store: ConfigFile, path: Path, tmp_path: Path) -> None:
    """G7: the file that a link names is replaced, not the link."""
    real = tmp_path / "elsewhere" / "real.yaml"
    edit(real, "interval_seconds: 8\n")
    path.parent.mkdir(parents=True)
    path.symlink_to(real)
    patch_config(store, {"interval_seconds": 9}, author="ann")
    assert path.is_symlink()
    assert real.read_text() == "interval_seconds: 9\n"


def test_a_lock_that_is_held_times_out(store: ConfigFile) -> None:
    """G1: in-process lock and inter-process lock; reading needs neither."""
    before = set_config(store, {"interval_seconds": 7}, author="ann")
    with FileLock(store.lock_path), pytest.raises(LockTimeout, match="somebody held its lock for over"):
        set_config(store, {"interval_seconds": 8}, author="bob")
    held: list[str] = []

    def slow(content: object) -> dict[str, int]:
        with pytest.raises(LockTimeout):
            set_config(store, {"interval_seconds": 9}, author="eve")
        held.append(str(content))
        assert store.read() == before
        return {"interval_seconds": 8}

    assert store.change(slow, author="bob").generation == 2
    assert held == ["{'interval_seconds': 7}"]


def test_the_kernel_frees_the_lock_of_a_dead_holder(store: ConfigFile) -> None:
    """G8: by no age; a holder that was killed holds nothing, one that sleeps does."""
    set_config(store, {"interval_seconds": 7}, author="ann")
    code = (
        "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(store.lock_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        os.utime(store.lock_path, (0, 0))
        with pytest.raises(LockTimeout):
            set_config(store, {"interval_seconds": 8}, author="bob")
        holder.kill()
        holder.wait()
        assert set_config(store, {"interval_seconds": 8}, author="bob").generation == 2


READ_ONLY = """
import sys
from pathlib import Path
from subprocess import run
from controller.declared.config import set_config
from controller.declared.config_file import ConfigFile
from controller.errors import ConfigInvalid
from tests.builders import NOW

path = Path(sys.argv[1])
store = ConfigFile(path, lambda: NOW)
print(store.read().generation, store.read().generation)
for options in ("remount,rw,bind", "remount,ro,bind"):
    run(["mount", "-o", options, path.parent], check=True)
    if options == "remount,rw,bind":
        path.write_text("interval_seconds: 9")
print(store.read().generation, dict(store.read().content))
try:
    set_config(store, {}, author="ann")
except ConfigInvalid as error:
    print(error)
run(["mount", "-o", "remount,rw,bind", path.parent], check=True)
path.unlink()
run(["mount", "-o", "remount,ro,bind", path.parent], check=True)
print(store.read().generation, store.read().absent)
"""


def test_a_read_only_folder_is_read(path: Path) -> None:
    """W7: a ConfigMap, as a mount of a namespace: generations rise while the process lives; a change says what to do.

    A file that is deleted there is absent, as it is elsewhere.
    """
    edit(path, "interval_seconds: 8\n")
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$1" -c "$2" "$0/config.yaml"'
    command = ["unshare", "--mount", "sh", "-c", mounts, str(path.parent), sys.executable, READ_ONLY]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[:2] == ["1 1", "2 {'interval_seconds': 9}"]
    assert "its folder cannot be written by this user; edit it where it comes from" in lines[2]
    assert lines[3] == "2 True"


def test_a_kill_at_any_line_leaves_old_or_new(path: Path) -> None:
    """G4, G7, F: before every line of code that stores a config; what was left behind harms nobody."""
    store = ConfigFile(path, lambda: NOW)
    set_config(store, {"interval_seconds": 1}, author="ann")
    command = [sys.executable, "-m", "tests.contract.config_crasher", str(path)]
    crasher = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crasher.stdin is not None
    assert crasher.stdout is not None
    seen, number, end = set(), 0, int(signal.SIGKILL)
    with crasher:
        while end == signal.SIGKILL:
            number += 1
            before = store.read()
            wanted = {"interval_seconds": number + 1}
            print(number, json.dumps(wanted), file=crasher.stdin, flush=True)
            end = int(crasher.stdout.readline())
            after = store.read()
            if after.generation == before.generation:
                seen.add("old")
                assert after.content == before.content
            else:
                seen.add("new")
                assert (after.generation, after.content) == (before.generation + 1, wanted)
        crasher.stdin.close()
    assert end == 0
    assert seen == {"old", "new"}
    assert number > 80, "too few moments for a change of three files"
    last = set_config(store, {"interval_seconds": 5}, author="ann", expected_generation=store.read().generation)
    assert {each.name for each in path.parent.iterdir()} == {
        path.name,
        store.generations_path.name,
        store.lock_path.name,
    }
    edit(path, "interval_seconds: 1\n")
    assert store.read().generation == last.generation + 1


def test_no_update_is_lost_in_a_race(path: Path) -> None:
    """G9: 10,000 read-modify-writes from threads of two processes."""
    command = [sys.executable, "-m", "tests.contract.config_racer", str(path), str(THREADS), str(CHANGES)]
    racers = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(RACERS)]
    told = [each.communicate()[0].split() for each in racers]
    assert [each.returncode for each in racers] == [0] * RACERS
    found = ConfigFile(path, lambda: NOW).read()
    total = RACERS * THREADS * CHANGES
    assert (found.content, found.generation) == ({"interval_seconds": total}, total)
    assert sum(int(conflicts) for conflicts, _ in told) > 0, "nobody raced"
