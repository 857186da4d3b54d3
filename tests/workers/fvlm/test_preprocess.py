"""From a volume and its organs to windows, in both geometries."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.errors import InputProblem
from shared.problems import ProblemCode
from workers.fvlm.configuration import GeometryKind, ImageShape, Preprocessing
from workers.fvlm.organs import LabelMap, Organ, merge_labels
from workers.fvlm.preprocess import cut_windows, orient, plan_lengths, prepare_study
from workers.volume import Geometry, Volume

SHAPE = (20, 30, 40)


def make_organs() -> LabelMap:
    organs = np.zeros(SHAPE, np.uint8)
    organs[2:18, 5:25, 4:36] = Organ.LUNG.label
    organs[8:12, 10:16, 15:22] = Organ.HEART.label
    return organs


def make_hu() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.random.default_rng(3).integers(-1000, 300, SHAPE).astype(np.int16)


class TestWindows:
    def test_organs_with_the_same_public_window_share_it(self) -> None:
        study = prepare_study(make_hu(), make_organs(), (3.0, 1.0, 1.0), Preprocessing())
        (window,) = cut_windows(study, Preprocessing(), ImageShape())
        assert window.token_masks.keys() == {Organ.LUNG, Organ.HEART}

    def test_each_organ_fills_a_window_of_its_own_in_the_product(self) -> None:
        kind = GeometryKind.PRODUCT
        study = prepare_study(make_hu(), make_organs(), (3.0, 1.0, 1.0), Preprocessing(kind))
        windows = cut_windows(study, Preprocessing(kind), ImageShape())
        assert [[*window.token_masks] for window in windows] == [[Organ.LUNG], [Organ.HEART]]
        assert {window.image.shape for window in windows} == {torch.Size((1, 1, 112, 288, 352))}

    @pytest.mark.parametrize("kind", GeometryKind)
    def test_a_volume_without_organs_is_refused(self, kind: GeometryKind) -> None:
        with pytest.raises(InputProblem) as refusal:
            prepare_study(make_hu(), np.zeros(SHAPE, np.uint8), (3.0, 1.0, 1.0), Preprocessing(kind))
        assert refusal.value.problem.code is ProblemCode.NO_LUNGS_FOUND

    def test_lengths_come_from_the_spacing_in_float32(self) -> None:
        assert plan_lengths((100, 420, 420), (3.0, 0.7, 0.7), (3.0, 1.0, 1.0)) == (100, 293, 293)


class TestOrgans:
    def test_the_predecessor_leaves_out_esophagus_and_appendage(self) -> None:
        total = np.array([[[0, 10, 14, 15, 51, 52, 61, 117]]], np.uint8)
        assert merge_labels(total, GeometryKind.PUBLIC).ravel().tolist() == [0, 1, 1, 3, 2, 4, 2, 0]
        assert merge_labels(total, GeometryKind.PRODUCT).ravel().tolist() == [0, 1, 1, 0, 2, 4, 0, 0]


class TestOrientation:
    def test_a_volume_that_lies_otherwise_and_its_labels_are_turned_alike(self) -> None:
        hu, organs = make_hu(), make_organs()
        as_trained = Geometry((3.0, 1.0, 2.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        found = orient(Volume(hu, as_trained), organs)
        assert np.array_equal(found[0], hu)
        assert found[2] == (3.0, 1.0, 2.0)
        # x to the right and y to the front: z still grows to the head
        turned = Geometry((3.0, 1.0, 2.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
        other = orient(Volume(hu[:, ::-1, ::-1], turned), organs[:, ::-1, ::-1])
        assert np.array_equal(other[0], hu)
        assert np.array_equal(other[1], organs)
