"""Holds a result against its receipt: Ed25519 (RFC 8032) over canonical JSON (RFC 8785).

Written from the description in `docs/reproducing.md` and not from the code that signs, which it shares nothing with.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rfc8785
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

_ALGORITHM = "Ed25519"
_KEY_ID_LENGTH = 16


class Unreadable(ValueError):
    """A file is not what it was given as. The text says which and why."""


@dataclass(frozen=True)
class PublicKey:
    """The public key of an installation, and its id as receipts name it."""

    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """The beginning of the SHA-256 of the 32 bytes of the key."""
        raw = self.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()[:_KEY_ID_LENGTH]


@dataclass(frozen=True)
class Verdict:
    """What was checked, in order, each with whether it holds. A check that could not be made does not hold."""

    checks: Mapping[str, bool]

    @property
    def is_valid(self) -> bool:
        """Whether all of it holds."""
        return all(self.checks.values())


def read_public_key(content: bytes) -> PublicKey:
    """Return the key of a PEM file, or of what `GET /v1/receipt-key` answers. Raises Unreadable."""
    text = content.strip()
    described = parse_document(text, "the public key") if text.startswith(b"{") else None
    try:
        key = load_pem_public_key(text if described is None else str(described.get("pem", "")).encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Unreadable("the public key is neither PEM nor what /v1/receipt-key answers") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Unreadable(f"the public key is no {_ALGORITHM} key")
    return PublicKey(key)


def parse_document(content: bytes, what: str) -> dict[str, Any]:
    """Return a JSON object. Raises Unreadable."""
    try:
        document = json.loads(content, object_pairs_hook=_refuse_twice)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{what} is not JSON, or not JSON that all readers take alike") from error
    if not isinstance(document, dict):
        raise Unreadable(f"{what} is not a JSON object")
    return document


def _refuse_twice(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object. Of two words alike readers choose as they like: what was not signed could stand beside it."""
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object names a word twice")
    return document


def verify(
    result: Mapping[str, Any], receipt: Mapping[str, Any], key: PublicKey, *, manifest: bytes | None = None
) -> Verdict:
    """Check a result, and the bytes of its manifest where they are given, against a receipt.

    Raises Unreadable where the receipt has not the form of one.
    """
    statement = receipt.get("statement")
    if not isinstance(statement, dict) or not isinstance(receipt.get("signature"), str):
        raise Unreadable("the receipt has no statement or no signature")
    checks = {
        "the key is the one that the receipt names": receipt.get("key_id") == key.key_id,
        "the signature is this key's": receipt.get("algorithm") == _ALGORITHM
        and _is_signed(statement, receipt["signature"], key),
        "the result is the one that was signed": statement.get("result_sha256") == _digest(result),
        "the result belongs to the same job": statement.get("job_id") == result.get("job_id"),
    }
    if manifest is not None:
        sha256 = hashlib.sha256(manifest).hexdigest()
        checks["the manifest is the one that was signed"] = statement.get("manifest_sha256") == sha256
    return Verdict(checks)


def _is_signed(statement: Mapping[str, Any], signature: str, key: PublicKey) -> bool:
    signed = _canonicalise(statement)
    try:
        key.key.verify(base64.b64decode(signature, validate=True), signed)
    except (InvalidSignature, ValueError):  # or no base64, or no text that has any
        return False
    return True


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonicalise(document)).hexdigest()


def _canonicalise(document: Mapping[str, Any]) -> bytes:
    try:
        return rfc8785.dumps(dict(document))
    except (ValueError, RecursionError) as error:
        raise Unreadable("a document holds numbers or letters that JSON does not have") from error
