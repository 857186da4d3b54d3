"""Receipts as the platform signs them, verified by the client's own code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError
from typer.testing import CliRunner, Result

from client.receipts import PublicKey, read_public_key, verify
from client.receipts.command import verify as verify_command
from client.receipts.verifying import Unreadable
from shared.receipts import ReceiptKey, make_statement, read_receipt_key
from shared.settings import Settings

RESULT: dict[str, Any] = {
    "job_id": "6b0f1f6e-3c55-4d0e-9f6e-0d3b0a7a5a11",
    "policy_id": "default-1-aaaaaaaa",
    "weights_profile": "demo",
    "probability_of_pathology": 0.1 + 0.2,
    "time_of_processing": 1e-7,
    "findings": [{"name_ru": "Плевральный выпот", "attribution": -0.0}],
}
MANIFEST = b'{"schema_version":"1.0"}'
MANIFEST_SHA256 = "9a4c1e0f6ddf4a7bb8d0a1f4a9a1a6cf0f5f0e1a0a1b2c3d4e5f60718293a4b5"


def make_key(seed: str = "01") -> ReceiptKey:
    key = read_receipt_key(SecretStr(seed * 32))
    assert key is not None
    return key


def sign(result: dict[str, Any], key: ReceiptKey, manifest_sha256: str = MANIFEST_SHA256) -> dict[str, Any]:
    statement = make_statement(result, manifest_sha256=manifest_sha256, issued_at="2026-11-29T14:00:00Z")
    return json.loads(json.dumps(key.sign(statement)))  # type: ignore[no-any-return]  # a JSON object


def read_public(key: ReceiptKey) -> PublicKey:
    return read_public_key(key.describe_public()["pem"].encode())


def change(document: dict[str, Any], *path: str) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    place = copy
    for word in path[:-1]:
        place = place[word]
    place[path[-1]] = "another"
    return copy


class TestAReceipt:
    def test_holds_for_the_result_however_it_is_formatted(self) -> None:
        key = make_key()
        copy = json.loads(json.dumps(RESULT, indent=3, sort_keys=True))
        assert verify(copy, sign(RESULT, key), read_public(key)).is_valid

    @pytest.mark.parametrize("word", list(RESULT))
    def test_holds_for_no_other_result(self, word: str) -> None:
        key = make_key()
        assert not verify(change(RESULT, word), sign(RESULT, key), read_public(key)).is_valid

    @pytest.mark.parametrize("word", ["job_id", "result_sha256", "manifest_sha256", "policy_id", "issued_at"])
    def test_holds_for_no_other_statement(self, word: str) -> None:
        key = make_key()
        changed = change(sign(RESULT, key), "statement", word)
        assert not verify(RESULT, changed, read_public(key)).checks["the signature is this key's"]

    @pytest.mark.parametrize("word", ["key_id", "algorithm", "signature"])
    def test_holds_with_nothing_else_changed(self, word: str) -> None:
        key = make_key()
        assert not verify(RESULT, change(sign(RESULT, key), word), read_public(key)).is_valid

    def test_of_another_key_does_not_hold(self) -> None:
        verdict = verify(RESULT, sign(RESULT, make_key("02")), read_public(make_key()))
        assert list(verdict.checks.values()) == [False, False, True, True]

    def test_names_the_manifest_by_its_bytes(self) -> None:
        key = make_key()
        receipt = sign(RESULT, key)
        assert not verify(RESULT, receipt, read_public(key), manifest=MANIFEST).is_valid

    @settings(max_examples=30)
    @given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.booleans()))
    def test_survives_what_json_does_to_numbers_and_letters(self, words: dict[str, Any]) -> None:
        key, result = make_key(), {**words, **RESULT}
        assert verify(json.loads(json.dumps(result)), sign(result, key), read_public(key)).is_valid


class TestAPublicKey:
    def test_is_read_from_what_the_route_answers_too(self) -> None:
        key = make_key()
        assert read_public_key(json.dumps(key.describe_public()).encode()).key_id == key.key_id

    def test_of_another_kind_is_refused(self) -> None:
        other = generate_private_key(65537, 2048).public_key()
        with pytest.raises(Unreadable, match="no Ed25519 key"):
            read_public_key(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    @pytest.mark.parametrize("content", [b"", b"{", b"{}", b"-----BEGIN PUBLIC KEY-----", b"\xff\xfe"])
    def test_that_is_none_is_refused(self, content: bytes) -> None:
        with pytest.raises(Unreadable, match="public key"):
            read_public_key(content)

    @pytest.mark.parametrize("secret", ["", "ab", "zz" * 32, "01" * 31, "01" * 33])
    def test_is_of_no_secret_but_32_bytes_in_hexadecimal(self, secret: str) -> None:
        needed = {"database_url": "x", "storage_endpoint": "x", "storage_access_key": "x", "storage_secret_key": "x"}
        with pytest.raises(ValidationError, match="openssl rand -hex 32"):
            Settings.model_validate({**needed, "receipt_key": secret})


Runner = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Return what runs `ctclip verify` on files of the documents given."""
    application = typer.Typer()
    application.command()(verify_command)

    def run(*options: str, **contents: bytes) -> Result:
        paths = {name: tmp_path / name for name in contents}
        for name, content in contents.items():
            paths[name].write_bytes(content)
        given = [str(paths["result"]), str(paths["receipt"]), "--public-key", str(paths["key"]), *options]
        return CliRunner().invoke(application, given)

    return run


class TestTheCommand:
    def make_files(self, result: dict[str, Any] = RESULT) -> dict[str, bytes]:
        key = make_key()
        pem = key.describe_public()["pem"].encode()
        return {"result": json.dumps(result).encode(), "receipt": json.dumps(sign(RESULT, key)).encode(), "key": pem}

    def test_says_what_holds_by_its_exit_status(self, run: Runner) -> None:
        assert run(**self.make_files()).exit_code == 0
        told = run("--json", **self.make_files({**RESULT, "pathology": 1}))
        assert told.exit_code == 1
        assert not json.loads(told.stdout)["checks"]["the result is the one that was signed"]

    @pytest.mark.parametrize("name", ["result", "receipt", "key"])
    def test_tells_which_file_it_cannot_read(self, run: Runner, name: str) -> None:
        told = run(**{**self.make_files(), name: b"[1]"})
        assert told.exit_code == 2
        assert name in told.output

    def test_reads_no_result_that_says_a_thing_twice(self, run: Runner) -> None:
        files = self.make_files()
        twice = files["result"].replace(b"{", b'{"probability_of_pathology": 0.01, ', 1)
        told = run(**{**files, "result": twice})
        assert (told.exit_code, "the result" in told.output) == (2, True)

    @pytest.mark.parametrize(
        "result", [b"[" * 100_000, b'{"\\ud800": 1}', b'{"a": ' + b"[" * 3000 + b"]" * 3000 + b"}"]
    )
    def test_fails_at_no_result_however_odd(self, run: Runner, result: bytes) -> None:
        assert run(**{**self.make_files(), "result": result}).exit_code == 2

    def test_takes_a_signature_of_other_letters_for_none(self, run: Runner) -> None:
        files = self.make_files()
        receipt = {**json.loads(files["receipt"]), "signature": "é"}
        told = run(**{**files, "receipt": json.dumps(receipt).encode()})
        assert (told.exit_code, "does not hold" in told.output) == (1, True)
