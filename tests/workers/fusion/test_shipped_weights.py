"""The demo fusion as it is shipped: it loads, belongs to the MedNeXt beside it, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, load_catalogue
from model_weights.verifying import read_description
from shared.features import FEATURE_NAMES
from shared.settings import WeightsProfile
from shared.stages import StageName
from tests.workers.fusion.conftest import make_features
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import load_booster


def find_shipped(stage: StageName) -> ModelEntry:
    entries = load_catalogue()
    return next(entry for entry in entries if (entry.stage, entry.weights_profile) == (stage, WeightsProfile.DEMO))


@pytest.fixture(scope="module")
def entry() -> ModelEntry:
    return find_shipped(StageName.FUSION)


class TestShippedFusion:
    def test_loads_and_gives_its_known_answers(self, entry: ModelEntry) -> None:
        assert load_booster(entry).features == FEATURE_NAMES

    def test_was_trained_on_the_mednext_that_is_shipped_beside_it(self, entry: ModelEntry) -> None:
        training = read_description(entry.get_file("description"))["training"]
        assert isinstance(training, dict)
        assert training["mednext_digest"] == find_shipped(StageName.MEDNEXT).digest, "run python -m training.fusion"

    def test_calls_an_empty_answer_neither_sick_nor_surely_healthy(self, entry: ModelEntry) -> None:
        assert 0.3 < load_booster(entry).explain(compute_vector({})).probability < 0.59

    def test_a_loud_finding_raises_the_probability(self, entry: ModelEntry) -> None:
        booster = load_booster(entry)
        models = (StageName.MEDNEXT,)
        quiet, loud = (
            booster.explain(compute_vector(make_features(*names, models=models))).probability
            for names in ((), ("kolyan_pleural_effusion",))
        )
        assert loud > quiet

    def test_its_card_forbids_clinical_use(self, entry: ModelEntry) -> None:
        assert entry.card is not None
        assert "Not for clinical use" in (Path(CATALOGUE_FILE).parent / entry.card).read_text()
