"""Every case of the corpus, in the order of the rows; and the rows that are not in it, with the reason."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from phantom.corpus import (
    archives,
    attributes,
    datasets,
    expansion,
    geometry,
    identity,
    names,
    packings,
    requests,
    series,
    syntaxes,
)
from phantom.corpus.case import Case

_MODULES = (requests, archives, expansion, names, datasets, attributes, identity, geometry, series, syntaxes, packings)
_ROW = re.compile(r"([A-Z])(\d*)")


def _order(case: Case) -> tuple[str, int]:
    found = _ROW.match(case.row)
    assert found is not None, case.id
    return found[1], int(found[2] or 0)


CASES: Mapping[str, Case] = {
    case.id: case for case in sorted((case for module in _MODULES for case in module.CASES), key=_order)
}

_WITHOUT_ENCODERS = {"B37 (compressed)": "JPEG, JPEG-LS, JPEG 2000 and HTJ2K need `pip install '.[corpus]'`"}

LEFT_OUT: Mapping[str, str] = {
    **({} if syntaxes.HAS_ENCODERS else _WITHOUT_ENCODERS),
    "B4 (resumption)": "an upload in parts is many requests (docs/uploads.md); the cut upload itself is case B4-cut",
    "B15 (depth 1)": "how deep archives may be nested is a setting of the platform; the default refuses all",
    "B39 (names that change)": "which address a name leads to is looked up again when it is called: docs/webhooks.md",
}
"""What the list of hostile inputs asks for and no case covers."""


def choose_cases(wanted: Collection[str]) -> list[Case]:
    """Return the cases of the rows or ids that are named, or all of them when none is.

    Raises ValueError for a name that is neither.
    """
    if not wanted:
        return list(CASES.values())
    known = {name for case in CASES.values() for name in (case.id, case.row)}
    unknown = sorted(set(wanted) - known)
    if unknown:
        raise ValueError(f"no case or row is named {', '.join(unknown)}")
    return [case for case in CASES.values() if case.id in wanted or case.row in wanted]
