"""`docs/fault-matrix.md`, as the matrix writes it from what it measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.faults.platform import LEASE_S
from tests.faults.row import RECOVERY_LIMIT_S, Row

_HEAD = """# Fault matrix

`python -m tests.faults.matrix` starts the whole platform (PostgreSQL, Valkey, the S3 server, gateway, workers, control,
delivery, all as processes of their own) behind proxies that can refuse, hang, starve, cut and change what passes. It
injects one fault after another, waits until all is done, and writes this page. `--only F1 F9` takes some rows,
`--times 3` repeats, `--kept FILE` keeps what was measured between runs. Rows marked * are run by `make test` too.

The studies are small phantoms. In the place of MedNeXt and of the supervised model two stand-ins read the volume and
sleep. The lease is {lease} s here: a lost worker must be replaced within {limit} s. These figures are from a machine
with {cores} cores that did other work as well.

After each row these must hold, else it counts as broken:

- every job has ended, each once, and each completed job has exactly one result;
- each stage has at most one row of features;
- `ctclip reconcile` finds no object without a row, no row without its object, no open stage of an ended job, and no
  message left over. What a killed writer had stored before its row is counted in the last column; the sweep removes it
  hours later, the matrix does so at once;
- no scratch file is left, and every process is ready.

| Fault | What | Where | What happened | Recovery (s) | Held | Objects left |
|---|---|---|---|---|---|---|
"""
_TAIL = """
Recovery is counted from the fault, or from its end where it lasts, to the end of the stage or of the jobs; the longest
of the runs is shown. "Held" counts the runs in which everything above was true.

Each kind of worker has one process here, so recovery includes the start of a new one, which a second worker would not
need; on a machine whose cores are taken by others that alone can pass the limit.

## What is not covered

- Rows that say "not run", with the reason, or "not run yet".
- F2 and F3 are shown with the errors that PyTorch raises, not with a GPU that runs out of memory or falls off the bus;
  the memory of a device afterwards is not measured. A second try is on another process, not with smaller tiles.
- F4 takes the broker away for seconds, not ten minutes; the cap of the queue has tests of its own
  (`tests/gateway/test_pressure.py`).
- F7 is one server that is killed or stopped and comes back, not a failover to another.
- F12: three days of 500 are tested against the schedule (`tests/workers/delivery`), not waited for.
- F11: the clock of one worker is wrong, not that of the database, of the gateway or of the store, which refuses
  signatures that are more than a quarter of an hour away.
- RabbitMQ instead of Valkey is not part of the matrix.
"""


def render_page(rows: Sequence[Row], runs: Mapping[str, Sequence[Mapping[str, object]]], *, cores: int) -> str:
    """Return the page; rows that were not run say so."""
    lines = [_render_row(row, runs.get(row.id, ())) for row in rows]
    return "".join([_HEAD.format(lease=LEASE_S, limit=RECOVERY_LIMIT_S, cores=cores), *lines, _TAIL])


def _render_row(row: Row, runs: Sequence[Mapping[str, object]]) -> str:
    named = f"| {row.number}{' *' if row.is_quick else ''} | {row.fault} | {row.place} |"
    whole = [run for run in runs if run["is_held"] is not None]
    if not whole:
        return f"{named} {runs[-1]['happened'] if runs else 'not run yet'} | - | - | - |\n"
    times = [float(str(run["recovery_s"])) for run in whole if run["recovery_s"] is not None]
    held = sum(bool(run["is_held"]) for run in whole)
    left = max(int(str(run["left_objects"])) for run in whole)
    recovery = f"{max(times):.1f}" if times else "-"
    return f"{named} {whole[-1]['happened']} | {recovery} | {held} of {len(whole)} | {left} |\n"
