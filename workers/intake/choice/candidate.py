"""A candidate: a stack with its geometry, its score and, once judged, the reason why it won or lost."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.json_values import JsonValue
from shared.problems import Problem
from workers.intake.choice.kernels import classify_kernel
from workers.intake.files import FileCode
from workers.intake.stacks.geometry import StackGeometry
from workers.intake.stacks.stack import Stack


@dataclass
class Candidate:
    """`criteria` are 0..1 each; `score` is their weighted mean. `problem` is why no volume may be made of it.

    `file_code` is what its files are reported with when it is not chosen.
    """

    stack: Stack
    geometry: StackGeometry
    criteria: dict[str, float]
    score: float
    problem: Problem | None = None
    is_chosen: bool = False
    reason: str = ""
    lungs: dict[str, JsonValue] = field(default_factory=dict)
    file_code: FileCode = FileCode.NOT_CHOSEN

    def describe(self) -> dict[str, JsonValue]:
        """Return the facts that a person compares. Nothing of the patient."""
        technique = self.stack.technique
        spacing_y, spacing_x = self.stack.images[0].placement.spacing_yx_mm
        return {
            "study_instance_uid": self.stack.study_uid,
            "slices": len(self.stack.images),
            "shape_zyx": [len(self.stack.images), *self.stack.shape_yx],
            "spacing_zyx_mm": [self.geometry.spacing_mm, spacing_y, spacing_x],
            "extent_mm": round(self.geometry.extent_mm, 2),
            "kernel": list(technique.kernel or ()),
            "kernel_class": classify_kernel(technique.kernel, technique.filter_type).value,
            "slice_thickness_mm": technique.thickness_mm,
            "manufacturer": technique.manufacturer,
            "image_type": list(technique.image_type),
            "body_part": technique.body_part,
            "transfer_syntax": self.stack.images[0].pixels.syntax.name,
            "is_axial": self.geometry.is_axial,
            "missing_slices": self.geometry.missing,
            "problem": None if self.problem is None else str(self.problem.code),
            **self.lungs,
        }
