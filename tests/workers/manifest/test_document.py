"""The run manifest: the same bytes of the same run, and nothing in it that tells whose study it was."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
import rfc8785

from shared.artefacts import ArtefactKind
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from shared.states import StageState
from workers.manifest import Run, compute_features_digest, make_manifest
from workers.runtime.stage import ArtefactRecord, StageRecord

UID = "1.2.840.113619.2.55"
OPTIONS = {
    "series_instance_uid": UID,
    "upload_name": "DOE^JANE",
    "callback_url": "https://x.example",
    "models": ["fvlm"],
}
INTAKE = StageRecord(
    name=StageName.INTAKE,
    state=StageState.SUCCEEDED,
    reason=None,
    facts={
        "study_uid": UID,
        "choice_policy": "2",
        "series": {"series_instance_uid": UID, "slices": 120, "kernel": "B70f", "candidates": 2},
    },
    warnings=(),
    features={},
    seconds=1.5,
)
MEDNEXT = StageRecord(
    name=StageName.MEDNEXT,
    state=StageState.SUCCEEDED,
    reason=None,
    facts={
        "name": "m",
        "version": "1",
        "digest": "d" * 64,
        "weights_profile": "demo",
        "precision": "bf16",
        "timings": {"predict_s": 2},
    },
    warnings=(),
    features={"mednext_normal": 0.25, "mednext_mass": 1e-9},
    seconds=None,
    reused_from="6b0f1f6e-3c55-4d0e-9f6e-0d3b0a7a5a11",
)


class Entry:
    name, version, digest, weights_profile = "fusion-demo", "1", "f" * 64, WeightsProfile.DEMO


@pytest.fixture
def run() -> Run:
    needed = {"database_url": "x", "storage_endpoint": "x", "storage_access_key": "x", "storage_secret_key": "secret"}
    return Run(
        job_id="job",
        options=OPTIONS,
        policy={"id": "default-1", "digest": "p", "threshold": 0.5},
        records={StageName.INTAKE: INTAKE, StageName.MEDNEXT: MEDNEXT},
        artefacts=[
            ArtefactRecord(ArtefactKind.VOLUME, "x", 5, "b" * 64, {"content_sha256": "c" * 64, "study_uid": UID}),
            ArtefactRecord(ArtefactKind.PREVIEW, "x", 5, "e" * 64),
        ],
        fusion=Entry(),  # type: ignore[arg-type]  # what the manifest reads of an entry
        probability=0.7,
        settings=Settings.model_validate(needed),
    )


def read(run: Run) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads(make_manifest(run))
    return manifest


class TestAManifest:
    def test_is_canonical_and_the_same_for_the_same_run(self, run: Run) -> None:
        content = make_manifest(run)
        assert content == make_manifest(replace(run, records=dict(reversed(list(run.records.items())))))
        assert content == rfc8785.dumps(json.loads(content))

    def test_names_input_weights_code_and_policy(self, run: Run) -> None:
        manifest = read(run)
        assert manifest["input"] == {"volume": {"sha256": "b" * 64, "size_bytes": 5, "content_sha256": "c" * 64}}
        assert manifest["policy"] == {"id": "default-1", "digest": "p"}
        assert len(manifest["software"]["code_sha256"]) == 64
        assert (manifest["settings"]["precision"], manifest["models"][0]["precision"]) == ("auto", "bf16")
        assert [(model["stage"], model["digest"][0]) for model in manifest["models"]] == [
            ("mednext", "d"),
            ("fusion", "f"),
        ]
        assert manifest["models"][0]["reused_from"] == MEDNEXT.reused_from

    def test_holds_every_feature_and_a_digest_over_all(self, run: Run) -> None:
        features = read(run)["features"]
        assert features["values"] == {"mednext": dict(MEDNEXT.features)}
        assert features["sha256"] == compute_features_digest(features["values"])
        assert features["sha256"] == hashlib.sha256(rfc8785.dumps(features["values"])).hexdigest()

    def test_tells_of_options_that_name_somebody_only_that_they_were_given(self, run: Run) -> None:
        content = make_manifest(run).decode()
        assert read(run)["options"] == {
            "models": ["fvlm"],
            "withheld": ["callback_url", "series_instance_uid", "upload_name"],
        }
        for secret in (UID, "DOE", "x.example", "secret"):
            assert secret not in content
