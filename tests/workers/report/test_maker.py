"""Reports as files: whole, the same every time, safe to open, and never a danger to the result."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pypdfium2
import pytest
from PIL import Image

from shared.artefacts import ArtefactKind
from shared.errors import StaleLease
from tests.workers.report.study import (
    GEOMETRY,
    RESULT,
    ReportContext,
    find_slice,
    make_result,
    make_volume,
    write_artefacts,
)
from workers.report.language import Language
from workers.report.maker import ReportMaker, Reports
from workers.report.pictures import draw_sight
from workers.report.slices import Sight, Window, choose_sights
from workers.runtime.stage import StageContext
from workers.volume import Volume, VolumeFile, write_volume
from workers.volume.geometry import Triple

LIMIT = timedelta(seconds=120)
EVIL = '<script>alert(1)</script> #panic("x") *bold* $x$ {{ 7 }}'


def make(folder: Path, result: dict[str, Any] = RESULT, languages: Sequence[Language] = tuple(Language)) -> Reports:
    artefacts, scratch = folder / "artefacts", folder / "scratch"
    artefacts.mkdir(parents=True)
    scratch.mkdir()
    context = ReportContext(artefacts, scratch, write_artefacts(artefacts))
    return ReportMaker(languages, LIMIT).make(cast("StageContext", context), result)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return make(tmp_path_factory.mktemp("reports"))


def read(reports: Reports, kind: ArtefactKind) -> bytes:
    return next(artefact.path.read_bytes() for artefact in reports.artefacts if artefact.kind is kind)


def read_print(reports: Reports, kind: ArtefactKind) -> str:
    with pypdfium2.PdfDocument(read(reports, kind)) as document:
        texts = []
        for page in document:
            layer = page.get_textpage()
            texts.append(layer.get_text_range())
            layer.close()
            page.close()
    return re.sub(r"\s+", " ", " ".join(texts).replace("\u200b", "").replace("\ufffe", ""))


class TestFiles:
    def test_are_a_page_and_a_print_in_each_language(self, reports: Reports) -> None:
        kinds = {"report_html_en", "report_html_ru", "report_pdf_en", "report_pdf_ru"}
        assert ({artefact.kind for artefact in reports.artefacts}, reports.warnings) == (kinds, ())
        assert all(record.size_bytes > 10_000 for record in reports.records)

    def test_say_the_same_again_byte_for_byte(self, reports: Reports, tmp_path: Path) -> None:
        again = make(tmp_path)
        assert [record.sha256 for record in again.records] == [record.sha256 for record in reports.records]

    def test_only_the_languages_that_the_operator_wants_are_written(self, tmp_path: Path) -> None:
        assert make(tmp_path / "none", languages=()) == Reports()
        one = make(tmp_path / "one", languages=(Language.RUSSIAN,))
        assert [artefact.kind for artefact in one.artefacts] == ["report_html_ru", "report_pdf_ru"]


class TestPage:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (ArtefactKind.REPORT_HTML_EN, ("NOT FOR CLINICAL USE", "Pleural effusion", "0.834", "Without", "Organs")),
            (
                ArtefactKind.REPORT_HTML_RU,
                ("НЕ ДЛЯ КЛИНИЧЕСКОГО", "Плевральный выпот", "0,834", "Без модели", "Органы"),
            ),
        ],
    )
    def test_says_what_matters(self, reports: Reports, kind: ArtefactKind, words: tuple[str, ...]) -> None:
        page = read(reports, kind).decode()
        assert [word for word in words if word not in page] == []

    def test_fetches_nothing_and_runs_nothing(self, reports: Reports) -> None:
        page = read(reports, ArtefactKind.REPORT_HTML_EN).decode()
        addresses = re.findall(r'(?:src|href)="([^"]{0,30})', page)
        assert addresses
        assert all(address.startswith("data:image/jpeg;base64,") for address in addresses)
        assert "<script" not in page
        assert "default-src 'none'" in page

    def test_shows_three_slices_the_organs_and_the_anomaly_map(self, reports: Reports) -> None:
        assert read(reports, ArtefactKind.REPORT_HTML_EN).count(b"<img ") == 5


class TestPrint:
    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            (ArtefactKind.REPORT_PDF_EN, ("NOT FOR CLINICAL USE", "Pleural effusion", "0.834", "Page 1 of", "Without")),
            (ArtefactKind.REPORT_PDF_RU, ("НЕ ДЛЯ КЛИНИЧЕСКОГО", "Плевральный выпот", "0,834", "Страница 1 из")),
        ],
    )
    def test_says_what_matters(self, reports: Reports, kind: ArtefactKind, words: tuple[str, ...]) -> None:
        told = read_print(reports, kind)
        assert [word for word in words if word not in told] == []

    def test_names_every_model_with_its_digest(self, reports: Reports) -> None:
        told = read_print(reports, ArtefactKind.REPORT_PDF_EN).replace(" ", "")
        assert told.count("0123456789abcdef" * 4) == len(RESULT["models"])


class TestPrivacy:
    def test_no_report_holds_a_uid_of_the_study(self, reports: Reports) -> None:
        told = read(reports, ArtefactKind.REPORT_HTML_EN).decode() + read_print(reports, ArtefactKind.REPORT_PDF_EN)
        assert not [uid for uid in (RESULT["study_uid"], RESULT["series_uid"]) if uid in told.replace(" ", "")]


class TestForeignWords:
    def test_are_words_and_no_markup(self, tmp_path: Path) -> None:
        series = {**RESULT["series"], "kernel": EVIL}
        sites = [{"name": EVIL, "probability": 0.5, "present": "a", "absent": "b"}]
        reports = make(tmp_path, make_result(series=series, site_findings=sites), (Language.ENGLISH,))
        assert reports.warnings == ()
        assert b"<script>alert" not in read(reports, ArtefactKind.REPORT_HTML_EN)
        assert EVIL.replace(" ", "") in read_print(reports, ArtefactKind.REPORT_PDF_EN).replace(" ", "")


class TestWhatGoesWrong:
    def test_is_a_warning_and_no_report(self, tmp_path: Path) -> None:
        reports = make(tmp_path, make_result(attribution={}))
        assert ([warning.code for warning in reports.warnings], reports.artefacts) == (["report_not_made"], ())

    def test_a_print_that_takes_too_long_is_given_up(self, tmp_path: Path) -> None:
        context = ReportContext(tmp_path, tmp_path, ())
        maker = ReportMaker((Language.ENGLISH,), timedelta(milliseconds=1))
        reports = maker.make(cast("StageContext", context), RESULT)
        assert ([warning.code for warning in reports.warnings], reports.artefacts) == (["report_not_made"], ())

    def test_work_that_is_no_longer_wanted_ends(self, tmp_path: Path) -> None:
        class Lost(ReportContext):
            def fetch_artefact_records(self) -> Sequence[Any]:
                raise StaleLease("gone")

        with pytest.raises(StaleLease):
            ReportMaker(tuple(Language), LIMIT).make(cast("StageContext", Lost(tmp_path, tmp_path, ())), RESULT)


class TestSlices:
    @pytest.mark.parametrize("is_turned", [False, True])
    def test_the_frame_lies_where_the_place_is_however_the_scan_is_stored(
        self, tmp_path: Path, is_turned: bool
    ) -> None:
        volume = make_volume()
        if is_turned:  # the same chest, stored from the patient's left to the right and from the back
            x, y, z, _ = map(float, GEOMETRY.compute_affine_lps() @ (63, 63, 0, 1))
            turned = replace(
                GEOMETRY,
                origin_lps_mm=(x, y, z),
                row_direction=(-1.0, 0.0, 0.0),
                column_direction=(0.0, -1.0, 0.0),
            )
            volume = Volume(volume.hu[:, ::-1, ::-1].copy(), turned)
        write_volume(volume, tmp_path / "volume")
        seen = draw_sight(VolumeFile(tmp_path / "volume"), choose_sights(RESULT, find_slice)[0])
        picture = np.asarray(Image.open(io.BytesIO(seen.jpeg)).convert("RGB"), np.int16)
        is_frame = (picture[..., 0] - picture[..., 2] > 100).nonzero()
        shares = [int(end) / 460 for axis in is_frame for end in (axis.min(), axis.max())]
        assert seen.index == 20
        # y 45 to 95 mm and x 35 to 85 mm, of a plane from -130 to 126 mm
        assert shares == pytest.approx([175 / 256, 225 / 256, 165 / 256, 215 / 256], abs=0.02)

    @pytest.mark.parametrize(
        ("directions", "heights_mm"),
        [
            (((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), (-200.0, -195.0)),
            (((-1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), (-200.0, -205.0)),
            (((1.0, 0.0, 0.0), (0.0, 0.8, -0.6)), (-275.6, -271.6)),  # the middle lies 126 mm down the columns
        ],
        ids=["from the feet", "from the head", "tilted"],
    )
    def test_the_height_is_that_of_the_middle_of_the_slice_in_the_patient(
        self, tmp_path: Path, directions: tuple[Triple, Triple], heights_mm: Sequence[float]
    ) -> None:
        row, column = directions
        geometry = replace(GEOMETRY, row_direction=row, column_direction=column)
        write_volume(Volume(make_volume().hu, geometry), tmp_path / "volume")
        for index, height_mm in enumerate(heights_mm):
            x, y, z, _ = map(float, geometry.compute_affine_lps() @ (31.5, 31.5, index, 1))
            seen = draw_sight(
                VolumeFile(tmp_path / "volume"), Sight("diffusion", None, (x, y, z), None, 0.5, Window.LUNG)
            )
            assert seen.index == index
            assert seen.height_mm == pytest.approx(height_mm)
