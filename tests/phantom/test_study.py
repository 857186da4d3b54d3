"""Studies by seed: what repeats, what varies, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from phantom.kernels import KERNELS
from phantom.scanner import PADDING_HU
from phantom.study import FINDINGS, PhantomSettings, Study, make_study

COARSE = PhantomSettings.coarse()
MEDNEXT_CLASSES = """
    nodule mass consolidation ground_glass emphysema fibrosis bronchiectasis atelectasis mosaic_attenuation
    pleural_effusion pneumothorax pleural_thickening cardiomegaly pericardial_effusion coronary_calcification
    aortic_calcification aortic_aneurysm lymphadenopathy hiatal_hernia rib_fracture vertebral_compression
"""


def compute_coverage_mm(study: Study) -> float:
    return len(study.hu) * study.spacing_zyx_mm[0]


class TestSeed:
    def test_the_same_seed_gives_the_same_bits(self) -> None:
        first, second = (make_study(5, ("mass", "cardiomegaly"), COARSE) for _ in range(2))
        assert np.array_equal(first.hu, second.hu)
        assert np.array_equal(first.labels, second.labels)
        assert first.findings == second.findings

    def test_the_order_of_the_findings_does_not_matter(self) -> None:
        first = make_study(5, ("nodule", "pleural_effusion"), COARSE)
        second = make_study(5, ("pleural_effusion", "nodule"), COARSE)
        assert np.array_equal(first.hu, second.hu)
        assert first.findings == second.findings

    def test_another_seed_gives_another_patient(self) -> None:
        first, second = make_study(5, (), COARSE), make_study(6, (), COARSE)
        assert first.spacing_zyx_mm != second.spacing_zyx_mm
        assert first.origin_lps_mm != second.origin_lps_mm

    def test_a_finding_is_the_same_with_and_without_company(self) -> None:
        alone = make_study(9, ("nodule",), COARSE).findings[0]
        beside = make_study(9, ("aortic_calcification", "nodule"), COARSE).findings[0]
        assert alone == beside

    @settings(max_examples=6, deadline=None)
    @given(seed=st.integers(0, 2**63 - 1))
    def test_any_seed_gives_a_whole_chest(self, seed: int) -> None:
        study = make_study(seed, (), COARSE)
        assert study.hu.dtype == np.int16
        assert study.labels.dtype == np.uint8
        assert study.hu.shape == study.labels.shape
        assert study.hu.min() >= -1024
        assert compute_coverage_mm(study) > 200
        assert len(study.hu) >= 20


class TestFindings:
    def test_all_are_classes_of_the_classifier(self) -> None:
        assert list(FINDINGS) == MEDNEXT_CLASSES.split()

    def test_a_study_without_findings_has_no_ground_truth(self) -> None:
        assert make_study(1, (), COARSE).findings == ()

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="no finding named dragon; there are nodule, mass"):
            make_study(1, ("nodule", "dragon"), COARSE)

    def test_a_repeated_name_is_refused(self) -> None:
        with pytest.raises(ValueError, match="named twice"):
            make_study(1, ("nodule", "nodule"), COARSE)


class TestSettings:
    def test_the_standard_study_is_an_everyday_chest_ct(self) -> None:
        study = make_study(3, (), PhantomSettings.standard())
        step, pixel_y, pixel_x = study.spacing_zyx_mm
        assert study.hu.shape[1:] == (256, 256)
        assert 2.0 <= step <= 2.5
        assert pixel_x == pixel_y
        assert 1.2 < pixel_x < 1.9
        assert 220 < compute_coverage_mm(study) < 400

    @pytest.mark.parametrize("kernel", sorted(KERNELS))
    def test_every_kernel_scans(self, kernel: str) -> None:
        study = make_study(2, (), replace(COARSE, kernels=(kernel,), matrix=64))
        assert (study.kernel, study.manufacturer) == (kernel, KERNELS[kernel].manufacturer)

    def test_a_sharp_kernel_is_noisier_than_a_soft_one(self) -> None:
        soft, sharp = (make_study(2, (), replace(COARSE, kernels=(name,))) for name in ("SOFT", "BONE"))
        muscle = ndimage.binary_erosion(np.isin(soft.labels, (86, 87)), iterations=2)
        assert sharp.hu[muscle].std() > 1.5 * soft.hu[muscle].std()

    def test_padding_lies_outside_of_the_circle_and_leaves_the_rest(self) -> None:
        plain, padded = (make_study(2, (), replace(COARSE, has_padding=has)) for has in (False, True))
        is_padding = padded.hu == PADDING_HU
        assert padded.padding_hu == PADDING_HU
        assert plain.padding_hu is None
        assert is_padding[:, 0, 0].all()
        assert 0.15 < is_padding.mean() < 0.25
        assert np.array_equal(padded.hu[~is_padding], plain.hu[~is_padding])

    def test_contrast_brightens_the_aorta(self) -> None:
        study = make_study(2, (), replace(COARSE, contrast_share=1.0))
        assert np.median(study.hu[study.labels == 52]) > 120

    def test_shifted_studies_come_from_other_kernels(self) -> None:
        assert not set(PhantomSettings.shifted().kernels) & set(COARSE.kernels)
        assert make_study(2, ("mass",), PhantomSettings.shifted()).kernel in PhantomSettings.shifted().kernels

    @pytest.mark.parametrize(
        "wrong",
        [
            {"matrix": 32},
            {"slice_spacing_mm": (3.0, 2.0)},
            {"slice_spacing_mm": (0.0, 2.0)},
            {"thickness_per_spacing": (-1.0, 1.0)},
            {"severity": (0.5, 1.5)},
            {"gantry_tilt_degrees": (0.0, 31.0)},
            {"kernels": ()},
            {"kernels": ("NO_SUCH",)},
        ],
        ids=str,
    )
    def test_settings_that_make_no_study_are_refused(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PhantomSettings(**wrong)  # type: ignore[arg-type]  # wrong on purpose
