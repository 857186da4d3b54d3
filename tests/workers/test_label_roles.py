"""What labels of installed weights are to the fusion: weighed, shown only, missing, or without a finding."""

from __future__ import annotations

from shared.features import SUPERVISED_LABELS
from shared.stages import StageName
from workers.label_roles import UNFUSED, sort_labels
from workers.supervised.labels import CT_RATE_LABELS

TRAINERS = (
    "cancer", "emphysema", "pleural_effusion", "coronary_calcium", "fibrosis", "airiness_decrease", "covid",
    "infiltrate", "atelectasis", "paracardial_fat_pathology", "pulmonary_trunk_pathology", "osteo_fracture",
    "aorta_pathology",
)  # fmt: skip
"""The 13 labels of the product trainer's example, in its order."""


class TestRoles:
    def test_the_fusions_own_labels_need_no_word(self) -> None:
        roles = sort_labels(StageName.SUPERVISED, SUPERVISED_LABELS)
        assert roles.fused == SUPERVISED_LABELS
        assert roles.list_warnings() == []
        assert roles.describe_unfused(dict.fromkeys(SUPERVISED_LABELS, 0.5)) == {}

    def test_labels_that_a_training_left_out_are_declared(self) -> None:
        roles = sort_labels(StageName.SUPERVISED, TRAINERS)
        assert roles.fused == TRAINERS
        assert roles.missing == ("ribs_fracture", "pneumothorax")
        (warning,) = roles.list_warnings()
        assert warning.code == "labels_missing"
        assert warning.facts == {"missing": ["ribs_fracture", "pneumothorax"], "not_fused": [], "unknown": []}

    def test_the_public_classifier_is_evidence_only(self) -> None:
        roles = sort_labels(StageName.SUPERVISED, CT_RATE_LABELS)
        assert (roles.fused, roles.unfused, roles.missing) == ((), CT_RATE_LABELS, SUPERVISED_LABELS)
        assert roles.unknown == ()
        told = roles.describe_unfused(dict.fromkeys(CT_RATE_LABELS, 0.25))[UNFUSED]
        assert told == dict.fromkeys(CT_RATE_LABELS, 0.25)

    def test_a_label_of_nobody_elses_is_named(self) -> None:
        roles = sort_labels(StageName.SUPERVISED, (*SUPERVISED_LABELS, "rotated_spleen"))
        assert roles.unknown == ("rotated_spleen",)
        assert [warning.code for warning in roles.list_warnings()] == ["labels_missing"]
