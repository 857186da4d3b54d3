"""The intake stage: hands the upload to a child process and turns its report into rows, facts and the volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from shared.artefacts import ArtefactKind, UploadKind
from shared.json_values import JsonObject, JsonValue
from shared.problems import Problem
from shared.pseudonyms import Pseudonyms, make_pseudonyms
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Base, SeriesCandidate, UploadFile
from workers.intake.children import ChildPool
from workers.intake.files import FileCode
from workers.intake.limits import IntakeLimits, make_limits
from workers.intake.measuring import count_study
from workers.intake.messages import Order
from workers.intake.question import Question
from workers.intake.report import ChosenSeries, HuStatistics, IntakeReport, ProblemReport
from workers.intake.splitting import split_studies
from workers.runtime.stage import ProducedArtefact, StageContext, StageOutput, StageWarning
from workers.volume.source import MEDIA_TYPE as SOURCE_MEDIA_TYPE

VOLUME_MEDIA_TYPE = "application/vnd.blosc2.frame"
PREVIEW_MEDIA_TYPE = "image/png"
_SERIES_FACTS = ("kernel", "slice_thickness_mm", "manufacturer", "transfer_syntax", "reason")


class IntakeStage:
    """From an upload to one volume, or to a refusal that says what is wrong."""

    def __init__(self, children: ChildPool, limits: IntakeLimits, pseudonyms: Pseudonyms) -> None:
        self._children = children
        self._limits = limits
        self._pseudonyms = pseudonyms

    @property
    def name(self) -> StageName:
        """The stage's name."""
        return StageName.INTAKE

    def run(self, context: StageContext) -> StageOutput:
        """Read the upload. A refused study is an output with its rows; only a study that kills its reader raises."""
        order = _make_order(context, self._limits)
        report = self._children.read(order, context.report)
        found = StageOutput(
            rows=(*_make_files(report), *_make_candidates(report)),
            warnings=tuple(StageWarning(notice.code, notice.facts) for notice in report.notices),
            facts=make_facts(report),
            patient_pseudonym=self._make_pseudonym(context.tenant, report.patient_digest),
        )
        count_study(report)
        if report.problem is not None:
            return _refuse(found, report, report.problem, splits=bool(context.options.get("split")))
        facts = {**found.facts, "content_sha256": report.volume_sha256}
        return replace(found, artefacts=tuple(_list_artefacts(order, facts)))

    def close(self) -> None:
        """End the child processes."""
        self._children.close()

    def _make_pseudonym(self, tenant: str, patient_digest: str | None) -> str | None:
        return None if patient_digest is None else self._pseudonyms.make(tenant, patient_digest)


def make_stage(settings: Settings) -> IntakeStage:
    """Return the stage with a nursery that gets ready for its first study. Raises UnusableSecret."""
    pseudonyms = make_pseudonyms(settings.pseudonym_key)
    return IntakeStage(ChildPool(), make_limits(settings), pseudonyms)


def make_facts(report: IntakeReport) -> JsonObject:
    """Return what fusion, the gateway and auditors read about a study; of a refused one, as much as is known."""
    facts: dict[str, JsonValue] = {"choice_policy": report.choice_policy or None, "timings": dict(report.seconds)}
    others = sum(file.code is FileCode.OTHER_STUDY for file in report.files)
    if others:
        facts["files_of_other_studies"] = others
    if report.hu is not None:
        facts["hu"] = _describe_hu(report.hu)
    if report.chosen is not None:
        facts |= _describe_chosen(report.chosen, len(report.candidates))
    return facts


def _describe_hu(hu: HuStatistics) -> JsonObject:
    return {
        "min": hu.min,
        "max": hu.max,
        "mean": hu.mean,
        "padding_voxels": hu.padding_voxels,
        "sha256_int16_zyx": hu.sha256_int16_zyx,
    }


