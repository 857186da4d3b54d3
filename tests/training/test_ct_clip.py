"""Training of the demo CT-CLIP: honest examples, reports and codes, repeatable and resumable runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from model_weights.catalogue import ModelEntry, load_catalogue
from phantom.study import FINDINGS, PhantomSettings, PlacedFinding, make_study
from shared.features import CT_CLIP_LABELS
from training.ct_clip import train
from training.ct_clip_batches import make_batch, make_targets, make_volumes
from training.ct_clip_codes import CodeBookTracker, find_clusters
from training.ct_clip_evaluation import LEAST_SPECIFICITY, Answers, choose_thresholds, report_labels
from training.ct_clip_examples import Example, iterate_examples, locate_findings, make_example
from training.ct_clip_fitting import Fitting
from training.ct_clip_learner import Learner, hold_first_channel
from training.ct_clip_plan import ANY_FINDING, TRAINED_LABELS, UNTRAINED_LABELS, CTCLIPPlan
from training.ct_clip_vocabulary import make_vocabulary
from training.examples import Task
from training.phantoms import Prevalence, make_volume
from workers.ct_clip.configuration import ImageShape, Preprocessing
from workers.ct_clip.ctvit import CodeBook
from workers.ct_clip.predictor import Predictor
from workers.ct_clip.prompts import make_prompts
from workers.ct_clip.tokenizer import make_tokenizer

pytestmark = pytest.mark.usefixtures("one_thread")

GRID = Preprocessing(spacing_mm=(10.0, 10.0, 8.0), shape=(32, 32, 32))
TINY = CTCLIPPlan(
    training_studies=8,
    validation_studies=8,
    held_out_studies=6,
    continuous_steps=2,
    quantised_steps=2,
    batch=4,
    image=ImageShape(
        dim=16,
        codebook_size=32,
        image_size=32,
        patch_size=8,
        temporal_patch_size=8,
        spatial_depth=1,
        temporal_depth=1,
        dim_head=8,
        heads=2,
    ),
    text_width=16,
    text_layers=1,
    text_heads=2,
    dim_latent=16,
    preprocessing=GRID,
)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    prevalence = Prevalence(normal=0.2, most_findings=4)
    return [make_example(Task(seed, prevalence, is_located=True), GRID) for seed in range(8)]


class TestExamples:
    def test_they_come_in_order_and_are_kept_as_they_were_made(self, tmp_path: Path) -> None:
        tasks = [Task(seed, Prevalence(normal=0.0), is_located=seed == 3) for seed in (5, 3)]
        made = list(iterate_examples(tasks, GRID, tmp_path, 1))
        kept = list(iterate_examples(tasks, GRID, tmp_path, 0))
        assert [example.seed for example in made] == [5, 3]
        assert [example.places is None for example in kept] == [True, False]
        for one, other in zip(made, kept, strict=True):
            assert np.array_equal(one.voxels, other.voxels)
            assert one.findings == other.findings
            assert np.array_equal(np.asarray(one.places), np.asarray(other.places))

    def test_every_finding_has_its_place_and_a_healthy_chest_none(self) -> None:
        settings = PhantomSettings.coarse()
        assert locate_findings(make_study(8, (), settings), settings, GRID).shape == (0, 16, 16, 16)
        study = make_study(8, ("pleural_effusion", "mass"), settings)
        mass, effusion = locate_findings(study, settings, GRID)
        assert 0 < mass.sum() < effusion.sum() < 0.2 * effusion.size

    def test_the_place_of_a_mass_is_where_the_input_shows_it(self) -> None:
        settings = PhantomSettings.coarse()
        study = make_study(8, ("mass",), settings)
        (place,) = locate_findings(study, settings, GRID)
        geometry = make_volume(study).geometry
        middle_zyx = (np.asarray(study.hu.shape) - 1) / 2 * geometry.spacing_zyx_mm
        offset_xyz = np.asarray(study.findings[0].centre_lps_mm) - geometry.origin_lps_mm - middle_zyx[::-1]
        expected = np.asarray([offset_xyz[2] / 10, offset_xyz[0] / 10, offset_xyz[1] / 8]) / 2 + 7.5  # blocks of 2
        assert np.argwhere(place).mean(axis=0) == pytest.approx(expected, abs=1.0)


class TestTargets:
    def test_a_label_is_there_with_its_finding_and_the_unspecific_one_with_any(self, examples: list[Example]) -> None:
        for example in examples:
            present = {finding.name for finding in example.findings}
            said = {label for label, value in zip(CT_CLIP_LABELS, make_targets(example), strict=True) if value}
            assert (ANY_FINDING in said) == bool(present)
            assert said - {ANY_FINDING} == {label for label, name in TRAINED_LABELS.items() if name in present}

    def test_every_label_is_trained_or_declared_untrained(self) -> None:
        assert {ANY_FINDING, *TRAINED_LABELS, *UNTRAINED_LABELS} == set(CT_CLIP_LABELS)
        assert set(TRAINED_LABELS.values()) < set(FINDINGS)


class TestBatches:
    def test_places_move_with_the_volume(self) -> None:
        voxels = np.full((32, 32, 32), -1, np.float16)
        voxels[16:24, 8:16, 16:24] = 1
        places = np.zeros((1, 16, 16, 16), bool)
        places[0, 8:12, 4:8, 8:12] = True
        mass = PlacedFinding("mass", (0.0, 0.0, 0.0), (60.0, 60.0, 60.0), 0.5)
        example = Example(0, voxels, (mass,), places)
        for seed in range(6):
            batch = make_batch([example], TINY.image, np.random.default_rng(seed))
            seen = torch.nonzero(batch.volumes[0, 0] > 0).double().mean(dim=0) / 8
            told = torch.nonzero(batch.places[0, FINDINGS.index("mass")]).double().mean(dim=0) + 0.5
            assert torch.allclose(seen, told, atol=0.75)
            assert batch.places.sum() == batch.places[0, FINDINGS.index("mass")].sum()

    def test_they_repeat_with_their_generator(self, examples: list[Example]) -> None:
        one, other = (make_batch(examples[:3], TINY.image, np.random.default_rng(1)) for _ in range(2))
        assert torch.equal(one.volumes, other.volumes)
        assert one.reports == other.reports

    def test_a_report_fits_every_study_with_the_same_findings(self, examples: list[Example]) -> None:
        healthy = next(example for example in examples if not example.findings)
        ill = next(example for example in examples if example.findings)
        batch = make_batch([ill, ill, healthy], TINY.image, np.random.default_rng(0))
        assert batch.is_same.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


class TestVocabulary:
    def test_no_prompt_and_no_latin_or_cyrillic_word_is_unknown(self) -> None:
        tokenizer = make_tokenizer(make_vocabulary(), 128)
        unknown = tokenizer.token_to_id("[UNK]")
        for text in (*make_prompts(CT_CLIP_LABELS), "Bochdalek's hernia, 3x4 cm (left)!", "Очаг в лёгком"):
            assert unknown not in tokenizer.encode(text).ids

    def test_words_of_the_prompts_are_whole(self) -> None:
        tokenizer = make_tokenizer(make_vocabulary(), 128)
        assert not [t for t in tokenizer.encode("Pericardial effusion is not present.").tokens if t.startswith("##")]

    def test_tokens_are_different(self) -> None:
        tokens = make_vocabulary().splitlines()
        assert len(set(tokens)) == len(tokens)


class TestCodes:
    def test_clusters_are_found_by_direction(self) -> None:
        directions = functional.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
        tokens = (directions[:, None] * torch.linspace(0.5, 2, 50)[:, None]).flatten(0, 1)
        found = functional.normalize(find_clusters(tokens, 8, torch.Generator().manual_seed(1)), dim=-1)
        assert (found @ directions.t()).max(dim=0).values.min() > 0.999

    def test_codes_follow_their_tokens_and_an_idle_one_takes_another(self) -> None:
        book = CodeBook(2, 2).requires_grad_(requires_grad=False)
        tracker, generator = CodeBookTracker(book), torch.Generator().manual_seed(0)
        tracker.start(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), generator)
        tokens = torch.tensor([[3.0, 1.0]]).repeat(10, 1)
        for _ in range(300):
            tracker.update(tokens, torch.zeros(10, dtype=torch.int64), generator)
        assert torch.allclose(book.codes, tokens[:2], atol=1e-2)


class TestLearner:
    def test_the_folded_projection_gives_the_latents_that_were_learnt(self, examples: list[Example]) -> None:
        torch.manual_seed(0)
        learner = Learner(TINY.make_architecture(100)).train()
        torch.nn.init.normal_(learner.projection.by_place.weight, std=0.1)
        hold_first_channel(learner.model.image.encoder)
        volumes = make_volumes(examples)
        with torch.no_grad():
            learner(volumes, is_quantised=False)
            learner.eval()
            expected = learner(volumes, is_quantised=False)
            model = learner.fold()
            assert torch.allclose(model.image.project(expected.tokens), expected.latents, atol=1e-4)


class TestFitting:
    def test_a_run_that_was_cut_off_ends_with_the_same_weights(
        self, examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("training.ct_clip_fitting._CHECKPOINT_STEPS", 3)
        (tmp_path / "whole").mkdir()
        (tmp_path / "cut").mkdir()
        plan = replace(TINY, arrival_share=1.0)
        whole = Fitting(plan, tmp_path / "whole", print).run(iter(examples))
        with pytest.raises(StopIteration):
            Fitting(plan, tmp_path / "cut", print).run(iter(examples[:7]))
        resumed = Fitting(plan, tmp_path / "cut", print).run(iter(examples))
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)


class TestMeasures:
    def test_a_threshold_keeps_its_specificity_though_a_lower_one_would_part_better(self) -> None:
        column = CT_CLIP_LABELS.index("Pulmonary nodule")
        targets = np.zeros((20, len(CT_CLIP_LABELS)), np.float32)
        targets[10:, column] = 1
        values = np.concatenate([np.linspace(0.1, 0.3, 8), [0.5, 0.6], [0.9], np.full(9, 0.4)]).astype(np.float32)
        probabilities = np.tile(values[:, None], (1, len(CT_CLIP_LABELS)))
        answers = Answers(targets, probabilities, probabilities, torch.zeros(20, 4, 4, 4))
        thresholds = choose_thresholds(answers)
        assert set(thresholds) == {"Pulmonary nodule"}
        (report,) = report_labels(answers, thresholds)
        assert report.specificity is not None
        assert report.specificity >= LEAST_SPECIFICITY
        assert report.positives == 10
        assert report.sensitivity == pytest.approx(0.1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelEntry, Path]:
    folder = tmp_path_factory.mktemp("trained")
    return train(TINY, folder / "state", folder / "catalogue.toml", processes=0), folder


class TestTraining:
    def test_a_tiny_run_publishes_a_model_with_its_card(self, trained: tuple[ModelEntry, Path]) -> None:
        entry, folder = trained
        assert (entry,) == load_catalogue(folder / "catalogue.toml")
        assert entry.labels == CT_CLIP_LABELS
        assert entry.card is not None
        card = (folder / entry.card).read_text()
        assert "not for clinical use" in card
        assert "relevance_reference" in entry.files
        assert "python -m training.ct_clip --seed 1 --training-studies 8" in card

    def test_what_is_published_answers_about_a_study(self, trained: tuple[ModelEntry, Path]) -> None:
        predictor = Predictor(trained[0], torch.device("cpu"))
        volume = make_volume(make_study(3, ("mass",), PhantomSettings.coarse()))
        probabilities = predictor.predict(predictor.prepare(volume))
        assert probabilities.shape == (1, len(CT_CLIP_LABELS))
        assert bool(((probabilities > 0) & (probabilities < 1)).all())

    def test_a_run_that_had_learnt_everything_publishes_the_same(self, trained: tuple[ModelEntry, Path]) -> None:
        entry, folder = trained
        assert train(TINY, folder / "state", folder / "catalogue.toml", processes=0).digest == entry.digest


class TestShippedWeights:
    def test_they_see_a_large_heart_in_studies_that_were_not_in_their_training(self) -> None:
        entry = next(entry for entry in load_catalogue() if entry.name == "ct-clip-demo")
        predictor, label = Predictor(entry, torch.device("cpu")), "Cardiac chamber enlargement"
        settings = replace(PhantomSettings.coarse(), severity=(0.8, 1.0))
        for seed in (950_000, 950_001):
            studies = [make_study(seed, findings, settings) for findings in ((), ("cardiomegaly",))]
            volumes = torch.cat([predictor.prepare(make_volume(study)) for study in studies])
            healthy, enlarged = predictor.predict(volumes)[:, CT_CLIP_LABELS.index(label)].tolist()
            assert healthy < entry.thresholds[label] <= enlarged
