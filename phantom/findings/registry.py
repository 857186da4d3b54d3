"""Every finding, in the order of the MedNeXt class list."""

from __future__ import annotations

from collections.abc import Mapping

from phantom.findings.aortic import measure_aneurysm, paint_aortic_calcification, widen_aorta
from phantom.findings.cardiac import (
    enlarge_heart,
    measure_heart,
    paint_coronary_calcification,
    paint_pericardial_effusion,
)
from phantom.findings.diffuse import (
    paint_bronchiectasis,
    paint_emphysema,
    paint_fibrosis,
    paint_ground_glass,
    paint_mosaic_attenuation,
)
from phantom.findings.finding import Finding
from phantom.findings.focal import paint_atelectasis, paint_consolidation, paint_mass, paint_nodule
from phantom.findings.mediastinal import paint_hiatal_hernia, paint_lymphadenopathy
from phantom.findings.pleura import paint_pleural_effusion, paint_pleural_thickening, paint_pneumothorax
from phantom.findings.skeletal import compress_vertebra, measure_vertebra, paint_rib_fracture

REGISTRY: Mapping[str, Finding] = {
    finding.name: finding
    for finding in (
        Finding("nodule", paint_nodule),
        Finding("mass", paint_mass),
        Finding("consolidation", paint_consolidation),
        Finding("ground_glass", paint_ground_glass),
        Finding("emphysema", paint_emphysema),
        Finding("fibrosis", paint_fibrosis),
        Finding("bronchiectasis", paint_bronchiectasis),
        Finding("atelectasis", paint_atelectasis),
        Finding("mosaic_attenuation", paint_mosaic_attenuation),
        Finding("pleural_effusion", paint_pleural_effusion),
        Finding("pneumothorax", paint_pneumothorax),
        Finding("pleural_thickening", paint_pleural_thickening),
        Finding("cardiomegaly", measure_heart, enlarge_heart),
        Finding("pericardial_effusion", paint_pericardial_effusion),
        Finding("coronary_calcification", paint_coronary_calcification),
        Finding("aortic_calcification", paint_aortic_calcification),
        Finding("aortic_aneurysm", measure_aneurysm, widen_aorta),
        Finding("lymphadenopathy", paint_lymphadenopathy),
        Finding("hiatal_hernia", paint_hiatal_hernia),
        Finding("rib_fracture", paint_rib_fracture),
        Finding("vertebral_compression", measure_vertebra, compress_vertebra),
    )
}
FINDINGS: tuple[str, ...] = tuple(REGISTRY)
