"""A site's own findings: asked in the words of the policy, encoded once, and never at the cost of the labels."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import pytest
import torch
from structlog.testing import capture_logs

from model_weights.catalogue import ModelEntry
from model_weights.policies import FindingText, Policy
from shared.json_values import JsonValue
from tests.workers.ct_clip.converting import DOCUMENT, convert, get_entry
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.ct_clip.features import name_features
from workers.ct_clip.model import compute_probabilities
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.ct_clip.vocabulary import VOCABULARY_FILE
from workers.ct_clip.weights import make_model, read_ct_clip
from workers.model_stage import Answer, Question
from workers.volume import Geometry

CPU = torch.device("cpu")
PREPARED = torch.randn(1, 1, 12, 16, 16, generator=torch.Generator().manual_seed(1))
STENT = FindingText("Стент", "A stent is seen.", "No stent is seen.")
PLAQUE = FindingText("Plaque")


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted")
    convert(folder, make_state(), {**DOCUMENT, "labels": ["Pneumonia", "Rib fracture", "Spleen rupture"]})
    return folder


@pytest.fixture
def entry(converted: Path, tmp_path: Path) -> ModelEntry:
    """An entry whose files a test may destroy."""
    shutil.copytree(converted / "weights", tmp_path / "weights")
    return get_entry(tmp_path)


@pytest.fixture
def predictor(entry: ModelEntry, tmp_path: Path) -> Predictor:
    return load(entry, tmp_path)


def load(entry: ModelEntry, folder: Path) -> Predictor:
    return Predictor(entry, CPU, latents_folder=folder / "latents")


def ask(predictor: Predictor, *texts: FindingText) -> Answer:
    policy = Policy("own", "1", 0.5, 1, finding_texts=texts)
    geometry = Geometry((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    with TemporaryDirectory() as scratch:
        return predictor.answer(PREPARED, Question(geometry, (12, 16, 16), policy.to_document(), Path(scratch)))


def iterate_found(answer: Answer) -> Iterator[dict[str, JsonValue]]:
    findings = answer.facts["site_findings"]
    assert isinstance(findings, list)
    yield from findings


def list_warnings(answer: Answer) -> list[tuple[str, JsonValue, JsonValue]]:
    return [
        (warning.code, warning.facts["reason"], warning.facts["findings"])
        for warning in answer.warnings
        if warning.code == "site_findings_unanswered"
    ]


def lose_text_side(entry: ModelEntry) -> None:
    entry.get_file("text_weights").path.write_bytes(b"gone")


class TestAnswers:
    def test_a_finding_is_answered_as_the_whole_network_does(self, predictor: Predictor) -> None:
        (found,) = iterate_found(ask(predictor, STENT))
        tokens = encode_prompts(
            make_tokenizer(VOCABULARY_FILE.read_text(), 16), [str(STENT.present), str(STENT.absent)]
        )
        model = make_model(TINY, read_ct_clip(TINY, make_state()))
        assert found.pop("probability") == pytest.approx(
            compute_probabilities(model(PREPARED, *tokens)).item(), abs=1e-5
        )
        assert found == {"name": "Стент", "present": "A stent is seen.", "absent": "No stent is seen."}

    def test_statements_that_are_left_out_come_from_the_template_of_the_model(self, predictor: Predictor) -> None:
        (found,) = iterate_found(ask(predictor, PLAQUE))
        assert (found["present"], found["absent"]) == ("Plaque is present.", "Plaque is not present.")

    def test_one_that_a_label_asks_too_is_exactly_as_probable(self, entry: ModelEntry, predictor: Predictor) -> None:
        lose_text_side(entry)
        said = FindingText("Broken rib", "Rib fracture is present.", "Rib fracture is not present.")
        answer = ask(predictor, said, FindingText("Pneumonia"))
        found = [finding["probability"] for finding in iterate_found(answer)]
        assert found == [answer.probabilities[1], answer.probabilities[0]]
        assert list_warnings(answer) == []

    def test_they_stand_in_the_order_of_the_policy(self, predictor: Predictor) -> None:
        texts = [STENT, FindingText("Rib fracture"), PLAQUE]
        assert [finding["name"] for finding in iterate_found(ask(predictor, *texts))] == [each.name for each in texts]

    def test_the_labels_do_not_notice(self, predictor: Predictor) -> None:
        assert ask(predictor, STENT, PLAQUE).probabilities == ask(predictor).probabilities

    def test_a_policy_without_them_leaves_no_fact(self, predictor: Predictor) -> None:
        assert "site_findings" not in ask(predictor).facts


class TestEncodingOnce:
    def test_a_second_study_loads_nothing(self, entry: ModelEntry, predictor: Predictor, tmp_path: Path) -> None:
        first = ask(predictor, STENT)
        lose_text_side(entry)
        shutil.rmtree(tmp_path / "latents")
        assert ask(predictor, STENT).facts["site_findings"] == first.facts["site_findings"]

    def test_nor_does_another_process_of_this_machine(self, entry: ModelEntry, tmp_path: Path) -> None:
        first = ask(load(entry, tmp_path), STENT)
        lose_text_side(entry)
        assert ask(load(entry, tmp_path), STENT).facts["site_findings"] == first.facts["site_findings"]

    def test_other_weights_have_latents_of_their_own(self, predictor: Predictor, tmp_path: Path) -> None:
        (first,) = iterate_found(ask(predictor, STENT))
        convert(tmp_path, make_state(seed=1), {**DOCUMENT, "labels": ["Pneumonia"]})
        (second,) = iterate_found(ask(load(get_entry(tmp_path), tmp_path), STENT))
        assert first["probability"] != second["probability"]
        assert len(list((tmp_path / "latents").iterdir())) == 2

    @pytest.mark.parametrize("at", [10, -1])
    def test_a_damaged_file_is_computed_again(self, entry: ModelEntry, tmp_path: Path, at: int) -> None:
        first = ask(load(entry, tmp_path), STENT)
        (path,) = (tmp_path / "latents").iterdir()
        sound = path.read_bytes()
        damaged = bytearray(sound)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        assert ask(load(entry, tmp_path), STENT).facts["site_findings"] == first.facts["site_findings"]
        assert path.read_bytes() == sound

    def test_a_folder_that_cannot_be_written_costs_only_the_next_start(self, entry: ModelEntry, tmp_path: Path) -> None:
        (tmp_path / "latents").write_text("not a folder")
        with capture_logs() as logs:
            assert len(list(iterate_found(ask(load(entry, tmp_path), STENT)))) == 1
        assert "latents of site findings not kept" in [log["event"] for log in logs]


class TestFailures:
    def test_without_the_text_side_everything_else_is_answered(self, entry: ModelEntry, predictor: Predictor) -> None:
        expected = ask(predictor).probabilities
        lose_text_side(entry)
        with capture_logs() as logs:
            answer = ask(predictor, STENT, FindingText("Pneumonia"), PLAQUE)
        assert answer.probabilities == expected
        assert [finding["name"] for finding in iterate_found(answer)] == ["Pneumonia"]
        assert list_warnings(answer) == [("site_findings_unanswered", "encoding_failed", ["Стент", "Plaque"])]
        assert [log["event"] for log in logs] == ["site findings not encoded"]

    def test_the_next_study_tries_again(self, entry: ModelEntry, predictor: Predictor) -> None:
        path = entry.get_file("text_weights").path
        content = path.read_bytes()
        lose_text_side(entry)
        ask(predictor, STENT)
        path.write_bytes(content)
        assert list_warnings(ask(predictor, STENT)) == []

    def test_what_the_model_cannot_read_is_named_and_the_rest_is_answered(self, predictor: Predictor) -> None:
        long = FindingText("long", " ".join(["lung"] * 20))
        unknown = FindingText("unknown", "x" * 101)  # the tokenizer knows no word of so many letters
        same = FindingText("same", "same is not present.")
        answer = ask(predictor, long, STENT, unknown, same)
        assert [finding["name"] for finding in iterate_found(answer)] == ["Стент"]
        assert list_warnings(answer) == [
            ("site_findings_unanswered", "same_statements", ["same"]),
            ("site_findings_unanswered", "too_long", ["long"]),
            ("site_findings_unanswered", "unknown_words", ["unknown"]),
        ]


class TestLabelsOfTheWeights:
    def test_one_that_is_no_feature_is_shown_and_features_without_one_are_declared(self, predictor: Predictor) -> None:
        answer = ask(predictor)
        features = name_features(("Pneumonia", "Rib fracture", "Spleen rupture"), answer.probabilities)
        assert list(features) == ["ctclip_Pneumonia", "ctclip_Rib fracture"]
        assert answer.facts["unfused"] == {"Spleen rupture": answer.probabilities[2]}
        (warning,) = answer.warnings
        assert warning.code == "labels_missing"
        assert warning.facts["unknown"] == ["Spleen rupture"]
        assert len(cast("list[str]", warning.facts["missing"])) == 53
