"""`controller.rollout.followers`: the notes of routers, and what they are worth."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.rollout.followers import Asker, Follower, Followers, notes_of


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A runtime config."""
    path = tmp_path / "runtime.json"
    path.write_text("one")
    return path


def test_without_a_note_nothing_is_certain(runtime: Path) -> None:
    """D8: nobody is behind, and nobody says that all is well."""
    followers = Followers(runtime)
    assert followers.behind() == []
    assert followers.routed_elsewhere() == "no router tells what it has in force"


def test_a_router_follows_and_then_is_alone(runtime: Path) -> None:
    """D8, T6: only when requests of the configuration before have ended is nobody routed elsewhere."""
    followers, router = Followers(runtime), Follower(runtime, "here:/router")
    router.tell("zero", alone=True)
    assert followers.behind() == ["here:/router"]
    assert followers.routed_elsewhere() == "router here:/router has not taken the split over"
    router.tell("one", alone=False)
    assert followers.behind() == []
    assert followers.routed_elsewhere() == "router here:/router still serves requests of the split before"
    router.tell("one", alone=True)
    assert followers.routed_elsewhere() == ""
    runtime.unlink()
    assert followers.behind() == ["here:/router"]
    router.tell(None, alone=True)
    assert (followers.behind(), followers.routed_elsewhere()) == ([], "")


def test_each_router_counts(runtime: Path) -> None:
    """D8: one that lags is enough; one that left counts no more."""
    followers, one, two = Followers(runtime), Follower(runtime, "one"), Follower(runtime, "two")
    one.tell("one", alone=True)
    two.tell("zero", alone=True)
    assert followers.behind() == ["two"]
    two.leave()
    two.leave()
    assert followers.routed_elsewhere() == ""


def test_a_router_that_only_asks(runtime: Path) -> None:
    """D8, T5: it is waited for by nobody, and nothing is certain."""
    followers = Followers(runtime)
    Follower(runtime, "nginx").tell("one", alone=True)
    asks = Asker(runtime)
    asks()
    asks()
    assert followers.behind() == []
    assert followers.routed_elsewhere() == "router Traefik does not tell what it has in force"
    Asker(None)()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"router": "x"}'])
def test_a_note_that_cannot_be_read_says_nothing_good(runtime: Path, text: str) -> None:
    """D8: it counts as a router that is behind."""
    notes_of(runtime).mkdir()
    (notes_of(runtime) / "bad.json").write_text(text)
    assert Followers(runtime).behind() == ["bad.json"]
    assert Followers(runtime).routed_elsewhere() == "router bad.json has not taken the split over"
