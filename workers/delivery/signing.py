"""The three headers of Standard Webhooks. The time is the database's: one clock for everything that is signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from standardwebhooks import Webhook

from workers.delivery.claims import ClaimedDelivery

_USER_AGENT = "ctclip-webhooks/1"


def make_headers(message: ClaimedDelivery) -> Mapping[str, str]:
    """Return the headers of a message: during a rotation it is signed with both secrets."""
    return {
        "Content-Type": "application/json",
        "User-Agent": _USER_AGENT,
        "webhook-id": str(message.id),
        "webhook-timestamp": str(int(message.claimed_at.timestamp())),
        "webhook-signature": _sign(str(message.id), message.claimed_at, message.content, message.secrets),
    }


def _sign(message_id: str, at: datetime, content: str, secrets: Sequence[str]) -> str:
    return " ".join(Webhook(secret).sign(message_id, at, content) for secret in secrets)
