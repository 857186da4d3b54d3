"""A result as people read it: the answer, the evidence, what was missing, where the time went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from client.documents import Document, Finding, Job, ResultDocument
from client.words import explain_reason, name_stage

_MOST_FINDINGS = 8
_SMALLEST_SHOWN = 0.005
_SHORTEST_WAIT_S = 0.1
_HOW_A_FINDING_LEADS = "A finding leads only when a model's probability reaches that model's own threshold."
_ABOVE = "[red]above the model's threshold[/]"
_FRAME_COLUMNS = 4  # of the panel: a line and a blank on each side
_NOT_SHOWN = frozenset({"delivery"})


def print_result(console: Console, result: ResultDocument, job: Job | None = None, *, title: str = "Result") -> None:
    """Print a result; the job says where the time went."""
    parts: list[RenderableType] = [
        _render_answer(result),
        Text(""),
        *_render_evidence(console, result),
        _render_facts(result, job),
        Text(""),
        Text(result.get("disclaimer", ""), style="yellow"),
    ]
    colour = "red" if result["pathology"] else "green"
    console.print(Panel(Group(*parts), title=f"[bold]{escape(title)}[/]", title_align="left", border_style=colour))


def print_failure(console: Console, job: Job, advice: str | None = None, *, title: str = "Result") -> None:
    """Print why a job has no result, and what to do."""
    problem = job.problem
    text = Text(f"The job ended as {job.state}.", style="bold red")
    if problem:
        text.append(f"\n{problem.title} ({problem.code})\n{problem.detail}", style="default")
        text.append(f"\n{advice}" if advice else "", style="default")
    text.append(f"\nJob {job.id}", style="dim")
    console.print(Panel(text, title=f"[bold]{escape(title)}[/]", title_align="left", border_style="red"))


def print_validation(console: Console, intake: Document, *, title: str = "Validation") -> None:
    """Print what reading an acceptable study found."""
    chosen, hu = intake.get("chosen") or {}, intake.get("hu") or {}
    counts = ", ".join(
        f"{count['files']} {count['code'] or count['outcome']}" for count in intake.get("file_counts", ())
    )
    shape = chosen.get("shape_zyx", ())
    facts = {
        "Series": str(chosen.get("series_uid", "")),
        "Because": str(chosen.get("facts", {}).get("reason", "")),
        "Voxels": f"{' x '.join(map(str, shape))} (z, y, x)" if shape else "",
        "Spacing": " x ".join(f"{value:g}" for value in chosen.get("spacing_zyx_mm", ())) + " mm (z, y, x)",
        "HU": f"{hu['min']} to {hu['max']}, mean {hu['mean']:.1f}" if hu else "",
        "Files": counts,
        "Quality": _describe_quality(intake.get("warnings", ())),
    }
    table = _make_grid()
    for name, text in facts.items():
        if text:
            table.add_row(name, escape(text))
    answer = Text("The study would be accepted.", style="bold green")
    console.print(Panel(Group(answer, table), title=f"[bold]{title}[/]", title_align="left", border_style="green"))


def _render_answer(result: ResultDocument) -> Table:
    is_ill = bool(result["pathology"])
    verdict = "pathology" if is_ill else "no pathology"
    colour = "red" if is_ill else "green"
    comparison = ">=" if is_ill else "<"
    table = _make_grid()
    table.add_row(
        "Probability",
        f"[bold]{result['probability_of_pathology']:.3f}[/] {comparison} {result.get('threshold', 0):.2f}"
        f"  [bold {colour}]{verdict}[/]  [dim]policy {escape(result.get('policy_id', '?'))}[/]",
    )
    table.add_row("Leading finding", f"[bold]{escape(result['most_dangerous_pathology_type'])}[/]")
    table.add_row("Answered", _describe_completeness(result))
    if paused := _list_paused(result.get("quality", ())):
        table.add_row("Paused", f"[bold yellow]{escape(paused)}: the operator had paused what is named here[/]")
    return table


def _list_paused(quality: Sequence[Mapping[str, Any]]) -> str:
    models = [model for entry in quality if entry.get("code") == "models_paused" for model in entry["facts"]["models"]]
    return ", ".join(map(name_stage, models))


def _describe_completeness(result: ResultDocument) -> str:
    completeness = result["completeness"]
    answered = f"{completeness['answered']} of {completeness['expected']} models"
    missing = completeness.get("missing", ())
    if not missing:
        return answered
    named = _group_by_reason(missing)
    text = "; ".join(f"{', '.join(models)} ({reason})" for reason, models in named.items())
    return f"{answered}  [yellow]missing: {escape(text)}[/]"


def _group_by_reason(missing: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for entry in missing:
        grouped.setdefault(explain_reason(str(entry["reason"])), []).append(name_stage(str(entry["model"])))
    return grouped


def _render_evidence(console: Console, result: ResultDocument) -> list[RenderableType]:
    findings = _choose_findings(result.get("findings", ()))
    if not findings:
        return [Text("No finding moved the decision or passed a model's threshold.", style="dim"), Text("")]
    table = _draw_wide(result, findings)
    if console.measure(table).maximum > console.width - _FRAME_COLUMNS:
        table = _draw_narrow(result, findings)
    return [table, Text(_HOW_A_FINDING_LEADS, style="dim"), Text("")]


def _draw_wide(result: ResultDocument, findings: Sequence[Finding]) -> Table:
    """Return a table with a column for each model."""
    models = list(
        dict.fromkeys(model for finding in findings for model, said in finding["models"].items() if said is not None)
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Evidence")
    table.add_column("moved the score", justify="right")
    for model in models:
        table.add_column(name_stage(model), justify="right")
    table.add_column("")
    for name, moved in _list_before(result):
        table.add_row(name, _show_attribution(moved))
    for finding in findings:
        table.add_row(
            escape(finding.get("name", finding["finding"])),
            _show_attribution(finding.get("attribution")),
            *(_show_probability(finding, model) for model in models),
            _ABOVE if finding.get("above_threshold") else "",
        )
    for name, moved in _list_after(result, findings):
        table.add_row(name, _show_attribution(moved))
    return table


def _draw_narrow(result: ResultDocument, findings: Sequence[Finding]) -> Table:
    """Return a table that names the models in its cells, for a terminal on which their columns would be broken."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("Evidence")
    table.add_column("moved", justify="right", no_wrap=True)
    table.add_column("what the models said", no_wrap=True)
    for name, moved in _list_before(result):
        table.add_row(name, _show_attribution(moved))
    for finding in findings:
        name, attribution = finding.get("name", finding["finding"]), finding.get("attribution")
        table.add_row(escape(name), _show_attribution(attribution), _name_probabilities(finding))
    for name, moved in _list_after(result, findings):
        table.add_row(name, _show_attribution(moved))
    return table


