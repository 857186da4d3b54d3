"""What two runs must have in common to answer alike."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from model_weights.policies import load_policies
from shared.stages import STAGES, WEIGHTED_STAGES, StageName
from workers.reuse.code_digest import compute_code_digest, list_versions
from workers.reuse.recipe import Kitchen, Study, compute_recipe

KITCHEN = Kitchen(code_sha256="c", precision="auto", is_compiled=False)
STUDY = Study(volume_sha256="v", masks_sha256="m", source_sha256="s", policy={"threshold": 0.5, "lung_check": "warn"})
KITCHENS = {
    "code_sha256": replace(KITCHEN, code_sha256="d"),
    "precision": replace(KITCHEN, precision="bf16"),
    "is_compiled": replace(KITCHEN, is_compiled=True),
}
STUDIES = {
    "volume_sha256": replace(STUDY, volume_sha256="w"),
    "masks_sha256": replace(STUDY, masks_sha256="n"),
    "source_sha256": replace(STUDY, source_sha256="t"),
    "policy": replace(STUDY, policy={"threshold": 0.5, "lung_check": "reject"}),
}
OF_SOME = {
    "masks_sha256": {StageName.FVLM},
    "source_sha256": {StageName.SEGMENTATION, StageName.DIFFUSION},
}


class TestARecipe:
    def test_tells_every_stage_from_every_other(self) -> None:
        recipes = {compute_recipe(stage, "w", STUDY, KITCHEN) for stage in WEIGHTED_STAGES}
        assert len(recipes) == len(WEIGHTED_STAGES)

    @pytest.mark.parametrize("stage", WEIGHTED_STAGES)
    def test_is_another_under_other_weights(self, stage: StageName) -> None:
        assert compute_recipe(stage, "w", STUDY, KITCHEN) != compute_recipe(stage, "x", STUDY, KITCHEN)

    @pytest.mark.parametrize("field", [field.name for field in fields(Kitchen)])
    def test_is_another_in_another_kitchen(self, field: str) -> None:
        assert compute_recipe(StageName.MEDNEXT, "w", STUDY, KITCHEN) != compute_recipe(
            StageName.MEDNEXT, "w", STUDY, KITCHENS[field]
        )

    @pytest.mark.parametrize("field", [field.name for field in fields(Study)])
    @pytest.mark.parametrize("stage", WEIGHTED_STAGES)
    def test_is_another_of_another_study_that_the_stage_would_tell_apart(self, stage: StageName, field: str) -> None:
        same = compute_recipe(stage, "w", STUDY, KITCHEN) == compute_recipe(stage, "w", STUDIES[field], KITCHEN)
        assert same == (stage not in OF_SOME.get(field, WEIGHTED_STAGES))

    @pytest.mark.parametrize(
        "word", ["threshold", "minimum_models", "allowed_subsets", "calibration", "finding_thresholds", "id", "digest"]
    )
    def test_is_the_same_under_a_policy_that_only_decides_otherwise(self, word: str) -> None:
        other = replace(STUDY, policy={**STUDY.policy, word: "another"})
        assert compute_recipe(StageName.CT_CLIP, "w", other, KITCHEN) == compute_recipe(
            StageName.CT_CLIP, "w", STUDY, KITCHEN
        )

    def test_is_the_same_under_both_policies_that_come_with_the_platform(self) -> None:
        studies = [replace(STUDY, policy=policy.to_document()) for policy in load_policies()]
        assert len({compute_recipe(StageName.CT_CLIP, "w", study, KITCHEN) for study in studies}) == 1

    def test_is_another_under_a_policy_of_a_word_that_nobody_knows_yet(self) -> None:
        other = replace(STUDY, policy={**STUDY.policy, "to_be_invented": 1})
        assert compute_recipe(StageName.CT_CLIP, "w", other, KITCHEN) != compute_recipe(
            StageName.CT_CLIP, "w", STUDY, KITCHEN
        )

    @pytest.mark.parametrize("stage", set(STAGES) - set(WEIGHTED_STAGES))
    def test_is_none_of_a_stage_without_a_model(self, stage: StageName) -> None:
        assert compute_recipe(stage, "w", STUDY, KITCHEN) is None

    def test_is_none_of_what_is_not_known(self) -> None:
        assert compute_recipe(StageName.MEDNEXT, None, STUDY, KITCHEN) is None
        assert compute_recipe(StageName.MEDNEXT, "w", replace(STUDY, volume_sha256=None), KITCHEN) is None
        assert compute_recipe(StageName.FVLM, "w", replace(STUDY, masks_sha256=None), KITCHEN) is None


class TestTheCode:
    def test_is_told_by_a_digest_that_stays(self) -> None:
        assert len(compute_code_digest()) == 64
        assert compute_code_digest() == compute_code_digest()

    def test_is_told_with_the_versions_of_what_computes(self) -> None:
        versions = list_versions()
        assert versions["torch"]
        assert versions["ct-clip-inference"]
