"""API keys: how they are made and compared. Pure but for the randomness.

A key is `ctclip_PREFIX_SECRET`. The secret has 256 bits, so its plain SHA-256 cannot be searched: nothing slower is
needed, and nothing more is kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

MARK = "ctclip_"
"""What every key begins with, so that a leaked one is recognised."""

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PREFIX_LETTERS = 10
_SECRET_LETTERS = 43  # 62 ** 43 > 2 ** 256
_LONGEST_KEY = 200
_DIGEST_OF_NO_KEY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


@dataclass(frozen=True, repr=False)
class Key:
    """A key in the clear; it exists only while a request is answered. It never shows itself in a log."""

    prefix: str
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the whole key: what is kept of it."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def matches(self, kept_sha256: str | None) -> bool:
        """Compare with a kept digest in a time that tells nothing, also where there is none to compare with."""
        is_alike = hmac.compare_digest(self.sha256, kept_sha256 or _DIGEST_OF_NO_KEY)
        return is_alike and kept_sha256 is not None


def make_key() -> Key:
    """Return a new random key."""
    prefix = _draw(_PREFIX_LETTERS)
    return Key(prefix, f"{MARK}{prefix}_{_draw(_SECRET_LETTERS)}")


def parse_key(text: str) -> Key | None:
    """Return the key that a text is written like, or None."""
    if not text.startswith(MARK) or len(text) > _LONGEST_KEY or not text.isascii():
        return None
    prefix, separator, secret = text.removeprefix(MARK).partition("_")
    return Key(prefix, text) if separator and prefix and secret else None


def _draw(letters: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(letters))