def _name_probabilities(finding: Finding) -> str:
    """Return the models that know a finding, each with what it said, a line each."""
    lines = [
        f"{name_stage(model)} {_show_probability(finding, model)}"
        for model, probability in finding["models"].items()
        if probability is not None
    ]
    return "\n".join([*lines, *([_ABOVE] if finding.get("above_threshold") else [])])


def _list_before(result: ResultDocument) -> list[tuple[str, float]]:
    """Return the rows that are no finding, so that the column adds up to the score; none where nothing moved."""
    return _choose_moved({"base value": result.get("attribution", {}).get("base_value")})


def _list_after(result: ResultDocument, findings: Sequence[Finding]) -> list[tuple[str, float]]:
    beyond = result.get("attribution", {}).get("beyond_findings")
    return _choose_moved({"other findings": _sum_of_others(result, findings), "beyond single findings": beyond})


def _choose_moved(moved: Mapping[str, float | None]) -> list[tuple[str, float]]:
    return [
        (f"[dim]{name}[/]", value)
        for name, value in moved.items()
        if value is not None and abs(value) >= _SMALLEST_SHOWN
    ]


def _sum_of_others(result: ResultDocument, shown: Sequence[Finding]) -> float:
    names = {finding["finding"] for finding in shown}
    return math.fsum(f.get("attribution") or 0.0 for f in result["findings"] if f["finding"] not in names)


