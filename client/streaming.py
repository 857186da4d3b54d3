"""Server-Sent Events of a job: where a stream begins, and what came over it."""

from __future__ import annotations

import json
from typing import Any

import httpx
from httpx_sse import ServerSentEvent

from client.documents import Event
from client.errors import Unreachable
from client.exchange import STREAM_TIMEOUT, Patience, make_job_path


def has_data(sent: ServerSentEvent) -> bool:
    """Say whether something was sent: httpx-sse 0.4.3 makes an event of the blank line behind a comment too."""
    return bool(sent.data)


class EventStream:
    """Where one is in the events of a job, over as many connections as it takes."""

    def __init__(self, job_id: str, after: int, patience: Patience) -> None:
        self.has_ended = False
        self._job_id = job_id
        self._after = after
        self._patience = patience
        self._pause_s: float | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of `connect_sse` for the events behind the last one taken."""
        headers = {"Last-Event-ID": str(self._after)}
        return {
            "method": "GET",
            "url": make_job_path(self._job_id, "events"),
            "headers": headers,
            "timeout": STREAM_TIMEOUT,
        }

    def begin(self, answer: httpx.Response) -> bool:
        """Say whether events follow. Raises ApiError; the body of a refusal must have been read."""
        if answer.status_code == httpx.codes.NO_CONTENT:
            self.has_ended = True
        elif not answer.is_success:
            self._pause_s = self._patience.take_refusal(answer)
        return answer.status_code == httpx.codes.OK

    def take(self, sent: ServerSentEvent) -> Event:
        """Return an event as it came, and go on behind it. Raises Unreachable when it is none of this API."""
        try:
            event = Event.parse(int(sent.id), sent.event, json.loads(sent.data))
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable("What streams there is not this API: it sent no event.") from error
        self._after, self.has_ended = event.id, event.ends_job
        self._patience.renew()
        return event

    def break_off(self, error: httpx.TransportError) -> None:
        """Take note of a broken connection. Raises Unreachable when it is not to be opened again."""
        self._pause_s = self._patience.take_silence(error)

    def take_pause(self) -> float:
        """Return after how many seconds to connect again. Raises Unreachable."""
        if self.has_ended:
            return 0.0
        pause_s, self._pause_s = self._pause_s, None
        return self._patience.take_end() if pause_s is None else pause_s
