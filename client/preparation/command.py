"""`ctclip prepare`: pack a folder tree of DICOM files into one ZIP for each study."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.progress import track
from rich.table import Table

from client.connecting import Json
from client.preparation.deidentification import Pseudonyms
from client.preparation.keys import KeyRefused, default_key_path, read_or_make_key
from client.preparation.packing import Packed, StudyPlan, pack, plan_studies
from client.preparation.scanning import Image, LeftOut, iterate_files, look_at
from client.statuses import NO_RESULT

_MOST_WORKERS = 8
_FILES_AT_ONCE = 64

Given = TypeVar("Given")
Made = TypeVar("Made")


class Mapper(Protocol):
    """Applies a function to many things, and yields the answers in their order."""

    def map(self, function: Callable[[Given], Made], things: Iterable[Given], chunksize: int) -> Iterator[Made]:
        """Yield the answers; `chunksize` things go to a process at once."""


class _HereMapper:
    def map(self, function: Callable[[Given], Made], things: Iterable[Given], chunksize: int) -> Iterator[Made]:
        del chunksize
        return map(function, things)


class _PoolMapper:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def map(self, function: Callable[[Given], Made], things: Iterable[Given], chunksize: int) -> Iterator[Made]:
        return self._pool.map(function, things, chunksize=chunksize)


def prepare(
    *,
    input_dir: Annotated[
        Path, typer.Option("--input-dir", exists=True, file_okay=False, help="Folder tree of DICOM files.")
    ],
    output_dir: Annotated[Path, typer.Option("--output-dir", file_okay=False, help="Folder for the ZIPs.")],
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Remove what tells the patient (DICOM PS3.15, Basic Profile).")
    ] = False,
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", dir_okay=False, help="Secret that makes the new UIDs; made where there is none."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be packed, and pack nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write ZIPs again that are there.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = min(os.cpu_count() or 1, _MOST_WORKERS),
    as_json: Json = False,
) -> None:
    """Make one ZIP of CT images for each study of a folder tree, ready for `ctclip submit` and `ctclip batch`."""
    pseudonyms = _make_pseudonyms(key_file) if deidentify else None
    with _mapping(workers) as mapper:
        images, left_out = _scan(input_dir, output_dir, mapper, is_quiet=as_json)
        if pseudonyms is not None:
            left_out[LeftOut.BURNED_IN] += sum(image.has_burned_in_text for image in images)
            images = [image for image in images if not image.has_burned_in_text]
        plans = plan_studies(images, output_dir, pseudonyms)
        if not plans:
            typer.echo(f"There are no CT images in {input_dir}: {_list(+left_out) or 'it is empty'}.", err=True)
            raise typer.Exit(NO_RESULT)
        waiting = [] if dry_run else [plan for plan in plans if overwrite or not plan.output.exists()]
        packed = _pack(waiting, output_dir, mapper, is_quiet=as_json)
    states = {plan.output: "planned" if dry_run else "exists" for plan in plans}
    for plan, one in packed:
        states[plan.output] = "written" if isinstance(one, Packed) else f"failed: {one}"
        left_out.update(one.left_out if isinstance(one, Packed) else ())
    _tell(plans, states, +left_out, as_json)
    if any(state.startswith("failed") for state in states.values()):
        raise typer.Exit(NO_RESULT)


@contextmanager
def _mapping(workers: int) -> Iterator[Mapper]:
    if workers == 1:
        yield _HereMapper()
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield _PoolMapper(pool)


def _make_pseudonyms(key_file: Path | None) -> Pseudonyms:
    try:
        return Pseudonyms(read_or_make_key(key_file or default_key_path()))
    except KeyRefused as error:
        raise typer.BadParameter(str(error), param_hint="--key-file") from error


def _scan(folder: Path, output: Path, mapper: Mapper, *, is_quiet: bool) -> tuple[list[Image], Counter[LeftOut]]:
    files = list(iterate_files(folder, without=output.resolve()))
    found = track(mapper.map(look_at, files, _FILES_AT_ONCE), "Reading headers", **_bar(len(files), is_quiet))
    images: list[Image] = []
    left_out: Counter[LeftOut] = Counter()
    for one in found:
        if isinstance(one, Image):
            images.append(one)
        else:
            left_out[one] += 1
    return images, left_out


def _pack(
    plans: Sequence[StudyPlan], output: Path, mapper: Mapper, *, is_quiet: bool
) -> list[tuple[StudyPlan, Packed | str]]:
    if plans:
        output.mkdir(parents=True, exist_ok=True)
    done = track(mapper.map(_try_to_pack, plans, 1), "Packing studies", **_bar(len(plans), is_quiet))
    return list(zip(plans, done, strict=True))


def _try_to_pack(plan: StudyPlan) -> Packed | str:
    try:
        return pack(plan)
    except OSError as error:
        return error.strerror or type(error).__name__
    except Exception as error:  # noqa: BLE001  # one study that pydicom cannot write must not end the others
        return type(error).__name__


def _bar(total: int, is_quiet: bool) -> dict[str, Any]:
    console = Console(stderr=True, quiet=is_quiet)
    return {"total": total, "console": console, "disable": is_quiet or not console.is_terminal}


def _tell(plans: Sequence[StudyPlan], states: dict[Path, str], left_out: Counter[LeftOut], as_json: bool) -> None:
    if as_json:
        studies = [{**_describe(plan), "state": states[plan.output]} for plan in plans]
        typer.echo(json.dumps({"studies": studies, "left_out": dict(left_out)}))
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("ZIP", "series", "images", "size", "state"):
        table.add_column(name, overflow="fold", justify="left" if name in {"ZIP", "state"} else "right")
    for plan in plans:
        size = decimal(plan.size_bytes)
        table.add_row(plan.output.name, str(plan.series), str(len(plan.images)), size, states[plan.output])
    Console().print(table)
    if left_out:
        typer.echo(f"Left out: {_list(left_out)}")


def _describe(plan: StudyPlan) -> dict[str, Any]:
    return {
        "path": str(plan.output),
        "study_uid": plan.study_uid,
        "series": plan.series,
        "images": len(plan.images),
        "size_bytes": plan.size_bytes,
    }


def _list(left_out: Counter[LeftOut]) -> str:
    return ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(left_out.items()))
