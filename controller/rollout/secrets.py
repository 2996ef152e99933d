"""Secret values of workloads, where keys and ciphertexts come together (S4). A value leaves by ``reveal`` alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from controller.errors import NotFound, SecretInvalid, SecretsKeyInvalid, SecretUnreadable
from controller.keyring import Keyring, read_keyring
from controller.plugins.environment import SECRET_NAME
from controller.plugins.tools import SecretSeen
from controller.telling import tell_history
from store.database import Database
from store.history_records import Event, EventKind
from store.secrets import (
    Reencrypted,
    StoredSecret,
    delete_secret,
    get_secret,
    list_secrets,
    put_secret,
    reencrypt_secrets,
)

LONGEST_BYTES = 65_536

_WRONG_KEY = "no key of TALLYD_SECRETS_KEY_FILE fits, or what is stored is damaged: add its key, or set it anew"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The secrets of one store, under the keys of one file. Safe from several threads; keeps no value."""

    database: Database
    key_file: Path | None
    actor: str = ""
    """Who sets and deletes, for history."""

    def put(self, workload_id: str, name: str, value: str, now: datetime) -> StoredSecret:
        """Store a value, encrypted by the first key.

        :raises SecretInvalid: the name or the value is not allowed; says nothing of the value.
        :raises SecretsKeyInvalid: there are no keys.
        :raises NotFound: no such workload.
        """
        _check(name, value)
        ciphertext = read_keyring(self.key_file).encrypt(value)
        stored = put_secret(self.database, workload_id, name, ciphertext, now)
        self._tell(now, stored, "set", f"secret {name} is set, generation {stored.generation}")
        return stored

    def delete(self, workload_id: str, name: str, now: datetime) -> None:
        """Forget a value.

        :raises NotFound: no such workload or secret.
        """
        gone = get_secret(self.database, workload_id, name)
        delete_secret(self.database, workload_id, name, now)
        self._tell(now, gone, "deleted", f"secret {name} is deleted, generation {gone.generation}")

    def reveal(self, workload_id: str, name: str) -> str:
        """The value.

        :raises SecretUnreadable: it is not there, or cannot be decrypted; names workload and secret.
        :raises StoreError: the store cannot be read.
        """
        try:
            value = read_keyring(self.key_file).decrypt(get_secret(self.database, workload_id, name).ciphertext)
        except (NotFound, SecretsKeyInvalid) as error:
            raise SecretUnreadable(workload_id, name, str(error)) from error
        if value is None:
            raise SecretUnreadable(workload_id, name, _WRONG_KEY)
        return value

    def seen(self, workload_id: str | None = None) -> list[tuple[StoredSecret, SecretSeen]]:
        """The secrets of a workload, or of all, and whether each can be read.

        :raises NotFound: no such workload.
        """
        found = list_secrets(self.database, workload_id)
        return [(each, seen) for each, seen in zip(found, self._looked_at(found), strict=True)]

    def rotate(self, now: datetime) -> Reencrypted:
        """Encrypt all by the first key, in one transaction.

        :raises SecretsKeyInvalid: there are no keys.
        """
        keys = read_keyring(self.key_file)
        became = reencrypt_secrets(self.database, lambda each: keys.reencrypt(each.ciphertext))
        for each in became.done:
            told = f"secret {each.name} is encrypted anew, generation {each.generation} as before"
            self._tell(now, each, "rotated", told)
        return became

    def _tell(self, now: datetime, secret: StoredSecret, reason: str, message: str) -> None:
        """Never the value."""
        details = {"generation": secret.generation}
        event = Event(
            now,
            EventKind.SECRET,
            "",
            secret.workload_id,
            secret.name,
            reason,
            message,
            self.actor,
            details=details,
        )
        tell_history(self.database, event)

    def _looked_at(self, found: list[StoredSecret]) -> list[SecretSeen]:
        if not found:
            return []
        try:
            keys = read_keyring(self.key_file)
        except SecretsKeyInvalid as error:
            return [SecretSeen(each.generation, str(error)) for each in found]
        return [_seen(keys, each) for each in found]


def by_name(seen: list[tuple[StoredSecret, SecretSeen]]) -> Mapping[str, SecretSeen]:
    """What a source is told of its workload's secrets."""
    return {stored.name: each for stored, each in seen}


def _seen(keys: Keyring, stored: StoredSecret) -> SecretSeen:
    return SecretSeen(stored.generation, _WRONG_KEY if keys.decrypt(stored.ciphertext) is None else "")


def _check(name: str, value: str) -> None:
    if not re.fullmatch(SECRET_NAME, name):
        raise SecretInvalid(
            f"secret name {name!r}: allowed: letters, digits, `_`, `.`, `-`, up to 128, the first no `.` or `-`"
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise SecretInvalid(f"the value of secret {name!r} is not text; encode it, for example as base64") from None
    if not size:
        raise SecretInvalid(f"the value of secret {name!r} is empty")
    if size > LONGEST_BYTES:
        raise SecretInvalid(
            f"the value of secret {name!r} has {size} bytes; {LONGEST_BYTES} is the most that goes into a variable"
        )
    if "\x00" in value:
        raise SecretInvalid(f"the value of secret {name!r} has a NUL byte, which no variable can hold")
