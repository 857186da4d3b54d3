"""The schedule of tries."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from workers.delivery.schedule import DELAYS, JITTER, compute_delay


class TestSchedule:
    def test_is_that_of_standard_webhooks(self) -> None:
        seconds = [delay.total_seconds() for delay in DELAYS]
        assert seconds == [0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]

    @given(st.integers(0, len(DELAYS) - 1), st.floats(0, 1))
    def test_is_lengthened_by_chance_and_never_shortened(self, tries: int, chance: float) -> None:
        delay = compute_delay(tries, chance)
        assert delay is not None
        assert DELAYS[tries] <= delay <= DELAYS[tries] * (1 + JITTER) + timedelta(microseconds=1)

    def test_ends_after_ten_tries(self) -> None:
        assert compute_delay(10, 0.5) is None
