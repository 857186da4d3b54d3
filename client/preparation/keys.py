"""The secret key of de-identification: who has it can make the same pseudonyms again, and match them with patients."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from client.local_stack import default_state

_KEY_BYTES = 32
_SHORTEST_BYTES = 16


class KeyRefused(Exception):
    """The key cannot be used."""


def default_key_path() -> Path:
    """Return where the key lies when none is named."""
    return default_state().with_name("ctclip-deidentification.key")


def read_or_make_key(path: Path) -> bytes:
    """Return the key of a file, which is made when it is not there, for its owner alone. Raises KeyRefused."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(secrets.token_hex(_KEY_BYTES))
    except FileExistsError:
        pass
    except OSError as error:
        raise KeyRefused(f"{path} cannot be made ({error.strerror}).") from error
    key = path.read_bytes().strip()
    if len(key) < _SHORTEST_BYTES:
        raise KeyRefused(f"The key in {path} is shorter than {_SHORTEST_BYTES} bytes.")
    return key
