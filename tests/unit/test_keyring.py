"""`controller.keyring`: keys from a file, and what is said of a bad one. Never a key or a value."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import SecretsKeyInvalid
from controller.keyring import generate_key, read_keyring
from tests.keys import key_file


def test_the_first_key_encrypts_and_all_decrypt(tmp_path: Path) -> None:
    """S4: so that a key can be rotated."""
    old, new = generate_key(), generate_key()
    by_old = read_keyring(key_file(tmp_path, old)).encrypt("sesame")
    both = read_keyring(key_file(tmp_path, "# of May", new, "", f"{old}  "))
    assert both.decrypt(by_old) == "sesame"
    again = both.reencrypt(by_old)
    assert again is not None
    only_new, only_old = read_keyring(key_file(tmp_path, new)), read_keyring(key_file(tmp_path, old))
    assert only_new.decrypt(again) == "sesame"
    assert only_new.decrypt(by_old) is None
    assert only_new.reencrypt(by_old) is None
    assert only_old.decrypt(again) is None


@pytest.mark.parametrize("damage", ["", "x", "\x00", "é"])
def test_a_damaged_ciphertext_is_none(tmp_path: Path, damage: str) -> None:
    """S4: not an error that ends more than its own workload."""
    keys = read_keyring(key_file(tmp_path))
    assert keys.decrypt(keys.encrypt("sesame")[:-4] + damage) is None
    assert keys.decrypt(damage) is None


def test_a_key_file_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    """S4: with what to do, and without what is in it."""
    with pytest.raises(SecretsKeyInvalid, match="set TALLYD_SECRETS_KEY_FILE; make one with"):
        read_keyring(None)
    with pytest.raises(SecretsKeyInvalid, match=r"nowhere cannot be read: No such file .*generate-key"):
        read_keyring(tmp_path / "nowhere")
    with pytest.raises(SecretsKeyInvalid, match=r"has no key"):
        read_keyring(key_file(tmp_path, "# none yet"))
    with pytest.raises(SecretsKeyInvalid, match=r"line 2: not a Fernet key") as caught:
        read_keyring(key_file(tmp_path, generate_key(), "hunter2hunter2"))
    assert "hunter2" not in str(caught.value)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(SecretsKeyInvalid, match="is not text"):
        read_keyring(binary)


@pytest.mark.parametrize(("mode", "taken"), [(0o600, True), (0o440, True), (0o644, False), (0o602, False)])
def test_a_key_file_that_is_open_to_everybody_is_refused(tmp_path: Path, mode: int, taken: bool) -> None:
    """S4: a group may read it, as where a cluster mounts it for one."""
    path = key_file(tmp_path, mode=mode)
    if taken:
        read_keyring(path)
        return
    with pytest.raises(SecretsKeyInvalid, match=rf"open to everybody \(mode {mode:04o}\).*chmod 0600"):
        read_keyring(path)
