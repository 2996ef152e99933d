"""`controller.rollout.secrets`: values in, values out, and what is said where that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import NotFound, SecretInvalid, SecretsKeyInvalid, SecretUnreadable, VerbFailed
from controller.rollout.secrets import LONGEST_BYTES, Secrets, by_name
from store.database import Database
from store.secrets import get_secret, put_secret
from tests.builders import NOW
from tests.keys import key_file
from tests.rollouts import declare

CANARY = "canary-8f2e1b"


@pytest.fixture
def secrets(database: Database, tmp_path: Path) -> Secrets:
    """Those of a workload `shop`."""
    declare(database, "shop")
    return Secrets(database, key_file(tmp_path))


def test_a_value_comes_back_whole(secrets: Secrets) -> None:
    """S4: also one of several lines; what is stored is not it."""
    value = f"{CANARY}\n  second = line\tü🐋"
    secrets.put("shop", "PW", value, NOW)
    assert secrets.reveal("shop", "PW") == value
    assert CANARY not in get_secret(secrets.database, "shop", "PW").ciphertext
    seen = by_name(secrets.seen("shop"))
    assert (seen["PW"].generation, seen["PW"].trouble) == (1, "")


@pytest.mark.parametrize("name", ["", "-x", ".x", "a b", "a" * 129, "ä", "A\n"])
def test_names_that_are_refused(secrets: Secrets, name: str) -> None:
    """S4: with what is allowed."""
    with pytest.raises(SecretInvalid, match=r"allowed: letters"):
        secrets.put("shop", name, CANARY, NOW)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "is empty"),
        (f"{CANARY}\x00", "NUL byte"),
        (CANARY * LONGEST_BYTES, f"{LONGEST_BYTES} is the most"),
        (f"{CANARY}\udcff", "is not text"),
    ],
)
def test_values_that_are_refused_are_not_told(secrets: Secrets, value: str, said: str) -> None:
    """S4: not even in the error that refuses them."""
    with pytest.raises(SecretInvalid, match=said) as caught:
        secrets.put("shop", "PW", value, NOW)
    assert CANARY not in str(caught.value)


def test_what_cannot_be_revealed_says_whose_it_is(secrets: Secrets, tmp_path: Path) -> None:
    """S4: never stored, no keys, another key, a damaged ciphertext; a failure of a verb each time."""
    with pytest.raises(SecretUnreadable, match=r"secret 'PW' of workload 'shop' .*tallyd secrets set shop PW"):
        secrets.reveal("shop", "PW")
    secrets.put("shop", "PW", CANARY, NOW)
    with pytest.raises(VerbFailed, match="set TALLYD_SECRETS_KEY_FILE"):
        Secrets(secrets.database, None).reveal("shop", "PW")
    key_file(tmp_path)
    with pytest.raises(SecretUnreadable, match=r"no key .* fits, or what is stored is damaged") as caught:
        secrets.reveal("shop", "PW")
    assert (caught.value.workload_id, caught.value.name) == ("shop", "PW")
    assert "no key" in caught.value.checks["secret PW"]
    put_secret(secrets.database, "shop", "PW", "damaged", NOW)
    with pytest.raises(SecretUnreadable, match="damaged"):
        secrets.reveal("shop", "PW")


def test_one_that_cannot_be_read_is_told_among_others(secrets: Secrets, tmp_path: Path) -> None:
    """S4: of each whether it can be read; without keys none can."""
    secrets.put("shop", "GOOD", CANARY, NOW)
    put_secret(secrets.database, "shop", "BAD", "damaged", NOW)
    seen = by_name(secrets.seen())
    assert (seen["GOOD"].trouble, "damaged" in seen["BAD"].trouble) == ("", True)
    (tmp_path / "secrets.keys").unlink()
    assert all("cannot be read" in each.trouble for _, each in secrets.seen())


def test_a_rotation_names_what_it_cannot_read(secrets: Secrets, tmp_path: Path) -> None:
    """S4: the others are done, and can be read without the old key."""
    old = (tmp_path / "secrets.keys").read_text(encoding="utf-8").strip()
    secrets.put("shop", "GOOD", CANARY, NOW)
    put_secret(secrets.database, "shop", "BAD", "damaged", NOW)
    new = key_file(tmp_path).read_text(encoding="utf-8").strip()
    key_file(tmp_path, new, old)
    became = secrets.rotate(NOW)
    assert ([each.name for each in became.done], [each.name for each in became.unreadable]) == (["GOOD"], ["BAD"])
    key_file(tmp_path, new)
    assert secrets.reveal("shop", "GOOD") == CANARY
    with pytest.raises(SecretsKeyInvalid):
        Secrets(secrets.database, None).rotate(NOW)


def test_a_secret_belongs_to_a_workload(secrets: Secrets) -> None:
    """S4: to one that is there."""
    with pytest.raises(NotFound, match="blog"):
        secrets.put("blog", "PW", CANARY, NOW)
