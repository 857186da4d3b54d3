"""The table of canonical findings maps every label of every model, and invents no code."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import Any, cast

import pytest
from pydicom.sr._concepts_dict import concepts

from shared.features import CT_CLIP_GROUPS, LABELS
from shared.findings import FINDING_OF_LABEL, FINDINGS, Finding, FindingKind
from shared.stages import StageName
from workers.supervised.labels import CT_RATE_LABELS

EVERY_LABEL = [(model, label) for model, labels in LABELS.items() for label in labels]


def list_meanings(scheme: str) -> dict[str, set[str]]:
    """Return the codes of a scheme in DICOM PS3.16, as pydicom has them, with their meanings."""
    meanings: dict[str, set[str]] = defaultdict(set)
    for named in cast("dict[str, Any]", concepts[scheme]).values():
        for code, (meaning, _) in named.items():
            meanings[code].add(meaning)
    return meanings


class TestMapping:
    @pytest.mark.parametrize(("model", "label"), EVERY_LABEL)
    def test_every_label_of_every_model_has_its_finding(self, model: StageName, label: str) -> None:
        assert (model, label) in FINDING_OF_LABEL

    def test_no_label_stands_twice_and_none_is_unknown(self) -> None:
        named = Counter(entry for finding in FINDINGS for entry in finding.labels.items())
        assert set(named) == set(EVERY_LABEL)
        assert set(named.values()) == {1}

    @pytest.mark.parametrize("label", CT_RATE_LABELS)
    def test_every_label_of_the_public_classifier_has_its_finding(self, label: str) -> None:
        finding = FINDING_OF_LABEL[StageName.SUPERVISED, label]
        assert finding.unfused == {StageName.SUPERVISED: label}
        assert finding.list_labels(StageName.SUPERVISED)[-1] == label

    def test_a_label_that_is_not_weighed_is_no_feature(self) -> None:
        unfused = [(model, label) for finding in FINDINGS for model, label in finding.unfused.items()]
        assert len(unfused) == len(set(unfused)) == len(CT_RATE_LABELS)
        assert not set(unfused) & set(EVERY_LABEL)

    def test_public_labels_of_two_models_are_one_finding(self) -> None:
        for label in set(CT_RATE_LABELS) & set(LABELS[StageName.FVLM]):
            assert FINDING_OF_LABEL[StageName.SUPERVISED, label] is FINDING_OF_LABEL[StageName.FVLM, label]

    def test_pneumothorax_of_four_models_is_one_finding(self) -> None:
        found = {FINDING_OF_LABEL[model, label].id for model, label in EVERY_LABEL if label.lower() == "pneumothorax"}
        assert found == {"pneumothorax"}

    def test_a_finding_of_ct_clip_is_in_the_group_of_its_label(self) -> None:
        groups = {label: group for group, labels in CT_CLIP_GROUPS.items() for label in labels}
        for label in LABELS[StageName.CT_CLIP]:
            assert FINDING_OF_LABEL[StageName.CT_CLIP, label].group == groups.get(label)


class TestNames:
    @pytest.mark.parametrize("finding", FINDINGS, ids=lambda finding: finding.id)
    def test_every_finding_has_both_languages_an_organ_and_a_plain_id(self, finding: Finding) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", finding.id)
        assert re.search("[а-яё]", finding.name_ru)
        assert finding.name.isascii()
        assert finding.organ

    @pytest.mark.parametrize("attribute", ["id", "name", "name_ru"])
    def test_no_two_findings_share_a_name(self, attribute: str) -> None:
        assert max(Counter(getattr(finding, attribute) for finding in FINDINGS).values()) == 1

    def test_only_what_speaks_of_the_whole_chest_has_no_group(self) -> None:
        assert {finding.id for finding in FINDINGS if finding.group is None} == {
            finding.id for finding in FINDINGS if finding.kind is not FindingKind.FINDING
        }


class TestCodes:
    @pytest.mark.parametrize("scheme", ["SCT", "DCM"])
    def test_every_code_stands_in_dicom_part_sixteen_with_that_meaning(self, scheme: str) -> None:
        known = list_meanings(scheme)
        used = [code for finding in FINDINGS for code in finding.codes if code.scheme == scheme]
        assert used
        assert [code for code in used if code.meaning not in known[code.code]] == []

    def test_no_other_scheme_is_used(self) -> None:
        assert {code.scheme for finding in FINDINGS for code in finding.codes} == {"SCT", "DCM"}
