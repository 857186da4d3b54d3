"""Pseudonyms link a patient's studies inside a tenant and nowhere else."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from shared.pseudonyms import SHORTEST_SECRET_BYTES, Pseudonyms, UnusableSecret, make_pseudonyms

SECRET = b"k" * SHORTEST_SECRET_BYTES
DIGEST = hashlib.sha256(b"MRN 4711").hexdigest()


def digest(patient: str) -> str:
    return hashlib.sha256(patient.encode()).hexdigest()


class TestPseudonym:
    def test_says_its_scheme_and_its_secret_and_has_128_bits(self) -> None:
        pseudonyms = Pseudonyms(SECRET)
        assert re.fullmatch(rf"p1_{pseudonyms.key_id}_[a-z2-7]{{26}}", pseudonyms.make("hospital", DIGEST))

    def test_stays_what_it_was(self) -> None:
        """Pseudonyms stand in databases: a change of the scheme needs a new version, not new values."""
        assert Pseudonyms(SECRET).make("hospital", DIGEST) == "p1_pfpi_arztfjskv66slycva6m2cwvjou"

    @given(st.text(max_size=64), st.text(max_size=64))
    def test_is_equal_for_equal_patients_only(self, one: str, other: str) -> None:
        pseudonyms = Pseudonyms(SECRET)
        is_same = pseudonyms.make("t", digest(one)) == pseudonyms.make("t", digest(other))
        assert is_same == (one == other)

    @given(st.text(max_size=64), st.text(max_size=64))
    def test_differs_between_tenants(self, one: str, other: str) -> None:
        pseudonyms = Pseudonyms(SECRET)
        assert (pseudonyms.make(one, DIGEST) == pseudonyms.make(other, DIGEST)) == (one == other)

    def test_of_another_secret_differs_and_shows_it(self) -> None:
        one, other = Pseudonyms(SECRET), Pseudonyms(b"o" * SHORTEST_SECRET_BYTES)
        assert one.key_id != other.key_id
        assert one.make("t", DIGEST)[-26:] != other.make("t", DIGEST)[-26:]

    @pytest.mark.parametrize("wrong", ["", "4711", DIGEST[:-2], f"{DIGEST}00", "MRN 4711"])
    def test_is_made_of_a_digest_only(self, wrong: str) -> None:
        with pytest.raises(ValueError, match=r".") as refused:
            Pseudonyms(SECRET).make("t", wrong)
        assert "4711" not in str(refused.value)


class TestSecret:
    @pytest.mark.parametrize("secret", [None, SecretStr(""), SecretStr("hunter2" * 4)])
    def test_that_is_absent_or_short_is_refused_with_what_to_do(self, secret: SecretStr | None) -> None:
        with pytest.raises(UnusableSecret, match=r"CTCLIP_PSEUDONYM_KEY .*`openssl rand -hex 32`") as refused:
            make_pseudonyms(secret)
        assert "hunter2" not in str(refused.value)

    def test_is_counted_in_bytes(self) -> None:
        assert make_pseudonyms(SecretStr("ключ" * 4)).key_id
