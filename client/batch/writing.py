"""Sheets as files: a workbook, CSV or Parquet by the ending of the name. A file is whole or is not there."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from client.batch.outcomes import Row
from client.batch.sheets import Column, Sheet

if TYPE_CHECKING:
    from openpyxl.cell.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

_MOST_ROWS = 1_048_575  # of a worksheet, below its header
_LONGEST_TEXT = 32_767
_COLUMN_WIDTH = 22
_BEGINS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class FormatUnavailable(Exception):
    """The format is not known, or what writes it is not installed."""


def write_sheets(sheets: Sequence[Sheet], output: Path) -> list[Path]:
    """Write the sheets and return the files: one workbook, else a file each, the first under the name given."""
    if output.suffix.lower() == ".xlsx":
        _write_atomically(output, partial(_write_workbook, sheets))
        return [output]
    write = _WRITERS[output.suffix.lower()]
    paths = [output, *(output.with_suffix(f".{sheet.name}{output.suffix}") for sheet in sheets[1:])]
    for sheet, path in zip(sheets, paths, strict=True):
        _write_atomically(path, partial(write, sheet))
    return paths


def check_format(output: Path) -> None:
    """Raises FormatUnavailable when a file of this name could not be written."""
    ending = output.suffix.lower()
    if ending != ".xlsx" and ending not in _WRITERS:
        raise FormatUnavailable(f"{output.name} must end in .xlsx, .csv or .parquet.")
    if ending == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401, PLC0415  # half a second, and only for this ending
        except ModuleNotFoundError as error:
            raise FormatUnavailable("Parquet needs pyarrow: pip install '.[parquet]'") from error


def _write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _write_workbook(sheets: Sequence[Sheet], path: Path) -> None:
    from openpyxl import Workbook  # noqa: PLC0415  # a third of a second, which no other command should pay

    book = Workbook(write_only=True)
    for sheet in sheets:
        rows = iter(sheet.rows)
        for number in count(1):
            page = book.create_sheet(sheet.name if number == 1 else f"{sheet.name}_{number}")
            _fill_page(page, sheet.columns, islice(rows, _MOST_ROWS))
            if number * _MOST_ROWS >= len(sheet.rows):
                break
    book.save(path)


def _fill_page(page: Worksheet, columns: Sequence[Column], rows: Iterator[Row]) -> None:
    from openpyxl.styles import Font  # noqa: PLC0415
    from openpyxl.utils import get_column_letter  # noqa: PLC0415

    page.freeze_panes = "A2"
    for number in range(1, len(columns) + 1):
        page.column_dimensions[get_column_letter(number)].width = _COLUMN_WIDTH
    header = [_make_cell(page, column.name) for column in columns]
    for cell in header:
        cell.font = Font(bold=True)
    page.append(header)
    for row in rows:
        page.append([_make_cell(page, row.get(column.name)) for column in columns])


def _make_cell(page: Worksheet, value: str | float | None) -> Cell:
    from openpyxl.cell import WriteOnlyCell  # noqa: PLC0415
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE  # noqa: PLC0415

    if not isinstance(value, str):
        return WriteOnlyCell(page, value)
    text = ILLEGAL_CHARACTERS_RE.sub(lambda found: f"\\x{ord(found[0]):02x}", _make_printable(value))
    cell = WriteOnlyCell(page, text[:_LONGEST_TEXT])
    # A name of a file that begins with "=" is text and never a formula.
    cell.data_type = "s"
    return cell


def _write_csv(sheet: Sheet, path: Path) -> None:
    # The mark at the beginning has spreadsheets read it as UTF-8.
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        lines = csv.writer(file)
        lines.writerow([column.name for column in sheet.columns])
        lines.writerows([_make_csv_value(row.get(column.name)) for column in sheet.columns] for row in sheet.rows)


def _make_csv_value(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = _make_printable(value)
    return f"'{text}" if text.startswith(_BEGINS_FORMULA) else text


def _write_parquet(sheet: Sheet, path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    schema = pa.schema([(column.name, kinds[column.kind]) for column in sheet.columns])
    rows = [{name: _make_value(value) for name, value in row.items()} for row in sheet.rows]
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _make_value(value: object) -> object:
    return _make_printable(value) if isinstance(value, str) else value


def _make_printable(text: str) -> str:
    """Return a text that UTF-8 can hold; bytes of a name that it cannot are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


_WRITERS: dict[str, Callable[[Sheet, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
