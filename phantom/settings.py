"""What a phantom study looks like before its seed is known: matrix, slices, scanner effects, severity."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

from phantom.anatomy.plan import AnatomyRanges
from phantom.gantry import MOST_DEGREES
from phantom.kernels import KERNELS


@dataclass(frozen=True)
class PhantomSettings:
    """Ranges from which the seed draws. Every (low, high) pair is drawn from evenly.

    `matrix` is rows and columns; the field of view follows the size of the patient, so that pixels come out between
    1.3 and 1.6 mm at 256. `kernels` names the reconstructions to choose from (`phantom.kernels.KERNELS`).
    Each distractor that suits a patient is put in with the chance `distractor_share`. `gantry_tilt_degrees` leans the
    planes, their back to the head where positive; the table runs along the body as ever.
    """

    matrix: int = 256
    slice_spacing_mm: tuple[float, float] = (2.0, 2.5)
    thickness_per_spacing: tuple[float, float] = (1.0, 1.4)
    kernels: tuple[str, ...] = ("STANDARD", "B40f", "B", "FC18", "LUNG", "B60f", "FC52")
    noise_scale: float = 1.0
    severity: tuple[float, float] = (0.0, 1.0)
    contrast_share: float = 0.0
    has_padding: bool = False
    distractor_share: float = 0.0
    gantry_tilt_degrees: tuple[float, float] = (0.0, 0.0)
    anatomy: AnatomyRanges = field(default_factory=AnatomyRanges)

    def __post_init__(self) -> None:
        if self.matrix < 64:
            raise ValueError(f"matrix is {self.matrix}, expected at least 64")
        if not self.kernels or set(self.kernels) - set(KERNELS):
            raise ValueError(f"kernels are {self.kernels}, expected some of {', '.join(KERNELS)}")
        for name in ("contrast_share", "distractor_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 0 to 1")
        self._check_ranges()

    def _check_ranges(self) -> None:
        for name in ("slice_spacing_mm", "thickness_per_spacing"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} is {low} to {high}, expected 0 < low <= high")
        if not 0 <= self.severity[0] <= self.severity[1] <= 1:
            raise ValueError(f"severity is {self.severity}, expected 0 <= low <= high <= 1")
        if not -MOST_DEGREES <= self.gantry_tilt_degrees[0] <= self.gantry_tilt_degrees[1] <= MOST_DEGREES:
            tilt, most = self.gantry_tilt_degrees, f"{MOST_DEGREES:g}"
            raise ValueError(f"gantry_tilt_degrees is {tilt}, expected -{most} <= low <= high <= {most}")

    @classmethod
    def standard(cls) -> Self:
        """Return an everyday chest CT: 256 x 256, 2.0 to 2.5 mm."""
        return cls()

    @classmethod
    def coarse(cls) -> Self:
        """Return a small and fast study for tests and training: 96 x 96, 4 mm."""
        return cls(matrix=96, slice_spacing_mm=(3.8, 4.2), thickness_per_spacing=(1.0, 1.0))

    @classmethod
    def shifted(cls) -> Self:
        """Return studies from another scanner than `coarse`: sharp, noisy, thick, often with contrast."""
        kernels = ("BONE", "B70f", "FC81")
        spacing = (4.4, 5.0)
        return replace(
            cls.coarse(), kernels=kernels, slice_spacing_mm=spacing, noise_scale=1.6, contrast_share=0.4, matrix=112
        )
