"""Times, steps between them, and what they cost."""

from __future__ import annotations

import torch

from model_weights.policies.reconstruction import PREDECESSOR_QUIRKS, ReconstructionOptions
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.configuration import ClassifierShape, ProcessShape, UNetShape
from workers.diffusion.cost import SliceCost, count_classifier, count_unet
from workers.diffusion.plan import plan_reconstruction, plan_steps
from workers.diffusion.schedule import Schedule, Stop, list_repeated_times, plan_decoding, plan_encoding, space_times
from workers.diffusion.unet import UNet

SCHEDULE = Schedule.make_linear(1000)
COST = SliceCost(prediction=1.0, guidance=0.5)


class TestTimes:
    def test_without_a_number_of_steps_every_time_is_kept(self) -> None:
        assert space_times(5, None) == (0, 1, 2, 3, 4, 5)

    def test_fewer_steps_lie_evenly_and_keep_both_ends(self) -> None:
        assert space_times(200, 4) == (0, 50, 100, 150, 200)

    def test_more_steps_than_times_repeat_none(self) -> None:
        assert space_times(3, 50) == (0, 1, 2, 3)

    def test_the_predecessor_comes_twice_to_about_every_second_time(self) -> None:
        times = list_repeated_times(200, 300)
        assert len(times) == 300
        assert len(set(times)) == 200
        assert times[-3:] == (1, 0, 0)


class TestSteps:
    def test_a_kept_time_is_left_for_the_level_of_the_one_kept_before_it(self) -> None:
        decoding = plan_decoding(SCHEDULE, (0, 50, 200))
        assert decoding == (Stop(200, SCHEDULE.get_level(50)), Stop(50, SCHEDULE.get_level(0)), Stop(0, 1.0))

    def test_encoding_ends_where_decoding_begins(self) -> None:
        times = space_times(200, 10)
        assert plan_encoding(SCHEDULE, times)[-1].target_level == SCHEDULE.get_level(
            plan_decoding(SCHEDULE, times)[0].time
        )

    def test_the_predecessor_takes_299_steps_from_drawn_noise(self) -> None:
        options = ReconstructionOptions(quirks=PREDECESSOR_QUIRKS)
        plan = plan_steps(options, SCHEDULE, ProcessShape(), steps=50, slices=16)
        assert (len(plan.encoding), len(plan.decoding)) == (0, 299)
        assert plan.decoding[0].time == 199


class TestBudget:
    def test_enough_leaves_all_as_asked(self) -> None:
        plan = plan_reconstruction(ReconstructionOptions(), SCHEDULE, ProcessShape(), COST, slices=200)
        assert plan is not None
        assert (plan.slices, len(plan.encoding), plan.is_shortened) == (16, 50, False)

    def test_too_little_takes_steps_first(self) -> None:
        options = ReconstructionOptions(budget_tflop=16 * 76.0)
        plan = plan_reconstruction(options, SCHEDULE, ProcessShape(), COST, slices=200)
        assert plan is not None
        assert plan.is_shortened
        assert plan.slices == 16
        assert 10 <= len(plan.encoding) < 50
        assert plan.count_tflop(COST) <= options.budget_tflop

    def test_then_slices(self) -> None:
        plan = plan_reconstruction(ReconstructionOptions(budget_tflop=80.0), SCHEDULE, ProcessShape(), COST, slices=200)
        assert plan is not None
        assert (plan.slices, len(plan.encoding)) == (3, 10)

    def test_and_then_there_is_none(self) -> None:
        assert (
            plan_reconstruction(ReconstructionOptions(budget_tflop=1.0), SCHEDULE, ProcessShape(), COST, slices=200)
            is None
        )


class TestCost:
    def test_it_is_what_the_full_size_was_measured_to_take(self) -> None:
        with torch.device("meta"):
            unet, classifier = UNet(UNetShape()), SliceClassifier(ClassifierShape())
        assert abs(count_unet(unet) - 1.400) < 0.001
        assert abs(count_classifier(classifier) - 0.00963) < 0.00001
