"""The look at secret values: are there keys, and does one fit each. No value is kept or told (S4)."""

from __future__ import annotations

from collections.abc import Iterator

from controller.doctor.findings import Finding
from controller.errors import SecretsKeyInvalid, StoreError
from controller.keyring import read_keyring
from controller.rollout.secrets import Secrets
from controller.settings import Settings
from store.database import open_database

_MOST_NAMED = 5


def secret_findings(settings: Settings) -> Iterator[Finding]:
    """Check keys and values; nothing where the store cannot be read, which is told by its own check."""
    try:
        database = open_database(settings.database_url, make=False)
        try:
            seen = [] if database.lost else Secrets(database, settings.secrets_key_file).seen()
        finally:
            database.close()
    except StoreError:
        return
    if not seen and settings.secrets_key_file is None:
        yield Finding("secrets", "ok", "none stored")
        return
    try:
        read_keyring(settings.secrets_key_file)
    except SecretsKeyInvalid as error:
        told = f"{len(seen)} stored; {error}" if seen else str(error)
        yield Finding("secrets", "fail", told, "give the controller its keys; see docs/secrets.md")
        return
    bad = [f"{stored.workload_id}/{stored.name}" for stored, each in seen if each.trouble]
    if bad:
        more = f" and {len(bad) - _MOST_NAMED} more" if len(bad) > _MOST_NAMED else ""
        told = f"{len(bad)} of {len(seen)} cannot be decrypted: {', '.join(bad[:_MOST_NAMED])}{more}"
        yield Finding("secrets", "fail", told, "add the key that they were encrypted with, or set them anew")
        return
    yield Finding("secrets", "ok", f"{len(seen)} stored, all can be decrypted")
