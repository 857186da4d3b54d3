"""CT-CLIP's features carry the names that the fusion's weights go by."""

from __future__ import annotations

import pytest

from shared.features import CT_CLIP_LABELS, FEATURE_NAMES
from workers.ct_clip.features import name_features


class TestNames:
    def test_all_findings_are_features_of_the_fusion_in_its_order(self) -> None:
        named = name_features(CT_CLIP_LABELS, [0.5] * 55)
        assert list(named) == [name for name in FEATURE_NAMES if name in named]
        assert len(named) == 55

    def test_a_probability_too_few_is_refused(self) -> None:
        with pytest.raises(ValueError, match="shorter"):
            name_features(CT_CLIP_LABELS, [0.5] * 54)
