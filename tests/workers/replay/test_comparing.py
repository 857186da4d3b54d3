"""Two manifests side by side."""

from __future__ import annotations

import json
import math
from typing import Any

from workers.replay.comparing import compare

RECORDED: dict[str, Any] = {
    "input": {"upload": {"sha256": "u"}, "volume": {"sha256": "v", "content_sha256": "c"}},
    "software": {"code_sha256": "1", "versions": {"torch": "2.13.0", "numpy": "2.4"}},
    "settings": {"precision": "fp32"},
    "policy": {"id": "default-1", "digest": "p"},
    "models": [{"stage": "mednext", "digest": "m", "precision": "fp32"}, {"stage": "fusion", "digest": "f"}],
    "features": {"values": {"mednext": {"a": 0.5, "b": 0.25}, "ct_clip": {"x": 0.1}}},
    "probability_of_pathology": 0.7,
}


def change(**changes: object) -> dict[str, Any]:
    return {**json.loads(json.dumps(RECORDED)), **changes}


class TestNumbers:
    def test_of_the_same_run_agree(self) -> None:
        compared = compare(RECORDED, change())
        assert compared.agrees(0)
        assert compared.changes == []
        assert [(stage.stage, len(stage.features)) for stage in compared.stages] == [
            ("mednext", 2),
            ("ct_clip", 1),
            ("fusion", 1),
        ]

    def test_are_held_against_the_tolerance_one_by_one(self) -> None:
        values = {"mednext": {"a": 0.5, "b": 0.26}, "ct_clip": {"x": 0.1}}
        compared = compare(RECORDED, change(features={"values": values}))
        mednext = compared.stages[0]
        assert (mednext.largest.name, mednext.count_beyond(0.005), mednext.count_beyond(0.02)) == ("b", 1, 0)
        assert not compared.agrees(0.005)
        assert compared.agrees(0.02)

    def test_that_only_one_run_has_never_agree(self) -> None:
        for values in ({"mednext": {"a": 0.5}, "ct_clip": {"x": 0.1}}, {"mednext": {"a": 0.5, "b": 0.25}}):
            compared = compare(RECORDED, change(features={"values": values}))
            assert not compared.agrees(1e9)
            assert math.inf in {feature.difference for stage in compared.stages for feature in stage.features}

    def test_of_the_decision_count_too(self) -> None:
        assert not compare(RECORDED, change(probability_of_pathology=0.71)).agrees(0.005)


class TestChanges:
    def test_are_named_with_both_sides(self) -> None:
        compared = compare(
            RECORDED,
            change(
                software={"code_sha256": "2", "versions": {"torch": "2.14.0", "numpy": "2.4"}},
                models=[{"stage": "mednext", "digest": "n", "precision": "bf16"}, {"stage": "fusion", "digest": "f"}],
            ),
        )
        assert compared.changes == [
            "software.code_sha256: 1 -> 2",
            "software.versions.torch: 2.13.0 -> 2.14.0",
            "models.mednext: m -> n",
            "precision.mednext: fp32 -> bf16",
        ]

    def test_of_arithmetic_that_one_side_does_not_tell_are_none(self) -> None:
        earlier = [{"stage": "mednext", "digest": "m"}, {"stage": "fusion", "digest": "f"}]
        assert compare(RECORDED, change(models=earlier)).changes == []

    def test_of_how_a_volume_is_packed_are_none(self) -> None:
        packed = {"upload": {"sha256": "u"}, "volume": {"sha256": "other", "content_sha256": "c"}}
        assert compare(RECORDED, change(input=packed)).changes == []

    def test_of_an_upload_that_was_removed_are_none(self) -> None:
        assert compare(RECORDED, change(input={"volume": {"sha256": "v", "content_sha256": "c"}})).changes == []
