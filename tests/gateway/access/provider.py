"""An identity provider over real HTTP: its discovery document, its keys, and tokens that it signs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from jwt.algorithms import RSAAlgorithm

from tests.loopback import running

AUDIENCE = "ctclip-api"


class IdentityProvider:
    """Signs with the newest of its keys."""

    def __init__(self) -> None:
        self.issuer = ""
        self.asked = 0
        self.asked_for_keys = 0
        self.jwks_url: str | None = None
        self._keys: list[tuple[str, RSAPrivateKey]] = []
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key; the old one is published no more."""
        self._keys = [(f"key-{time.monotonic_ns()}", generate_private_key(65537, 2048))]

    def sign(self, *, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **claims: object) -> str:
        key_id, key = self._keys[-1]
        whole = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "sub": "router-7",
            "exp": int(time.time()) + 300,
            "tenant": "ward-t",
            "scope": "openid jobs:write jobs:read",
            **claims,
        }
        sent = {name: value for name, value in whole.items() if value is not None}
        return jwt.encode(sent, key, algorithm=algorithm, headers={"kid": key_id, **(headers or {})})

    def describe_keys(self) -> dict[str, Any]:
        return {
            "keys": [
                {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", "alg": "RS256"}
                for key_id, key in self._keys
            ]
        }

    def answer(self, path: str) -> dict[str, Any] | None:
        self.asked += 1
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": self.jwks_url or f"{self.issuer}/keys"}
        if path == "/keys":
            self.asked_for_keys += 1
            return self.describe_keys()
        return None


@contextmanager
def running_provider() -> Iterator[IdentityProvider]:
    provider = IdentityProvider()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = provider.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the library's name
            del format, arguments

    with running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as provider.issuer:
        yield provider
