"""Drift of features without labels: histograms of the training, and how far recent studies are from them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from shared.errors import Defect
from shared.stages import StageName
from workers.drift.measuring import FEWEST_STUDIES, compute_psi, find_worst, measure_drift
from workers.drift.reference import Reference, ScannedFeatures, make_reference
from workers.drift.scan import Scan, Scanner, Thickness, judge_scanner, judge_thickness
from workers.intake.choice.kernels import KernelClass

SHARP = Scan(Scanner.SIEMENS, KernelClass.LUNG, Thickness.THIN)
SOFT = Scan(Scanner.GE, KernelClass.STANDARD, Thickness.THICK)


def make_studies(count: int, seed: int, scan: Scan, *, moved: float = 0.0) -> list[ScannedFeatures]:
    generator = np.random.default_rng(seed)
    return [
        ScannedFeatures(
            {
                "kolyan_mass": float(np.clip(generator.beta(2, 8) + moved, 0, 1)),
                "ctclip_Sarcoidosis": float(generator.beta(1, 20)),
            },
            scan,
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def reference() -> Reference:
    return make_reference([*make_studies(400, 1, SOFT), *make_studies(100, 2, SHARP)])


class TestReference:
    def test_survives_its_file(self, reference: Reference) -> None:
        told = json.loads(json.dumps(reference.to_document()))
        assert Reference.from_document(told) == reference

    def test_another_format_is_refused(self) -> None:
        with pytest.raises(Defect, match="another format"):
            Reference.from_document({"format": 99, "features": {}})

    def test_every_study_is_in_one_tenth(self, reference: Reference) -> None:
        counts = reference.features["kolyan_mass"].counts
        assert sum(counts["all"]) == 500
        assert sum(counts["kernel=lung"]) == 100

    def test_a_feature_that_never_moved_has_one_edge(self) -> None:
        still = make_reference([ScannedFeatures({"kolyan_mass": 0.5}, SOFT)] * 60)
        assert still.features["kolyan_mass"].edges == (0.5,)
        assert measure_drift(still, [ScannedFeatures({"kolyan_mass": 0.5}, SOFT)] * 60)[0].psi == 0


class TestDrift:
    def test_studies_as_in_training_differ_by_chance_only(self, reference: Reference) -> None:
        drifts = measure_drift(reference, make_studies(200, 3, SOFT))
        assert drifts
        assert not any(each.is_shifted for each in drifts)

    def test_a_feature_that_moved_is_told_and_another_is_not(self, reference: Reference) -> None:
        drifts = measure_drift(reference, make_studies(200, 4, SOFT, moved=0.2))
        assert {each.feature for each in drifts if each.is_shifted} == {"kolyan_mass"}
        assert drifts[0].feature == "kolyan_mass"

    def test_a_scanner_that_moved_is_told_apart_from_one_that_did_not(self, reference: Reference) -> None:
        drifts = measure_drift(reference, [*make_studies(300, 5, SOFT), *make_studies(60, 6, SHARP, moved=0.3)])
        shifted = {each.part for each in drifts if each.is_shifted and each.feature == "kolyan_mass"}
        assert {"kernel=lung", "scanner=siemens", "thickness=below_1.5_mm"} <= shifted
        assert "kernel=standard" not in shifted

    def test_of_few_studies_nothing_is_told(self, reference: Reference) -> None:
        assert measure_drift(reference, make_studies(FEWEST_STUDIES - 1, 7, SOFT, moved=0.5)) == []

    def test_the_worst_feature_stands_for_its_model(self, reference: Reference) -> None:
        worst = find_worst(measure_drift(reference, make_studies(100, 8, SOFT, moved=0.2)))
        assert worst[StageName.MEDNEXT, "all"].feature == "kolyan_mass"
        assert worst[StageName.CT_CLIP, "all"].feature == "ctclip_Sarcoidosis"

    def test_equal_histograms_have_no_index(self) -> None:
        assert compute_psi([10, 20, 30], [20, 40, 60]) == pytest.approx(0)
        assert compute_psi([60, 0, 0], [20, 20, 20]) > 1


class TestScan:
    @pytest.mark.parametrize(
        ("name", "scanner"),
        [
            ("GE MEDICAL SYSTEMS", Scanner.GE),
            ("SIEMENS", Scanner.SIEMENS),
            ("Siemens Healthineers", Scanner.SIEMENS),
            ("Philips", Scanner.PHILIPS),
            ("CANON_MEC", Scanner.CANON),
            ("TOSHIBA", Scanner.CANON),
            ("Neusoft Medical", Scanner.OTHER),
            ("", Scanner.UNKNOWN),
            (None, Scanner.UNKNOWN),
        ],
    )
    def test_makers_are_few_whatever_uploads_say(self, name: str | None, scanner: Scanner) -> None:
        assert judge_scanner(name) is scanner

    @pytest.mark.parametrize(
        ("thickness_mm", "band"),
        [(1.0, Thickness.THIN), (1.5, Thickness.MEDIUM), (4.5, Thickness.VERY_THICK), (None, Thickness.UNKNOWN)],
    )
    def test_thickness_has_bands(self, thickness_mm: float | None, band: Thickness) -> None:
        assert judge_thickness(thickness_mm) is band

    def test_facts_of_intake_are_read(self) -> None:
        facts = {"manufacturer": "SIEMENS", "kernel": ["B70f", "3"], "slice_thickness_mm": 1.0}
        assert Scan.from_facts(facts) == SHARP
        assert Scan.from_facts({}) == Scan()
        assert Scan.from_document(SHARP.to_document()) == SHARP
