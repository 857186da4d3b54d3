"""An intake report for people, on a terminal."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from shared.problems import CATALOGUE
from workers.intake.files import FileCode, FileOutcome
from workers.intake.report import IntakeReport

_MOST_FILES_SHOWN = 20


def render(report: IntakeReport, seconds: float) -> None:
    """Print the report."""
    console = Console(highlight=False)
    _print_verdict(console, report)
    _print_chosen(console, report)
    _print_candidates(console, report)
    _print_files(console, report)
    for notice in report.notices:
        facts = ", ".join(f"{name}={value}" for name, value in notice.facts.items())
        console.print(f"[yellow]warning[/] {notice.code}  {escape(facts)}")
    console.print(f"[dim]{seconds:.2f} s[/]")


def _print_verdict(console: Console, report: IntakeReport) -> None:
    if report.problem is None:
        console.print("[bold green]accepted[/]")
        return
    console.print(f"[bold red]refused[/] {report.problem.code}: {escape(report.problem.detail)}")
    for name, value in report.problem.facts.items():
        console.print(f"  {name}: {escape(str(value))}")
    console.print(escape(CATALOGUE[report.problem.code].advice))


def _print_chosen(console: Console, report: IntakeReport) -> None:
    if report.chosen is None or report.hu is None:
        return
    chosen, hu = report.chosen, report.hu
    rows = {
        "study": chosen.study_uid,
        "series": chosen.series_uid,
        "because": chosen.facts.get("reason"),
        "voxels (z, y, x)": " x ".join(map(str, chosen.shape_zyx)),
        "spacing (z, y, x)": " x ".join(f"{value:g}" for value in chosen.spacing_zyx_mm) + " mm",
        "first voxel (LPS)": ", ".join(f"{value:g}" for value in chosen.origin_lps_mm) + " mm",
        "lungs": f"{chosen.facts.get('lung_volume_ml')} ml over {chosen.facts.get('lung_length_mm')} mm",
        "HU": f"{hu.min} to {hu.max}, mean {hu.mean:.2f}, {hu.padding_voxels} voxels of padding",
        "digest (int16)": hu.sha256_int16_zyx,
    }
    for name, value in rows.items():
        console.print(f"[dim]{name:<18}[/] {escape(str(value))}", soft_wrap=True)


def _print_candidates(console: Console, report: IntakeReport) -> None:
    if not report.candidates:
        return
    table = Table(title="Candidates", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for heading in ("", "score", "slices", "extent", "kernel", "series", "reason"):
        table.add_column(heading)
    for candidate in report.candidates:
        facts = candidate.facts
        table.add_row(
            "*" if candidate.is_chosen else "",
            f"{candidate.score:.3f}",
            str(facts.get("slices", "")),
            f"{facts['extent_mm']:g} mm" if "extent_mm" in facts else "",
            escape(" ".join(facts.get("kernel", []))),
            f"…{candidate.series_instance_uid[-12:]}" if candidate.series_instance_uid else "(none)",
            escape(candidate.reason),
        )
    console.print(table)


def _print_files(console: Console, report: IntakeReport) -> None:
    counts = Counter(file.outcome for file in report.files)
    console.print("files: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in FileOutcome))
    others = [file for file in report.files if file.code not in {None, FileCode.NOT_CHOSEN}]
    for file in others[:_MOST_FILES_SHOWN]:
        line = f"  {escape(file.name)}  {file.outcome}: {file.code}, {escape(file.detail or '')}"
        console.print(line, soft_wrap=True)
    if len(others) > _MOST_FILES_SHOWN:
        console.print(f"  ... and {len(others) - _MOST_FILES_SHOWN} more (--json lists all)")
