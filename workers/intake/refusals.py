"""Which problem a study is refused with when its files say several things at once. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from shared.errors import InputProblem
from shared.json_values import JsonObject, JsonValue
from shared.problems import Problem, ProblemCode
from workers.intake.files import FileCode, FileOutcome
from workers.intake.study_files import StudyFiles

_MOST_STUDIES_TOLD = 20
_LONGEST_UID = 64
_FROM_FILES = {
    FileCode.MISSING_REQUIRED_TAGS: ProblemCode.MISSING_REQUIRED_TAGS,
    FileCode.INVALID_GEOMETRY: ProblemCode.INVALID_GEOMETRY,
    FileCode.INVALID_RESCALE: ProblemCode.INVALID_RESCALE,
    FileCode.TRANSFER_SYNTAX_UNSUPPORTED: ProblemCode.TRANSFER_SYNTAX_UNSUPPORTED,
    FileCode.CRC_MISMATCH: ProblemCode.SERIES_INCOMPLETE,
    FileCode.ENTRY_DAMAGED: ProblemCode.SERIES_INCOMPLETE,
    FileCode.PIXELS_TRUNCATED: ProblemCode.SERIES_INCOMPLETE,
    FileCode.UNDECODABLE: ProblemCode.SERIES_INCOMPLETE,
    FileCode.HOSTILE_STRUCTURE: ProblemCode.NO_USABLE_SERIES,
    FileCode.DIMENSIONS_EXCEED_LIMIT: ProblemCode.NO_USABLE_SERIES,
    FileCode.PIXELS_UNSUPPORTED: ProblemCode.NO_USABLE_SERIES,
}


def check_one_study(found: StudyFiles) -> None:
    """Refuse files of several studies or patients. Raises InputProblem; studies are told, patients only counted."""
    studies = sorted({identity.study_uid for identity in found.identities} - {""})
    patients = {identity.patient for identity in found.identities} - {b""}
    if len(studies) > 1 or len(patients) > 1:
        without = sum(not origin.study_uid for origin in found.origins.values())
        facts: dict[str, JsonValue] = {"files_without_study": without} if without else {}
        raise InputProblem(
            ProblemCode.MIXED_STUDIES,
            f"The archive holds {_count(studies, 'study', 'studies')} of {_count(patients, 'patient', 'patients')}.",
            study_instance_uids=[_plain_uid(uid) for uid in studies[:_MOST_STUDIES_TOLD]],
            studies=[_describe_study(found, uid) for uid in studies[:_MOST_STUDIES_TOLD]],
            patients=len(patients),
            **facts,
        )


def _count(found: Collection[object], one: str, several: str) -> str:
    return f"{len(found)} {several}" if len(found) > 1 else f"1 {one}"


def _describe_study(found: StudyFiles, study_uid: str) -> JsonObject:
    """Return what tells a study to whom it belongs: never a name, a date or a description."""
    origins = [origin for origin in found.origins.values() if origin.study_uid == study_uid]
    return {
        "study_instance_uid": _plain_uid(study_uid),
        "slices": sum(image.identity.study_uid == study_uid for image in found.images),
        "files": len(origins),
        "modalities": sorted({_plain(origin.modality) for origin in origins}),
    }


def explain_no_stack(found: StudyFiles) -> Problem:
    """Return why a study without a single CT slice is refused."""
    if _may_have_lost_slices(found):
        return _make_file_problem(found)
    codes = Counter(file.code for file in found.files)
    if codes[FileCode.QUALITY_CONTROL]:
        return Problem(ProblemCode.PHANTOM_STUDY, "All images are of a phantom for quality control.")
    if codes[FileCode.LOCALIZER] or codes[FileCode.SECONDARY_CAPTURE]:
        return Problem(ProblemCode.NO_USABLE_SERIES, "There are only localisers or secondary captures.")
    if codes[FileCode.WRONG_MODALITY] or codes[FileCode.NOT_AN_IMAGE]:
        found_modalities = sorted({_plain(origin.modality) for origin in found.origins.values()})
        detail = f"The files are {', '.join(found_modalities)}, not CT images."
        return Problem(ProblemCode.WRONG_MODALITY, detail, {"found": found_modalities})
    if _count_rejected(found):
        return _make_file_problem(found)
    return Problem(ProblemCode.NO_DICOM_IMAGES, f"None of the {len(found.files)} files is a DICOM image.")


def _may_have_lost_slices(found: StudyFiles) -> bool:
    """Whether rejected files are the cause: one says that it is CT, or most of all say nothing of what they were."""
    rejected = [file.ordinal for file in found.files if file.outcome is FileOutcome.REJECTED]
    nameless = [ordinal for ordinal in rejected if ordinal not in found.origins]
    is_ct = any(found.origins[ordinal].modality == "CT" for ordinal in rejected if ordinal in found.origins)
    return is_ct or len(nameless) > len(found.origins)


def prefer_file_problem(found: StudyFiles, problem: Problem) -> Problem:
    """Return the problem of the files where more of them were rejected than are left: that is then the cause."""
    rejected = _count_rejected(found)
    has_holes = "missing_slices" in problem.facts and rejected > 0
    if has_holes or rejected > len(found.images):
        return _make_file_problem(found)
    return problem


def _count_rejected(found: StudyFiles) -> int:
    return sum(file.outcome is FileOutcome.REJECTED for file in found.files)


def make_refusal(problem: Problem) -> InputProblem:
    """Return the error that refuses the study with a problem."""
    return InputProblem(problem.code, problem.detail, **problem.facts)


def _make_file_problem(found: StudyFiles) -> Problem:
    codes = Counter(file.code for file in found.files if file.outcome is FileOutcome.REJECTED and file.code)
    code, count = min(codes.items(), key=lambda item: (-item[1], item[0]))
    facts: dict[str, object] = {"files": count}
    if code is FileCode.MISSING_REQUIRED_TAGS:
        facts["tags"] = dict(found.missing_tags)
    details = {file.detail for file in found.files if file.code is code}
    detail = f"{count} {'files' if count > 1 else 'file'}: {min(str(one) for one in details)}."
    return Problem(_FROM_FILES.get(code, ProblemCode.NO_USABLE_SERIES), detail, facts)  # type: ignore[arg-type]  # plain counts


def _plain_uid(uid: str) -> str:
    return "".join(character if character.isalnum() or character in "._-" else "?" for character in uid)[:_LONGEST_UID]


def _plain(modality: str) -> str:
    return "".join(character for character in modality if character.isalnum())[:16] or "unknown"
