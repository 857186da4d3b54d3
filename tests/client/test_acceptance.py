"""What acceptance takes for a difference, and how the command tells it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from client.acceptance.command import app
from client.acceptance.judging import describe, judge
from client.acceptance.manifest import BadManifest, Case, Expected, Sending, read_manifest
from client.acceptance.raw_http import Answer, RawRequest
from client.acceptance.sending import Observed, Platform
from tests.client import tiny_api
from tests.client.tiny_api import problem, serving

VOLUME = {
    "shape_zyx": [60, 64, 64],
    "spacing_zyx_mm": [6.0, 1.5, 1.5],
    "hu": {"min": -1000, "max": 400, "mean": -600.0},
}
INTAKE: dict[str, Any] = {
    "chosen": {"shape_zyx": [60, 64, 64], "spacing_zyx_mm": [6.0, 1.5, 1.5]},
    "hu": {"min": -1000, "max": 400, "mean": -600.0},
    "file_counts": [{"outcome": "used", "code": None, "files": 59}, {"code": "crc_mismatch", "files": 1}],
    "files": [{"name": "a.dcm"}],
    "warnings": [{"code": "files_rejected"}],
    "candidates_found": 1,
}
ACCEPTED = Answer(202, {"id": "j"})


def make_case(outcome: str, *, status: int = 202, send: Mapping[str, Any] | None = None, **expected: object) -> Case:
    parsed = Expected.parse({"outcome": outcome, "status": status, **expected})
    return Case("B0-test", "A test", Path("file"), False, Sending.parse(send or {}), parsed)


def make_job(state: str, **problem: object) -> dict[str, Any]:
    return {"id": "j", "state": state, "problem": problem or None}


def write_manifest(folder: Path, *cases: Mapping[str, Any]) -> None:
    manifest = {"version": 1, "scale": "small", "seed": 7, "limits": {}, "cases": cases}
    (folder / "manifest.json").write_text(json.dumps(manifest))


class TestAcceptedStudy:
    CASE = make_case(
        "accepted",
        has_file_list=True,
        files={"crc_mismatch": 1},
        warnings=["files_rejected"],
        candidates=1,
        volume=VOLUME,
    )
    OBSERVED = Observed([ACCEPTED], make_job("completed"), INTAKE)

    def test_passes_when_all_is_as_expected(self) -> None:
        assert judge(self.CASE, self.OBSERVED) == []

    @pytest.mark.parametrize(
        ("member", "value", "told"),
        [
            ("chosen", {**INTAKE["chosen"], "shape_zyx": [59, 64, 64]}, "the volume is"),
            ("chosen", {**INTAKE["chosen"], "spacing_zyx_mm": [6.1, 1.5, 1.5]}, "the spacing is"),
            ("hu", {**INTAKE["hu"], "max": 401}, "HU"),
            ("hu", None, "HU"),
            ("file_counts", [], "no list of files"),
            ("files", [{"name": "a\u202eb"}], "not escaped"),
            ("warnings", [], "files_rejected is missing"),
            ("candidates_found", 0, "candidates"),
        ],
    )  # fmt: skip
    def test_tells_what_differs_in_its_reading(self, member: str, value: object, told: str) -> None:
        observed = replace(self.OBSERVED, intake={**INTAKE, member: value})
        assert told in " ".join(judge(self.CASE, observed))

    def test_fails_when_the_job_is_rejected(self) -> None:
        observed = replace(self.OBSERVED, job=make_job("rejected", code="slice_gap"))
        assert any("rejected slice_gap" in difference for difference in judge(self.CASE, observed))
        assert describe(observed) == "202 rejected slice_gap"

    def test_fails_on_a_warning_that_must_not_come(self) -> None:
        case = replace(self.CASE, expected=replace(self.CASE.expected, without_warnings=frozenset({"files_rejected"})))
        assert "the warning files_rejected was not expected" in judge(case, self.OBSERVED)


class TestRejectedStudy:
    CASE = make_case("rejected", code="archive_nested", facts={"kind": "zip"})

    def test_passes_with_its_code_and_facts(self) -> None:
        job = make_job("rejected", code="archive_nested", kind="zip")
        assert judge(self.CASE, Observed([ACCEPTED], job)) == []

    @pytest.mark.parametrize(
        "job",
        [
            make_job("rejected", code="archive_nested", kind="rar"),
            make_job("rejected", code="archive_corrupt", kind="zip"),
            make_job("failed", code="archive_nested", kind="zip"),
            make_job("completed"),
        ],
    )
    def test_fails_with_another_end(self, job: dict[str, Any]) -> None:
        assert judge(self.CASE, Observed([ACCEPTED], job))

    def test_that_is_split_follows_every_part(self) -> None:
        case = make_case("rejected", code="mixed_studies", split_into=2, volume=VOLUME)
        part = Observed([], make_job("completed"), INTAKE)
        job = make_job("rejected", code="mixed_studies")
        assert judge(case, Observed([ACCEPTED], job, parts=[part, part])) == []
        assert judge(case, Observed([ACCEPTED], job, parts=[part]))
        assert judge(case, Observed([ACCEPTED], job, parts=[part, replace(part, job=make_job("failed"))]))


class TestRefusedUpload:
    CASE = make_case(
        "refused", status=413, code="upload_too_large", send={"headers": {"Idempotency-Key": "secret-key"}}
    )

    def test_passes_with_status_and_code(self) -> None:
        assert judge(self.CASE, Observed([Answer(413, {"code": "upload_too_large"})])) == []

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(500, {"code": "internal_error"}),
            Answer(413, {"code": "empty_upload"}),
            Answer(0, {}),
            Answer(413, {"code": "upload_too_large"}, {"X-Key": "secret-key"}),
        ],
    )
    def test_fails_with_another_answer(self, answer: Answer) -> None:
        assert judge(self.CASE, Observed([answer]))


class TestOneKeyManyTimes:
    CASE = make_case("accepted", send={"times": 3})
    FIRST, REPLAY = ACCEPTED, Answer(202, {"id": "j"}, {"Idempotent-Replayed": "true"})

    def test_passes_with_one_job_and_replays(self) -> None:
        assert judge(self.CASE, Observed([self.REPLAY, self.FIRST, self.REPLAY], make_job("completed"), INTAKE)) == []

    def test_fails_with_two_jobs(self) -> None:
        answers = [self.FIRST, Answer(202, {"id": "k"}), self.REPLAY]
        assert judge(self.CASE, Observed(answers, make_job("completed"), INTAKE))


class TestTheManifest:
    def test_that_is_not_there_is_explained(self, tmp_path: Path) -> None:
        with pytest.raises(BadManifest, match="ctclip acceptance corpus"):
            read_manifest(tmp_path)

    def test_never_leads_out_of_its_folder(self, tmp_path: Path) -> None:
        case = {
            "id": "B0",
            "title": "",
            "file": "../../etc/passwd",
            "send": {},
            "expected": {"outcome": "refused", "status": 400},
        }
        write_manifest(tmp_path, case)
        assert read_manifest(tmp_path).cases["B0"].path == tmp_path / "passwd"


class TestARawRequest:
    def test_says_what_it_is_told_to_say(self, tmp_path: Path) -> None:
        request = RawRequest("http://host:1/v1/jobs?a=b", {"A": "1"}, tmp_path, 7, "Broken: \r")
        assert request.format_head() == (
            b"POST /v1/jobs?a=b HTTP/1.1\r\nHost: host:1\r\nConnection: close\r\nA: 1\r\nBroken: \r\r\n"
            b"Content-Length: 7\r\n\r\n"
        )


class TestAnApiKey:
    SENT = tiny_api.Answer(200, {"limits": {}})

    @staticmethod
    def run(folder: Path, api_url: str, *options: str, **environment: str) -> Result:
        write_manifest(folder)
        return CliRunner().invoke(app, ["run", str(folder), "--api-url", api_url, *options], env=environment)

    def test_is_taken_from_the_option_or_the_environment_and_never_printed(self, tmp_path: Path) -> None:
        with serving(self.SENT) as api:
            named = self.run(tmp_path, api.url, "--json", "--api-key", "ck_1")
            found = self.run(tmp_path, api.url, CTCLIP_API_KEY="ck_2")
        assert [request.headers["Authorization"] for request in api.requests] == ["Bearer ck_1", "Bearer ck_2"]
        assert (named.exit_code, found.exit_code) == (0, 0)
        assert "ck_" not in named.output + found.output

    def test_is_not_sent_where_none_is_given(self, tmp_path: Path) -> None:
        with serving(self.SENT) as api:
            assert self.run(tmp_path, api.url).exit_code == 0
        assert "Authorization" not in api.requests[0].headers

    def test_that_cannot_be_one_is_wrong_usage(self, tmp_path: Path) -> None:
        done = self.run(tmp_path, "http://127.0.0.1:9", "--api-key", "ck 1")
        assert done.exit_code == 2
        assert "--api-key" in done.stderr
        assert "ck 1" not in done.output

    @pytest.mark.parametrize(
        "refusal",
        [
            problem(401, "authentication_required"),
            problem(401, "credentials_invalid"),
            problem(403, "insufficient_scope"),
            tiny_api.Answer(403, b"<h1>Forbidden</h1>"),
        ],
        ids=lambda refusal: str(refusal.status),
    )
    def test_that_is_refused_is_told_with_what_gives_another(self, tmp_path: Path, refusal: tiny_api.Answer) -> None:
        with serving(refusal) as api:
            done = self.run(tmp_path, api.url, "--api-key", "ck_1")
        assert done.exit_code == 2
        assert "--api-key" in done.stderr
        assert "CTCLIP_API_KEY" in done.stderr
        assert "ck_1" not in done.output

    def test_goes_with_a_case_in_every_form(self, tmp_path: Path) -> None:
        forms: list[dict[str, Any]] = [{}, {"is_raw": True}, {"content_length": 4}, {"raw_header": "X-Raw: 1"}]
        assert self.send(tmp_path, *forms) == ["Bearer ck_1"] * len(forms)

    def test_stays_away_from_a_case_about_keys(self, tmp_path: Path) -> None:
        forms: list[dict[str, Any]] = [{}, {"is_raw": True}, {"content_length": 4}]
        told = [{**form, "headers": {"authorization": "Bearer none"}} for form in forms]
        told.append({"raw_header": "authorization: Bearer none"})
        assert self.send(tmp_path, *told) == ["Bearer none"] * len(told)

    @staticmethod
    def send(folder: Path, *forms: Mapping[str, Any]) -> list[str]:
        """Return what cases say of who asks."""
        (folder / "file").write_bytes(b"PK\3\4")
        cases = [make_case("refused", status=400, send=form) for form in forms]
        with serving(problem(400, "empty_upload")) as api:
            platform = Platform(api.url, run_id="1", limit_s=1, api_key="ck_1")
            for case in cases:
                platform.observe(replace(case, path=folder / "file"), {})
            platform.close()
        return [
            ", ".join(value for name, value in request.headers.items() if name.lower() == "authorization")
            for request in api.requests
        ]


class TestTheCommand:
    def test_needs_a_corpus(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["run", str(tmp_path), "--api-url", "http://127.0.0.1:9"])
        assert done.exit_code == 2
        assert "There is no corpus" in done.stderr

    def test_says_what_to_do_when_nothing_answers(self, tmp_path: Path) -> None:
        write_manifest(tmp_path)
        done = CliRunner().invoke(app, ["run", str(tmp_path), "--api-url", "http://127.0.0.1:9"])
        assert done.exit_code == 2
        assert "Nothing answers at http://127.0.0.1:9" in done.stderr
        assert "ctclip up" in done.stderr

    def test_lists_the_part_that_another_package_brings(self) -> None:
        done = CliRunner().invoke(app, ["--help"])
        assert "corpus" in done.stdout
