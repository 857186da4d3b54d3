"""The result document holds to its schema, says what is missing, and never contains NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from model_weights.catalogue import load_catalogue
from model_weights.policies import Policy
from shared.artefacts import ArtefactKind
from shared.json_values import JsonValue
from shared.stages import MODELS, StageName
from shared.states import StageState
from tests.workers.fusion.conftest import POLICY, make_features, make_records
from training.fusion_booster import FittedBooster
from workers.fusion.aggregates import compute_vector
from workers.fusion.answers import collect_answers
from workers.fusion.attribution import compute_attribution
from workers.fusion.decision import NO_SPECIFIC_PATHOLOGY, decide
from workers.fusion.document import SCHEMA_VERSION, Reading, make_document
from workers.fusion.omission import compute_omissions
from workers.runtime.stage import ArtefactRecord, StageRecord
from workers.segmentation.lungs import measure_lungs
from workers.segmentation.measuring import OrganMeasurement
from workers.segmentation.stage import describe_findings

SCHEMA = json.loads((Path(__file__).parents[3] / "shared" / "result.schema.json").read_text())
CONTRACT = {
    "study_uid",
    "series_uid",
    "probability_of_pathology",
    "pathology",
    "most_dangerous_pathology_type",
    "processing_status",
    "time_of_processing",
}
ARTEFACTS = (
    ArtefactRecord(ArtefactKind.UPLOAD, "application/zip", 9, "a" * 64),
    ArtefactRecord(ArtefactKind.VOLUME, "application/x-blosc2", 5, "b" * 64),
)

LOG_ODDS: JsonValue = {"of_map": 1.5, "of_reference": -0.5}
PLACE: JsonValue = {
    "peak_lps_mm": [40.0, 12.5, -80.0],
    "peak_log_odds": 0.5,
    "share": 0.25,
    "box_lps_mm": {"low": [30.0, 2.5, -90.0], "high": [50.0, 22.5, -70.0]},
    "slices": {"first": 12, "last": 15, "positions_mm": [-90.0, -75.0]},
}
RELEVANCE: JsonValue = {
    "artifact": "ct_clip_relevance",
    "reference": "healthy",
    "findings": [
        {"label": label, "probability": 0.9, "threshold": 0.5, "volume": volume, "log_odds": LOG_ODDS, "place": place}
        for volume, (label, place) in enumerate([("Pulmonary nodule", PLACE), ("Pneumonia", None)])
    ],
}


ANOMALY: Mapping[str, Any] = {
    "slices": {
        "first_centre_lps_mm": [0.0, 0.0, -60.0],
        "step_lps_mm": [0.0, 0.0, 4.0],
        "probabilities": [0.1, 0.7],
        "highest": [{"probability": 0.7, "centre_lps_mm": [0.0, 0.0, -56.0]}],
    },
    "reconstruction": {
        "state": "done",
        "steps": {"encoding": 4, "decoding": 5},
        "tflop": 0.2,
        "is_shortened": False,
        "seed": 0,
        "quirks": {"random_start": False, "repeated_times": 0},
        "artifact": "anomaly_map",
        "centres_lps_mm": [[0.0, 0.0, -56.0]],
        "mean_differences_hu": [12.5],
        "regions": [
            {
                "centre_lps_mm": [40.0, -10.0, -56.0],
                "extent_lps_mm": [20.0, 15.0, 4.0],
                "box_lps_mm": {"low": [32.0, -18.0, -58.0], "high": [52.0, -3.0, -54.0]},
                "slices": [31],
                "area_mm2": 240.0,
                "mean_hu": 210.0,
                "largest_hu": 390.0,
                "score": 0.5,
            }
        ],
    },
}


def close(schema: JsonValue) -> JsonValue:
    """Return the schema such that a field which it does not describe is refused: ours says all that it sends."""
    if isinstance(schema, dict):
        closed = {key: close(value) for key, value in schema.items()}
        is_described = "properties" in schema and "additionalProperties" not in schema and schema != SERIES
        return closed | ({"additionalProperties": False} if is_described else {})
    return [close(part) for part in schema] if isinstance(schema, list) else schema


SERIES = SCHEMA["properties"]["series"]
CLOSED = Draft202012Validator(
    cast("dict[str, JsonValue]", close(SCHEMA)), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def make_reading(
    fitted: FittedBooster, catalogue: Path, records: Mapping[StageName, StageRecord], policy: Policy = POLICY
) -> Reading:
    """Return what the fusion reads of a job."""
    answers = collect_answers(records)
    vector = compute_vector(answers.features)
    explanation = fitted.booster.explain(vector)
    attribution = compute_attribution(explanation, vector)
    return Reading(
        job_id="6f4f5c7e-0d5a-4a44-9d3a-0e6f0c1f2a3b",
        elapsed_s=12.5,
        fusion_s=0.01,
        records=records,
        artefacts=ARTEFACTS,
        answers=answers,
        attribution=attribution,
        decision=decide(explanation.probability, policy, answers, attribution.by_finding),
        omissions=compute_omissions(fitted.booster, answers, policy),
        policy=policy,
        model=load_catalogue(catalogue / "catalogue.toml")[0],
    )


def write(
    fitted: FittedBooster, catalogue: Path, records: Mapping[StageName, StageRecord], policy: Policy = POLICY
) -> dict[str, Any]:
    """Return the document of a job, as JSON leaves and enters it."""
    reading = make_reading(fitted, catalogue, records, policy)
    document: dict[str, Any] = json.loads(json.dumps(make_document(reading), allow_nan=False))
    return document


class TestSchema:
    def test_is_itself_a_schema_of_2020_12(self) -> None:
        Draft202012Validator.check_schema(SCHEMA)

    def test_names_the_version_that_the_document_carries(self) -> None:
        assert SCHEMA["properties"]["schema_version"]["const"] == SCHEMA_VERSION

    def test_requires_the_seven_fields_of_the_old_contract(self) -> None:
        assert set(SCHEMA["required"]) >= CONTRACT

    @given(models=st.sets(st.sampled_from(MODELS)), loud=st.sets(st.sampled_from(["kolyan_mass", "okhr_Emphysema"])))
    def test_holds_for_every_subset_of_models(
        self, fitted: FittedBooster, catalogue: Path, models: set[StageName], loud: set[str]
    ) -> None:
        features = make_features(*loud, models=tuple(models))
        CLOSED.validate(write(fitted, catalogue, make_records(features)))


class TestWhatItSays:
    def test_a_complete_study(self, fitted: FittedBooster, catalogue: Path) -> None:
        loud = ("kolyan_mass", "ctclip_Pulmonary nodule", "okhr_Lung cancer", "supervised_cancer")
        document = write(fitted, catalogue, make_records(make_features(*loud)))
        assert document["state"] == "completed"
        assert document["completeness"] == {"answered": 5, "expected": 5, "missing": []}
        assert document["pathology"] == 1
        assert document["top_pathologies"][0] == document["most_dangerous_pathology_type"]
        assert [model["name"] for model in document["models"]] == [*MODELS, "fusion"]

    def test_a_partial_study_says_what_is_missing_and_why(self, fitted: FittedBooster, catalogue: Path) -> None:
        skipped = (StageState.SKIPPED, "model_not_installed")
        records = make_records(make_features(), ended={model: skipped for model in MODELS if model != "mednext"})
        document = write(fitted, catalogue, records)
        assert document["state"] == "completed_partial"
        assert document["completeness"]["answered"] == 1
        assert {missing["reason"] for missing in document["completeness"]["missing"]} == {"model_not_installed"}

    def test_the_sums_hold_in_what_is_written(self, fitted: FittedBooster, catalogue: Path) -> None:
        document = write(fitted, catalogue, make_records(make_features("kolyan_mass")))
        attribution = document["attribution"]
        findings = [finding["attribution"] for finding in document["findings"]]
        for parts in (
            attribution["by_model"].values(),
            attribution["by_group"].values(),
            [*findings, attribution["beyond_findings"]],
        ):
            total = math.fsum((attribution["base_value"], *parts))
            assert total == pytest.approx(attribution["raw_score"], abs=1e-6)

    def test_what_would_change_without_each_model(self, fitted: FittedBooster, catalogue: Path) -> None:
        document = write(fitted, catalogue, make_records(make_features("kolyan_mass")))
        ended = {StageName.MEDNEXT: (StageState.FAILED, "model_failed")}
        less = write(fitted, catalogue, make_records(make_features("kolyan_mass"), ended=ended))
        without = document["without_model"]["mednext"]
        answer = {name: less[name] for name in ("probability_of_pathology", "pathology")}
        assert without == {**answer, "is_allowed": True}
        assert set(document["without_model"]) == set(MODELS)

    def test_warnings_of_every_stage_are_quality(self, fitted: FittedBooster, catalogue: Path) -> None:
        quality = write(fitted, catalogue, make_records(make_features()))["quality"]
        assert {"code": "gantry_tilt_corrected", "stage": "intake", "facts": {"tilt_deg": 12.5}} in quality

    def test_places_of_relevance_stand_with_their_findings(self, fitted: FittedBooster, catalogue: Path) -> None:
        records = make_records(make_features("ctclip_Pulmonary nodule"))
        asked = records[StageName.CT_CLIP]
        records[StageName.CT_CLIP] = replace(asked, facts={**asked.facts, "relevance": RELEVANCE})
        document = write(fitted, catalogue, records)
        CLOSED.validate(document)
        told = {finding["finding"]: finding["relevance"] for finding in document["findings"] if finding["relevance"]}
        of_map = {"artifact": "ct_clip_relevance", "reference": "healthy", "log_odds": LOG_ODDS}
        assert told == {
            "pulmonary_nodule": {"ct_clip": {**of_map, "volume": 0, "place": PLACE}},
            "pneumonia": {"ct_clip": {**of_map, "volume": 1, "place": None}},
        }

    def test_findings_of_the_site_are_shown_and_not_weighed(self, fitted: FittedBooster, catalogue: Path) -> None:
        records = make_records(make_features("kolyan_mass"))
        plain = write(fitted, catalogue, records)
        found: list[JsonValue] = [{"name": "Stent", "probability": 0.75, "present": "A stent.", "absent": "No stent."}]
        asked = records[StageName.CT_CLIP]
        records[StageName.CT_CLIP] = replace(asked, facts={**asked.facts, "site_findings": found})
        document = write(fitted, catalogue, records)
        CLOSED.validate(document)
        assert document == {**plain, "site_findings": found}
        assert plain["site_findings"] == []

    def test_slices_and_regions_of_the_anomaly_diffusion_are_shown(
        self, fitted: FittedBooster, catalogue: Path
    ) -> None:
        records = make_records(make_features("kolyan_mass"))
        plain = write(fitted, catalogue, records)
        asked = records[StageName.DIFFUSION]
        records[StageName.DIFFUSION] = replace(asked, facts={**asked.facts, **ANOMALY})
        document = write(fitted, catalogue, records)
        CLOSED.validate(document)
        assert document == {**plain, "anomaly": ANOMALY}
        assert plain["anomaly"] is None

    def test_what_the_masks_say_of_organs_is_shown(self, fitted: FittedBooster, catalogue: Path) -> None:
        records = make_records(make_features("kolyan_mass"))
        plain = write(fitted, catalogue, records)
        assert plain["organs"] is None
        heart = OrganMeasurement("heart", 612.5, (90.0, 100.0, 120.0), 45.5, 30.0, ("last_slice",))
        facts = {**describe_findings([heart], measure_lungs([2000] * 40, 5.0)), "name": "masks", "version": "1"}
        told = StageRecord(
            StageName.SEGMENTATION, StageState.SUCCEEDED, None, {**facts, "digest": "d", "timings": {}}, (), {}, 2.0
        )
        document = write(fitted, catalogue, {**records, StageName.SEGMENTATION: told})
        CLOSED.validate(document)
        organs = document["organs"]
        assert organs["present"]["heart"]["volume_ml"] == 612.5
        assert (organs["truncated"], len(organs["absent"])) == (["heart"], 116)
        assert organs["lungs"]["lung_length_mm"] == 200.0
        assert organs["weights"] == {"name": "masks", "version": "1", "digest": "d"}
        assert document["probability_of_pathology"] == plain["probability_of_pathology"]

    def test_class_one_without_evidence_is_admitted(self, fitted: FittedBooster, catalogue: Path) -> None:
        records = make_records(make_features("kolyan_mass", "ctclip_Thymoma", "okhr_Emphysema"), threshold=0.99)
        document = write(fitted, catalogue, records, Policy("tests", "1", 0.01, 1))
        assert document["most_dangerous_pathology_type"] == NO_SPECIFIC_PATHOLOGY
        assert "no_finding_with_evidence" in {warning["code"] for warning in document["quality"]}

    def test_an_answer_without_any_model_is_admitted(self, fitted: FittedBooster, catalogue: Path) -> None:
        document = write(fitted, catalogue, make_records({}))
        assert "no_model_answered" in {warning["code"] for warning in document["quality"]}

    def test_the_upload_is_no_artefact_that_is_offered(self, fitted: FittedBooster, catalogue: Path) -> None:
        document = write(fitted, catalogue, make_records(make_features()))
        (volume,) = document["artifacts"]
        assert volume["href"] == f"/v1/jobs/{document['job_id']}/artifacts/volume"

    def test_timings_name_the_steps_of_each_stage(self, fitted: FittedBooster, catalogue: Path) -> None:
        timings = write(fitted, catalogue, make_records(make_features()))["timings"]
        assert timings["mednext"] == {"total_s": 1.25, "prepare_s": 0.25, "predict_s": 1.0}
        assert timings["intake"] == {"total_s": 0.5, "read_s": 0.25}
        assert set(timings) == {"intake", "fusion", *MODELS}
