"""Every code of the catalogue is really answered, and just as its example says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.problems.schemas import ProblemBody
from phantom.corpus.files import pack
from shared.problems import CATALOGUE, ProblemCode, make_example
from tests.problems import of_access, of_faults, of_parts, of_pressure, of_requests, of_uploads
from tests.problems.bench import Bench, Generator

GENERATORS: Mapping[ProblemCode, Generator] = {
    **of_requests.GENERATORS,
    **of_parts.GENERATORS,
    **of_uploads.GENERATORS,
    **of_faults.GENERATORS,
    **of_access.GENERATORS,
    **of_pressure.GENERATORS,
}

FROM_THE_REQUEST = {"instance", "trace_id"}


class TestEveryCode:
    def test_has_a_generator(self) -> None:
        assert set(ProblemCode) == set(GENERATORS)

    @pytest.mark.parametrize("code", GENERATORS)
    def test_is_answered_as_its_example_says(self, bench: Bench, code: ProblemCode) -> None:
        found, example = GENERATORS[code](bench), make_example(code)
        assert (found["code"], found["status"]) == (code, CATALOGUE[code].status)
        assert set(found) - FROM_THE_REQUEST == set(example) - FROM_THE_REQUEST
        constant = ("type", "title", "advice")
        assert [found[member] for member in constant] == [example[member] for member in constant]
        assert bench.get(found["type"])["code"] == code

    @pytest.mark.parametrize("code", list(ProblemCode))
    def test_has_an_example_that_is_a_problem(self, code: ProblemCode) -> None:
        example = make_example(code)
        assert ProblemBody.model_validate(example).model_dump(mode="json") == example


class TestEveryCodeOfAFile:
    def test_leads_to_a_page_that_explains_it(self, bench: Bench) -> None:
        job_id = bench.read_upload(pack({"note.txt": b"hello", ".DS_Store": b"x"}))
        files = bench.get(f"/v1/jobs/{job_id}/intake")["files"]
        assert [file["code"] for file in files] == ["not_dicom", "junk"]
        assert [bench.get(file["type"])["code"] for file in files] == ["not_dicom", "junk"]