def _choose_findings(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that moved the score most, and those above a threshold, largest first."""
    told = [f for f in findings if f.get("above_threshold") or abs(f.get("attribution") or 0.0) >= _SMALLEST_SHOWN]
    return sorted(told, key=lambda finding: -abs(finding.get("attribution") or 0.0))[:_MOST_FINDINGS]


def _render_facts(result: ResultDocument, job: Job | None) -> Table:
    table = _make_grid()
    facts = {
        "Score": _describe_score(result.get("attribution", {})),
        "Of this site": _describe_site_findings(result.get("site_findings", ())),
        "Anomalies": _describe_anomaly(result.get("anomaly") or {}),
        "Series": _describe_series(result.get("series", {})),
        "Quality": _describe_quality(result.get("quality", ())),
        "Models": _describe_models(result),
        "Time": _describe_time(result, job),
    }
    for name, text in facts.items():
        if text:
            table.add_row(name, escape(text))
    return table


def _describe_score(attribution: Mapping[str, Any]) -> str:
    if "raw_score" not in attribution:
        return ""
    parts = [f"base {attribution.get('base_value', 0.0):+.2f}"]
    moved = attribution.get("by_model", {})
    parts += [f"{name_stage(model)} {value:+.2f}" for model, value in moved.items() if abs(value) >= _SMALLEST_SHOWN]
    return f"{', '.join(parts)} = {attribution['raw_score']:+.2f} (log-odds)"


def _describe_anomaly(anomaly: Mapping[str, Any]) -> str:
    """Return the most suspicious slice and the first region, with their places in LPS millimetres."""
    highest = anomaly.get("slices", {}).get("highest", ())
    told = [
        f"slice at z {each['centre_lps_mm'][2]:.0f} mm {each['probability']:.2f} (not calibrated)"
        for each in highest[:1]
    ]
    for region in anomaly.get("reconstruction", {}).get("regions", ())[:1]:
        place = ", ".join(f"{value:.0f}" for value in region["centre_lps_mm"])
        told.append(f"largest region at ({place}) mm, {region['area_mm2'] / 100:.1f} cm2")
    return ", ".join(told)


def _describe_site_findings(findings: Sequence[Mapping[str, Any]]) -> str:
    named = ", ".join(f"{finding['name']} {finding['probability']:.2f}" for finding in findings)
    return f"{named} (asked in words of the policy; not weighed, not calibrated)" if named else ""


def _describe_series(series: Mapping[str, Any]) -> str:
    spacing = series.get("spacing_zyx_mm")
    parts = [
        f"{series['slices']} slices" if "slices" in series else "",
        " x ".join(f"{value:.2f}" for value in spacing) + " mm (z, y, x)" if spacing else "",
        _describe_kernel(series.get("kernel")),
        str(series.get("reason") or ""),
    ]
    return ", ".join(part for part in parts if part)


def _describe_kernel(kernel: str | Sequence[str] | None) -> str:
    """Return the convolution kernel; the attribute may have several values."""
    names = [kernel] if isinstance(kernel, str) else list(kernel or ())
    return f"kernel {', '.join(names)}" if names else ""


def _describe_quality(quality: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(entry.get("code", "")).replace("_", " ") for entry in quality)


def _describe_models(result: ResultDocument) -> str:
    models = [
        f"{name_stage(str(model['name']))} {model.get('version', '')} {str(model.get('digest', ''))[:8]}"
        for model in result.get("models", ())
    ]
    return f"{', '.join(models)}; weights: {result.get('weights_profile', '?')}" if models else ""


def _describe_time(result: ResultDocument, job: Job | None) -> str:
    total = f"{result['time_of_processing']:.1f} s from upload to result"
    stages = [] if job is None else [s for s in job.stages if s.seconds is not None and s.name not in _NOT_SHOWN]
    if not stages:
        return total
    spent = [(name_stage(stage.name), stage.seconds or 0.0) for stage in stages]
    waited_s = result["time_of_processing"] - math.fsum(seconds for _, seconds in spent)
    if waited_s >= _SHORTEST_WAIT_S:
        spent.append(("waiting", waited_s))
    return f"{total}: {', '.join(f'{name} {seconds:.1f} s' for name, seconds in spent)}"


def _make_grid() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", min_width=15, no_wrap=True)
    table.add_column()
    return table


def _show_probability(finding: Finding, model: str) -> str:
    probability = finding["models"].get(model)
    if probability is None:
        return "[dim]-[/]"
    threshold = finding.get("thresholds", {}).get(model)
    return f"{probability:.2f}" if threshold is None else f"{probability:.2f} [dim]of {threshold:.2f}[/]"


def _show_attribution(attribution: float | None) -> str:
    if attribution is None:
        return "[dim]-[/]"
    return f"[{'red' if attribution > 0 else 'green'}]{attribution:+.2f}[/]"
