"""Files with keys of secret values."""

from __future__ import annotations

from pathlib import Path

from controller.keyring import generate_key


def key_file(folder: Path, *keys: str, mode: int = 0o600) -> Path:
    """A file with these keys, or with a new one."""
    path = folder / "secrets.keys"
    path.write_text("\n".join(keys or (generate_key(),)) + "\n", encoding="utf-8")
    path.chmod(mode)
    return path
