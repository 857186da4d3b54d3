"""The document of `ctclip inspect --json`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from shared.problems import CATALOGUE, ProblemCode
from tests.workers.command.reports import ACCEPTED, EMPTY, FACTS, REJECTED
from workers.command.inspect_document import make_document
from workers.intake.report import IntakeReport


def describe(report: IntakeReport) -> dict[str, Any]:
    """Return the document as a reader of standard output has it."""
    document: dict[str, Any] = json.loads(json.dumps(make_document(report, 1.23456)))
    return document


class TestAccepted:
    def test_all_members_are_there(self) -> None:
        document = describe(ACCEPTED)
        assert list(document) == [
            "outcome",
            "code",
            "detail",
            "advice",
            "facts",
            "chosen",
            "hu",
            "choice_policy",
            "candidates",
            "files",
            "warnings",
            "seconds",
            "timings",
        ]
        assert (document["outcome"], document["code"], document["detail"]) == ("accepted", None, None)
        assert document["choice_policy"] == "axial-chest-ct-1"

    def test_the_geometry_of_the_volume_is_told_beside_the_facts_of_the_series(self) -> None:
        chosen = describe(ACCEPTED)["chosen"]
        assert chosen["series_uid"] == "1.2.3.4"
        assert chosen["study_uid"] == "1.2.3"
        assert chosen["shape_zyx"] == [241, 512, 512]
        assert chosen["spacing_zyx_mm"] == [1.25, 0.7, 0.7]
        assert chosen["origin_lps_mm"] == [-172.0, -156.5, -20.5]
        assert (chosen["row_direction"], chosen["column_direction"]) == ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
        assert chosen["kernel"] == ["STANDARD"]

    def test_voxels_are_told_one_by_one(self) -> None:
        assert describe(ACCEPTED)["hu"] == {
            "min": -3024,
            "max": 3071,
            "mean": -982.25,
            "padding_voxels": 77,
            "sha256_int16_zyx": "ab" * 32,
            "voxels": [{"zyx": [1, 2, 3], "hu": -705}],
        }

    def test_every_candidate_has_a_score_for_each_criterion(self) -> None:
        first, second = describe(ACCEPTED)["candidates"]
        assert first == {
            "uid": "1.2.3.4",
            "slices": 240,
            "scores": {"kernel": 1.0, "axial": 0.8},
            "total": 0.9,
            "is_chosen": True,
            "reason": FACTS["reason"],
            "facts": FACTS,
        }
        assert (second["is_chosen"], second["total"]) == (False, 0.4)

    def test_every_file_is_listed(self) -> None:
        files = describe(ACCEPTED)["files"]
        assert [file["outcome"] for file in files] == ["used", "used", "ignored", "rejected"]
        assert files[3] == {
            "name": "broken",
            "outcome": "rejected",
            "code": "pixels_truncated",
            "detail": "12 bytes of 524288",
            "size_bytes": 10,
        }

    def test_warnings_and_durations(self) -> None:
        document = describe(ACCEPTED)
        assert document["warnings"][0] == {"code": "tilt_corrected", "facts": {"degrees": 12.5}}
        assert document["seconds"] == 0.5
        assert document["timings"] == {"start": 0.7346, "look": 0.1, "decode": 0.4}


class TestRejected:
    def test_the_problem_comes_with_facts_and_advice(self) -> None:
        document = describe(REJECTED)
        assert (document["outcome"], document["code"]) == ("rejected", "no_lungs_found")
        assert document["detail"] == "12 ml of lung were found."
        assert document["facts"] == {"lung_volume_ml": 12.0}
        assert document["advice"] == CATALOGUE[ProblemCode.NO_LUNGS_FOUND].advice

    def test_a_volume_that_could_be_made_is_described(self) -> None:
        document = describe(REJECTED)
        assert document["chosen"]["shape_zyx"] == [241, 512, 512]
        assert document["hu"]["min"] == -3024

    def test_without_a_volume_there_is_neither(self) -> None:
        document = describe(EMPTY)
        assert (document["chosen"], document["hu"]) == (None, None)
        assert (document["candidates"], document["files"], document["warnings"]) == ([], [], [])

    def test_headers_alone_give_a_series_without_hu(self) -> None:
        document = describe(replace(ACCEPTED, hu=None))
        assert document["hu"] is None
        assert document["chosen"]["series_uid"] == "1.2.3.4"
