"""`Content-Digest`: what is announced is held against what comes, over real sockets and before anything is kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.uploads.digests import Checksum, DigestCheck, parse_content_digest
from shared.byte_units import MIB
from shared.errors import InputProblem
from tests.gateway.conftest import NOTHING, ZIP, RunningGateway

Leftovers = Callable[[], tuple[set[str], int]]

LARGE_ZIP = ZIP + bytes(17 * MIB)
WRONG = base64.b64encode(bytes(32)).decode()


def announce(content: bytes, algorithm: str = "sha-256") -> str:
    digest = hashlib.new(algorithm.replace("-", ""), content).digest()
    return f"{algorithm}=:{base64.b64encode(digest).decode()}:"


def post_raw(gateway: RunningGateway, content: bytes, digest: str) -> httpx.Response:
    return gateway.http.post("/v1/jobs", content=content, headers={"Content-Digest": digest})


def make_form(content: bytes, part_digest: str | None = None) -> bytes:
    header = f"Content-Digest: {part_digest}\r\n" if part_digest else ""
    head = f'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n{header}\r\n'
    return head.encode() + content + b"\r\n--cut--\r\n"


def post_form(gateway: RunningGateway, form: bytes, digest: str | None = None) -> httpx.Response:
    headers = {"Content-Type": "multipart/form-data; boundary=cut"}
    return gateway.http.post(
        "/v1/jobs", content=form, headers=headers if digest is None else {**headers, "Content-Digest": digest}
    )


class TestABodyThatIsWhatItAnnounces:
    @pytest.mark.parametrize("algorithm", ["sha-256", "sha-512"])
    def test_is_accepted(self, gateway: RunningGateway, algorithm: str) -> None:
        assert post_raw(gateway, LARGE_ZIP, announce(LARGE_ZIP, algorithm)).status_code == 202

    def test_may_announce_several_and_ones_that_nobody_knows(self, gateway: RunningGateway) -> None:
        several = f"crc32c=:AAAA:, {announce(ZIP)},{announce(ZIP, 'sha-512')}, md5=:{WRONG}:"
        assert post_raw(gateway, ZIP, several).status_code == 202

    def test_may_announce_them_in_several_headers(self, gateway: RunningGateway) -> None:
        headers = [("Content-Digest", announce(ZIP)), ("content-digest", announce(ZIP, "sha-512"))]
        assert gateway.http.post("/v1/jobs", content=ZIP, headers=headers).status_code == 202
        headers[1] = ("content-digest", f"sha-512=:{WRONG}:")
        assert gateway.http.post("/v1/jobs", content=ZIP, headers=headers).json()["code"] == "checksum_mismatch"

    def test_may_be_sent_without_a_length(self, gateway: RunningGateway) -> None:
        def iterate() -> Iterator[bytes]:
            yield from (LARGE_ZIP[start : start + MIB] for start in range(0, len(LARGE_ZIP), MIB))

        headers = {"Content-Digest": announce(LARGE_ZIP)}
        assert gateway.http.post("/v1/jobs", content=iterate(), headers=headers).status_code == 202

    def test_of_a_form_is_the_whole_form_or_the_file_in_it(self, gateway: RunningGateway) -> None:
        form = make_form(ZIP)
        assert post_form(gateway, form, announce(form)).status_code == 202
        assert post_form(gateway, form, announce(ZIP)).status_code == 202
        assert post_form(gateway, make_form(ZIP, announce(ZIP))).status_code == 202


class TestABodyThatIsNotWhatItAnnounces:
    @pytest.mark.parametrize("content", [ZIP, LARGE_ZIP], ids=["small", "large"])
    @pytest.mark.parametrize(
        "digest", [f"sha-256=:{WRONG}:", f"sha-512=:{WRONG}:", "sha-256=:AAAA:", "sha-256=::"], ids=str
    )
    def test_leaves_no_job_and_no_object(
        self, gateway: RunningGateway, leftovers: Leftovers, content: bytes, digest: str
    ) -> None:
        answer = post_raw(gateway, content, digest)
        assert (answer.status_code, answer.json()["code"]) == (400, "checksum_mismatch")
        assert answer.json()["found"] == announce(content, digest[:7])
        assert leftovers() == NOTHING

    def test_is_refused_though_another_digest_holds(self, gateway: RunningGateway, leftovers: Leftovers) -> None:
        answer = post_raw(gateway, ZIP, f"{announce(ZIP)}, sha-512=:{WRONG}:")
        assert (answer.json()["code"], leftovers()) == ("checksum_mismatch", NOTHING)

    def test_of_a_form_is_refused_by_the_header_and_by_its_part(
        self, gateway: RunningGateway, leftovers: Leftovers
    ) -> None:
        wrong = f"sha-256=:{WRONG}:"
        assert post_form(gateway, make_form(LARGE_ZIP), wrong).json()["code"] == "checksum_mismatch"
        assert post_form(gateway, make_form(LARGE_ZIP, wrong)).json()["code"] == "checksum_mismatch"
        form = make_form(ZIP, wrong)
        assert post_form(gateway, form, announce(form)).json()["code"] == "checksum_mismatch"
        assert leftovers() == NOTHING

    def test_gives_its_idempotency_key_back(self, gateway: RunningGateway) -> None:
        headers = {"Idempotency-Key": "digest-mended", "Content-Digest": f"sha-256=:{WRONG}:"}
        assert gateway.http.post("/v1/jobs", content=ZIP, headers=headers).status_code == 400
        headers["Content-Digest"] = announce(ZIP)
        assert gateway.http.post("/v1/jobs", content=ZIP, headers=headers).status_code == 202
        headers["Content-Digest"] = f"sha-256=:{WRONG}:"  # a repetition is checked as well
        assert gateway.http.post("/v1/jobs", content=ZIP, headers=headers).json()["code"] == "checksum_mismatch"

    def test_is_a_failed_prediction_to_callers_of_the_predecessor(
        self, gateway: RunningGateway, leftovers: Leftovers
    ) -> None:
        headers = {"Content-Digest": f"sha-256=:{WRONG}:"}
        answer = gateway.http.post("/predict", files={"file": ("a.zip", ZIP)}, headers=headers)
        assert (answer.status_code, answer.json()["error"][:18]) == (422, "checksum_mismatch:")
        assert leftovers() == NOTHING


class TestAMalformedHeader:
    @pytest.mark.parametrize(
        "value", ["sha-256=47DEQpj8", "sha-256", "sha-256=:4*7:", "SHA-256=:AAAA:", "sha-256=:AAAA:,,", "sha-256=:A:"]
    )
    def test_is_refused_before_the_body_is_read(
        self, gateway: RunningGateway, leftovers: Leftovers, value: str
    ) -> None:
        answer = post_raw(gateway, ZIP, value)
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
        assert "Content-Digest" in answer.json()["detail"]
        answer = post_form(gateway, make_form(ZIP, value))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
        assert leftovers() == NOTHING

    @given(st.text(alphabet="sha-256=:AQ,; \t*", max_size=40))
    def test_of_any_text_is_read_or_refused(self, value: str) -> None:
        try:
            parse_content_digest(value)
        except InputProblem:
            return


class TestACheck:
    @given(st.lists(st.binary(max_size=50)), st.sampled_from(["sha-256", "sha-512"]))
    def test_holds_for_the_digest_of_all_pieces_and_for_no_other(self, pieces: list[bytes], algorithm: str) -> None:
        content = b"".join(pieces)
        (right,) = parse_content_digest(announce(content, algorithm))
        for expected in (right, Checksum(algorithm, right.digest[::-1] + b"x")):
            check = DigestCheck((expected,))
            for piece in pieces:
                check.update(piece)
            assert (check.find_wrong() is None) == (expected == right)
