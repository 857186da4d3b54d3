"""Labels of the published classifiers that do not carry them."""

from __future__ import annotations

from collections.abc import Mapping

from shared.features import SUPERVISED_LABELS
from workers.supervised.configuration import HeadKind

CT_RATE_LABELS: tuple[str, ...] = (
    "Medical material",
    "Arterial wall calcification",
    "Cardiomegaly",
    "Pericardial effusion",
    "Coronary artery wall calcification",
    "Hiatal hernia",
    "Lymphadenopathy",
    "Emphysema",
    "Atelectasis",
    "Lung nodule",
    "Lung opacity",
    "Pulmonary fibrotic sequela",
    "Pleural effusion",
    "Mosaic attenuation pattern",
    "Peribronchial thickening",
    "Consolidation",
    "Bronchiectasis",
    "Interlobular septal thickening",
)
"""CT-RATE's abnormalities, in the order of ClassFine's head (arXiv 2403.17834)."""

DEFAULT_LABELS: Mapping[HeadKind, tuple[str, ...]] = {
    HeadKind.LAYER_NORM: SUPERVISED_LABELS,
    HeadKind.PLAIN: SUPERVISED_LABELS,
    HeadKind.RECTIFIED: CT_RATE_LABELS,
}
"""What the outputs of a head are called when neither checkpoint nor configuration says."""
