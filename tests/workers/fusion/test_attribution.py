"""Attributions by model, group and finding: every regrouping keeps the sum, aggregates speak for what made them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Defect
from shared.stages import MODELS, StageName
from tests.workers.fusion.conftest import make_features
from training.fusion_booster import FittedBooster
from workers.fusion.aggregates import AGGREGATES, STATISTICS, compute_vector
from workers.fusion.attribution import ANOMALY, GROUPS, MISSING, SHARES, WHOLE_CHEST, compute_attribution, share_out
from workers.fusion.booster import Explanation

ITEM_NAMES = list(make_features())


def attribute(features: dict[str, float], attributions: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
    """Return what is left by finding and by group of the named attributions."""
    explanation = Explanation(0.5, sum(attributions.values()), 0.0, attributions)
    attribution = compute_attribution(explanation, compute_vector(features))
    by_group = {group: value for group, value in attribution.by_group.items() if value}
    return dict(attribution.by_finding), by_group


class TestSums:
    @given(st.dictionaries(st.sampled_from(ITEM_NAMES), st.floats(0, 1), max_size=60))
    def test_models_and_groups_each_add_up_to_the_raw_score(
        self, fitted: FittedBooster, features: dict[str, float]
    ) -> None:
        vector = compute_vector(features)
        attribution = compute_attribution(fitted.booster.explain(vector), vector)
        for parts in (attribution.by_model, attribution.by_group):
            assert attribution.base_value + math.fsum(parts.values()) == pytest.approx(attribution.raw_score, abs=1e-6)

    @given(
        st.dictionaries(st.sampled_from(ITEM_NAMES), st.floats(0, 1), max_size=60),
        st.dictionaries(st.sampled_from(sorted(AGGREGATES)), st.floats(-5, 5)),
    )
    def test_sharing_out_moves_but_neither_adds_nor_loses(
        self, features: dict[str, float], attributions: dict[str, float]
    ) -> None:
        shared_out = share_out(attributions, compute_vector(features))
        assert math.fsum(shared_out.values()) == pytest.approx(math.fsum(attributions.values()), abs=1e-9)

    def test_a_sum_that_does_not_hold_is_a_defect(self) -> None:
        with pytest.raises(Defect, match="do not add up"):
            compute_attribution(Explanation(0.5, 1.0, 0.0, {"kolyan_max": 1.1}), compute_vector({"kolyan_mass": 0.9}))

    def test_every_model_and_every_group_is_named_although_it_moved_nothing(self, fitted: FittedBooster) -> None:
        vector = compute_vector({})
        attribution = compute_attribution(fitted.booster.explain(vector), vector)
        assert (set(attribution.by_model), tuple(attribution.by_group)) == (set(MODELS), GROUPS)


class TestSharing:
    def test_every_statistic_can_be_shared_out(self) -> None:
        assert set(SHARES) == set(STATISTICS)

    @pytest.mark.parametrize("statistic", SHARES)
    @given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30))
    def test_shares_are_parts_of_one(self, statistic: str, values: list[float]) -> None:
        shares = SHARES[statistic](values)
        assert math.fsum(shares) == pytest.approx(1)
        assert min(shares) >= 0

    def test_a_maximum_speaks_for_the_largest(self) -> None:
        by_finding, _ = attribute({"kolyan_mass": 0.9, "kolyan_nodule": 0.8}, {"kolyan_max": 1.5})
        assert by_finding == {"pulmonary_mass": 1.5, "pulmonary_nodule": 0.0}

    def test_a_mean_speaks_for_its_parts_by_their_value(self) -> None:
        by_finding, _ = attribute({"kolyan_mass": 0.6, "kolyan_nodule": 0.2}, {"kolyan_mean": 1.0})
        assert by_finding == pytest.approx({"pulmonary_mass": 0.75, "pulmonary_nodule": 0.25})

    def test_two_models_of_one_finding_are_added(self) -> None:
        features = {"kolyan_pneumothorax": 0.9, "okhr_Pneumothorax": 0.8}
        by_finding, by_group = attribute(features, {"kolyan_pneumothorax": 1.0, "okhr_Pneumothorax": 0.5})
        assert (by_finding["pneumothorax"], by_group) == (1.5, {"pleural": 1.5})


class TestWhatBelongsToNoFinding:
    def test_a_missing_value_moves_the_score_for_no_finding(self) -> None:
        by_finding, by_group = attribute({"kolyan_mass": 0.5}, {"ctclip_Thymoma": 0.75, "okhr_max": 0.25})
        assert ("thymoma" not in by_finding, by_group) == (True, {MISSING: 1.0})

    def test_the_diffusion_model_speaks_of_an_anomaly(self) -> None:
        feature = "diffusion_classifier_max_probability"
        assert attribute({feature: 0.5}, {feature: 0.75}) == ({}, {ANOMALY: 0.75})

    def test_normal_speaks_of_the_whole_chest(self) -> None:
        assert attribute({"kolyan_normal": 0.5}, {"kolyan_normal": -1.0})[1] == {WHOLE_CHEST: -1.0}


class TestModels:
    def test_an_aggregate_stays_with_its_model(self) -> None:
        vector = compute_vector({"kolyan_mass": 0.9})
        attribution = compute_attribution(Explanation(0.5, 1.0, 0.0, {"kolyan_max": 1.0}), vector)
        assert attribution.by_model[StageName.MEDNEXT] == 1.0
