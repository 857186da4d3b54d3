"""Every finding, in the order of the MedNeXt class list."""

from __future__ import annotations

from collections.abc import Mapping

from phantom.findings.finding import Finding
from phantom.findings.pleura import paint_pleural_effusion, paint_pneumothorax

REGISTRY: Mapping[str, Finding] = {
    finding.name: finding
    for finding in (
        Finding("pleural_effusion", paint_pleural_effusion),
        Finding("pneumothorax", paint_pneumothorax),
    )
}
FINDINGS: tuple[str, ...] = tuple(REGISTRY)
