"""The demo fusion as it is shipped: it loads, belongs to the models beside it, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from model_weights.verifying import read_description
from shared.features import FEATURE_NAMES, get_model
from shared.settings import WeightsProfile
from shared.stages import MODELS, StageName
from tests.workers.fusion.conftest import make_features
from workers.fusion.aggregates import AGGREGATES, compute_vector
from workers.fusion.booster import load_booster


def list_shipped() -> dict[StageName, ModelEntry]:
    return {entry.stage: entry for entry in load_catalogue() if entry.weights_profile is WeightsProfile.DEMO}


@pytest.fixture(scope="module")
def entry() -> ModelEntry:
    return list_shipped()[StageName.FUSION]


class TestShippedFusion:
    def test_loads_and_gives_its_known_answers(self, entry: ModelEntry) -> None:
        assert load_booster(entry).features == FEATURE_NAMES

    def test_was_trained_on_the_models_that_are_shipped_beside_it(self, entry: ModelEntry) -> None:
        training = read_description(entry.get_file("description"))["training"]
        assert isinstance(training, dict)
        shipped = {stage: model.digest for stage, model in list_shipped().items() if stage is not StageName.FUSION}
        assert training["models"] == shipped, "run python -m training.fusion"

    def test_every_model_that_is_shipped_moves_its_score(self, entry: ModelEntry) -> None:
        moving = {get_model(name) for name in load_booster(entry).used_features}
        assert moving == {stage for stage in list_shipped() if stage in MODELS}

    def test_calls_an_empty_answer_neither_sick_nor_surely_healthy(self, entry: ModelEntry) -> None:
        assert 0.3 < load_booster(entry).explain(compute_vector({})).probability < 0.59

    @pytest.mark.parametrize("model", [stage for stage in list_shipped() if stage in MODELS])
    def test_loud_findings_of_any_model_raise_the_probability(self, entry: ModelEntry, model: StageName) -> None:
        booster = load_booster(entry)
        loud = [name for name in booster.used_features if get_model(name) is model and name not in AGGREGATES]
        quietly, loudly = (
            booster.explain(compute_vector(make_features(*names, models=(model,)))).probability for names in ((), loud)
        )
        assert loudly > quietly

    def test_its_card_forbids_clinical_use(self, entry: ModelEntry) -> None:
        assert entry.card is not None
        assert "Not for clinical use" in (Path(CATALOGUE_FILE).parent / entry.card).read_text()
