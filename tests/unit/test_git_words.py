"""`controller.declared`: what git said, made fit to be shown; and the pure decisions about what is kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.declared.conflicts import conflict_branch, in_the_way
from controller.declared.git import GitAnswer, failure_of, readable, redacted
from controller.declared.gitsync import why_unfetched

NOW = datetime(2026, 11, 29, 22, 52, 27, tzinfo=UTC)
NAMES = st.lists(st.sampled_from(["a", "b", "a/b", "a/b/c", "b/c", "c", "ab", "a.b/c"]), unique=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cannot access 'https://me:secret@host/x.git/': 403", "cannot access 'https://***@host/x.git/': 403"),
        ("https://token@host/x", "https://***@host/x"),
        ("ssh://git:p@ss:w/rd'@host/x and http://a:b@c", "ssh://***@host/x and http://***@c"),
        ("'https://host/x.git?private_token=abc': no", "'https://host/x.git?***': no"),
        ("git@host:x.git and https://host/x", "git@host:x.git and https://host/x"),
    ],
)
def test_no_secret_of_a_url_is_shown(text: str, shown: str) -> None:
    """O6: user information and query are taken out, wherever a URL stands."""
    assert redacted(text) == shown


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30))
def test_no_password_survives(password: str) -> None:
    """O6: whatever characters it has, encoded or not."""
    assert redacted(f"x 'https://me:{password}@host/' y") == "x 'https://***@host/' y"


def test_what_git_said_is_one_short_clean_line() -> None:
    """O6: without hints, progress, control characters; cut where somebody writes a novel."""
    said = "hint: try\nremote: Counting objects: 1\r\nfatal: no\x1b[31m way\n\n  error: x \n"
    assert readable(said) == "fatal: no [31m way; error: x"
    assert len(readable("x" * 10_000)) < 650


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (GitAnswer(-15, b"", "", timed_out=True), "no end in time"),
        (GitAnswer(-9, b"", ""), "ended by signal 9"),
        (GitAnswer(3, b"", ""), "exit code 3"),
        (GitAnswer(128, b"", "fatal: no"), "fatal: no"),
        (GitAnswer(128, b"", "Unable to create '/x/index.lock': File exists."), "remove that file"),
    ],
)
def test_why_a_call_failed(answer: GitAnswer, said: str) -> None:
    """H5: always in words."""
    assert said in failure_of(answer)


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", "asks for credentials"),
        ("git@h: Permission denied (publickey).", "asks for credentials"),
        ("The requested URL returned error: 403", "asks for credentials"),
        ("Host key verification failed.", "known_hosts"),
        ("fatal: detected dubious ownership in repository at '/x'", "another user"),
        ("error: cannot lock ref 'refs/remotes/origin/a/b'", "git remote prune"),
        ("fatal: unable to access 'https://h/': Could not resolve host: h", "cannot be fetched from"),
    ],
)
def test_why_a_fetch_failed(trouble: str, said: str) -> None:
    """H5: the reason in words one can act on, and git's own behind it."""
    told = why_unfetched(GitAnswer(128, b"", trouble), 60)
    assert said in told
    assert told.endswith(trouble)
    assert "within 60 s" in why_unfetched(GitAnswer(-15, b"", trouble, timed_out=True), 60)


def test_the_name_of_a_branch_that_keeps_things() -> None:
    """H5: UTC, whatever the zone; a number behind it where it is taken."""
    first = "conflicts/20261129T225227Z"
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert conflict_branch(elsewhere, []) == first
    assert conflict_branch(NOW, [first, f"{first}-2", f"{first}-4"]) == f"{first}-3"


@given(here=NAMES, coming=NAMES)
def test_what_is_in_the_way(here: list[str], coming: list[str]) -> None:
    """H5: exactly what cannot exist beside one of the files that come."""

    def clash(one: str, other: str) -> bool:
        return one == other or one.startswith(f"{other}/") or other.startswith(f"{one}/")

    assert in_the_way(here, coming) == [each for each in here if any(clash(each, other) for other in coming)]


@given(st.lists(st.integers(0, 3), max_size=20))
def test_names_never_repeat(moments: list[int]) -> None:
    """H5: nothing that was kept is replaced."""
    taken: list[str] = []
    for each in moments:
        taken.append(conflict_branch(NOW + timedelta(seconds=each), taken))
    assert len(set(taken)) == len(moments)
    assert all(re.fullmatch(r"conflicts/\d+T\d{6}Z(-\d+)?", each) for each in taken)
