"""Bodies of receipts and of the key that verifies them."""

from __future__ import annotations

import uuid

from pydantic import BaseModel, Field


class StatementBody(BaseModel):
    """What is signed: canonical JSON (RFC 8785) of exactly these fields."""

    statement_version: str
    job_id: uuid.UUID
    result_sha256: str = Field(description="SHA-256 of the canonical JSON of the result document.")
    manifest_sha256: str = Field(description="SHA-256 of the artefact `run_manifest`.")
    policy_id: str
    weights_profile: str
    issued_at: str = Field(description="RFC 3339, by the clock of the worker that published the result.")


class ReceiptBody(BaseModel):
    """A receipt: a statement and its signature."""

    statement: StatementBody
    algorithm: str = Field(description="`Ed25519` (RFC 8032).")
    key_id: str = Field(description="Which public key verifies it.")
    signature: str = Field(description="64 bytes in base64.")


class PublicKeyBody(BaseModel):
    """The public key of this installation."""

    key_id: str
    jwk: dict[str, str] = Field(description="JSON Web Key (RFC 8037).")
    pem: str = Field(description="The same key as PEM, as OpenSSL reads it.")
