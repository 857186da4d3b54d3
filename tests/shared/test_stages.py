"""The stage graph: what the end of one stage does to the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.stages import MODELS, STAGES, SkipReason, StageName, Transition, compute_transitions
from shared.states import StageState

ENDED = [StageState.SUCCEEDED, StageState.FAILED, StageState.SKIPPED, StageState.CANCELLED]


def all_waiting(**changed: StageState) -> dict[StageName, StageState]:
    return dict.fromkeys(StageName, StageState.WAITING) | {StageName(name): s for name, s in changed.items()}


class TestGraph:
    def test_every_stage_is_defined(self) -> None:
        assert set(STAGES) == set(StageName)

    def test_the_order_is_topological(self) -> None:
        seen: set[StageName] = set()
        for stage in STAGES.values():
            assert seen.issuperset((*stage.needs, *stage.awaits))
            seen.add(stage.name)

    def test_every_stage_has_a_queue_of_its_own(self) -> None:
        assert len({stage.queue for stage in STAGES.values()}) == len(STAGES)


class TestTransitions:
    def test_intake_is_ready_at_once(self) -> None:
        assert compute_transitions(all_waiting()) == (Transition(StageName.INTAKE, StageState.READY),)

    def test_intake_makes_the_models_and_the_segmentation_ready(self) -> None:
        transitions = compute_transitions(all_waiting(intake=StageState.SUCCEEDED))
        assert {t.stage for t in transitions} == {*MODELS, StageName.SEGMENTATION} - {StageName.FVLM}
        assert {t.state for t in transitions} == {StageState.READY}

    def test_a_skipped_segmentation_skips_fvlm_and_is_followed_through(self) -> None:
        states = all_waiting(intake=StageState.SUCCEEDED) | dict.fromkeys(MODELS, StageState.SKIPPED)
        states |= {StageName.SEGMENTATION: StageState.FAILED, StageName.FVLM: StageState.WAITING}
        assert compute_transitions(states) == (
            Transition(StageName.FVLM, StageState.SKIPPED, SkipReason.NEEDED_STAGE_MISSING),
            Transition(StageName.FUSION, StageState.READY),
        )

    @given(st.lists(st.sampled_from(ENDED), min_size=5, max_size=5))
    def test_fusion_is_ready_however_the_models_ended(self, ends: list[StageState]) -> None:
        states = all_waiting(intake=StageState.SUCCEEDED, segmentation=StageState.SUCCEEDED)
        states |= dict(zip(MODELS, ends, strict=True))
        assert Transition(StageName.FUSION, StageState.READY) in compute_transitions(states)

    @given(st.fixed_dictionaries({name: st.sampled_from(StageState) for name in StageName}))
    def test_one_call_reaches_the_fixed_point(self, states: dict[StageName, StageState]) -> None:
        settled = states | {t.stage: t.state for t in compute_transitions(states)}
        assert compute_transitions(settled) == ()

    @given(st.fixed_dictionaries({name: st.sampled_from(StageState) for name in StageName}))
    def test_only_waiting_stages_move(self, states: dict[StageName, StageState]) -> None:
        assert all(states[t.stage] is StageState.WAITING for t in compute_transitions(states))
