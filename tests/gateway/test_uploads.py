"""The parts that read a body, without a server."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.threads import ThreadSlots
from gateway.uploads.multipart import MultipartReader
from gateway.uploads.names import sanitise_name
from gateway.uploads.pipe import CAPACITY_BYTES, BodyPipe
from shared.errors import InputProblem, TransientFault
from shared.planning import plan_stages
from shared.problems import ProblemCode
from shared.stages import WEIGHTED_STAGES, SkipReason, StageName, compute_transitions
from shared.states import StageState
from shared.upload_kinds import judge_kind

FIELDS = frozenset({"priority", "models"})


def make_form(content: bytes) -> bytes:
    return (
        b'--cut\r\nContent-Disposition: form-data; name="priority"\r\n\r\n7\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\nContent-Type: a/b\r\n\r\n'
        + content
        + b'\r\n--cut\r\nContent-Disposition: form-data; name="models"\r\n\r\nfvlm\r\n--cut--\r\n'
    )


class TestAForm:
    @given(content=st.binary(max_size=300), cuts=st.lists(st.integers(0, 700), max_size=12))
    def test_gives_the_same_file_however_it_is_cut(self, content: bytes, cuts: list[int]) -> None:
        form = make_form(content.replace(b"\r\n--cut", b"........"))
        places = [0, *sorted(min(cut, len(form)) for cut in cuts), len(form)]
        reader = MultipartReader(b"cut", FIELDS)
        file = b"".join(
            piece for start, end in pairwise(places) for piece in (reader.feed(form[start:end]) if end > start else [])
        )
        reader.finish()
        assert file == content.replace(b"\r\n--cut", b"........")
        assert (reader.fields, reader.file_name) == ({"priority": "7", "models": "fvlm"}, "a.zip")

    @given(st.integers(0, len(make_form(b"file")) - 10))
    def test_that_is_cut_short_is_never_taken_for_whole(self, length: int) -> None:
        reader = MultipartReader(b"cut", FIELDS)
        for start in range(length):
            reader.feed(make_form(b"file")[start : start + 1])
        with pytest.raises(InputProblem):
            reader.finish()

    def test_refuses_an_unknown_field_before_the_file_comes(self) -> None:
        reader = MultipartReader(b"cut", frozenset())
        with pytest.raises(InputProblem) as refused:
            reader.feed(make_form(b"file")[:70])
        assert refused.value.problem.code is ProblemCode.VALIDATION_FAILED

    @given(st.binary(max_size=400))
    def test_of_any_bytes_is_read_or_refused(self, body: bytes) -> None:
        reader = MultipartReader(b"cut", FIELDS)
        try:
            reader.feed(b"--cut\r\n" + body)
            reader.finish()
        except InputProblem:
            return


class TestAPipe:
    @given(st.lists(st.binary(min_size=1, max_size=200), max_size=20), st.integers(1, 150))
    def test_gives_all_bytes_in_order_in_whole_pieces(self, chunks: list[bytes], size: int) -> None:
        async def pass_through() -> list[bytes]:
            pipe = BodyPipe()
            with ThreadPoolExecutor(1) as pool:
                reading = asyncio.get_running_loop().run_in_executor(
                    pool, lambda: list(iter(lambda: pipe.read(size), b""))
                )
                for chunk in chunks:
                    assert await pipe.write(chunk)
                pipe.end()
                return await reading

        pieces = asyncio.run(pass_through())
        assert b"".join(pieces) == b"".join(chunks)
        assert all(len(piece) == size for piece in pieces[:-1])

    def test_holds_the_writer_back_while_nobody_reads(self) -> None:
        async def write_too_much() -> None:
            pipe = BodyPipe()
            assert await pipe.write(bytes(CAPACITY_BYTES))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await pipe.write(b"more")
            assert len(pipe.read(CAPACITY_BYTES)) == CAPACITY_BYTES
            assert await pipe.write(b"and more")

        asyncio.run(write_too_much())

    def test_lets_the_writer_go_when_the_reader_has_left(self) -> None:
        async def write_to_nobody() -> bool:
            pipe = BodyPipe()
            asyncio.get_running_loop().call_later(0.02, pipe.leave)
            return await pipe.write(bytes(CAPACITY_BYTES + 1))

        assert not asyncio.run(write_to_nobody())

    def test_that_broke_off_is_an_error_to_the_reader(self) -> None:
        async def break_off() -> None:
            pipe = BodyPipe()
            await pipe.write(b"half")
            pipe.abort()
            pipe.read(100)

        with pytest.raises(InputProblem):
            asyncio.run(break_off())


class TestThreads:
    def test_refuse_when_all_stay_busy(self) -> None:
        async def ask_for_two() -> str:
            slots = ThreadSlots("few", size=1, patience_s=0.05, refusal=ProblemCode.STORAGE_UNAVAILABLE)
            release = asyncio.Event()
            loop = asyncio.get_running_loop()
            busy = asyncio.ensure_future(
                slots.run(lambda: asyncio.run_coroutine_threadsafe(release.wait(), loop).result(10))
            )
            await asyncio.sleep(0)
            with pytest.raises(TransientFault):
                await slots.run(lambda: "never")
            release.set()
            await busy
            return await slots.run(lambda: "again")

        assert asyncio.run(ask_for_two()) == "again"

    def test_work_that_fails_after_its_caller_left_is_no_error_of_the_loop(self) -> None:
        reported: list[object] = []

        async def leave_early() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
            slots = ThreadSlots("few", size=1, patience_s=1, refusal=ProblemCode.STORAGE_UNAVAILABLE)
            release = threading.Event()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(slots.run(lambda: release.wait(10) and 1 // 0), 0.05)
            release.set()
            await slots.run(lambda: None)  # behind the failing work
            gc.collect()

        asyncio.run(leave_early())
        assert reported == []


class TestTheKind:
    @given(st.binary(max_size=500))
    def test_of_any_bytes_is_judged_without_an_error(self, head: bytes) -> None:
        assert judge_kind(head) is None or head[:2] == b"PK" or len(head) >= 348
        judge_kind(b"\x1f\x8b\x08" + head)


class TestAName:
    @pytest.mark.parametrize(
        ("sent", "kept"),
        [
            ("case.nii.gz", "case"),
            ("CASE.NII.GZ", "CASE"),
            ("/home/me/case.v2.nii", "case.v2"),
            ("..\\..\\x.zip", "x"),
            ("a\r\nSet-Cookie: b.zip", "a__Set-Cookie_ b"),
            ("снимок 7.nii", "снимок 7"),
            ("\u202egnp.zip", "_gnp"),
            ("\0\ud800.zip", "__"),
            ("", "upload"),
            (None, "upload"),
            ("...", "upload"),
        ],
    )
    def test_is_made_harmless(self, sent: str | None, kept: str) -> None:
        assert sanitise_name(sent) == kept

    @given(st.text(max_size=600))
    def test_of_any_text_is_short_and_printable(self, sent: str) -> None:
        name = sanitise_name(sent)
        assert 1 <= len(name) <= 255
        assert name.isprintable()
        assert not set(name) & set('/\\\r\n\0"<>')
        assert hashlib.sha256(name.encode()).digest()  # it can be written as UTF-8


class TestAPlan:
    @given(st.sets(st.sampled_from(list(WEIGHTED_STAGES))), st.none() | st.sets(st.sampled_from(list(WEIGHTED_STAGES))))
    def test_always_reaches_fusion(self, installed: set[StageName], requested: set[StageName] | None) -> None:
        states = {plan.stage: plan.state for plan in plan_stages(installed, requested)}
        assert set(states) == set(StageName)
        for _ in StageName:
            states = {
                stage: StageState.SUCCEEDED if state is StageState.READY else state for stage, state in states.items()
            }
            states |= {found.stage: found.state for found in compute_transitions(states)}
        assert states[StageName.FUSION] is StageState.SUCCEEDED

    def test_runs_segmentation_for_fvlm_alone(self) -> None:
        reasons = {plan.stage: plan.reason for plan in plan_stages(WEIGHTED_STAGES, {StageName.MEDNEXT})}
        assert reasons[StageName.SEGMENTATION] is SkipReason.MODEL_NOT_REQUESTED
        assert reasons[StageName.MEDNEXT] is None
