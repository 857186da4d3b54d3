"""Preparations that models share: one is made while the others wait, and it is let go when all have had it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from tests.stack.running import wait_until
from workers.model_host.preparations import SharedPreparations

HOW = ("spacing", 1.5)


class Maker:
    """Counts what it makes; waits for `gate` where there is one."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.made = 0
        self._gate = gate

    def __call__(self) -> Tensor:
        self.made += 1
        if self._gate is not None:
            assert self._gate.wait(10)
        return torch.zeros(1)


@pytest.fixture
def shared() -> SharedPreparations:
    """Of two models that prepare alike and a third that does not."""
    shared = SharedPreparations()
    for how in (HOW, HOW, "otherwise"):
        shared.expect(how)
    return shared


def ask(shared: SharedPreparations, make: Callable[[], Tensor], digest: str | None = "a", how: object = HOW) -> Tensor:
    with shared.share(how, digest, make) as prepared:
        return prepared


class TestSharing:
    def test_the_second_model_is_given_what_the_first_made(self, shared: SharedPreparations) -> None:
        maker = Maker()
        assert ask(shared, maker) is ask(shared, maker)
        assert maker.made == 1

    def test_who_asks_meanwhile_waits_for_it(self, shared: SharedPreparations) -> None:
        gate = threading.Event()
        maker = Maker(gate)
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(ask, shared, maker) for _ in range(2)]
            gate.set()
            assert asked[0].result(10) is asked[1].result(10)
        assert maker.made == 1

    def test_another_volume_and_another_preparation_are_made(self, shared: SharedPreparations) -> None:
        maker = Maker()
        ask(shared, maker)
        ask(shared, maker, digest="b")
        ask(shared, maker, how="otherwise")
        assert maker.made == 3

    def test_a_volume_without_a_digest_is_made_each_time(self, shared: SharedPreparations) -> None:
        maker = Maker()
        ask(shared, maker, digest=None)
        ask(shared, maker, digest=None)
        assert (maker.made, shared.count()) == (2, 0)


class TestRelease:
    def test_it_goes_once_every_model_has_had_it(self, shared: SharedPreparations) -> None:
        ask(shared, Maker())
        assert shared.count() == 1
        ask(shared, Maker())
        assert shared.count() == 0

    def test_what_one_model_alone_asks_for_is_not_kept(self, shared: SharedPreparations) -> None:
        ask(shared, Maker(), how="otherwise")
        assert shared.count() == 0

    def test_the_next_volume_takes_the_place_of_an_idle_one(self, shared: SharedPreparations) -> None:
        ask(shared, Maker())
        ask(shared, Maker(), digest="b")
        assert shared.count() == 1

    def test_one_in_use_stays(self, shared: SharedPreparations) -> None:
        with shared.share(HOW, "a", Maker()):
            shared.drop_idle()
            assert shared.count() == 1

    def test_it_goes_when_nobody_comes(self) -> None:
        shared = SharedPreparations(idle_limit_s=0.01)
        shared.expect(HOW)
        shared.expect(HOW)
        ask(shared, Maker())
        wait_until(lambda: shared.count() == 0, "the idle preparation goes")


class TestFailure:
    def test_all_are_told_and_the_next_tries_again(self, shared: SharedPreparations) -> None:
        def fail() -> Tensor:
            raise ValueError("unreadable")

        with pytest.raises(ValueError, match="unreadable"):
            ask(shared, fail)
        assert shared.count() == 0
        assert ask(shared, Maker()).shape == (1,)
