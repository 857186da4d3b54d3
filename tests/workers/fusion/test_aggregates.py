"""Aggregates run over what is there; what is not known is NaN and never 0.0."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.features import FEATURE_NAMES, LABELS, get_model, make_feature_name
from shared.stages import MODELS, StageName
from tests.workers.fusion.conftest import make_features
from workers.fusion.aggregates import AGGREGATES, compute_vector, select_present

PROBABILITIES = st.floats(0.001, 1)
ITEMS = [make_feature_name(model, label) for model, labels in LABELS.items() for label in labels]


class TestWhatIsMissing:
    def test_without_any_model_nothing_is_known(self) -> None:
        vector = compute_vector({})
        assert list(vector) == list(FEATURE_NAMES)
        assert all(math.isnan(value) for value in vector.values())

    @pytest.mark.parametrize("absent", MODELS)
    def test_a_missing_model_leaves_only_its_own_features_unknown(self, absent: StageName) -> None:
        vector = compute_vector(make_features(models=tuple(model for model in MODELS if model is not absent)))
        assert {get_model(name) for name, value in vector.items() if math.isnan(value)} == {absent}

    def test_an_aggregate_runs_over_the_organs_that_were_seen(self) -> None:
        assert compute_vector({"okhr_Aortic aneurysm": 0.3, "okhr_Emphysema": 0.5})["okhr_mean"] == pytest.approx(0.4)

    def test_a_value_that_is_nan_counts_as_absent(self) -> None:
        vector = compute_vector({"okhr_Aortic aneurysm": math.nan, "okhr_Emphysema": 0.5})
        assert (vector["okhr_mean"], math.isnan(vector["okhr_Aortic aneurysm"])) == (0.5, True)

    def test_normal_is_no_part_of_an_aggregate(self) -> None:
        assert compute_vector({"kolyan_normal": 0.9, "kolyan_mass": 0.1})["kolyan_max"] == 0.1

    def test_a_feature_that_is_not_canonical_is_left_out(self) -> None:
        assert "kolyan_unheard_of" not in compute_vector({"kolyan_unheard_of": 1.0})

    @given(st.dictionaries(st.sampled_from(ITEMS), PROBABILITIES))
    def test_a_value_is_zero_only_for_counts_and_spreads(self, features: dict[str, float]) -> None:
        zero = {name for name, value in compute_vector(features).items() if value == 0}
        assert all(name.endswith(("_count_high", "_std")) for name in zero)

    @given(st.dictionaries(st.sampled_from(ITEMS), PROBABILITIES))
    def test_an_aggregate_is_known_exactly_when_a_part_of_it_is(self, features: dict[str, float]) -> None:
        vector = compute_vector(features)
        for aggregate, (_, parts) in AGGREGATES.items():
            assert math.isnan(vector[aggregate]) == (not select_present(parts, features))


class TestStatistics:
    def test_one_half_is_not_high(self) -> None:
        features = {"ctclip_Bronchiectasis": 0.5, "ctclip_Chronic bronchitis": 0.51}
        assert compute_vector(features)["ctclip_group_airways_count_high"] == 1

    def test_the_spread_is_that_of_a_population(self) -> None:
        features = {"ctclip_Thyroid nodule": 0.2, "ctclip_Breast mass": 0.6}
        assert compute_vector(features)["ctclip_group_incidentalomas_std"] == pytest.approx(0.2)

    def test_the_top_three_are_fewer_where_fewer_are_there(self) -> None:
        assert compute_vector({"kolyan_mass": 0.2, "kolyan_nodule": 0.4})["kolyan_top3_mean"] == pytest.approx(0.3)