def _list_artefacts(order: Order, volume_facts: JsonObject) -> Iterator[ProducedArtefact]:
    if order.keeps_volume:
        yield ProducedArtefact(ArtefactKind.VOLUME, order.volume_path, VOLUME_MEDIA_TYPE, volume_facts)
    if order.preview_path.exists():
        yield ProducedArtefact(ArtefactKind.PREVIEW, order.preview_path, PREVIEW_MEDIA_TYPE)
    if order.source_path.exists():
        yield ProducedArtefact(ArtefactKind.SOURCE_SERIES, order.source_path, SOURCE_MEDIA_TYPE)


def _refuse(found: StageOutput, report: IntakeReport, problem: ProblemReport, *, splits: bool) -> StageOutput:
    if not splits:
        return replace(found, rejection=Problem(problem.code, problem.detail, problem.facts))
    split = split_studies(report, problem)
    return replace(found, rejection=split.problem, split_into=split.study_uids)


def _describe_chosen(chosen: ChosenSeries, candidates: int) -> JsonObject:
    return {
        "study_uid": chosen.study_uid,
        "series_uid": chosen.series_uid,
        "series": _describe_series(chosen, candidates),
        "chosen": {
            "study_uid": chosen.study_uid,
            "series_uid": chosen.series_uid,
            "shape_zyx": list(chosen.shape_zyx),
            "spacing_zyx_mm": list(chosen.spacing_zyx_mm),
            "origin_lps_mm": list(chosen.origin_lps_mm),
            "row_direction": list(chosen.row_direction),
            "column_direction": list(chosen.column_direction),
            "facts": chosen.facts,
        },
    }


def _describe_series(chosen: ChosenSeries, candidates: int) -> JsonObject:
    return {
        "series_instance_uid": chosen.series_uid,
        "slices": chosen.shape_zyx[0],
        "shape_zyx": list(chosen.shape_zyx),
        "spacing_zyx_mm": list(chosen.spacing_zyx_mm),
        "candidates": candidates,
        **{name: chosen.facts.get(name) for name in _SERIES_FACTS},
        **{name: value for name, value in chosen.facts.items() if name.startswith("lung_")},
    }


def _make_order(context: StageContext, limits: IntakeLimits) -> Order:
    options = context.options
    series_uid, study_uid = options.get("series_instance_uid"), options.get("study_instance_uid")
    validates_only = bool(options.get("validate_only"))
    question = Question(
        series_uid=str(series_uid) if series_uid else None,
        study_uid=str(study_uid) if study_uid else None,
        reads_refused=validates_only,
        has_digest=validates_only,
        has_preview=True,
    )
    return Order(
        address=context.presign_upload(),
        kind=UploadKind(context.upload_kind),
        volume_path=context.scratch / "volume.b2nd",
        limits=limits,
        upload_name=str(options.get("upload_name") or "upload"),
        question=question,
        keeps_volume=not validates_only,  # no model will ask for it
        sha256=_fetch_digest(context),
    )


def _fetch_digest(context: StageContext) -> str | None:
    uploads = (record for record in context.fetch_artefact_records() if record.kind is ArtefactKind.UPLOAD)
    return next((upload.sha256 for upload in uploads), None)


def _make_files(report: IntakeReport) -> Iterator[Base]:
    """Yield a row for each file; other studies of a split upload have theirs in jobs of their own, and in the first."""
    for file in report.files:
        if file.code is FileCode.OTHER_STUDY:
            continue
        yield UploadFile(
            ordinal=file.ordinal,
            name=file.name,
            size_bytes=file.size_bytes,
            outcome=str(file.outcome),
            code=None if file.code is None else str(file.code),
            detail=file.detail,
        )


def _make_candidates(report: IntakeReport) -> Iterator[Base]:
    for rank, candidate in enumerate(report.candidates, start=1):
        yield SeriesCandidate(
            rank=rank,
            is_chosen=candidate.is_chosen,
            series_instance_uid=candidate.series_instance_uid,
            score=candidate.score,
            criteria=candidate.criteria,
            facts=candidate.facts,
            reason=candidate.reason,
        )
