"""Metrics: every one is in a group, and so in the documentation, and none could tell of a study."""

from __future__ import annotations

import pytest
from prometheus_client.metrics import MetricWrapperBase

from shared import metrics
from shared.metrics import GROUPS

DEFINED = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
BOUNDED = {
    *("stage", "state", "code", "kind", "step", "model", "part", "place", "outcome", "method", "route", "status"),
    *("name", "version", "digest", "weights_profile"),  # of a model
}


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
