"""The classifier's features carry the names that the fusion's weights go by."""

from __future__ import annotations

from shared.features import FEATURE_NAMES, SUPERVISED_LABELS
from workers.supervised.features import name_features


class TestNames:
    def test_all_labels_are_features_of_the_fusion_in_its_order(self) -> None:
        named = name_features(SUPERVISED_LABELS, [0.5] * 15)
        assert tuple(named) == FEATURE_NAMES[:15]
