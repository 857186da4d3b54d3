"""An intake report for people, on a terminal: what was read and why, what was not and why, what to do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from shared.file_codes import FILE_CODES, FileCode, FileOutcome
from shared.notices import NOTICES
from shared.problems import CATALOGUE
from workers.intake.files import FileReport
from workers.intake.report import CandidateReport, ChosenSeries, HuStatistics, IntakeReport

_NAMES_SHOWN = 3
_LABEL_WIDTH = 19
_UNKNOWN = "-"
_MEANINGS = {str(code): kind for code, kind in NOTICES.items()}


def render(report: IntakeReport, seconds: float) -> None:
    """Print the report."""
    console = Console(highlight=False)
    _print_verdict(console, report)
    if report.chosen is not None:
        _print_chosen(console, report.chosen, report)
    _print_candidates(console, report)
    _print_files(console, report)
    _print_warnings(console, report)
    steps = ", ".join(f"{name} {value:.2f}" for name, value in report.seconds.items())
    reading = f", {sum(report.seconds.values()):.2f} of them for reading ({steps})" if steps else ""
    console.print(f"\n[dim]{seconds:.2f} s{reading}[/]", soft_wrap=True)


def _print_verdict(console: Console, report: IntakeReport) -> None:
    if report.problem is None:
        console.print("[bold green]accepted[/]: the platform would read this study.")
        return
    problem = report.problem
    kind = CATALOGUE[problem.code]
    console.print(f"[bold red]rejected[/] {problem.code}: {kind.title}", soft_wrap=True)
    console.print(escape(problem.detail), soft_wrap=True)
    _print_rows(console, problem.facts)
    console.print(f"[bold]What to do:[/] {escape(kind.advice)}", soft_wrap=True)


def _print_chosen(console: Console, chosen: ChosenSeries, report: IntakeReport) -> None:
    _print_heading(console, "Series that is read" if report.is_accepted else "Best series, refused all the same")
    rows = {
        "study": chosen.study_uid or "(none)",
        "series": chosen.series_uid or "(none)",
        "because" if report.is_accepted else "refused for": chosen.facts.get("reason"),
        "policy of choice": report.choice_policy,
        **_describe_geometry(chosen),
        **_describe_technique(chosen.facts),
        "lungs": _describe_lungs(chosen.facts),
        **_describe_hu(report.hu),
    }
    _print_rows(console, rows)


def _describe_geometry(chosen: ChosenSeries) -> dict[str, str]:
    extent_mm = [size * step for size, step in zip(chosen.shape_zyx, chosen.spacing_zyx_mm, strict=True)]
    return {
        "voxels (z, y, x)": " x ".join(map(str, chosen.shape_zyx)),
        "spacing (z, y, x)": f"{_join(chosen.spacing_zyx_mm, ' x ')} mm",
        "extent (z, y, x)": f"{' x '.join(f'{value:.0f}' for value in extent_mm)} mm",
        "first voxel (LPS)": f"{_join(chosen.origin_lps_mm)} mm",
        "x runs along": f"({_join(chosen.row_direction)}), y along ({_join(chosen.column_direction)})",
    }


def _describe_technique(facts: Mapping[str, Any]) -> dict[str, str]:
    kernel = " ".join(facts.get("kernel") or ()) or "not stated"
    thickness_mm = facts.get("slice_thickness_mm")
    return {
        "kernel": f"{kernel} ({facts['kernel_class']})" if facts.get("kernel_class") else kernel,
        "slice thickness": "not stated" if thickness_mm is None else f"{thickness_mm:g} mm",
        "scanner": facts.get("manufacturer") or "not stated",
        "encoding": facts.get("transfer_syntax") or "",
    }


def _describe_lungs(facts: Mapping[str, Any]) -> str:
    if facts.get("lung_volume_ml") is None:
        return "not looked for"
    share = facts.get("lung_share")
    of_slices = "" if share is None else f", in {share:.0%} of the slices"
    return f"{facts['lung_volume_ml']:g} ml over {facts.get('lung_length_mm', 0):g} mm{of_slices}"


def _describe_hu(hu: HuStatistics | None) -> dict[str, str]:
    if hu is None:
        return {"HU": "pixels were not read"}
    return {
        "HU": f"{hu.min} to {hu.max}, mean {hu.mean:.2f}, {hu.padding_voxels} voxels of padding",
        "SHA-256 (int16)": hu.sha256_int16_zyx or _UNKNOWN,
        **{f"voxel {','.join(map(str, voxel.zyx))}": f"{voxel.hu} HU" for voxel in hu.voxels},
    }


def _print_candidates(console: Console, report: IntakeReport) -> None:
    """Print each candidate with what was weighed, and why it won or lost."""
    if report.candidates:
        _print_heading(console, f"Candidates, best first ({len(report.candidates)})")
    for candidate in report.candidates:
        mark = "*" if candidate.is_chosen else " "
        measures = escape("  ".join(_describe_candidate(candidate)))
        console.print(f"  {mark} [bold]{candidate.score:.3f}[/]  {measures}", soft_wrap=True)
        criteria = ", ".join(f"{name} {value:.2f}" for name, value in candidate.criteria.items())
        if candidate.reason:
            console.print(f"        {escape(candidate.reason)}", soft_wrap=True)
        if criteria:
            console.print(f"        [dim]{escape(criteria)}[/]", soft_wrap=True)


def _describe_candidate(candidate: CandidateReport) -> Iterator[str]:
    facts = candidate.facts
    yield f"{facts.get('slices', '?'):>4} slices"
    if spacing := facts.get("spacing_zyx_mm"):
        yield f"every {spacing[0]:g} mm"
    if extent_mm := facts.get("extent_mm"):
        yield f"over {extent_mm:g} mm"
    yield " ".join(facts.get("kernel") or ("kernel not stated",))
    yield f"series {candidate.series_instance_uid or '(none)'}"


def _print_files(console: Console, report: IntakeReport) -> None:
    """Print the files by what became of them; a group names its first files, `--json` all."""
    if not report.files:
        return
    groups: dict[tuple[FileOutcome, FileCode | None, str | None], list[FileReport]] = defaultdict(list)
    for file in report.files:
        groups[file.outcome, file.code, file.detail].append(file)
    _print_heading(console, f"Files ({len(report.files)})")
    for (outcome, code, detail), files in sorted(groups.items(), key=lambda group: _weigh(*group)):
        names = ", ".join(escape(file.name) for file in files[:_NAMES_SHOWN])
        more = f" and {len(files) - _NAMES_SHOWN} more" if len(files) > _NAMES_SHOWN else ""
        console.print(
            f"  {len(files):>5} {outcome}{f': {code}' if code else ''}  [dim]{names}{more}[/]", soft_wrap=True
        )
        if code:
            console.print(f"        {escape(detail or FILE_CODES[code].meaning)}", soft_wrap=True)
        if outcome is FileOutcome.REJECTED and code:
            console.print(f"        {escape(FILE_CODES[code].advice)}", soft_wrap=True)


def _weigh(group: tuple[FileOutcome, FileCode | None, str | None], files: list[FileReport]) -> tuple[int, int]:
    """Return what sorts used files first, then those that should have been, each by number."""
    order = (FileOutcome.USED, FileOutcome.REJECTED, FileOutcome.IGNORED)
    return order.index(group[0]), -len(files)


def _print_warnings(console: Console, report: IntakeReport) -> None:
    if report.notices:
        _print_heading(console, "Warnings")
    for notice in report.notices:
        facts = ", ".join(f"{name} {_format(value)}" for name, value in notice.facts.items())
        console.print(f"  [yellow]{notice.code}[/]{escape(f' ({facts})') if facts else ''}", soft_wrap=True)
        if kind := _MEANINGS.get(notice.code):
            console.print(f"        {escape(kind.meaning)} What to do: {escape(kind.advice)}", soft_wrap=True)


def _print_heading(console: Console, text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def _print_rows(console: Console, rows: Mapping[str, Any]) -> None:
    """Print labels and values; a list of objects takes a line for each, and what is empty takes none."""
    for name, value in rows.items():
        lines = list(value) if _is_table(value) else [value]
        for label, line in zip([name, *[""] * len(lines)], lines, strict=False):
            if text := _format(line):
                console.print(f"  [dim]{label:<{_LABEL_WIDTH}}[/] {escape(text)}", soft_wrap=True)


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(line, Mapping) for line in value)


def _format(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_format(item)}" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_format(item) for item in value)
    return _format_number(value) if isinstance(value, float) else str(value)


def _format_number(value: float) -> str:
    return f"{value + 0.0:g}"  # -0 becomes 0


def _join(values: tuple[float, ...], separator: str = ", ") -> str:
    return separator.join(map(_format_number, values))
