"""One try: resolve the name, vet what it leads to, connect to exactly that, and say what came of it.

The name is looked up once for a try and the connection goes to the address that was vetted, so a name that leads
elsewhere a moment later leads nowhere. `Host` and the TLS name stay those of the address as it was written.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import httpx

from shared.callback_urls import CallbackUrl, IpAddress, IpNetwork, RefusedUrl, parse_callback_url, vet_addresses
from shared.resolution import resolve

BODY_READ_BYTES = 64 * 1024
"""Of an answer no more than this is read."""

BODY_KEPT_CHARACTERS = 1000
"""Of an answer no more than this is kept in the log."""

_MOST_ADDRESSES = 3


@dataclass(frozen=True)
class Outcome:
    """What came of one try. `error` is a word of ours; both are None only for a try that never ended."""

    seconds: float
    status_code: int | None = None
    error: str | None = None
    response_body: str | None = None

    @property
    def is_delivered(self) -> bool:
        """Whether the receiver took the message: any 2xx. A redirect is a failure."""
        return self.status_code is not None and HTTPStatus(200) <= self.status_code < HTTPStatus.MULTIPLE_CHOICES

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status_code == HTTPStatus.GONE


class Sender:
    """Sends messages. Reads no proxy from the environment and follows no redirect."""

    def __init__(self, allowed: Collection[IpNetwork], limit_s: float, trust: ssl.SSLContext | None = None) -> None:
        self._allowed = allowed
        self._limit_s = limit_s
        self._trust = trust or httpx.create_ssl_context(trust_env=False)

    async def send(self, url: str, content: bytes, headers: Mapping[str, str]) -> Outcome:
        """Post `content` and return what came of it, whatever happens, within the time limit."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(self._limit_s):
                status_code, body = await self._post(parse_callback_url(url, self._allowed), content, headers)
            return Outcome(time.monotonic() - started, status_code, None, body)
        except (TimeoutError, httpx.TimeoutException):
            error = "timeout"
        except RefusedUrl as refused:
            error = f"not_allowed: {refused.refusal}"
        except httpx.ConnectError as failed:
            error = "tls_failed" if _is_of_tls(failed) else "connection_failed"
        except httpx.HTTPError:
            error = "no_answer"
        return Outcome(time.monotonic() - started, error=error)

    async def _post(self, url: CallbackUrl, content: bytes, headers: Mapping[str, str]) -> tuple[int, str]:
        addresses = await resolve(url)
        vet_addresses(url, addresses, self._allowed)
        # One connection for each try: one that is kept open would be chosen by its address, whatever its TLS name.
        limits = httpx.Limits(max_keepalive_connections=0)
        timeout = httpx.Timeout(self._limit_s)
        async with httpx.AsyncClient(verify=self._trust, trust_env=False, limits=limits, timeout=timeout) as client:
            return await _post_to_first(client, url, addresses[:_MOST_ADDRESSES], content, headers)


async def _post_to_first(
    client: httpx.AsyncClient,
    url: CallbackUrl,
    addresses: Sequence[IpAddress],
    content: bytes,
    headers: Mapping[str, str],
) -> tuple[int, str]:
    """Post to the first of the addresses that can be reached."""
    failure = httpx.ConnectError("the name leads nowhere")
    for address in addresses:
        place = httpx.URL(scheme=url.scheme, host=str(address), port=url.port, raw_path=url.target.encode())
        sent = {**headers, "Host": url.authority, "Connection": "close"}
        try:
            async with client.stream(
                "POST", place, content=content, headers=sent, extensions={"sni_hostname": url.host}
            ) as answer:
                return answer.status_code, await _read_beginning(answer)
        except httpx.ConnectError as error:
            failure = error
    raise failure


async def _read_beginning(answer: httpx.Response) -> str:
    """Return the beginning of the body as text that any database keeps. It is not decompressed."""
    body = b""
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) >= BODY_READ_BYTES:
            break
    text = body[: 4 * BODY_KEPT_CHARACTERS].decode("utf-8", "replace")[:BODY_KEPT_CHARACTERS]
    return "".join(letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _is_of_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
