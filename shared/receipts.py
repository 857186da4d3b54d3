"""Receipts of results: who holds one can show later, without the platform, that a result is what was published.

A receipt is a statement and an Ed25519 signature (RFC 8032) over its canonical JSON (RFC 8785). The statement holds the
SHA-256 of the result's and of the run manifest's canonical JSON, so that copies may be formatted as anybody likes.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from shared.tables import Document

ALGORITHM = "Ed25519"
STATEMENT_VERSION = "1.0"

_KEY_ID_LENGTH = 16


@dataclass(frozen=True)
class ReceiptKey:
    """The key that receipts are signed with."""

    private: Ed25519PrivateKey

    @property
    def public_bytes(self) -> bytes:
        """The 32 bytes of the public key."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @cached_property
    def key_id(self) -> str:
        """What tells public keys apart: the beginning of the SHA-256 of the key."""
        return hashlib.sha256(self.public_bytes).hexdigest()[:_KEY_ID_LENGTH]

    def describe_public(self) -> Document:
        """Return the public key as a JSON Web Key (RFC 8037) and as PEM."""
        pem = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        jwk = {"kty": "OKP", "crv": ALGORITHM, "kid": self.key_id, "use": "sig", "alg": "EdDSA"}
        return {"key_id": self.key_id, "jwk": {**jwk, "x": _encode_url(self.public_bytes)}, "pem": pem.decode()}

    def sign(self, statement: Document) -> Document:
        """Return the receipt of a statement."""
        signature = self.private.sign(rfc8785.dumps(statement))
        return {
            "statement": statement,
            "algorithm": ALGORITHM,
            "key_id": self.key_id,
            "signature": base64.b64encode(signature).decode(),
        }


def read_receipt_key(secret: SecretStr | None) -> ReceiptKey | None:
    """Return the key that the settings hold in hexadecimal; None where there is none."""
    if secret is None:
        return None
    return ReceiptKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(secret.get_secret_value())))


def compute_canonical_digest(document: Mapping[str, object]) -> str:
    """Return the SHA-256 of the canonical JSON (RFC 8785) of a document."""
    return hashlib.sha256(rfc8785.dumps(cast("Any", document))).hexdigest()


def make_statement(result: Document, *, manifest_sha256: str, issued_at: str) -> Document:
    """Return what a receipt says of a result; `issued_at` is RFC 3339, by the clock of the worker that signs."""
    return {
        "statement_version": STATEMENT_VERSION,
        "job_id": result["job_id"],
        "result_sha256": compute_canonical_digest(result),
        "manifest_sha256": manifest_sha256,
        "policy_id": result["policy_id"],
        "weights_profile": result["weights_profile"],
        "issued_at": issued_at,
    }


def _encode_url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")
