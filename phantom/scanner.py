"""What a scanner adds to anatomy: blur by kernel and slice thickness, correlated noise, whole Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from phantom.canvas import Floats, Grid
from phantom.fields import draw
from phantom.kernels import KERNELS, Kernel
from phantom.settings import PhantomSettings

LOWEST_HU, HIGHEST_HU = -1024, 3071
PADDING_HU = -3024  # stored -2000 under an intercept of -1024, as scanners write outside of the field of view


@dataclass(frozen=True)
class Scanner:
    """One acquisition: kernel, slice thickness and noise."""

    kernel: Kernel
    slice_thickness_mm: float
    noise_hu: float
    tube_voltage_kv: int


def draw_scanner(settings: PhantomSettings, slice_spacing_mm: float, rng: np.random.Generator) -> Scanner:
    """Draw an acquisition within the settings."""
    kernel = KERNELS[settings.kernels[int(rng.integers(len(settings.kernels)))]]
    thickness = round(slice_spacing_mm * draw(rng, settings.thickness_per_spacing), 2)
    # Noise falls with the root of the slice thickness; the figures of the kernels are for 2.5 mm.
    noise = kernel.noise_hu * settings.noise_scale * draw(rng, (0.7, 1.3)) * float(np.sqrt(2.5 / thickness))
    return Scanner(kernel, thickness, noise, int(rng.choice((100, 110, 120, 120, 120, 140))))


def scan(hu: Floats, grid: Grid, scanner: Scanner, rng: np.random.Generator) -> npt.NDArray[np.int16]:
    """Blur, add noise and round. The noise does not depend on the anatomy, so findings leave it as it is."""
    seen = _blur(hu, grid, scanner)
    seen += _make_noise(grid, scanner, rng)
    np.rint(seen, out=seen)
    return np.clip(seen, LOWEST_HU, HIGHEST_HU, out=seen).astype(np.int16)


def pad_outside(hu: npt.NDArray[np.int16], grid: Grid) -> None:
    """Set what lies outside of the circle of reconstruction to the padding value, in place."""
    radius = min(grid.shape_zyx[1:]) * grid.spacing_zyx_mm[1] / 2
    x, y = grid.x - grid.x.mean(), grid.y - grid.y.mean()
    hu[:, y[:, None] ** 2 + x[None, :] ** 2 > radius * radius] = PADDING_HU


def _blur(hu: Floats, grid: Grid, scanner: Scanner) -> Floats:
    spacing_z, spacing_y, _ = grid.spacing_zyx_mm
    extra_mm = max(scanner.slice_thickness_mm - spacing_z, 0.0)
    seen = _smooth(hu, (extra_mm / spacing_z * 0.5, 0.0, 0.0))
    sigma = scanner.kernel.blur_mm / spacing_y
    seen = _smooth(seen, (0.0, sigma, sigma))
    if scanner.kernel.edge:
        soft = _smooth(seen, (0.0, 0.9, 0.9))
        seen += np.float32(scanner.kernel.edge * min(1.0, 1.4 / spacing_y)) * (seen - soft)
    return seen


def _make_noise(grid: Grid, scanner: Scanner, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(grid.shape_zyx, dtype=np.float32)
    grain = scanner.kernel.noise_grain_mm / grid.spacing_zyx_mm[1]
    noise = _smooth(noise, (0.0, grain, grain))
    # Larger voxels average the noise of the scanner away.
    shrink = min(1.0, 1.6 / grid.spacing_zyx_mm[1])
    noise *= np.float32(scanner.noise_hu * shrink / max(float(noise[:: max(1, len(noise) // 8)].std()), 1e-6))
    return noise


def _smooth(values: Floats, sigma_zyx: tuple[float, float, float]) -> Floats:
    """Smooth with a five-tap Gaussian along each axis; a sigma below a quarter of a voxel does nothing."""
    for axis, sigma in enumerate(sigma_zyx):
        if sigma < 0.25:
            continue
        taps = np.exp(-0.5 * (np.arange(-2, 3) / sigma) ** 2)
        values = ndimage.correlate1d(values, taps / taps.sum(), axis=axis, mode="nearest")
    return values.copy() if all(sigma < 0.25 for sigma in sigma_zyx) else values
