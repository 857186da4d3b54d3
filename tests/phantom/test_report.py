"""Reports of phantom studies: they say what is there, where, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from phantom.findings.finding import PlacedFinding
from phantom.report import ABNORMAL, NORMAL, WORDINGS, write_report
from phantom.study import FINDINGS

LEFT_EFFUSION = PlacedFinding("pleural_effusion", (70.0, 40.0, 20.0), (100.0, 90.0, 120.0), 0.9)


def write_many(*findings: PlacedFinding) -> list[str]:
    return [write_report(findings, np.random.default_rng(seed)) for seed in range(60)]


def is_said(report: str, name: str) -> bool:
    return any(wording in report.lower() for wording in WORDINGS[name].names)


class TestReports:
    def test_the_draw_decides_the_words(self) -> None:
        assert write_many(LEFT_EFFUSION) == write_many(LEFT_EFFUSION)
        assert len(set(write_many(LEFT_EFFUSION))) > 30

    @pytest.mark.parametrize("name", FINDINGS)
    def test_every_finding_is_named_whenever_it_is_there(self, name: str) -> None:
        assert all(is_said(report, name) for report in write_many(replace(LEFT_EFFUSION, name=name)))

    def test_what_is_not_there_is_denied_if_it_is_named(self) -> None:
        for report in write_many(LEFT_EFFUSION):
            for sentence in report.split("."):
                others = [name for name in FINDINGS if name != "pleural_effusion" and is_said(sentence, name)]
                if others and not is_said(sentence, "pleural_effusion"):
                    assert any(word in sentence for word in ("No ", " no ", " not "))

    def test_the_side_is_the_patients(self) -> None:
        right = replace(LEFT_EFFUSION, centre_lps_mm=(-70.0, 40.0, 20.0))
        assert any("left" in report for report in write_many(LEFT_EFFUSION))
        assert not any("right" in report for report in write_many(LEFT_EFFUSION))
        assert any("right" in report for report in write_many(right))

    def test_the_degree_is_that_of_the_finding(self) -> None:
        assert any("arge" in report or "xtensive" in report for report in write_many(LEFT_EFFUSION))
        assert not any("mall" in report for report in write_many(LEFT_EFFUSION))

    def test_a_healthy_chest_is_called_so(self) -> None:
        for report in write_many():
            assert any(report.startswith(said) for said in NORMAL)
            assert not any(said in report for said in ABNORMAL)
