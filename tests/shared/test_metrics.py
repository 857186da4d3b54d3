"""Metrics: every one is in a group, and so in the documentation, and none could tell of a study."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable

import pytest
from prometheus_client.metrics import MetricWrapperBase

from shared import metrics
from shared.metrics import GROUPS
from shared.problems import ProblemCode, archives, faults, studies

DEFINED = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
BOUNDED = {
    *(
        "stage",
        "state",
        "code",
        "kind",
        "step",
        "model",
        "part",
        "place",
        "outcome",
        "method",
        "route",
        "status",
        "short",
    ),
    *("name", "version", "digest", "weights_profile"),  # of a model
}

SHOW = """
import socket
from prometheus_client import generate_latest
from shared.metrics import serve_metrics
from shared.settings import Settings

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
names = ("database_url", "storage_endpoint", "storage_access_key", "storage_secret_key")
serve_metrics(Settings(**dict.fromkeys(names, "none"), metrics_port=port))
print(generate_latest().decode())
"""


@pytest.fixture(scope="module")
def shown() -> str:
    """What a process shows that has just begun to be read."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CTCLIP_")}
    done = subprocess.run(
        [sys.executable, "-c", SHOW], capture_output=True, text=True, timeout=60, check=False, env=inherited
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestAtFirst:
    def test_no_process_tells_of_a_self_check(self, shown: str) -> None:
        assert "\nctclip_self_check_passed NaN\n" in shown

    @pytest.mark.parametrize(
        ("state", "codes"),
        [
            ("failed", faults.KINDS),
            ("rejected", [*archives.KINDS, *studies.KINDS, ProblemCode.NOT_AN_ARCHIVE, ProblemCode.EMPTY_UPLOAD]),
            *((state, [""]) for state in ("completed", "completed_partial", "cancelled")),
        ],
    )
    def test_every_way_in_which_a_job_ends_has_happened_to_none(
        self, shown: str, state: str, codes: Iterable[str]
    ) -> None:
        told = set(re.findall(rf'ctclip_jobs_ended_total{{code="(\w*)",state="{state}"}} 0\.0', shown))
        assert told == set(codes)


class TestMetrics:
    def test_are_all_in_a_group(self) -> None:
        grouped = [metric for group in GROUPS.values() for metric in group]
        assert len(grouped) == len(DEFINED)
        assert set(map(id, grouped)) == set(map(id, DEFINED))

    @pytest.mark.parametrize("metric", DEFINED, ids=lambda metric: str(next(iter(metric.describe())).name))
    def test_have_labels_of_few_values(self, metric: MetricWrapperBase) -> None:
        assert set(metric._labelnames) <= BOUNDED
        (family,) = metric.describe()
        assert family.name.startswith("ctclip_")
        assert family.documentation.endswith(".")
