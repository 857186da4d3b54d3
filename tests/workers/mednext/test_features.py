"""MedNeXt's features carry the names that the fusion's weights go by; other classes are no features."""

from __future__ import annotations

from shared.features import FEATURE_NAMES, MEDNEXT_LABELS
from workers.mednext.features import name_features


class TestNames:
    def test_all_classes_are_features_of_the_fusion_in_its_order(self) -> None:
        named = [*name_features(MEDNEXT_LABELS, [0.5] * 22)]
        assert named == [name for name in FEATURE_NAMES if name in named]
        assert len(named) == 22

    def test_a_class_that_the_fusion_does_not_weigh_is_no_feature(self) -> None:
        assert name_features(["rotated_spleen", "mass"], [0.1, 0.9]) == {"kolyan_mass": 0.9}
