"""Pseudonyms of patients: equal for equal patients of a tenant, and without the key they tell nobody who it is.

HMAC-SHA256 (RFC 2104) over a digest of the patient's id, with a key of the tenant that is derived from one secret. A
patient's id is short enough to be found by trial from a plain digest of it; so that digest is never kept or logged.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from pydantic import SecretStr

SHORTEST_SECRET_BYTES = 32
PSEUDONYM_PATTERN = r"^p1_[a-z2-7]{4}_[a-z2-7]{26}$"

_VERSION = "p1"
_PSEUDONYM_BYTES = 16
_KEY_ID_LENGTH = 4
_DIGEST_BYTES = 32


class UnusableSecret(ValueError):
    """The secret is absent or too short. The text says what to do, and never quotes it."""


class Pseudonyms:
    """Makes pseudonyms such as `p1_k3fa_mzxw6ytboi4dcnrtgq2tmnzygu`: scheme, id of the secret, pseudonym.

    Pseudonyms of two secrets cannot be compared; the id of the secret, which tells nothing of it, shows that.
    """

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SHORTEST_SECRET_BYTES:
            raise UnusableSecret(
                f"CTCLIP_PSEUDONYM_KEY must be at least {SHORTEST_SECRET_BYTES} bytes long. Make one with "
                "`openssl rand -hex 32`, keep it, and give the same to every intake worker: a patient's studies are "
                "linked only under one key."
            )
        self._secret = secret

    @property
    def key_id(self) -> str:
        """Four letters that change when the secret does."""
        return _encode(_derive(self._secret, "key id"))[:_KEY_ID_LENGTH]

    def make(self, tenant: str, patient_digest: str) -> str:
        """Return the pseudonym of a patient inside a tenant. `patient_digest` is a SHA-256 in hexadecimal."""
        digest = bytes.fromhex(patient_digest)
        if len(digest) != _DIGEST_BYTES:
            raise ValueError("a digest of a patient is 32 bytes long")
        tenant_key = _derive(self._secret, f"tenant {tenant}")
        pseudonym = hmac.digest(tenant_key, digest, hashlib.sha256)[:_PSEUDONYM_BYTES]
        return f"{_VERSION}_{self.key_id}_{_encode(pseudonym)}"


def make_pseudonyms(secret: SecretStr | None) -> Pseudonyms:
    """Return the pseudonyms of the secret in the settings. Raises UnusableSecret."""
    return Pseudonyms(b"" if secret is None else secret.get_secret_value().encode())


def _derive(secret: bytes, purpose: str) -> bytes:
    """Return a key of its own for each purpose: one block of HKDF's expansion (RFC 5869, section 2.3)."""
    return hmac.digest(secret, f"ctclip pseudonym {purpose}".encode() + b"\x01", hashlib.sha256)


def _encode(value: bytes) -> str:
    return base64.b32encode(value).decode().rstrip("=").lower()
