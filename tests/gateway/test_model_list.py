"""What `GET /v1/models` says of the stages, from rows."""

from __future__ import annotations

from gateway.models.schemas import ModelList, describe_models
from shared.settings import WeightsProfile
from shared.stages import MODELS, WEIGHTED_STAGES, StageName
from shared.tables import ModelVersion

WITH_WEIGHTS = (*WEIGHTED_STAGES, StageName.FUSION)


def describe(*installed: StageName, paused: tuple[StageName, ...] = ()) -> ModelList:
    versions = {
        stage: ModelVersion(stage=stage, version="1", digest="0" * 64, weights_profile="demo", facts={})
        for stage in installed
    }
    return describe_models(versions, None, WeightsProfile.DEMO, paused)


class TestCompleteness:
    def test_counts_all_models_that_are_installed(self) -> None:
        told = describe(*WITH_WEIGHTS)
        assert (told.completeness.answering, told.completeness.missing) == (len(MODELS), [])

    def test_leaves_out_a_model_whose_needed_stage_is_paused(self) -> None:
        told = describe(*WITH_WEIGHTS, paused=(StageName.SEGMENTATION,))
        reasons = {item.name: item.reason for item in told.items if not item.is_available}
        assert reasons == {StageName.SEGMENTATION: "model_paused", StageName.FVLM: "needed_stage_missing"}
        assert [(each.model, each.reason) for each in told.completeness.missing] == [
            (StageName.FVLM, "needed_stage_missing")
        ]

    def test_leaves_out_a_model_whose_needed_stage_is_not_installed(self) -> None:
        told = describe(*(stage for stage in WITH_WEIGHTS if stage is not StageName.SEGMENTATION))
        assert [each.model for each in told.completeness.missing] == [StageName.FVLM]

    def test_without_weights_calls_steps_available_all_the_same(self) -> None:
        told = describe()
        assert {item.name for item in told.items if item.is_available} == {StageName.INTAKE, StageName.DELIVERY}
        assert {each.reason for each in told.completeness.missing} == {"model_not_installed"}
