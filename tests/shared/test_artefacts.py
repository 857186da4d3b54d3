"""Names of artefacts are the callers' too."""

from __future__ import annotations

import pytest

from shared.artefacts import ArtefactKind


class TestFileNames:
    @pytest.mark.parametrize("kind", [ArtefactKind.CT_CLIP_RELEVANCE, ArtefactKind.SUPERVISED_RELEVANCE])
    def test_a_viewer_knows_a_map_by_its_ending(self, kind: ArtefactKind) -> None:
        assert kind.file_name == f"{kind}.nii.gz"

    def test_each_begins_with_the_name_in_the_list(self) -> None:
        assert all(kind.file_name.startswith(kind) for kind in ArtefactKind)
