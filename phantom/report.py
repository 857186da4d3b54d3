"""The written report of a phantom study: what a reader would dictate of its findings, in one of several manners.

The draw decides the manner, so one study has many reports that say the same. Left and right are the patient's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from phantom.findings.finding import PlacedFinding
from phantom.findings.registry import FINDINGS

_MOST_NEGATIONS = 4
_MIDLINE_MM = 8.0


@dataclass(frozen=True)
class Wording:
    """How a finding is spoken of: its names, words for its degree, and whether side and size are told."""

    names: tuple[str, ...]
    degrees: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    organ: str = ""
    has_side: bool = False
    has_size: bool = False


_SIZE = (("small",), ("moderate", "medium-sized"), ("large", "extensive"))
_EXTENT = (("mild", "slight"), ("moderate",), ("severe", "marked", "extensive"))

WORDINGS: Mapping[str, Wording] = {
    "nodule": Wording(("pulmonary nodule", "lung nodule", "solid nodule"), _SIZE, "lung", has_side=True, has_size=True),
    "mass": Wording(("pulmonary mass", "lung mass", "soft tissue mass"), _SIZE, "lung", has_side=True, has_size=True),
    "consolidation": Wording(("consolidation", "airspace consolidation"), _SIZE, "lung", has_side=True),
    "ground_glass": Wording(("ground-glass opacity", "ground-glass opacities", "ground-glass attenuation"), _EXTENT),
    "emphysema": Wording(("pulmonary emphysema", "emphysema", "emphysematous change"), _EXTENT),
    "fibrosis": Wording(("pulmonary fibrosis", "subpleural fibrosis", "reticulation with honeycombing"), _EXTENT),
    "bronchiectasis": Wording(
        ("bronchiectasis", "dilated bronchi", "cylindrical bronchiectasis"), _EXTENT, "lung", has_side=True
    ),
    "atelectasis": Wording(("atelectasis", "plate atelectasis", "loss of volume"), _SIZE, "lung", has_side=True),
    "mosaic_attenuation": Wording(("mosaic attenuation", "mosaic attenuation pattern"), _EXTENT),
    "pleural_effusion": Wording(("pleural effusion", "pleural fluid"), _SIZE, "side", has_side=True),
    "pneumothorax": Wording(("pneumothorax", "pleural air"), _SIZE, "side", has_side=True),
    "pleural_thickening": Wording(("pleural thickening", "thickened pleura"), _EXTENT, "side", has_side=True),
    "cardiomegaly": Wording(("cardiac chamber enlargement", "cardiomegaly", "enlargement of the heart"), _EXTENT),
    "pericardial_effusion": Wording(("pericardial effusion", "pericardial fluid"), _SIZE),
    "coronary_calcification": Wording(
        ("coronary artery calcification", "calcification of the coronary arteries"), _EXTENT
    ),
    "aortic_calcification": Wording(
        ("aortic calcification", "calcified plaques of the aorta", "arterial wall calcification"), _EXTENT
    ),
    "aortic_aneurysm": Wording(("aortic aneurysm", "dilatation of the aorta", "widened aorta"), _EXTENT),
    "lymphadenopathy": Wording(
        ("mediastinal or hilar lymphadenopathy", "mediastinal lymphadenopathy", "enlarged lymph nodes"), _EXTENT
    ),
    "hiatal_hernia": Wording(("hiatal hernia", "hernia of the stomach"), _SIZE),
    "rib_fracture": Wording(("rib fracture", "fracture of the ribs", "broken rib"), _EXTENT, "side", has_side=True),
    "vertebral_compression": Wording(
        ("vertebral compression fracture", "compression fracture of a vertebra", "loss of vertebral height"), _EXTENT
    ),
}
"""Each finding's wording; the first name is the one that findings are asked by."""

PRESENT = (
    "{finding} is present.",
    "There is {finding}.",
    "{finding}.",
    "{finding} is seen.",
    "The study shows {finding}.",
)
ABSENT = (
    "{finding} is not present.",
    "There is no {finding}.",
    "No {finding}.",
    "No evidence of {finding}.",
)
NORMAL = (
    "Pathological finding is not present.",
    "No pathological finding.",
    "Normal chest.",
    "No abnormality is seen.",
)
ABNORMAL = (
    "Pathological finding is present.",
    "Abnormal chest.",
    "The chest is not normal.",
)
SIDES = ("right", "left")
PLACES = ("in the {side} lung", "on the {side} side", "on both sides")


def write_report(findings: Sequence[PlacedFinding], generator: np.random.Generator) -> str:
    """Return the report of a study with these findings, in an order and with negations that the generator draws."""
    sentences = [_describe(finding, generator) for finding in findings]
    generator.shuffle(sentences)
    absent = [name for name in FINDINGS if name not in {finding.name for finding in findings}]
    denied = generator.choice(absent, size=int(generator.integers(0, _MOST_NEGATIONS + 1)), replace=False).tolist()
    negations = [_fill(_pick(ABSENT, generator), _pick(WORDINGS[name].names, generator)) for name in denied]
    summary = _pick(ABNORMAL if findings else NORMAL, generator)
    if not findings or generator.random() < 0.5:
        sentences.insert(0 if generator.random() < 0.5 else len(sentences), summary)
    return " ".join([*sentences, *negations])


def _describe(finding: PlacedFinding, generator: np.random.Generator) -> str:
    wording = WORDINGS[finding.name]
    words = [_pick(wording.names, generator)]
    if generator.random() < 0.6:
        words.insert(0, _pick(wording.degrees[min(2, int(3 * finding.severity))], generator))
    if wording.has_side and generator.random() < 0.7:
        words.append(_place(finding, wording))
    if wording.has_size and generator.random() < 0.5:
        words.append(f"of {round(float(np.mean(finding.extent_mm)))} mm")
    return _fill(_pick(PRESENT, generator), " ".join(words))


def _place(finding: PlacedFinding, wording: Wording) -> str:
    x, half = finding.centre_lps_mm[0], finding.extent_mm[0] / 2
    if min(x + half, half - x) > half / 2 and half > _MIDLINE_MM:
        return PLACES[2]
    lung, side = PLACES[:2]
    return (lung if wording.organ == "lung" else side).format(side=SIDES[x > 0])


def _fill(template: str, finding: str) -> str:
    sentence = template.format(finding=finding)
    return sentence[0].upper() + sentence[1:]


def _pick(words: Sequence[str], generator: np.random.Generator) -> str:
    return words[int(generator.integers(len(words)))]
