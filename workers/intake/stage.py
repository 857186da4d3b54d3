"""The intake stage: hands the upload to a child process and turns its report into rows, facts and the volume."""

from __future__ import annotations

from collections.abc import Iterator

from shared.artefacts import ArtefactKind, UploadKind
from shared.json_values import JsonObject
from shared.problems import Problem
from shared.settings import Settings
from shared.stages import StageName
from shared.tables import Base, SeriesCandidate, UploadFile
from workers.intake.children import ChildPool
from workers.intake.limits import IntakeLimits, make_limits
from workers.intake.messages import Order
from workers.intake.report import ChosenSeries, IntakeReport
from workers.runtime.stage import ProducedArtefact, StageContext, StageOutput, StageWarning

VOLUME_MEDIA_TYPE = "application/vnd.blosc2.frame"
_SERIES_FACTS = ("kernel", "slice_thickness_mm", "manufacturer", "transfer_syntax", "reason")


class IntakeStage:
    """From an upload to one volume, or to a refusal that says what is wrong."""

    def __init__(self, children: ChildPool, limits: IntakeLimits) -> None:
        self._children = children
        self._limits = limits

    @property
    def name(self) -> StageName:
        """The stage's name."""
        return StageName.INTAKE

    def run(self, context: StageContext) -> StageOutput:
        """Read the upload. A refused study is an output with its rows; only a study that kills its reader raises."""
        order = _make_order(context, self._limits)
        report = self._children.read(order, context.report)
        rows = (*_make_files(report), *_make_candidates(report))
        warnings = tuple(StageWarning(notice.code, notice.facts) for notice in report.notices)
        if report.problem is not None:
            problem = Problem(report.problem.code, report.problem.detail, report.problem.facts)
            return StageOutput(rows=rows, warnings=warnings, rejection=problem)
        facts = make_facts(report)
        volume = ProducedArtefact(ArtefactKind.VOLUME, order.volume_path, VOLUME_MEDIA_TYPE, facts)
        return StageOutput(artefacts=(volume,), warnings=warnings, facts=facts, rows=rows)

    def close(self) -> None:
        """End the child processes."""
        self._children.close()


def make_stage(settings: Settings) -> IntakeStage:
    """Return the stage with a nursery that gets ready for its first study."""
    return IntakeStage(ChildPool(), make_limits(settings))


def make_facts(report: IntakeReport) -> JsonObject:
    """Return what fusion, the gateway and auditors read about an accepted study."""
    chosen, hu = report.chosen, report.hu
    assert chosen is not None
    assert hu is not None
    return {
        "study_uid": chosen.study_uid,
        "series_uid": chosen.series_uid,
        "series": _describe_series(chosen, len(report.candidates)),
        "hu": {"min": hu.min, "max": hu.max, "mean": hu.mean, "padding_voxels": hu.padding_voxels},
        "timings": dict(report.seconds),
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
    series_uid = context.options.get("series_instance_uid")
    return Order(
        address=context.presign_upload(),
        kind=UploadKind(context.upload_kind),
        volume_path=context.scratch / "volume.b2nd",
        limits=limits,
        upload_name=str(context.options.get("upload_name") or "upload"),
        series_uid=str(series_uid) if series_uid else None,
    )


def _make_files(report: IntakeReport) -> Iterator[Base]:
    for file in report.files:
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
