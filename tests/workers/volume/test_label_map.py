"""Label maps: what is written is read, in whole and in part, and its digest tells labels and places apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shared.errors import Defect
from workers.volume import Geometry, Volume, write_volume
from workers.volume.label_map import LabelMapFile, write_label_map

GEOMETRY = Geometry((3.0, 0.7, 0.8), (-150.0, -120.0, -300.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def _make_labels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 118, (35, 6, 7), dtype=np.uint8)


class TestLabelMapFile:
    def test_labels_places_and_facts_come_back(self, tmp_path: Path) -> None:
        labels = _make_labels()
        digest = write_label_map(tmp_path / "masks", labels, GEOMETRY, {"segmenter": "one"})
        file = LabelMapFile(tmp_path / "masks")
        assert (file.read() == labels).all()
        assert file.read().dtype == np.uint8
        assert file.shape == (35, 6, 7)
        assert (file.geometry, file.facts, file.content_digest) == (GEOMETRY, {"segmenter": "one"}, digest)

    def test_some_slices_are_read_alone(self, tmp_path: Path) -> None:
        labels = _make_labels()
        write_label_map(tmp_path / "masks", labels, GEOMETRY)
        assert (LabelMapFile(tmp_path / "masks").read_slices(14, 20) == labels[14:20]).all()

    def test_views_are_written_as_what_they_show(self, tmp_path: Path) -> None:
        labels = _make_labels()[:, ::-1, ::-1]
        write_label_map(tmp_path / "masks", labels, GEOMETRY)
        assert (LabelMapFile(tmp_path / "masks").read() == labels).all()

    def test_the_same_labels_give_the_same_file(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            write_label_map(tmp_path / name, _make_labels(), GEOMETRY)
        assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()

    def test_another_label_or_another_place_is_another_digest(self, tmp_path: Path) -> None:
        labels = _make_labels()
        changed = labels.copy()
        changed[3, 2, 1] = (int(changed[3, 2, 1]) + 1) % 118
        moved = replace(GEOMETRY, origin_lps_mm=(0.0, 0.0, 0.0))
        digests = {
            write_label_map(tmp_path / "masks", each, place)
            for each, place in ((labels, GEOMETRY), (changed, GEOMETRY), (labels, moved))
        }
        assert len(digests) == 3

    def test_labels_of_another_type_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="uint8"):
            write_label_map(tmp_path / "masks", np.zeros((2, 2, 2), np.int16), GEOMETRY)

    def test_a_volume_is_no_label_map(self, tmp_path: Path) -> None:
        write_volume(Volume(np.zeros((2, 3, 4), np.int16), GEOMETRY), tmp_path / "volume")
        with pytest.raises(Defect, match="label map"):
            LabelMapFile(tmp_path / "volume")
