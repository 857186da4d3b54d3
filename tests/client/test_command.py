"""The command line: quick, explains itself, and speaks JSON when asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import typer
from typer.testing import CliRunner

from client import plugins
from client.command import app
from client.local_stack import choose_url, find_local_url
from tests.client.tiny_api import Answer, job_document, problem, serving

RESULT: dict[str, Any] = {
    "study_uid": "1.2.3",
    "series_uid": "1.2.3.4",
    "probability_of_pathology": 0.8312,
    "pathology": 1,
    "most_dangerous_pathology_type": "Pleural effusion",
    "processing_status": "Success",
    "time_of_processing": 3.5,
    "job_id": "job-1",
    "completeness": {
        "answered": 1,
        "expected": 5,
        "missing": [
            {"model": "ct_clip", "reason": "model_not_installed"},
            {"model": "fvlm", "reason": "model_not_installed"},
        ],
    },
    "threshold": 0.59,
    "policy_id": "default-1-aaaabbbb",
    "weights_profile": "demo",
    "findings": [
        {
            "finding": "pleural_effusion",
            "name": "Pleural effusion",
            "models": {"mednext": 0.91},
            "thresholds": {"mednext": 0.86},
            "attribution": 1.2,
            "above_threshold": True,
        },
        {"finding": "mass", "name": "Mass", "models": {"mednext": 0.01}, "attribution": 0.0, "above_threshold": False},
    ],
    "attribution": {"base_value": 0.1, "by_model": {"mednext": 1.5}, "beyond_findings": 0.3, "raw_score": 1.6},
    "series": {"slices": 124, "spacing_zyx_mm": [2.5, 1.4, 1.4], "kernel": ["Br38f", "3"], "reason": "the only one"},
    "quality": [{"code": "padding_replaced", "facts": {}}],
    "models": [{"name": "mednext", "version": "1", "digest": "0123456789", "seconds": 1.0}],
    "disclaimer": "Not for clinical use.",
}
PLAIN = {"COLUMNS": "120", "NO_COLOR": "1"}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "study.zip"
    path.write_bytes(b"PK")
    return path


class TestHelp:
    def test_lists_every_command_and_loads_none(self) -> None:
        script = (
            "import sys; sys.argv = ['ctclip', '--help']\n"
            "from client.command import app\n"
            "try: app()\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'numpy', 'sqlalchemy', 'pydantic', 'celery', 'psutil'} & set(sys.modules)\n"
            "sys.exit(f'loaded: {heavy}' if heavy else 0)"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        for name in ("submit", "watch", "result", *plugins.KNOWN):
            assert name in done.stdout
        assert "Command of" not in done.stdout, "a command of ours without a word on what it does"

    def test_of_a_platform_command_is_its_own(self) -> None:
        done = CliRunner().invoke(app, ["down", "--help"], env=PLAIN)
        assert done.exit_code == 0
        assert "--state" in done.output


class TestVersion:
    def test_is_that_of_the_package(self) -> None:
        done = CliRunner().invoke(app, ["--version"])
        assert (done.exit_code, done.output) == (0, f"ctclip {version('ct-clip-inference')}\n")


class TestMissingExtra:
    def test_is_named_with_the_way_to_install_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        known = plugins.KnownCommand("Does it.", "embedded")
        application = typer.Typer()
        application.command()(plugins._make_command("ctclip up", None, known))
        done = CliRunner().invoke(application, [])
        assert done.exit_code == plugins.EXTRA_MISSING
        assert "pip install '.[embedded]'" in done.stderr


class TestSubmit:
    def test_prints_the_job_as_json(self, study: Path) -> None:
        with serving(Answer(202, job_document("queued"))) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--json", "--api-url", api.url])
        assert json.loads(done.stdout)["id"] == "job-1"

    def test_waits_and_prints_the_result_as_json(self, study: Path) -> None:
        answers = (Answer(202, job_document("queued")), Answer(200, job_document("completed")), Answer(200, RESULT))
        with serving(*answers) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--wait", "--json", "--api-url", api.url])
        assert done.exit_code == 0
        assert json.loads(done.stdout) == RESULT

    def test_ends_with_one_and_the_reason_when_there_is_no_result(self, study: Path) -> None:
        told = {"code": "archive_corrupt", "title": "The archive is damaged", "detail": "at byte 7"}
        rejected = Answer(200, job_document("rejected", problem=told))
        advice = Answer(200, {"advice": "Make the ZIP again."})
        with serving(Answer(202, job_document("queued")), rejected, advice) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--wait", "--api-url", api.url], env=PLAIN)
        assert done.exit_code == 1
        assert "Make the ZIP again." in done.stdout
        assert "The archive is damaged (archive_corrupt)" in done.stdout

    def test_sends_labels_callback_and_that_nothing_is_to_be_reused(self, study: Path) -> None:
        options = ("--labels", "site=north", "--callback-url", "https://example.org/done", "--no-reuse")
        with serving(Answer(202, job_document("queued"))) as api:
            done = CliRunner().invoke(app, ["submit", str(study), *options, "--api-url", api.url])
        assert done.exit_code == 0, done.output
        sent = dict(parse_qsl(urlsplit(api.requests[0].path).query))
        assert sent == {"labels": "site=north", "callback_url": "https://example.org/done", "reuse": "false"}

    def test_sends_the_priority(self, study: Path) -> None:
        with serving(Answer(202, job_document("queued"))) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--priority", "0", "--api-url", api.url])
        assert done.exit_code == 0
        assert api.requests[0].path == "/v1/jobs?priority=0"

    def test_explains_a_refusal(self, study: Path) -> None:
        with serving(problem(413, "upload_too_large")) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--json", "--api-url", api.url])
        assert done.exit_code == 1
        assert json.loads(done.stdout)["code"] == "upload_too_large"
        assert "A title: a detail" in done.stderr

    def test_advises_after_a_refusal(self, study: Path) -> None:
        advice = Answer(200, {"advice": "Pack the study into a ZIP."})
        with serving(problem(415, "not_an_archive"), advice) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--api-url", api.url])
        assert done.exit_code == 1
        assert done.stderr == "A title: a detail\nPack the study into a ZIP.\n"
        assert api.requests[-1].path == "/v1/problems/not_an_archive"

    def test_takes_the_advice_that_came_with_the_refusal(self, study: Path) -> None:
        refusal = problem(415, "not_an_archive")
        with serving(replace(refusal, document={**refusal.document, "advice": "Pack it."})) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--api-url", api.url])
        assert done.stderr == "A title: a detail\nPack it.\n"
        assert len(api.requests) == 1


INTAKE = {
    "chosen": {
        "series_uid": "1.2.3.4",
        "shape_zyx": [120, 512, 512],
        "spacing_zyx_mm": [2.5, 0.75, 0.75],
        "facts": {"reason": "the only one"},
    },
    "hu": {"min": -1024, "max": 1800, "mean": -412.25},
    "file_counts": [
        {"outcome": "used", "code": None, "files": 120},
        {"outcome": "ignored", "code": "junk", "files": 2},
    ],
    "warnings": [{"code": "tilt_corrected", "degrees": 4}],
    "files": [{"ordinal": 0, "name": "a.dcm"}],
    "next_cursor": None,
}


def validation(state: str) -> dict[str, Any]:
    stages = [{"name": "fusion", "state": "skipped", "reason": "validate_only"}]
    return job_document(state, stages=stages)


class TestValidation:
    def test_is_asked_for_and_told_in_words(self, study: Path) -> None:
        answers = (validation("queued"), validation("completed"), INTAKE)
        with serving(Answer(202, answers[0]), Answer(200, answers[1]), Answer(200, answers[2])) as api:
            arguments = ["submit", str(study), "--validate-only", "--wait", "--api-url", api.url]
            done = CliRunner().invoke(app, arguments, env=PLAIN)
        assert done.exit_code == 0, done.output
        assert api.requests[0].path == "/v1/jobs?validate_only=true"
        for told in ("would be accepted", "120 x 512 x 512", "2 junk", "tilt corrected", "-1024 to 1800"):
            assert told in done.stdout

    def test_is_told_as_what_intake_found_to_programs(self, study: Path) -> None:
        answers = (Answer(202, validation("queued")), Answer(200, validation("completed")), Answer(200, INTAKE))
        with serving(*answers) as api:
            arguments = ["submit", str(study), "--validate-only", "--wait", "--json", "--api-url", api.url]
            done = CliRunner().invoke(app, arguments)
        assert json.loads(done.stdout) == {name: value for name, value in INTAKE.items() if name != "next_cursor"}

    def test_that_is_watched_ends_well(self) -> None:
        with serving(Answer(200, validation("completed")), Answer(200, INTAKE)) as api:
            done = CliRunner().invoke(app, ["watch", "job-1", "--api-url", api.url], env=PLAIN)
        assert done.exit_code == 0
        assert "only validated: Fusion" in done.stdout


class TestSplit:
    def test_follows_the_job_of_each_study(self, study: Path) -> None:
        told = {"code": "mixed_studies", "title": "Several", "jobs": [{"id": "part-1"}, {"id": "part-2"}]}
        refused = {"code": "no_lungs_found", "title": "No lungs were found", "advice": "Send a chest."}
        answers = (
            Answer(202, job_document("queued")),
            Answer(200, job_document("rejected", problem=told)),
            Answer(200, {**job_document("completed"), "id": "part-1"}),
            Answer(200, {**job_document("rejected", problem=refused), "id": "part-2"}),
            Answer(200, RESULT),
            Answer(200, refused),
        )
        with serving(*answers) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--split", "--wait", "--api-url", api.url], env=PLAIN)
        assert done.exit_code == 1
        assert api.requests[0].path == "/v1/jobs?split=true"
        assert [request.path for request in api.requests[2:4]] == ["/v1/jobs/part-1", "/v1/jobs/part-2"]
        assert "0.831" in done.stdout
        assert "no_lungs_found" in done.stdout
        assert done.stdout.index("Result of study 1") < done.stdout.index("Result of study 2")


class TestRefusedKey:
    @pytest.mark.parametrize(("status", "code"), [(401, "authentication_required"), (401, "credentials_invalid")])
    def test_is_told_with_the_option_that_gives_one(self, study: Path, status: int, code: str) -> None:
        with serving(problem(status, code)) as api:
            done = CliRunner().invoke(app, ["submit", str(study), "--api-url", api.url], env={"CTCLIP_API_KEY": "ck_1"})
        assert done.exit_code == 77
        assert "CTCLIP_API_KEY" in done.stderr
        assert api.requests[0].headers["Authorization"] == "Bearer ck_1"

    def test_that_cannot_be_one_is_wrong_usage(self, study: Path) -> None:
        done = CliRunner().invoke(app, ["submit", str(study), "--api-url", "http://127.0.0.1:9", "--api-key", "a b"])
        assert done.exit_code == 2


class TestCancelAndRetry:
    @pytest.mark.parametrize(("command", "state"), [("cancel", "cancelled"), ("retry", "running")])
    def test_say_how_the_job_stands(self, command: str, state: str) -> None:
        with serving(Answer(200, job_document(state))) as api:
            told = CliRunner().invoke(app, [command, "job/1", "--api-url", api.url])
            as_json = CliRunner().invoke(app, [command, "job/1", "--json", "--api-url", api.url])
        assert told.stdout.startswith(f"job-1 is {state}.\n")
        assert json.loads(as_json.stdout)["state"] == state
        assert [(request.method, request.path) for request in api.requests] == [
            ("POST", f"/v1/jobs/job%2F1/{command}")
        ] * 2


class TestWatch:
    def test_prints_one_line_for_every_change_as_json(self) -> None:
        with serving(Answer(200, job_document()), Answer(200, job_document("completed"))) as api:
            done = CliRunner().invoke(app, ["watch", "job-1", "--json", "--api-url", api.url])
        assert [json.loads(line)["state"] for line in done.stdout.splitlines()] == ["running", "completed"]

    def test_names_stages_and_why_one_was_skipped(self) -> None:
        with serving(Answer(200, job_document()), Answer(200, job_document("completed_partial"))) as api:
            done = CliRunner().invoke(app, ["watch", "job-1", "--api-url", api.url], env=PLAIN)
        assert "Reading the study: ✓ 1.2 s" in done.stdout
        assert "job: not installed: MedNeXt\n" in done.stdout
        assert "completed partial" in done.stdout

    def test_names_all_stages_that_were_skipped_for_one_reason_in_one_line(self) -> None:
        names = {"ct_clip": "model_not_installed", "fvlm": "model_not_installed", "delivery": "no_callback"}
        stages = [{"name": name, "state": "skipped", "reason": reason} for name, reason in names.items()]
        with serving(Answer(200, job_document("completed_partial", stages=stages))) as api:
            done = CliRunner().invoke(app, ["watch", "job-1", "--api-url", api.url], env=PLAIN)
        told = [line.partition("job: ")[2] for line in done.stdout.splitlines()]
        assert told[:3] == ["not installed: CT-CLIP, fVLM", "no webhook: Delivery", "completed partial"]


class TestResult:
    def test_says_the_answer_the_evidence_and_what_was_missing(self) -> None:
        model = {"name": "mednext", "state": "succeeded", "attempt": 1, "reason": None, "seconds": 0.9}
        job = job_document("completed_partial")
        job["stages"][1] = model
        with serving(Answer(200, RESULT), Answer(200, job)) as api:
            done = CliRunner().invoke(app, ["result", "job-1", "--api-url", api.url], env=PLAIN)
        assert done.exit_code == 0, done.output
        for told in (
            "0.831 >= 0.59",
            "1 of 5 models",
            "missing: CT-CLIP, fVLM (not installed)",
            "above the model's threshold",
            "base +0.10, MedNeXt +1.50 = +1.60",
            "kernel Br38f, 3",
            "Reading the study 1.2 s, MedNeXt 0.9 s, waiting 1.4 s",
            "Not for clinical use.",
        ):
            assert told in done.stdout

    def test_shows_the_threshold_beside_the_probability(self) -> None:
        shown = self._show(RESULT)
        assert "0.91 of 0.86" in shown
        assert "reaches that model's own threshold" in shown

    def test_breaks_no_column_on_a_narrow_terminal(self) -> None:
        models = dict.fromkeys(("ct_clip", "supervised", "mednext", "diffusion", "fvlm"), 0.25)
        finding = {**RESULT["findings"][0], "models": models, "thresholds": dict.fromkeys(models, 0.5)}
        lines = self._show({**RESULT, "findings": [finding]}, columns=80).splitlines()
        told = [line.strip("│ ") for line in lines if "0.25 of 0.50" in line]
        names = ("CT-CLIP", "Supervised", "MedNeXt", "Anomaly diffusion", "fVLM")
        assert [line.rpartition("  ")[2] for line in told] == [f"{name} 0.25 of 0.50" for name in names]

    def test_shows_findings_of_the_site_as_what_they_are(self) -> None:
        found = {"name": "Stent", "probability": 0.63, "present": "A stent.", "absent": "No stent."}
        assert "Stent 0.63 (asked in words of the policy; not weighed, not calibrated)" in self._show(
            {**RESULT, "site_findings": [found]}
        )

    def test_shows_the_most_suspicious_slice_and_the_first_region(self) -> None:
        region = {"centre_lps_mm": [40.2, -10.0, -56.0], "area_mm2": 240.0}
        slices = {"highest": [{"probability": 0.7, "centre_lps_mm": [0.0, 0.0, -56.0]}]}
        shown = self._show({**RESULT, "anomaly": {"slices": slices, "reconstruction": {"regions": [region]}}})
        assert "slice at z -56 mm 0.70 (not calibrated)" in shown
        assert "(40, -10, -56) mm, 2.4 cm2" in shown

    def test_evidence_adds_up_to_the_score(self) -> None:
        small = {"models": {"mednext": 0.02}, "attribution": 0.004, "above_threshold": False}
        others = [{"finding": f"small_{number}", "name": "Small", **small} for number in range(5)]
        attribution = {**RESULT["attribution"], "beyond_findings": 0.28}
        shown = self._show({**RESULT, "findings": [*RESULT["findings"], *others], "attribution": attribution})
        rows = ("base value", "0.91 of 0.86", "other findings", "beyond single findings")
        lines = [next(line for line in shown.splitlines() if row in line) for row in rows]
        moved = [float(found) for line in lines for found in re.findall(r"[+-]\d\.\d\d", line)]
        assert moved == [0.1, 1.2, 0.02, 0.28]
        assert sum(moved) == pytest.approx(1.6)

    def _show(self, document: Mapping[str, Any], columns: int = 120) -> str:
        environment = {**PLAIN, "COLUMNS": str(columns)}
        with serving(Answer(200, document), Answer(200, job_document("completed_partial"))) as api:
            return CliRunner().invoke(app, ["result", "job-1", "--api-url", api.url], env=environment).stdout

    def test_of_an_unknown_job_says_what_to_do(self) -> None:
        with serving(problem(404, "job_not_found")) as api:
            done = CliRunner().invoke(app, ["result", "job-2", "--api-url", api.url])
        assert done.exit_code == 1
        assert "Check the id and the address" in done.stderr

    def test_of_wrong_fields_names_each(self) -> None:
        refusal = problem(422, "validation_failed")
        wrong = [{"pointer": "/models", "message": "Not a model"}, {"pointer": "", "message": "No object"}]
        with serving(replace(refusal, document={**refusal.document, "errors": wrong})) as api:
            done = CliRunner().invoke(app, ["result", "job-2", "--api-url", api.url])
        assert done.exit_code == 1
        assert "A title: models: Not a model; body: No object\n" in done.stderr

    def test_leaves_out_findings_that_moved_nothing(self) -> None:
        with serving(Answer(200, RESULT), Answer(200, job_document("completed_partial"))) as api:
            done = CliRunner().invoke(app, ["result", "job-1", "--api-url", api.url], env=PLAIN)
        assert "Mass" not in done.stdout


class TestAddress:
    def test_is_the_one_named_before_all_others(self) -> None:
        assert choose_url("http://named") == "http://named"

    @pytest.mark.parametrize("command", [["watch", "job-1"], ["acceptance", "run", "."]], ids=["watch", "acceptance"])
    def test_that_cannot_be_one_is_wrong_usage(self, command: list[str]) -> None:
        done = CliRunner().invoke(app, [*command, "--api-url", "http://127.0.0.1:PORT"], env=PLAIN)
        assert done.exit_code == 2
        assert "Invalid port: 'PORT'. An address is like http://localhost:8000." in done.stderr

    @pytest.mark.parametrize("address", ["localhost:8000", "127.0.0.1:8000", "ftp://localhost", "http://", "ct"])
    def test_without_scheme_or_host_is_wrong_usage(self, address: str) -> None:
        done = CliRunner().invoke(app, ["watch", "job-1", "--api-url", address], env=PLAIN)
        assert done.exit_code == 2
        assert f"'{address}' is no http:// or https:// address." in " ".join(done.stderr.split())

    def test_is_that_of_the_platform_running_here(self, tmp_path: Path) -> None:
        self._write_report(tmp_path, launcher=1)
        assert find_local_url(tmp_path) == "http://127.0.0.1:12345"

    def test_is_not_that_of_a_platform_that_has_ended(self, tmp_path: Path) -> None:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        self._write_report(tmp_path, launcher=ended.pid)
        assert find_local_url(tmp_path) is None
        assert find_local_url(tmp_path / "nowhere") is None

    def _write_report(self, state: Path, launcher: int) -> None:
        report = {"phase": "ready", "url": "http://127.0.0.1:12345", "pids": {"launcher": launcher}}
        (state / "processes.json").write_text(json.dumps(report))
