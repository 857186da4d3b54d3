"""The reports of one job as files. A result never waits long for its reports, and never fails with them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from shared.artefacts import ArtefactKind
from shared.errors import StageCancelled, StaleLease
from shared.json_values import JsonObject
from shared.notices import NoticeCode
from shared.telemetry import get_logger
from workers.report.content import make_content
from workers.report.figures import DRAWN, Figures, draw_charts, draw_figures, make_captions
from workers.report.language import Language
from workers.report.page import write_page
from workers.report.typesetting import lay_out, typeset
from workers.runtime.stage import ArtefactRecord, ProducedArtefact, StageContext, StageWarning

HTML = "text/html; charset=utf-8"
PDF = "application/pdf"

KINDS: Mapping[Language, tuple[ArtefactKind, ArtefactKind]] = {
    Language.ENGLISH: (ArtefactKind.REPORT_HTML_EN, ArtefactKind.REPORT_PDF_EN),
    Language.RUSSIAN: (ArtefactKind.REPORT_HTML_RU, ArtefactKind.REPORT_PDF_RU),
}
"""The page and the print of each language."""

_log = get_logger()


@dataclass(frozen=True)
class Reports:
    """Files to be kept, how they are listed, and a warning where they could not be made."""

    artefacts: Sequence[ProducedArtefact] = ()
    warnings: Sequence[StageWarning] = ()

    @property
    def records(self) -> list[ArtefactRecord]:
        """The files as a result lists them."""
        return [_make_record(artefact) for artefact in self.artefacts]


class ReportMaker:
    """Makes the reports of a job in the languages that the operator wants."""

    def __init__(self, languages: Sequence[Language], time_limit: timedelta) -> None:
        self._languages = languages
        self._time_limit = time_limit

    def make(self, context: StageContext, result: Mapping[str, Any]) -> Reports:
        """Return the reports of a result. Whatever goes wrong becomes a warning: the result is worth more than they."""
        if not self._languages:
            return Reports()
        try:
            return Reports(self._make(context, result))
        except (StaleLease, StageCancelled):
            raise
        except Exception:  # noqa: BLE001  # a report is an extra: no fault of its may cost the result
            _log.exception("report not made", job_id=context.job_id)
            return Reports(warnings=[StageWarning(NoticeCode.REPORT_NOT_MADE)])

    def _make(self, context: StageContext, result: Mapping[str, Any]) -> list[ProducedArtefact]:
        figures = draw_figures(result, _fetch_files(context))
        pages, folders = [], []
        for language in self._languages:
            content = {**make_content(result, language), **make_captions(result, figures, language)}
            pages.append(self._write_page(context.scratch, content, figures, draw_charts(result, language), language))
            folders.append(self._lay_out(context.scratch, content, figures, draw_charts(result, language), language))
        prints = typeset(folders, self._time_limit)
        made = zip(self._languages, prints, strict=True)
        return [*pages, *(ProducedArtefact(KINDS[language][1], path, PDF) for language, path in made)]

    def _write_page(
        self, scratch: Path, content: JsonObject, figures: Figures, charts: Mapping[str, str], language: Language
    ) -> ProducedArtefact:
        kind, _ = KINDS[language]
        path = scratch / kind.file_name
        path.write_bytes(write_page(content, figures.files, charts))
        return ProducedArtefact(kind, path, HTML)

    def _lay_out(
        self, scratch: Path, content: JsonObject, figures: Figures, charts: Mapping[str, str], language: Language
    ) -> Path:
        folder = scratch / f"report_{language}"
        lay_out(folder, content, figures.files | {name: svg.encode() for name, svg in charts.items()})
        return folder


def _fetch_files(context: StageContext) -> dict[ArtefactKind, Path]:
    wanted = {ArtefactKind.VOLUME, *DRAWN.values()}
    kinds = [record.kind for record in context.fetch_artefact_records() if record.kind in wanted]
    return {kind: context.fetch_artefact(kind) for kind in kinds}


def _make_record(artefact: ProducedArtefact) -> ArtefactRecord:
    written = artefact.path.read_bytes()
    return ArtefactRecord(artefact.kind, artefact.media_type, len(written), hashlib.sha256(written).hexdigest())
