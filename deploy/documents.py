"""`python -m deploy.documents`: write the pages of `docs/` that are made from the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from deploy.contract import list_breaks
from gateway.app import create_app
from shared.byte_units import GIB, MIB
from shared.file_codes import FILE_CODES
from shared.metrics import GROUPS
from shared.notices import NOTICES
from shared.problems import CATALOGUE, ProblemCode, make_example
from shared.settings import Settings
from workers.control.row_metrics import ROW_METRICS

DOCS = Path(__file__).resolve().parents[1] / "docs"
OPENAPI = "openapi.json"
"""File of the description of the API."""
PROBLEMS = "problems"
"""Folder of the pages of problem codes."""

BREAKING = "--breaking"

_MADE = "<!-- Made by `make docs` from {source}; edit that instead. -->\n"


def render_problems() -> str:
    """Return the list of problem codes, each leading to its page."""
    lines = [
        "# Problem codes\n",
        _MADE.format(source="`shared/problems/`"),
        "Every error of the API is a problem document (RFC 9457). A program decides by `code`; the same code stands in",
        "the job, in metrics and in logs. Each code has a page here; a running gateway shows the same page at the",
        "address in `type`, `/v1/problems/{code}`: as JSON, and as HTML in a browser.",
        "What became of single files: [file codes](../file-codes.md); what is odd but was read:",
        "[warnings](../warnings.md).\n",
        "| Code | HTTP | What | What to do |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [`{code}`]({code}.md) | {kind.status} | {kind.title} | {kind.advice} |" for code, kind in CATALOGUE.items()
    ]
    return "\n".join(lines) + "\n"


def render_problem(code: ProblemCode) -> str:
    """Return the page of one problem code."""
    kind = CATALOGUE[code]
    example = json.dumps(make_example(code), indent=2, ensure_ascii=False)
    related = ", ".join(f"[`{other}`]({other}.md)" for other in kind.related)
    parts = [
        f"# {kind.title}\n",
        _MADE.format(source="`shared/problems/`"),
        f"Code `{code}`, HTTP status {kind.status}. [All problem codes](README.md)\n",
        f"## Cause\n\n{kind.cause}\n",
        f"## What to do\n\n{kind.advice}\n",
        f"## Example\n\n```json\n{example}\n```\n",
        f"## Related\n\n{related}\n",
    ]
    return "\n".join(parts)


def render_file_codes() -> str:
    """Return what may become of a file of an upload."""
    lines = [
        "# File codes\n",
        _MADE.format(source="`shared/file_codes.py`"),
        "Intake tells of every file of an upload whether it was used, and if not, why: `GET /v1/jobs/{id}/intake` and",
        "`ctclip inspect --json` list them with these codes, `GET /v1/file-codes/{code}` explains one.",
        "`ignored` files are sound, but not what is read; `rejected` ones would have been read, were they sound.\n",
        "| Code | Outcome | Meaning | What to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{code}` | {kind.outcome} | {kind.meaning} | {kind.advice} |" for code, kind in FILE_CODES.items()]
    return "\n".join(lines) + "\n"


def render_warnings() -> str:
    """Return what may be odd about a study that is read nevertheless."""
    lines = [
        "# Warnings\n",
        _MADE.format(source="`shared/notices.py`"),
        "What was odd about a study that is read nevertheless. The codes stand in `quality` of a result, in `warnings`",
        "of `GET /v1/jobs/{id}/intake` and of `ctclip inspect --json`; `GET /v1/warnings/{code}` explains one.\n",
        "| Code | Meaning | What to do |",
        "|---|---|---|",
    ]
    lines += [f"| `{code}` | {kind.meaning} | {kind.advice} |" for code, kind in NOTICES.items()]
    return "\n".join(lines) + "\n"


def render_settings() -> str:
    """Return every setting with its default."""
    lines = [
        "# Settings\n",
        _MADE.format(source="`shared/settings.py`"),
        "Each is an environment variable of every server process: gateway, workers, control, migrations. `ctclip up`",
        "sets those of its own servers and hands the others on. Durations are in ISO 8601: `PT30S`, `PT2H`.",
        "In containers, secrets come as files: `CTCLIP_SECRETS_DIR`.\n",
        "| Setting | Default | What |",
        "|---|---|---|",
    ]
    lines += [
        f"| `CTCLIP_{name.upper()}` | {_describe_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines) + "\n"


def render_metrics() -> str:
    """Return every metric of ours, with what it tells and by which labels."""
    lines = [
        "# Metrics\n",
        _MADE.format(source="`shared/metrics.py` and `workers/control/row_queries.py`"),
        "What Prometheus is told. How to watch, and what to do at each alert: [operations](OPERATIONS.md). What stands",
        "under `Rows and broker` is told by control, which reads it when it is asked: of several processes take the",
        "largest. All else is counted by each process from its start on. Beside it every process tells the usual of",
        "Python and of itself (`process_resident_memory_bytes` and its like).",
    ]
    for title, metrics in GROUPS.items():
        lines += ["", *_head_metrics(title), *map(_describe_metric, metrics)]
    lines += ["", *_head_metrics("Rows and broker")]
    lines += [_row(metric.name, "gauge", metric.labels, metric.documentation) for metric in ROW_METRICS]
    return "\n".join(lines) + "\n"


def _head_metrics(title: str) -> tuple[str, ...]:
    return (f"## {title}\n", "| Metric | Kind | Labels | What |", "|---|---|---|---|")


def _describe_metric(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    labels = metric._labelnames  # noqa: SLF001  # prometheus_client has no public way to ask
    suffix = "_total" if family.type == "counter" else ""
    return _row(f"{family.name}{suffix}", family.type, labels, family.documentation)


def _row(name: str, kind: str, labels: Sequence[str], what: str) -> str:
    listed = ", ".join(f"`{label}`" for label in labels) or "-"
    return f"| `{name}` | {kind} | {listed} | {what} |"


@cache
def render_openapi() -> str:
    """Return the description of the API, as a gateway answers it at `/openapi.json`."""
    # Nothing is connected: the description follows from the code alone.
    nowhere: dict[str, Any] = dict.fromkeys(("storage_endpoint", "storage_access_key", "storage_secret_key"), "none")
    app = create_app(Settings(database_url=SecretStr("postgresql+psycopg2://none"), **nowhere))
    return json.dumps(app.openapi(), indent=1, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    OPENAPI: render_openapi,
    "settings.md": render_settings,
    "file-codes.md": render_file_codes,
    "warnings.md": render_warnings,
    "metrics.md": render_metrics,
    f"{PROBLEMS}/README.md": render_problems,
    **{f"{PROBLEMS}/{code}.md": partial(render_problem, code) for code in ProblemCode},
}


def main() -> None:
    """Write all pages, and remove those of codes that are no more. Refuses to break callers unless told to."""
    breaks = find_breaks()
    if breaks and BREAKING not in sys.argv:
        listed = "\n".join(f"  {line}" for line in breaks)
        sys.exit(f"The API would break its callers:\n{listed}\nMend it, or write it all the same with {BREAKING}.")
    (DOCS / PROBLEMS).mkdir(parents=True, exist_ok=True)
    for page in find_stale():
        page.unlink()
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), "utf-8")


def find_breaks() -> list[str]:
    """Return what of the API that is written down callers could not rely on any more."""
    written = DOCS / OPENAPI
    if not written.exists():
        return []
    return list_breaks(json.loads(written.read_text("utf-8")), json.loads(render_openapi()))


def find_stale() -> list[Path]:
    """Return the pages of problems that no code has."""
    return [page for page in sorted((DOCS / PROBLEMS).iterdir()) if f"{PROBLEMS}/{page.name}" not in PAGES]


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    default = ",".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
    return f"`{_show(default)}`" if default not in {None, ""} else "-"


def _show(default: Any) -> str:  # noqa: ANN401  # a default may be anything
    match default:
        case SecretStr():
            return default.get_secret_value()
        case bool() | StrEnum():
            return str(default).lower()
        case timedelta():
            return f"PT{default.total_seconds():.10g}S"
        case int() if default >= MIB:
            return f"{default} ({_show_bytes(default)})"
        case Path():
            return str(default).replace(str(Path.home()), "~", 1)
        case _:
            return str(default)


def _show_bytes(count: int) -> str:
    return f"{count // GIB} GiB" if count % GIB == 0 else f"{count // MIB} MiB"


if __name__ == "__main__":
    main()
