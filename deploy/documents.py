"""`python -m deploy.documents`: write the pages of `docs/` that are made from the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from shared.problems import CATALOGUE
from shared.settings import GIB, MIB, Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"

_MADE = "<!-- Made by `make docs` from {source}; edit that instead. -->\n"


def render_problems() -> str:
    """Return the catalogue of problem codes."""
    lines = [
        "# Problem codes\n",
        _MADE.format(source="`shared/problems.py`"),
        "Every error of the API is a problem document (RFC 9457). A program decides by `code`; the same code stands in",
        "the job, in metrics and in logs, and `GET /v1/problems/{code}` returns its entry.",
        "Its `advice` stands here and in every problem.\n",
        "| Code | HTTP | What | What to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{code}` | {kind.status} | {kind.title} | {kind.advice} |" for code, kind in CATALOGUE.items()]
    return "\n".join(lines) + "\n"


def render_settings() -> str:
    """Return every setting with its default."""
    lines = [
        "# Settings\n",
        _MADE.format(source="`shared/settings.py`"),
        "Each is an environment variable of every server process: gateway, workers, control, migrations. `ctclip up`",
        "sets those of its own servers and hands the others on. Durations are in ISO 8601: `PT30S`, `PT2H`.\n",
        "| Setting | Default | What |",
        "|---|---|---|",
    ]
    lines += [
        f"| `CTCLIP_{name.upper()}` | {_describe_default(field)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(lines) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {"problems.md": render_problems, "settings.md": render_settings}


def main() -> None:
    """Write all pages."""
    DOCS.mkdir(exist_ok=True)
    for name, render in PAGES.items():
        (DOCS / name).write_text(render(), "utf-8")


def _describe_default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be set"
    return f"`{_show(field.default)}`" if field.default is not None else "-"


def _show(default: Any) -> str:  # noqa: ANN401  # a default may be anything
    match default:
        case SecretStr():
            return default.get_secret_value()
        case bool() | StrEnum():
            return str(default).lower()
        case timedelta():
            return f"PT{default.total_seconds():g}S"
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
