"""The keys that secret values are encrypted with, from a file. The only module that knows cryptography (S4).

One Fernet key a line; lines that are empty or begin with ``#`` do not count. The first key encrypts, all decrypt. The
file is read anew for each use, so that a rotation needs no restart and no key stays in memory for long.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from controller.errors import SecretsKeyInvalid

if TYPE_CHECKING:
    from cryptography.fernet import MultiFernet

_FOR_OTHERS = 0o007
_MAKE = "make one with: tallyd secrets generate-key > FILE; chmod 0600 FILE"


class Keyring:
    """Keys at hand. Neither a key nor a value is ever part of a message."""

    def __init__(self, keys: MultiFernet) -> None:
        self._keys = keys

    def encrypt(self, value: str) -> str:
        """A ciphertext of a value, by the first key."""
        return self._keys.encrypt(value.encode()).decode()

    def decrypt(self, ciphertext: str) -> str | None:
        """The value; ``None`` where no key fits, or the ciphertext is damaged."""
        from cryptography.fernet import InvalidToken

        try:
            return self._keys.decrypt(ciphertext.encode()).decode()
        except (InvalidToken, UnicodeError):
            return None

    def reencrypt(self, ciphertext: str) -> str | None:
        """The same value by the first key; ``None`` where it cannot be read."""
        value = self.decrypt(ciphertext)
        return None if value is None else self.encrypt(value)


def generate_key() -> str:
    """A new key, for a line of the file."""
    from cryptography.fernet import Fernet

    return Fernet.generate_key().decode()


def read_keyring(path: Path | None) -> Keyring:
    """The keys in a file.

    :raises SecretsKeyInvalid: there is no file, it cannot be read, everybody can read it, or a line is no key.
    """
    from cryptography.fernet import Fernet, MultiFernet

    if path is None:
        raise SecretsKeyInvalid(f"no keys for secrets are configured: set TALLYD_SECRETS_KEY_FILE; {_MAKE}")
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SecretsKeyInvalid(f"secrets key file {path} is not text; it has one Fernet key a line") from None
    except OSError as error:
        raise SecretsKeyInvalid(f"secrets key file {path} cannot be read: {error.strerror}; {_MAKE}") from error
    if mode & _FOR_OTHERS:
        raise SecretsKeyInvalid(
            f"secrets key file {path} is open to everybody (mode {mode & 0o777:04o}), so it is not used; "
            f"run: chmod 0600 {path}, and where others may have read it, rotate"
        )
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            keys.append(Fernet(line.strip()))
        except (ValueError, TypeError):
            raise SecretsKeyInvalid(
                f"secrets key file {path}, line {number}: not a Fernet key, which is 32 bytes in URL-safe base64; "
                f"{_MAKE} (the line is not shown)"
            ) from None
    if not keys:
        raise SecretsKeyInvalid(f"secrets key file {path} has no key; {_MAKE}")
    return Keyring(MultiFernet(keys))
