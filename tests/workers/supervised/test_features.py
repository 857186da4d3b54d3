"""The classifier's features carry the names that the fusion's weights go by; other labels are no features."""

from __future__ import annotations

from shared.features import FEATURE_NAMES, SUPERVISED_LABELS
from workers.supervised.features import name_features
from workers.supervised.labels import CT_RATE_LABELS


class TestNames:
    def test_all_labels_are_features_of_the_fusion_in_its_order(self) -> None:
        named = name_features(SUPERVISED_LABELS, [0.5] * 15)
        assert tuple(named) == FEATURE_NAMES[:15]

    def test_labels_in_another_order_keep_their_names(self) -> None:
        assert name_features(["covid", "cancer"], [0.1, 0.9]) == {"supervised_covid": 0.1, "supervised_cancer": 0.9}

    def test_labels_of_the_public_classifier_are_no_features(self) -> None:
        assert name_features(CT_RATE_LABELS, [0.5] * 18) == {}
