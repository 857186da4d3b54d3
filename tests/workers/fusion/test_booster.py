"""The booster: exact sums, native missing values, and files that are held to their description."""

from __future__ import annotations

import math
from pathlib import Path

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Defect
from shared.features import FEATURE_NAMES, get_model
from shared.stages import MODELS, StageName
from tests.workers.fusion.conftest import fill_missing, make_description, make_features, publish_fusion
from training.fusion_booster import FittedBooster
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import Explanation, FusionBooster, compute_probability, load_booster

SUBSETS = st.sets(st.sampled_from(MODELS))


class TestSum:
    @given(st.lists(st.floats(0, 1), min_size=168, max_size=168), SUBSETS)
    def test_base_and_attributions_are_the_raw_score(
        self, fitted: FittedBooster, values: list[float], absent: set[StageName]
    ) -> None:
        vector = {
            name: math.nan if get_model(name) in absent else value
            for name, value in zip(FEATURE_NAMES, values, strict=True)
        }
        explanation = fitted.booster.explain(vector)
        total = math.fsum((explanation.base_value, *explanation.attributions.values()))
        assert total == pytest.approx(explanation.raw_score, abs=1e-6)

    def test_a_sum_that_does_not_hold_is_a_defect(self, fitted: FittedBooster, monkeypatch: pytest.MonkeyPatch) -> None:
        class Lying(FusionBooster):
            def _predict(self, row: np.ndarray, **options: bool) -> np.ndarray:
                return super()._predict(row, **options) + (1e-5 if "raw_score" in options else 0)

        with pytest.raises(Defect, match="do not add up"):
            Lying(fitted.text, fitted.booster.features).explain(compute_vector({}))

    def test_the_probability_is_that_of_lightgbm(self, fitted: FittedBooster) -> None:
        vector = compute_vector(make_features("okhr_Pneumothorax"))
        direct = lightgbm.Booster(model_str=fitted.text).predict(np.array([[vector[name] for name in FEATURE_NAMES]]))
        assert fitted.booster.explain(vector).probability == pytest.approx(np.asarray(direct)[0], abs=1e-12)

    @pytest.mark.parametrize(("score", "probability"), [(0.0, 0.5), (-1e4, 0.0), (1e4, 1.0)])
    def test_extreme_scores_overflow_nothing(self, score: float, probability: float) -> None:
        assert compute_probability(score) == probability


class TestMissingValues:
    def test_without_any_answer_there_is_still_a_score(self, fitted: FittedBooster) -> None:
        explanation: Explanation = fitted.booster.explain(compute_vector({}))
        assert 0 < explanation.probability < 1

    def test_missing_is_not_zero(self, fitted: FittedBooster) -> None:
        vector = compute_vector(make_features("ctclip_Thymoma", models=(StageName.CT_CLIP,)))
        filled = fitted.booster.explain(fill_missing(vector, 0.0))
        assert fitted.booster.explain(vector).raw_score != filled.raw_score

    def test_features_are_taken_by_name_not_by_place(self, fitted: FittedBooster) -> None:
        vector = compute_vector(make_features("kolyan_mass"))
        turned = dict(reversed(vector.items()))
        assert fitted.booster.explain(turned) == fitted.booster.explain(vector)

    def test_a_booster_that_would_read_missing_as_zero_is_refused(self) -> None:
        matrix = np.random.default_rng(1).random((200, 2))
        dataset = lightgbm.Dataset(
            matrix, (matrix[:, 0] > 0.5).astype(float), feature_name=["kolyan_mass", "kolyan_max"]
        )
        trained = lightgbm.train({"objective": "binary", "verbosity": -1, "num_threads": 1}, dataset, 5)
        with pytest.raises(Defect, match="as zero"):
            FusionBooster(trained.model_to_string(), ("kolyan_mass", "kolyan_max"))


class TestFiles:
    def test_a_published_booster_loads_and_answers_as_the_trained_one(
        self, fitted: FittedBooster, tmp_path: Path
    ) -> None:
        loaded = load_booster(publish_fusion(tmp_path, fitted.text, make_description(fitted)))
        vector = compute_vector(make_features("kolyan_mass"))
        assert loaded.explain(vector) == fitted.booster.explain(vector)

    def test_a_changed_file_is_refused(self, fitted: FittedBooster, tmp_path: Path) -> None:
        entry = publish_fusion(tmp_path, fitted.text, make_description(fitted))
        entry.files["booster"].path.write_text(fitted.text + "\n")
        with pytest.raises(Defect, match="pins"):
            load_booster(entry)

    def test_another_known_answer_is_refused(self, fitted: FittedBooster, tmp_path: Path) -> None:
        description = make_description(fitted) | {"known_answers": [{"features": {}, "raw_score": 7.0}]}
        with pytest.raises(Defect, match="known answer"):
            load_booster(publish_fusion(tmp_path, fitted.text, description))

    @pytest.mark.parametrize("features", [[], list(reversed(FEATURE_NAMES)), ["weather"] * 168, None])
    def test_a_description_of_other_features_is_refused(
        self, fitted: FittedBooster, tmp_path: Path, features: list[str] | None
    ) -> None:
        with pytest.raises(Defect, match="features"):
            load_booster(publish_fusion(tmp_path, fitted.text, make_description(fitted) | {"features": features}))

    def test_a_text_that_is_no_booster_is_refused(self, fitted: FittedBooster, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="LightGBM"):
            load_booster(publish_fusion(tmp_path, "hello", make_description(fitted)))
