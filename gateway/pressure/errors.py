"""Refusals for want of room, each made in one place. All say when to come back."""

from __future__ import annotations

from gateway.problems.handlers import RetryLater
from shared.problems import ProblemCode

_QUEUE_RETRY_AFTER_S = 30
_SPACE_RETRY_AFTER_S = 300


class QueueFull(RetryLater):
    """As many jobs are open as this installation takes."""

    def __init__(self, limit: int) -> None:
        detail = f"{limit} jobs are open already. Come back when some have ended."
        super().__init__(ProblemCode.QUEUE_FULL, detail, retry_after_s=_QUEUE_RETRY_AFTER_S, limit=limit)


class TenantQueueFull(RetryLater):
    """As many jobs of one tenant are open as it may have."""

    def __init__(self, limit: int) -> None:
        detail = f"{limit} jobs of this tenant are open already. Come back when some have ended."
        super().__init__(ProblemCode.TENANT_QUEUE_FULL, detail, retry_after_s=_QUEUE_RETRY_AFTER_S, limit=limit)


class TenantStorageFull(RetryLater):
    """The objects of one tenant take as much space as they may, or would with what is announced."""

    def __init__(self, limit_bytes: int) -> None:
        detail = (
            f"Jobs and uploads of this tenant may take {limit_bytes} bytes. Erase or abort some, or wait for retention."
        )
        code = ProblemCode.TENANT_STORAGE_FULL
        super().__init__(code, detail, retry_after_s=_SPACE_RETRY_AFTER_S, limit_bytes=limit_bytes)


class NoSpaceLeft(RetryLater):
    """The disk of the object storage is nearly full."""

    def __init__(self) -> None:
        detail = "There is no space left for uploads. The same request may succeed later."
        super().__init__(ProblemCode.NO_SPACE, detail, retry_after_s=_SPACE_RETRY_AFTER_S)
