"""The feature vector that the fusion weighs: 168 names in one canonical order, and the labels of every model.

Pure names; the arithmetic of the aggregates is in `workers.fusion.aggregates`. A booster carries its own list of
features and they are selected by name, so this order is what documents and golden vectors speak, not a hidden contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from shared.stages import StageName

FEATURE_COUNT = 168

SUPERVISED_LABELS: tuple[str, ...] = (
    "ribs_fracture",
    "pleural_effusion",
    "aorta_pathology",
    "pulmonary_trunk_pathology",
    "cancer",
    "atelectasis",
    "covid",
    "infiltrate",
    "emphysema",
    "paracardial_fat_pathology",
    "fibrosis",
    "airiness_decrease",
    "pneumothorax",
    "coronary_calcium",
    "osteo_fracture",
)
"""Labels of the supervised model, in the order of its head."""

CT_CLIP_LABELS: tuple[str, ...] = (
    "Pathological finding",
    "Pulmonary nodule",
    "Lymphangitic carcinomatosis",
    "Pneumonia",
    "Tuberculosis",
    "Bronchiectasis",
    "Chronic bronchitis",
    "Bronchial obstruction",
    "Pulmonary emphysema",
    "Pulmonary fibrosis",
    "Pneumoconiosis",
    "Pulmonary edema",
    "Atelectasis",
    "Pleural effusion",
    "Pleural thickening",
    "Pleural plaques",
    "Pneumothorax",
    "Hemothorax",
    "Consolidation",
    "Ground-glass opacity",
    "Crazy-paving pattern",
    "Tree-in-bud pattern",
    "Mosaic attenuation",
    "Cavitation",
    "Pulmonary embolism",
    "Chronic thromboembolic disease",
    "Main pulmonary artery enlargement",
    "Pulmonary arteriovenous malformation",
    "Mediastinal or hilar lymphadenopathy",
    "Sarcoidosis",
    "Thymoma",
    "Lymphoma",
    "Mediastinal cyst",
    "Retrosternal goiter",
    "Pericardial effusion",
    "Cardiac chamber enlargement",
    "Coronary artery calcification",
    "Aortic dissection",
    "Rib fracture",
    "Vertebral compression fracture",
    "Bone metastases",
    "Chest wall mass or invasion",
    "Subcutaneous emphysema",
    "Diaphragmatic hernia",
    "Hiatal hernia",
    "Pneumomediastinum",
    "Hydropneumothorax",
    "Radiation pneumonitis",
    "Postoperative changes (lobectomy or pneumonectomy)",
    "Scoliosis",
    "Pectus excavatum or carinatum",
    "Degenerative spine changes",
    "Thyroid nodule",
    "Breast mass",
    "Other pathology",
)
"""Findings that CT-CLIP is asked for, in the order of its prompts."""

MEDNEXT_LABELS: tuple[str, ...] = (
    "normal",
    "nodule",
    "mass",
    "consolidation",
    "ground_glass",
    "emphysema",
    "fibrosis",
    "bronchiectasis",
    "atelectasis",
    "mosaic_attenuation",
    "pleural_effusion",
    "pneumothorax",
    "pleural_thickening",
    "cardiomegaly",
    "pericardial_effusion",
    "coronary_calcification",
    "aortic_calcification",
    "aortic_aneurysm",
    "lymphadenopathy",
    "hiatal_hernia",
    "rib_fracture",
    "vertebral_compression",
)
"""Classes of MedNeXt, in the order of its head."""

FVLM_ITEMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "lung": (
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
            "Pneumothorax",
            "Lung cancer",
        ),
        "heart": ("Cardiomegaly", "Pericardial effusion", "Coronary artery wall calcification"),
        "aorta": ("Arterial wall calcification", "Aortic aneurysm"),
    }
)
"""Findings that fVLM is asked for, by the organ whose mask it looks through."""

FVLM_LABELS: tuple[str, ...] = tuple(item for items in FVLM_ITEMS.values() for item in items)


class FeatureGroup(StrEnum):
    """Part of the chest that a feature speaks of."""

    LUNG_PARENCHYMA = "lung_parenchyma"
    AIRWAYS = "airways"
    VASCULAR = "vascular"
    PLEURAL = "pleural"
    MEDIASTINUM = "mediastinum"
    CARDIAC = "cardiac"
    CHEST_WALL = "chest_wall"
    BONE_SPINE = "bone_spine"
    POSTOP = "postop"
    INCIDENTALOMAS = "incidentalomas"


CT_CLIP_GROUPS: Mapping[FeatureGroup, tuple[str, ...]] = MappingProxyType(
    {
        FeatureGroup.LUNG_PARENCHYMA: (
            "Pulmonary nodule",
            "Lymphangitic carcinomatosis",
            "Pneumonia",
            "Tuberculosis",
            "Pulmonary emphysema",
            "Pulmonary fibrosis",
            "Pneumoconiosis",
            "Pulmonary edema",
            "Atelectasis",
            "Consolidation",
            "Ground-glass opacity",
            "Crazy-paving pattern",
            "Tree-in-bud pattern",
            "Mosaic attenuation",
            "Cavitation",
            "Radiation pneumonitis",
        ),
        FeatureGroup.AIRWAYS: ("Bronchiectasis", "Chronic bronchitis", "Bronchial obstruction"),
        FeatureGroup.VASCULAR: (
            "Pulmonary embolism",
            "Chronic thromboembolic disease",
            "Main pulmonary artery enlargement",
            "Pulmonary arteriovenous malformation",
            "Aortic dissection",
            "Coronary artery calcification",
        ),
        FeatureGroup.PLEURAL: (
            "Pleural effusion",
            "Pleural thickening",
            "Pleural plaques",
            "Pneumothorax",
            "Hemothorax",
            "Hydropneumothorax",
        ),
        FeatureGroup.MEDIASTINUM: (
            "Mediastinal or hilar lymphadenopathy",
            "Sarcoidosis",
            "Thymoma",
            "Lymphoma",
            "Mediastinal cyst",
            "Retrosternal goiter",
            "Pneumomediastinum",
        ),
        FeatureGroup.CARDIAC: ("Pericardial effusion", "Cardiac chamber enlargement"),
        FeatureGroup.CHEST_WALL: (
            "Rib fracture",
            "Chest wall mass or invasion",
            "Subcutaneous emphysema",
            "Diaphragmatic hernia",
            "Hiatal hernia",
            "Pectus excavatum or carinatum",
        ),
        FeatureGroup.BONE_SPINE: (
            "Vertebral compression fracture",
            "Degenerative spine changes",
            "Scoliosis",
            "Bone metastases",
        ),
        FeatureGroup.POSTOP: ("Postoperative changes (lobectomy or pneumonectomy)",),
        FeatureGroup.INCIDENTALOMAS: ("Thyroid nodule", "Breast mass"),
    }
)
"""Findings of CT-CLIP by group. "Pathological finding" and "Other pathology" are in none."""

PREFIXES: Mapping[StageName, str] = MappingProxyType(
    {
        StageName.SUPERVISED: "supervised_",
        StageName.CT_CLIP: "ctclip_",
        StageName.MEDNEXT: "kolyan_",
        StageName.FVLM: "okhr_",
        StageName.DIFFUSION: "diffusion_",
    }
)
"""How the names of a model's features begin: the predecessor's names, which trained boosters carry."""

LABELS: Mapping[StageName, tuple[str, ...]] = MappingProxyType(
    {
        StageName.SUPERVISED: SUPERVISED_LABELS,
        StageName.CT_CLIP: CT_CLIP_LABELS,
        StageName.MEDNEXT: MEDNEXT_LABELS,
        StageName.FVLM: FVLM_LABELS,
    }
)
"""What each model speaks of. The diffusion model measures how unusual the slices are and names nothing."""

DIFFUSION_FEATURES: tuple[str, ...] = (
    "diffusion_classifier_mean_probability",
    "diffusion_classifier_max_probability",
    "diffusion_classifier_std_probability",
    "diffusion_reconstruction_mean",
    "diffusion_reconstruction_max",
    "diffusion_reconstruction_std",
)

WHOLE_MODEL_AGGREGATES: tuple[str, ...] = (
    "supervised_mean_probability",
    "ctclip_mean_probability",
    "supervised_max_probability",
    "ctclip_max_probability",
    "supervised_top3_mean",
    "ctclip_top3_mean",
    "kolyan_mean",
    "kolyan_max",
    "kolyan_top3_mean",
    "okhr_mean",
    "okhr_max",
    "okhr_top3_mean",
)
"""Statistics over all labels of one model."""

GROUP_STATISTICS: tuple[str, ...] = ("max", "mean", "count_high", "std")


def make_feature_name(model: StageName, label: str) -> str:
    """Return the name of the feature that carries one label of one model."""
    return PREFIXES[model] + label


def make_group_feature_name(group: FeatureGroup, statistic: str) -> str:
    """Return the name of one statistic over one group of CT-CLIP's findings."""
    return f"ctclip_group_{group}_{statistic}"


def get_model(feature: str) -> StageName:
    """Return the model whose outputs a feature is made from, aggregates included. Raises KeyError if unknown."""
    for model, prefix in PREFIXES.items():
        if feature.startswith(prefix):
            return model
    raise KeyError(feature)


def _list_labels(model: StageName) -> tuple[str, ...]:
    return tuple(make_feature_name(model, label) for label in LABELS[model])


GROUP_FEATURES: tuple[str, ...] = tuple(
    make_group_feature_name(group, statistic) for group in FeatureGroup for statistic in GROUP_STATISTICS
)

FEATURE_NAMES: tuple[str, ...] = (
    *_list_labels(StageName.SUPERVISED),
    *_list_labels(StageName.CT_CLIP),
    *_list_labels(StageName.MEDNEXT),
    *_list_labels(StageName.FVLM),
    *WHOLE_MODEL_AGGREGATES,
    *GROUP_FEATURES,
    *DIFFUSION_FEATURES,
)
"""All features in canonical order."""
