"""`store.secrets`, and the digest of a config that names secrets, on both stores."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.errors import NotFound, SecretNotFound
from store.database import Database
from store.revisions import config_digest_of, create_revision, declared_digest
from store.rollout_records import secrets_in
from store.secrets import (
    StoredSecret,
    delete_secret,
    get_secret,
    list_secrets,
    put_secret,
    reencrypt_secrets,
)
from store.workloads import delete_workload
from tests.builders import NOW
from tests.rollouts import DIGEST, IMAGE_REF, declare

LATER = NOW + timedelta(hours=1)
CONFIG = {"image": "shop:1", "env": {"PASSWORD": {"secret": "PW"}, "PLAIN": "x"}}


def test_a_secret_is_stored_read_and_forgotten(database: Database) -> None:
    """S4: under a generation that rises with each value."""
    declare(database, "shop", "blog")
    assert put_secret(database, "shop", "PW", "c1", NOW).generation == 1
    stored = put_secret(database, "shop", "PW", "c2", LATER)
    assert stored == StoredSecret("shop", "PW", "c2", 2, LATER)
    put_secret(database, "blog", "PW", "c3", NOW)
    assert get_secret(database, "shop", "PW") == stored
    assert [(each.workload_id, each.ciphertext) for each in list_secrets(database)] == [
        ("blog", "c3"),
        ("shop", "c2"),
    ]
    assert list_secrets(database, "shop") == [stored]
    delete_secret(database, "shop", "PW", LATER)
    assert list_secrets(database, "shop") == []
    with pytest.raises(SecretNotFound, match="tallyd secrets set shop PW"):
        get_secret(database, "shop", "PW")


def test_a_generation_never_comes_back(database: Database) -> None:
    """S4: what was made with a deleted value is not taken for what has the next one."""
    declare(database, "shop")
    put_secret(database, "shop", "PW", "c1", NOW)
    delete_secret(database, "shop", "PW", NOW)
    assert put_secret(database, "shop", "PW", "c2", NOW).generation == 2


def test_a_workload_that_is_not_there_has_no_secrets(database: Database) -> None:
    """S4: and one that is deleted takes its own with it."""
    for call in (
        lambda: put_secret(database, "shop", "PW", "c", NOW),
        lambda: get_secret(database, "shop", "PW"),
        lambda: list_secrets(database, "shop"),
        lambda: delete_secret(database, "shop", "PW", NOW),
    ):
        with pytest.raises(NotFound, match="shop"):
            call()
    declare(database, "shop")
    with pytest.raises(SecretNotFound):
        delete_secret(database, "shop", "PW", NOW)
    put_secret(database, "shop", "PW", "c", NOW)
    delete_workload(database, "shop")
    assert list_secrets(database) == []


def test_all_are_encrypted_anew_or_named(database: Database) -> None:
    """S4: generations stay; one that cannot be read does not hinder the others, a failure changes none."""
    declare(database, "shop")
    for name, ciphertext in (("A", "a"), ("B", "damaged"), ("C", "c")):
        put_secret(database, "shop", name, ciphertext, NOW)

    def fails(secret: StoredSecret) -> str:
        if secret.name == "C":
            raise RuntimeError("in the middle")
        return "half"

    with pytest.raises(RuntimeError):
        reencrypt_secrets(database, fails)
    assert [each.ciphertext for each in list_secrets(database)] == ["a", "damaged", "c"]
    became = reencrypt_secrets(
        database, lambda each: None if each.ciphertext == "damaged" else each.ciphertext.upper()
    )
    assert [each.name for each in became.done] == ["A", "C"]
    assert [each.name for each in became.unreadable] == ["B"]
    found = list_secrets(database)
    assert [(each.ciphertext, each.generation) for each in found] == [("A", 1), ("damaged", 1), ("C", 1)]


def test_a_ciphertext_is_in_no_text() -> None:
    """S4: a record that is shown by accident shows none."""
    assert "gAAAA" not in repr(StoredSecret("shop", "PW", "gAAAA-cipher", 1, NOW))


def test_the_config_digest_follows_the_generations(database: Database) -> None:
    """S4, L1: a new value is another config; a config without secrets has the digest that it always had."""
    declare(database, "shop")
    plain = {"image": "shop:1", "env": {"PLAIN": "x"}}
    assert declared_digest(database, "shop", plain) == config_digest_of(plain)
    missing = declared_digest(database, "shop", CONFIG)
    put_secret(database, "shop", "PW", "c1", NOW)
    put_secret(database, "shop", "OTHER", "c1", NOW)
    first = declared_digest(database, "shop", CONFIG)
    assert create_revision(database, "shop", IMAGE_REF, DIGEST, CONFIG, NOW).config_digest == first
    put_secret(database, "shop", "OTHER", "c2", NOW)
    assert declared_digest(database, "shop", CONFIG) == first
    put_secret(database, "shop", "PW", "c2", NOW)
    second = declared_digest(database, "shop", CONFIG)
    assert len({missing, first, second, config_digest_of(CONFIG)}) == 4


def test_secrets_are_found_in_environments_only() -> None:
    """S4: what another plugin calls `secret` elsewhere is its own matter."""
    config = {
        "env": {"A": {"secret": "ONE"}, "B": "text", "C": {"secret": "TWO", "more": 1}},
        "services": [{"env": {"D": {"secret": "THREE"}}}, {"webhook": {"secret": "NOT"}}],
    }
    assert secrets_in(config) == {"ONE", "THREE"}
