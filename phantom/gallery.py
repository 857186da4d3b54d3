"""`python -m phantom.gallery`: a page of pictures of every finding and look-alike, and how long a study takes here."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from phantom.anatomy.chest import Concern
from phantom.anatomy.plan import draw_plan
from phantom.distractors.distractor import Distractor
from phantom.distractors.registry import DISTRACTORS, REGISTRY, draw_distractors
from phantom.fields import make_generator
from phantom.study import FINDINGS, PhantomSettings, Study, make_study

_SEED = 11
_MILD, _SEVERE = 0.15, 0.9
_LUNG, _SOFT, _BONE = (-1350.0, 150.0), (-160.0, 240.0), (-150.0, 500.0)
_IN_SOFT = {
    *("pleural_effusion", "pleural_thickening", "cardiomegaly", "pericardial_effusion", "aortic_aneurysm"),
    *("lymphadenopathy", "hiatal_hernia", "gynaecomastia", "beam_hardening", "metal"),
}
_IN_BONE = {"coronary_calcification", "aortic_calcification", "rib_fracture", "vertebral_compression"}
SHARE = 0.12
"""Chance of each look-alike while a patient is looked for who has one alone."""

_TIMED_STUDIES = 5

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Row:
    """One line of the page: what is shown, and pictures from left to right."""

    name: str
    said: str
    pictures: Sequence[Picture]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and its pictures."""
    parser = argparse.ArgumentParser(prog="python -m phantom.gallery", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("docs/phantoms"), help="folder of the page")
    folder = parser.parse_args(arguments).output
    folder.mkdir(parents=True, exist_ok=True)
    findings, look_alikes = list(_show_findings()), list(_show_look_alikes())
    for row in (*findings, *look_alikes):
        Image.fromarray(np.hstack(row.pictures)).save(folder / f"{row.name}.jpg", quality=82)
    (folder / "index.md").write_text(_write_page(findings, look_alikes, _time_studies()), encoding="utf-8")


def _show_findings() -> Iterator[Row]:
    standard = PhantomSettings.standard()
    healthy = make_study(_SEED, (), standard)
    for name in FINDINGS:
        mild, severe = (
            make_study(_SEED, (name,), replace(standard, severity=(severity, severity)))
            for severity in (_MILD, _SEVERE)
        )
        index = _find_slice(severe, severe.findings[0].centre_lps_mm[2])
        pictures = [_draw(study, index, name) for study in (healthy, mild, severe)]
        yield Row(name, "without, mild, severe", pictures)


def _show_look_alikes() -> Iterator[Row]:
    standard = PhantomSettings.standard()
    for name in DISTRACTORS:
        seed = find_patient(name)
        plain = make_study(seed, (), standard)
        other = make_study(seed, (), replace(standard, distractor_share=SHARE))
        changed = np.abs(other.hu.astype(np.int32) - plain.hu).sum(axis=(1, 2))
        index = int(changed.argmax())
        yield Row(name, "without, with", [_draw(study, index, name) for study in (plain, other)])


def find_patient(name: str) -> int:
    """Return the first seed whose patient has this look-alike alone where each comes with the chance `SHARE`."""
    return next(seed for seed in count() if _draw_look_alikes(seed) == (REGISTRY[name],))


def _draw_look_alikes(seed: int) -> tuple[Distractor, ...]:
    plan = draw_plan(make_generator(seed, Concern.PLAN), 0.0)
    return draw_distractors(plan, SHARE, make_generator(seed, Concern.DISTRACTORS))


def _find_slice(study: Study, z_mm: float) -> int:
    offset = (z_mm - study.origin_lps_mm[2]) / study.spacing_zyx_mm[0]
    return int(np.clip(round(offset), 0, len(study.hu) - 1))


def _draw(study: Study, index: int, name: str) -> Picture:
    low, high = _SOFT if name in _IN_SOFT else _BONE if name in _IN_BONE else _LUNG
    grey = (study.hu[index].astype(np.float32) - low) / (high - low)
    return np.asarray(np.clip(grey, 0, 1) * 255, dtype=np.uint8)


def _time_studies() -> dict[str, float]:
    """Return the median seconds of a study, by its settings; the machine decides, so the page says so."""
    kinds = {
        "standard (256 x 256, 2.0 to 2.5 mm)": PhantomSettings.standard(),
        "coarse (96 x 96, 4 mm)": PhantomSettings.coarse(),
        "coarse with every look-alike": replace(PhantomSettings.coarse(), distractor_share=1.0),
    }
    return {said: statistics.median(_time(settings)) for said, settings in kinds.items()}


def _time(settings: PhantomSettings) -> Iterator[float]:
    for seed in range(_TIMED_STUDIES):
        started = time.perf_counter()
        make_study(seed, ("consolidation",), settings)
        yield time.perf_counter() - started


def _write_page(findings: Sequence[Row], look_alikes: Sequence[Row], seconds: dict[str, float]) -> str:
    lines = [
        "# Gallery of the phantoms",
        "",
        "Computed chests, not patients. Written by `python -m phantom.gallery`; the same seed gives the same pictures.",
        "",
        "## How long a study takes",
        f"Median of {_TIMED_STUDIES} studies with one finding in one process, on the machine that wrote this page.",
        "",
        "| Study | Seconds |",
        "|---|---|",
        *(f"| {said} | {taken:.2f} |" for said, taken in seconds.items()),
        "",
        "## Findings",
        f"One patient (seed {_SEED}) from left to right: without, at severity {_MILD}, at severity {_SEVERE}.",
        *_list_rows(findings),
        "",
        "## Look-alikes",
        "Normal variants and marks of the scan that must not be called a finding: without, and with.",
        *_list_rows(look_alikes),
    ]
    return "\n".join([*lines, ""])


def _list_rows(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        title = row.name.replace("_", " ").capitalize()
        yield from ("", f"### {title}", f"![{title}: {row.said}]({row.name}.jpg)")


if __name__ == "__main__":
    main()
