"""Distributions of phantoms, each a file: how findings are drawn, and from which scanners studies come.

`phantom/distributions/*.toml` are those that come with the platform; any other file of the same form will do.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phantom.anatomy.plan import AnatomyRanges
from phantom.study import PhantomSettings
from shared.errors import Defect
from training.phantoms import Prevalence

FOLDER = Path(str(files("phantom").joinpath("distributions")))

_STREAM = 0x6A1D
"""The stream of `training.examples.draw_settings`, so that a seed of `train` is the patient that models learn from.

The fusion meets look-alikes there too. So do MedNeXt and the slice classifier of the diffusion detector, which sees
contrast as well; the other models learn without any.
"""

_Share = Annotated[float, Field(gt=0, le=1)]
_Range = tuple[float, float]


@dataclass(frozen=True)
class ScannerSetting:
    """One scanner of a distribution, and the share of the studies that come from it."""

    name: str
    share: float
    settings: PhantomSettings


@dataclass(frozen=True)
class Distribution:
    """How studies are drawn by their seed. `name` and `description` say what it is, and change no study."""

    name: str
    description: str
    prevalence: Prevalence
    scanners: tuple[ScannerSetting, ...]

    def draw_scanner(self, seed: int) -> ScannerSetting:
        """Return the scanner of a seed."""
        place = np.random.default_rng((_STREAM, seed)).random()
        reached = np.cumsum([scanner.share for scanner in self.scanners])
        return self.scanners[min(int((reached <= place).sum()), len(self.scanners) - 1)]

    def describe_drawing(self) -> str:
        """Return everything that decides which study a seed is."""
        return f"{self.prevalence} {[(each.share, each.settings) for each in self.scanners]}"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _FindingsTable(_Strict):
    normal: Annotated[float, Field(ge=0, le=1)]
    most: Annotated[int, Field(ge=1)]


class _DistractorsTable(_Strict):
    share: Annotated[float, Field(ge=0, le=1)]


class _AnatomyTable(_Strict):
    height: Annotated[float, Field(gt=0)] = AnatomyRanges.height
    habitus: _Range = AnatomyRanges.habitus
    heart_scale: _Range = AnatomyRanges.heart_scale
    lung_hu: _Range = AnatomyRanges.lung_hu
    kyphosis_mm: _Range = AnatomyRanges.kyphosis_mm
    age_years: tuple[int, int] = AnatomyRanges.age_years


class _ScannerTable(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    share: _Share
    matrix: int
    slice_spacing_mm: _Range
    thickness_per_spacing: _Range
    kernels: tuple[str, ...]
    noise_scale: Annotated[float, Field(gt=0)]
    contrast_share: Annotated[float, Field(ge=0, le=1)]
    severity: _Range = (0.0, 1.0)
    gantry_tilt_degrees: _Range = (0.0, 0.0)


class _DistributionTable(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str
    findings: _FindingsTable
    distractors: _DistractorsTable = _DistractorsTable(share=0)
    anatomy: _AnatomyTable = _AnatomyTable()
    scanners: Annotated[tuple[_ScannerTable, ...], Field(min_length=1)]


def find_distribution(named: str) -> Distribution:
    """Return the distribution of a name that comes with the platform, or of a file. Raises Defect that says what not.

    Nothing is read tolerantly: an unknown field, or a number of another kind, is an error.
    """
    shipped = {path.stem: path for path in FOLDER.glob("*.toml")}
    path = shipped.get(named, Path(named))
    if not path.is_file():
        raise Defect(f"no distribution of phantoms is named {named!r}; there are {sorted(shipped)}, or name a file")
    return read_distribution(path)


def read_distribution(path: Path) -> Distribution:
    """Read one file. Raises Defect that names the file and the field."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        table = _DistributionTable.model_validate_json(json.dumps(said))
        scanners = tuple(_make_scanner(scanner, table) for scanner in table.scanners)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise Defect(f"{path.name}: the distribution cannot be read as TOML: {type(error).__name__}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise Defect(f"{path.name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except ValueError as error:
        raise Defect(f"{path.name}: {error}") from error
    if not math.isclose(sum(scanner.share for scanner in scanners), 1, abs_tol=1e-9):
        raise Defect(f"{path.name}: the shares of the scanners do not add up to 1")
    return Distribution(table.name, table.description, Prevalence(table.findings.normal, table.findings.most), scanners)


def _make_scanner(scanner: _ScannerTable, table: _DistributionTable) -> ScannerSetting:
    settings = PhantomSettings(
        **scanner.model_dump(exclude={"name", "share"}),
        distractor_share=table.distractors.share,
        anatomy=AnatomyRanges(**table.anatomy.model_dump()),
    )
    return ScannerSetting(scanner.name, scanner.share, settings)
