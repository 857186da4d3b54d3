"""The canonical feature vector: 168 names, in the order of the golden file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shared.features import (
    CT_CLIP_GROUPS,
    CT_CLIP_LABELS,
    FEATURE_COUNT,
    FEATURE_NAMES,
    LABELS,
    MEDNEXT_LABELS,
    PREFIXES,
    FeatureGroup,
    get_model,
    make_feature_name,
)
from shared.stages import MODELS, StageName

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "fusion" / "features_golden.json").read_text())


class TestNames:
    def test_stand_in_the_order_of_the_golden_file(self) -> None:
        assert list(FEATURE_NAMES) == GOLDEN["names"]

    def test_are_one_hundred_and_sixty_eight_different_ones(self) -> None:
        assert len(set(FEATURE_NAMES)) == len(FEATURE_NAMES) == FEATURE_COUNT

    def test_the_classes_of_mednext_are_those_of_the_golden_file(self) -> None:
        assert list(MEDNEXT_LABELS) == GOLDEN["mednext_classes"]

    def test_every_model_has_a_prefix(self) -> None:
        assert set(PREFIXES) == set(MODELS)

    @pytest.mark.parametrize(("model", "count"), [("supervised", 15), ("ct_clip", 55), ("mednext", 22), ("fvlm", 18)])
    def test_every_model_has_its_number_of_labels(self, model: str, count: int) -> None:
        assert len(set(LABELS[StageName(model)])) == count


class TestModelOfAFeature:
    @pytest.mark.parametrize("model", LABELS)
    def test_a_label_belongs_to_its_model(self, model: StageName) -> None:
        assert {get_model(make_feature_name(model, label)) for label in LABELS[model]} == {model}

    def test_an_aggregate_belongs_to_the_model_that_it_runs_over(self) -> None:
        assert get_model("ctclip_group_airways_std") is StageName.CT_CLIP

    def test_an_unknown_feature_belongs_to_none(self) -> None:
        with pytest.raises(KeyError):
            get_model("weather_mean")


class TestGroups:
    def test_hold_every_finding_once_but_the_two_that_speak_of_everything(self) -> None:
        grouped = [label for labels in CT_CLIP_GROUPS.values() for label in labels]
        assert len(grouped) == len(set(grouped))
        assert set(CT_CLIP_LABELS) - set(grouped) == {"Pathological finding", "Other pathology"}

    def test_stand_in_the_order_of_their_type(self) -> None:
        assert list(CT_CLIP_GROUPS) == list(FeatureGroup)
