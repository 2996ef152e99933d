"""`controller.declared.reload`, where the manifests are in a git working tree, and where they are not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from controller.declared.gitsync import SyncOutcome
from controller.declared.reloaded import ReloadAnswer
from controller.errors import BranchUnknown, ConfigInvalid, GitFailed, LockTimeout, ManifestInvalid, ReloadFailed
from tests.harness import wait_until
from tests.unit.reloads import COMMIT, SECONDS, House, Tree, declared, in_background, reload_threads


@pytest.fixture
def house() -> Iterator[House]:
    """A worker over a tree, after its first activation; stopped in the end."""
    yield from _stopped_after(House(Tree()))


@pytest.fixture
def plain() -> Iterator[House]:
    """A worker without a tree, after its first activation; stopped in the end."""
    yield from _stopped_after(House())


def _stopped_after(house: House) -> Iterator[House]:
    yield house.started()
    house.worker.stop()
    wait_until(lambda: not reload_threads(), what="the worker ends")


def tree_of(house: House) -> Tree:
    """The stand-in for its tree."""
    assert house.tree is not None
    return house.tree


@pytest.mark.parametrize("outcome", [SyncOutcome.FAST_FORWARDED, SyncOutcome.DIVERGED])
def test_a_tree_that_moved_is_rebuilt_under_its_lock(house: House, outcome: SyncOutcome) -> None:
    """H5, H7: inside the same lock; the answer comes when the new state serves, and says where things were kept."""
    house.declared, tree_of(house).outcome = declared(5, 2), outcome
    kept_on = "conflicts/x" if outcome is SyncOutcome.DIVERGED else None
    with capture_logs() as logs:
        answer = house.worker.sync("main", SECONDS)
    assert answer == ReloadAnswer(True, str(outcome), "", COMMIT, kept_on, 2)
    assert (house.serving, house.built_under_lock) == (declared(5, 2), [False, True])
    assert (tree_of(house).branches, tree_of(house).is_locked) == (["main"], False)
    assert [each["event"] for each in logs] == ["activated", "git sync"]
    assert (logs[1]["outcome"], logs[1]["kept_on"]) == (str(outcome), kept_on or "")


@pytest.mark.parametrize("outcome", [SyncOutcome.IN_SYNC, SyncOutcome.FETCH_FAILED])
def test_a_tree_that_did_not_move_is_not_rebuilt(house: House, outcome: SyncOutcome) -> None:
    """H5: and the answer says which of the two, and why."""
    tree_of(house).outcome, tree_of(house).detail = outcome, "the remote is away"
    house.declared = declared(5, 2)
    answer = house.worker.sync(None, SECONDS)
    assert answer == ReloadAnswer(False, str(outcome), "the remote is away", COMMIT, None, 1)
    assert (house.read, house.serving) == (1, declared())


def test_a_tree_that_moved_and_cannot_be_built(house: House) -> None:
    """H6: who asked is told why, the previous state serves, the lock is free, and the worker lives."""
    tree_of(house).outcome, house.read_error = SyncOutcome.FAST_FORWARDED, ManifestInvalid("a.yaml:2: no kind")
    with pytest.raises(ReloadFailed, match=r"a\.yaml:2: no kind") as failed:
        house.worker.sync(None, SECONDS)
    assert not failed.value.restart_required
    assert (house.serving, tree_of(house).is_locked) == (declared(), False)
    house.read_error, house.declared = None, declared(5, 2)
    assert house.worker.sync(None, SECONDS).changed
    assert house.serving == declared(5, 2)


def test_what_was_refused_is_tried_again_though_the_tree_is_in_sync(house: House) -> None:
    """H5, H6, W7: whoever asks twice is not told that all is well; and once it is well, in-sync rebuilds nothing."""
    tree_of(house).outcome, house.read_error = SyncOutcome.FAST_FORWARDED, ManifestInvalid("a.yaml:2: no kind")
    for _ in range(2):
        with pytest.raises(ReloadFailed, match=r"a\.yaml:2"):
            house.worker.sync(None, SECONDS)
        assert house.worker.refused
        tree_of(house).outcome = SyncOutcome.IN_SYNC
    house.read_error, house.declared = None, declared(5, 2)
    answer = house.worker.sync(None, SECONDS)
    assert (answer.changed, answer.outcome, house.worker.refused) == (True, "in-sync", False)
    reads = house.read
    assert not house.worker.sync(None, SECONDS).changed
    assert house.read == reads


def test_a_tree_that_moved_and_was_swapped_half(house: House) -> None:
    """H6: told apart from a state that could not be built."""
    tree_of(house).outcome, house.swap_error = SyncOutcome.FAST_FORWARDED, RuntimeError("half-way")
    house.declared = declared(5, 2)
    with pytest.raises(ReloadFailed, match="half-way") as failed:
        house.worker.sync(None, SECONDS)
    assert failed.value.restart_required
    assert house.status.not_ready_because()


@pytest.mark.parametrize("error", [BranchUnknown("origin has no branch 'x'"), GitFailed("no git")], ids=str)
def test_a_sync_that_fails_is_told_to_who_asked(house: House, error: Exception) -> None:
    """H3, H5: the worker lives, nothing is rebuilt, and the lock is free."""
    tree_of(house).outcome = error
    with pytest.raises(type(error), match=str(error)):
        house.worker.sync("x", SECONDS)
    assert (house.read, tree_of(house).is_locked) == (1, False)
    assert house.reload().result == "unchanged"


def test_somebody_else_holds_the_lock(house: House) -> None:
    """H5: told as such, without a sync."""
    tree_of(house).busy = True
    with pytest.raises(LockTimeout, match="another sync"):
        house.worker.sync(None, SECONDS)
    assert tree_of(house).branches == []


def test_without_git_everything_is_read_anew(plain: House) -> None:
    """H5: `no-git`, changed or not; a branch cannot be meant then (H3)."""
    assert plain.worker.sync(None, SECONDS) == ReloadAnswer(False, "no-git", _IN_FORCE, "", None, 1)
    plain.declared = declared(5, 2)
    assert plain.worker.sync(None, SECONDS) == ReloadAnswer(True, "no-git", "what changed", "", None, 2)
    with pytest.raises(BranchUnknown, match="no git working tree"):
        plain.worker.sync("main", SECONDS)
    plain.read_error = ConfigInvalid("config.yaml:3: not YAML")
    with pytest.raises(ReloadFailed, match=r"config\.yaml:3"):
        plain.worker.sync(None, SECONDS)


_IN_FORCE = "what is declared is in force"


def test_syncs_and_rebuilds_are_served_in_order(house: House) -> None:
    """W8: a sync is never coalesced with another one, and a rebuild never overtakes one."""
    tree_of(house).gate.close()
    with in_background(lambda: house.worker.sync("a", SECONDS)) as first:
        assert tree_of(house).gate.reached.wait(SECONDS)
        house.worker.request("file")
        with in_background(lambda: house.worker.sync("b", SECONDS)) as second:
            wait_until(lambda: len(house.worker._jobs) == 2, what="both wait")
            house.worker.request("file")
            house.worker.request("file")
            reasons = [job.reason for job in house.worker._jobs]
            tree_of(house).gate.open.set()
    assert reasons == ["file", "git", "file"]
    assert (first.error, second.error, tree_of(house).branches) == (None, None, ["a", "b"])
    wait_until(lambda: house.read == 3, what="both rebuilds")


def test_stopping_ends_a_git_that_hangs(house: House) -> None:
    """W9: the sync ends, whoever waits for it or behind it is told, and the thread is gone."""
    tree_of(house).gate.close()
    with in_background(lambda: house.worker.sync(None, SECONDS)) as hanging:
        assert tree_of(house).gate.reached.wait(SECONDS)
        with in_background(house.reload) as behind:
            wait_until(lambda: house.worker._jobs, what="it waits")
            house.worker.stop()
    assert isinstance(hanging.error, GitFailed)
    assert isinstance(behind.error, ReloadFailed)
    assert not reload_threads()


def test_a_fetch_that_fails_is_logged_once_and_so_is_its_return(house: House) -> None:
    """H5, O6: whatever is rebuilt in between; and again the next time."""
    tree = tree_of(house)
    with capture_logs() as logs:
        for outcome in (SyncOutcome.FETCH_FAILED, SyncOutcome.FETCH_FAILED, SyncOutcome.IN_SYNC) * 2:
            tree.outcome = outcome
            tree.detail = "away" if outcome is SyncOutcome.FETCH_FAILED else ""
            house.worker.sync(None, SECONDS)
            house.reload()
    told = [(each["log_level"], each["event"], each.get("reason")) for each in logs]
    once = [
        ("error", "git fetch failed, the tree is as it was", "away"),
        ("info", "git sync works again", None),
    ]
    assert told == once * 2


def test_a_sync_that_fails_and_a_config_that_is_wrong_are_each_logged_once(house: House) -> None:
    """W5, O6: neither makes the worker forget that it told the other."""
    tree_of(house).outcome, house.read_error = GitFailed("no git"), ConfigInvalid("line 3")
    with capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(GitFailed):
                house.worker.sync(None, SECONDS)
            house.reload()
    assert sorted(each["reason"] for each in logs) == ["line 3", "no git"]


def test_the_tree_is_synced_by_itself() -> None:
    """W8, H5: every so many seconds, also while something else asks for rebuilds all the time; stop ends it."""
    house = House(Tree(), sync_seconds=0.02).started()
    house.then = lambda: house.worker.request("tick")
    house.worker.request("tick")
    wait_until(lambda: len(tree_of(house).branches) >= 3 and house.read > 3, what="syncs between rebuilds")
    assert set(tree_of(house).branches) == {None}
    house.worker.stop()
    wait_until(lambda: not reload_threads(), what="the worker ends")


def test_a_tree_is_not_synced_by_itself_unless_asked_to(house: House) -> None:
    """H5: by default the webhook alone does it."""
    for _ in range(3):
        house.reload()
    assert tree_of(house).branches == []
