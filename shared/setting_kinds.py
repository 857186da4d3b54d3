"""Kinds of values that settings have, and how they are written in the environment."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode

from shared.callback_urls import IpNetwork

Bytes = Annotated[int, Field(gt=0)]
_RETENTION_WORDS = {"forever": None, "0": timedelta(0)}
Retention = Annotated[
    Annotated[timedelta, Field(ge=timedelta(0))] | None,
    BeforeValidator(lambda value: _RETENTION_WORDS.get(value, value) if isinstance(value, str) else value),
]
"""How long something is kept after its job ended; None (`forever` in the environment): without end."""


def _require_receipt_key(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", secret.get_secret_value()):
        raise ValueError(
            "expected 32 bytes in hexadecimal; make them with `openssl rand -hex 32`, keep them, and give the same to "
            "gateway and fusion"
        )
    return secret


ReceiptKeyText = Annotated[SecretStr, AfterValidator(_require_receipt_key)]
"""An Ed25519 seed (RFC 8032, section 5.1.5) in hexadecimal."""

Networks = Annotated[
    tuple[IpNetwork, ...],
    NoDecode,
    BeforeValidator(
        lambda value: [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    ),
]
"""Networks in CIDR notation, in the environment with commas between them; nothing between them is no network."""
