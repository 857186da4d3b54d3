"""A detector that is served: scores, and a reconstruction where the policy wants one."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from model_weights.catalogue import ModelEntry, WeightFile
from model_weights.verifying import compute_sha256
from shared.artefacts import ArtefactKind
from shared.errors import Defect
from shared.json_values import JsonObject, JsonValue
from tests.workers.diffusion.tiny import SLICING, TINY, convert, get_entry, make_classifier_state, make_unet_state
from workers.diffusion.anomaly_map import AnomalyMapFile
from workers.diffusion.loading import make_classifier, make_unet
from workers.diffusion.plan import Plan
from workers.diffusion.predictor import Predictor
from workers.diffusion.process import Process
from workers.diffusion.published import read_classifier, read_unet
from workers.diffusion.reconstruction import reconstruct
from workers.diffusion.schedule import Schedule, plan_decoding, plan_encoding, space_times
from workers.diffusion.scoring import score_slices
from workers.diffusion.slices import take_slices
from workers.model_stage import Answer, Question
from workers.volume import Geometry, Volume

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
GEOMETRY = Geometry((4.0, 6.0, 6.0), (-150.0, -150.0, 30.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
SHAPE = (70, 50, 50)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    folder = tmp_path_factory.mktemp("weights")
    convert(folder, make_classifier_state(), make_unet_state())
    return get_entry(folder)


@pytest.fixture(scope="module")
def predictor(entry: ModelEntry) -> Predictor:
    return Predictor(entry, CPU)


@pytest.fixture(scope="module")
def prepared(predictor: Predictor) -> Tensor:
    hu = np.random.default_rng(3).integers(-1000, 600, SHAPE).astype(np.int16)
    return predictor.prepare(Volume(hu, GEOMETRY))


def ask(predictor: Predictor, prepared: Tensor, scratch: Path, **options: JsonValue) -> Answer:
    policy = {"reconstruction": {"steps": 2, "fewest_steps": 1, "slices": 3, **options}}
    return predictor.answer(prepared, Question(GEOMETRY, SHAPE, policy, scratch))


def put_file(entry: ModelEntry, role: str, tensors: dict[str, Tensor], folder: Path) -> ModelEntry:
    """Write a file of an entry anew and pin it."""
    path = folder / "changed.safetensors"
    save_file(tensors, path)
    file = WeightFile(role, path, compute_sha256(path), path.stat().st_size)
    return replace(entry, files={**entry.files, role: file})


class TestScores:
    def test_they_are_the_classifiers_over_the_range(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        classifier = make_classifier(TINY.classifier, read_classifier(TINY.classifier, make_classifier_state()))
        slices = take_slices(prepared[0, 0], SLICING.list_slices(), 16)
        expected = classifier(slices, torch.zeros(len(slices))).softmax(dim=-1)[:, 1]
        answer = ask(predictor, prepared, tmp_path)
        assert len(slices) == 21
        assert answer.probabilities[:3] == pytest.approx(
            [float(expected.mean()), float(expected.max()), float(expected.std(correction=0))], abs=1e-5
        )

    def test_facts_say_where_the_scanned_slices_are(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        facts: Any = ask(predictor, prepared, tmp_path).facts["slices"]
        last = len(facts["probabilities"]) - 1
        first_mm, step_mm = facts["first_centre_lps_mm"], facts["step_lps_mm"]
        assert step_mm == pytest.approx([0.0, 0.0, 14.0])
        assert first_mm[2] >= 20.0
        assert first_mm[2] + last * step_mm[2] <= 30.0 + 4.0 * SHAPE[0]
        highest = facts["highest"][0]
        assert highest["probability"] == max(facts["probabilities"])
        place = facts["probabilities"].index(highest["probability"])
        assert highest["centre_lps_mm"][2] == pytest.approx(first_mm[2] + place * step_mm[2])

    def test_padding_is_scored_for_the_features_and_not_told_as_a_place(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        facts: Any = ask(predictor, prepared, tmp_path).facts["slices"]
        assert len(facts["probabilities"]) == 20  # 70 slices of 4 mm are 20 of 13.75 mm


class TestMemory:
    def test_no_batch_is_kept_once_it_is_scored(self) -> None:
        classifier = make_classifier(TINY.classifier, read_classifier(TINY.classifier, make_classifier_state()))
        alive: list[weakref.ref[Tensor]] = []
        most = 0

        def iterate() -> Iterator[Tensor]:
            nonlocal most
            for _ in range(12):
                batch = torch.zeros(2, 1, 16, 16)
                alive.append(weakref.ref(batch))
                most = max(most, sum(each() is not None for each in alive))
                yield batch

        assert len(score_slices(classifier, iterate(), pathological_class=1)) == 24
        assert most <= 2


class TestPolicy:
    def test_nothing_is_reconstructed_by_default(self, predictor: Predictor, prepared: Tensor, tmp_path: Path) -> None:
        answer = predictor.answer(prepared, Question(GEOMETRY, SHAPE, {}, tmp_path))
        assert answer.facts["reconstruction"] == {"state": "off"}
        assert all(math.isnan(value) for value in answer.probabilities[3:])
        assert not answer.artefacts

    def test_on_suspicion_a_healthy_study_is_left(self, predictor: Predictor, prepared: Tensor, tmp_path: Path) -> None:
        answer = ask(predictor, prepared, tmp_path, when="on_suspicion", suspicion=1.0)
        assert answer.facts["reconstruction"] == {"state": "not_suspected"}

    def test_on_suspicion_the_most_suspicious_slices_may_be_chosen(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        options: JsonObject = {"when": "on_suspicion", "suspicion": 0.0, "choice": "most_suspicious", "slices": 1}
        facts: Any = ask(predictor, prepared, tmp_path, **options).facts
        assert facts["reconstruction"]["centres_lps_mm"] == [facts["slices"]["highest"][0]["centre_lps_mm"]]

    def test_a_budget_that_is_too_small_is_warned_of(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        answer = ask(predictor, prepared, tmp_path, when="always", budget_tflop=1e-9)
        assert [(each.code, each.facts) for each in answer.warnings] == [
            ("not_reconstructed", {"reason": "over_budget"})
        ]
        assert not math.isnan(answer.probabilities[0])

    def test_without_a_noise_predictor_it_is_warned_of(
        self, entry: ModelEntry, prepared: Tensor, tmp_path: Path
    ) -> None:
        files = {role: file for role, file in entry.files.items() if role != "unet_weights"}
        answer = ask(Predictor(replace(entry, files=files), CPU), prepared, tmp_path, when="always")
        assert [each.facts for each in answer.warnings] == [{"reason": "no_weights"}]


class TestReconstruction:
    def test_statistics_and_map_are_those_of_the_slices(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path
    ) -> None:
        answer = ask(predictor, prepared, tmp_path, when="always")
        facts: Any = answer.facts["reconstruction"]
        assert (facts["state"], facts["steps"]) == ("done", {"encoding": 2, "decoding": 3})
        errors = facts["mean_differences_hu"]
        assert answer.probabilities[3] == pytest.approx(sum(errors) / 3 / 1000, rel=1e-4)
        assert answer.probabilities[4] == pytest.approx(max(errors) / 1000, rel=1e-4)
        (artefact,) = answer.artefacts
        assert artefact.kind is ArtefactKind.ANOMALY_MAP
        opened = AnomalyMapFile(artefact.path)
        assert (opened.shape, opened.geometry) == (SHAPE, GEOMETRY)
        looked_at = np.isfinite(opened.read_slices(0, SHAPE[0])).any(axis=(1, 2))
        height_mm = GEOMETRY.origin_lps_mm[2] + 4.0 * np.flatnonzero(looked_at)
        distances_mm = np.abs(height_mm[:, None] - np.asarray(facts["centres_lps_mm"])[:, 2])
        assert distances_mm.min(axis=1).max() <= 7.0
        assert distances_mm.min(axis=0).max() <= 2.0

    @pytest.mark.parametrize("quirks", [{}, {"random_start": True, "repeated_times": 6}])
    def test_the_same_seed_gives_the_same_bits(
        self, predictor: Predictor, prepared: Tensor, tmp_path: Path, quirks: JsonObject
    ) -> None:
        maps = []
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            (artefact,) = ask(predictor, prepared, tmp_path / name, when="always", seed=5, quirks=quirks).artefacts
            maps.append(artefact.path.read_bytes())
        assert maps[0] == maps[1]

    def test_another_seed_gives_other_noise(self, predictor: Predictor, prepared: Tensor, tmp_path: Path) -> None:
        quirks = {"random_start": True}
        means = {
            ask(predictor, prepared, tmp_path, when="always", seed=s, quirks=quirks).probabilities[3] for s in (1, 2)
        }
        assert len(means) == 2

    def test_noise_of_a_slice_does_not_depend_on_the_batch(self) -> None:
        process = make_process()
        slices = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(2)) * 2 - 1
        plan = Plan((), plan_decoding(process.schedule, (0, 4, 8)), 3)
        one, all_at_once = (reconstruct(process, slices, plan, seed=1, batch=batch) for batch in (1, 3))
        assert torch.allclose(one, all_at_once, atol=1e-4)

    def test_without_guidance_there_and_back_is_nearly_the_same_image(self) -> None:
        process = make_process()
        image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2)) - 0.5
        times = space_times(8, None)
        with torch.no_grad():
            noisy = process.follow(image, plan_encoding(process.schedule, times), is_guided=False)
            back = process.follow(noisy, plan_decoding(process.schedule, times), is_guided=False)
        assert float((back - image).abs().mean()) < 0.05

    def test_guidance_makes_a_slice_look_healthier(self) -> None:
        process = make_process(classifier_scale=1000.0)
        classifier = make_classifier(TINY.classifier, read_classifier(TINY.classifier, make_classifier_state()))
        image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(2)) - 0.5
        decoding = plan_decoding(Schedule.make_linear(1000), space_times(8, None))
        with torch.no_grad():
            plain, guided = (process.follow(image, decoding, is_guided=flag) for flag in (False, True))
            healthy = [float(classifier(x, torch.zeros(1)).log_softmax(dim=-1)[0, 0]) for x in (plain, guided)]
        assert healthy[1] > healthy[0] + 1e-4


class TestFaultsOfWeights:
    def test_another_answer_of_the_classifier_is_not_served(self, entry: ModelEntry, tmp_path: Path) -> None:
        known = load_file(entry.get_file("known_answer").path)
        changed = put_file(entry, "known_answer", {**known, "logits": known["logits"] + 1}, tmp_path)
        with pytest.raises(Defect, match="its logits are off"):
            Predictor(changed, CPU)

    def test_another_answer_of_the_noise_predictor_is_not_used(
        self, entry: ModelEntry, prepared: Tensor, tmp_path: Path
    ) -> None:
        known = load_file(entry.get_file("known_answer").path)
        changed = Predictor(put_file(entry, "known_answer", {**known, "noise": -known["noise"]}, tmp_path), CPU)
        with pytest.raises(Defect, match="its noise are off"):
            ask(changed, prepared, tmp_path, when="always")

    def test_other_labels_are_refused(self, entry: ModelEntry) -> None:
        with pytest.raises(Defect, match="its entry names"):
            Predictor(replace(entry, labels=("anomaly",)), CPU)


def make_process(classifier_scale: float = 3.0) -> Process:
    unet = make_unet(TINY.unet, read_unet(TINY.unet, make_unet_state()))
    classifier = make_classifier(TINY.classifier, read_classifier(TINY.classifier, make_classifier_state()))
    return Process(unet, classifier, replace(TINY.process, classifier_scale=classifier_scale))
