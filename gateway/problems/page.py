"""The catalogue as HTML pages. Pure."""

from __future__ import annotations

from html import escape

from gateway.documentation.markup import render_json, render_prose, render_table, wrap_page
from gateway.problems.schemas import (
    FileKindBody,
    FileKindList,
    NoticeKindBody,
    NoticeKindList,
    ProblemKindBody,
    ProblemKindList,
)

CatalogueBody = ProblemKindBody | ProblemKindList | FileKindBody | FileKindList | NoticeKindBody | NoticeKindList


def render_catalogue(body: CatalogueBody) -> str:
    """Return the page of one entry or of a whole list."""
    match body:
        case ProblemKindBody():
            return _render_problem(body)
        case ProblemKindList():
            return _render_list("Problems", ("Code", "HTTP", "What", "What to do"), *map(_make_problem_row, body.items))
        case FileKindList():
            return _render_list("Codes of files", _FILE_HEADER, *map(_make_file_row, body.items))
        case NoticeKindList():
            return _render_list("Warnings", _NOTICE_HEADER, *map(_make_notice_row, body.items))
        case FileKindBody():
            return _render_list(body.code, _FILE_HEADER, _make_file_row(body))
        case NoticeKindBody():
            return _render_list(body.code, _NOTICE_HEADER, _make_notice_row(body))


_FILE_HEADER = ("Code", "Outcome", "Meaning", "What to do")
_NOTICE_HEADER = ("Code", "Meaning", "What to do")


def _render_problem(kind: ProblemKindBody) -> str:
    related = ", ".join(_link(f"/v1/problems/{code}", code) for code in kind.related)
    return wrap_page(
        kind.title,
        f"<p>{_link('/v1/problems', 'All problems')}</p>",
        f"<h1>{escape(kind.title)}</h1>",
        f"<p>Code <code>{escape(kind.code)}</code>, HTTP status {kind.status}</p>",
        f"<h2>Cause</h2><p>{render_prose(kind.cause)}</p>",
        f"<h2>What to do</h2><p>{render_prose(kind.advice)}</p>",
        f"<h2>Example</h2>{render_json('', kind.example)}",
        f"<h2>Related</h2><p>{related}</p>" if related else "",
    )


def _render_list(title: str, header: tuple[str, ...], *rows: tuple[str, ...]) -> str:
    return wrap_page(title, f"<h1>{escape(title)}</h1>", render_table(header, *rows))


def _make_problem_row(kind: ProblemKindBody) -> tuple[str, ...]:
    return _link(kind.type, kind.code), str(kind.status), escape(kind.title), render_prose(kind.advice)


def _make_file_row(kind: FileKindBody) -> tuple[str, ...]:
    return _link(kind.type, kind.code), escape(kind.outcome), render_prose(kind.meaning), render_prose(kind.advice)


def _make_notice_row(kind: NoticeKindBody) -> tuple[str, ...]:
    return _link(kind.type, kind.code), render_prose(kind.meaning), render_prose(kind.advice)


def _link(address: str, text: str) -> str:
    return f"<a href='{escape(address)}'>{escape(text)}</a>"
