"""Fine-tuning of the supervised head: tables, losses that know what is unknown, runs that go on, true reports."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry, load_catalogue
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from shared.errors import Defect, InputProblem
from shared.features import SUPERVISED_LABELS
from shared.problems import ProblemCode
from shared.stages import StageName
from tests.workers.ct_clip.converting import DOCUMENT, convert
from tests.workers.ct_clip.tiny import TINY, make_state
from training.supervised.__main__ import main
from training.supervised.base import BaseModel, open_base
from training.supervised.classifier import (
    compute_rates,
    encode_for_training,
    make_dropout,
    make_fresh_classifier,
    select_parameters,
)
from training.supervised.fitting import Fitting, Studies, answer, compute_rate_factor
from training.supervised.loss import find_teachable, make_loss
from training.supervised.measures import choose_thresholds, report_labels
from training.supervised.plan import FineTuningPlan, FineTuningStage, Part
from training.supervised.reading import compute_study_digest
from training.supervised.table import Split, read_table
from workers.ct_clip.configuration import Preprocessing
from workers.device import ComputeMode
from workers.supervised.configuration import HeadKind
from workers.supervised.labels import CT_RATE_LABELS
from workers.supervised.model import LatentClassifier
from workers.supervised.predictor import Predictor

NAN = math.nan
PREPROCESSING = Preprocessing(spacing_mm=(14.0, 20.0, 20.0), shape=(24, 16, 16))
SETTINGS = {"architecture": TINY.to_table(), "preprocessing": {"shape": [24, 16, 16], "spacing_mm": [14, 20, 20]}}
PLAN = FineTuningPlan(stages=(FineTuningStage(Part.HEAD, 3), FineTuningStage(Part.TOP, 2)), batch=3)
SPLITS = ("train", "train", "train", "train", "validation", "validation", "test", "test")


def write_table(path: Path, *lines: dict[str, object]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(name for line in lines for name in line)))
        writer.writeheader()
        writer.writerows(lines)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "CT-CLIP_v2.pt"
    torch.save(make_state(), path)
    path.with_name("config.json").write_text(json.dumps(SETTINGS))
    return path


@pytest.fixture(scope="module")
def base(checkpoint: Path) -> BaseModel:
    return open_base(checkpoint, TINY, PREPROCESSING)


class TestTable:
    def test_an_empty_cell_is_unknown_and_absent_labels_are_not_asked_for(self, tmp_path: Path) -> None:
        path = write_table(tmp_path / "t.csv", {"path": "a.zip", "covid": "1", "cancer": ""}, {"path": "b", "covid": 0})
        table = read_table(path, SUPERVISED_LABELS)
        assert table.labels == ("cancer", "covid")
        assert [row.targets[1] for row in table.rows] == [1, 0]
        assert all(math.isnan(row.targets[0]) for row in table.rows)
        assert table.rows[0].study == tmp_path / "a.zip"

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ({"path": "a", "covid": "2"}, "line 2 of the table: covid must be 0, 1 or empty"),
            ({"path": "", "covid": "1"}, "line 2 of the table names no study"),
            ({"path": "a", "covid": "1", "split": "later"}, "line 2 of the table: the split"),
            ({"path": "a", "covid": "1", "weight": "3"}, "line 2 of the table: the weight"),
            ({"path": "a", "unheard": "1"}, "no column of a label"),
            ({"study": "a", "covid": "1"}, "no column 'path'"),
        ],
    )
    def test_what_cannot_be_meant_is_named(self, tmp_path: Path, line: dict[str, object], said: str) -> None:
        with pytest.raises(Defect, match=said):
            read_table(write_table(tmp_path / "t.csv", line), SUPERVISED_LABELS)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("path,covid,covid\na.zip,1,0\n", r"the columns \['covid'\] twice"),
            ("path,covid,cancer\na,b.zip,1,0\n", "line 2 of the table has not as many fields"),
            ("path,covid,cancer\na.zip,1,0\nb.zip,1\n", "line 3 of the table has not as many fields"),
            ("path;covid\na.zip;1\n", "separate them by commas"),
            ("path\tcovid\na.zip\t1\n", "separate them by commas"),
        ],
    )
    def test_values_are_never_taken_for_those_of_another_column(self, tmp_path: Path, text: str, said: str) -> None:
        (tmp_path / "t.csv").write_text(text)
        with pytest.raises(Defect, match=said):
            read_table(tmp_path / "t.csv", SUPERVISED_LABELS)

    def test_a_patient_in_two_splits_is_refused(self, tmp_path: Path) -> None:
        lines = [{"path": str(n), "covid": 1, "patient": "one", "split": split} for n, split in enumerate(SPLITS[3:5])]
        with pytest.raises(Defect, match=r"1 patients are in more than one split, for one in the lines \[\[2, 3\]\]"):
            read_table(write_table(tmp_path / "t.csv", *lines), SUPERVISED_LABELS)

    def test_a_patient_stays_together_and_one_who_is_added_moves_no_other(self, tmp_path: Path) -> None:
        lines: list[dict[str, object]] = [{"path": n, "covid": 1, "patient": n // 2} for n in range(400)]
        rows = read_table(write_table(tmp_path / "t.csv", *lines), SUPERVISED_LABELS).rows
        fewer = read_table(write_table(tmp_path / "f.csv", *lines[40:]), SUPERVISED_LABELS).rows
        assert [row.split for row in rows[::2]] == [row.split for row in rows[1::2]]
        assert [row.split for row in rows[40:]] == [row.split for row in fewer]
        assert 0.6 < sum(row.split is Split.TRAINING for row in rows) / len(rows) < 0.8

    def test_validation_is_taken_from_training_patients_where_there_is_none(self, tmp_path: Path) -> None:
        lines: list[dict[str, object]] = [
            {"path": n, "covid": 1, "split": "train" if n % 4 else "test"} for n in range(200)
        ]
        rows = read_table(write_table(tmp_path / "t.csv", *lines), SUPERVISED_LABELS).rows
        assert sum(row.split is Split.HELD_OUT for row in rows) == 50
        assert 10 < sum(row.split is Split.VALIDATION for row in rows) < 40


class TestStudies:
    @pytest.mark.parametrize("name", ["absent.zip", "a" * 5000, "a\0b", "a\n"])
    def test_a_path_that_leads_nowhere_is_a_refusal_of_that_study(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputProblem) as caught:
            compute_study_digest(tmp_path / name)
        assert caught.value.problem.code is ProblemCode.NOT_FOUND

    def test_names_that_are_not_unicode_do_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"\xff\xfe.dcm")).write_bytes(b"DICM")
        assert len(compute_study_digest(tmp_path)) == 64


class TestLoss:
    TARGETS = torch.tensor([[1.0, 0.0], [0.0, NAN], [0.0, 1.0], [0.0, NAN]])

    def test_what_is_unknown_moves_nothing(self) -> None:
        logits = torch.zeros(4, 2, requires_grad=True)
        loss = make_loss(self.TARGETS, beta=0.9999, positive_weight=(1.2, 8.0))
        loss.compute_sum(logits, self.TARGETS, torch.ones(4)).backward()  # type: ignore[no-untyped-call]  # of torch
        assert logits.grad is not None
        assert torch.equal(logits.grad == 0, self.TARGETS.isnan())

    def test_rare_labels_weigh_more_and_positives_within_bounds(self) -> None:
        targets = torch.zeros(1000, 2)
        targets[:10, 0], targets[:600, 1] = 1, 1
        loss = make_loss(targets, beta=0.9999, positive_weight=(1.2, 8.0))
        assert loss.positive_weights.tolist() == pytest.approx([8.0, 1.2])
        assert float(loss.label_weights[0] / loss.label_weights[1]) == pytest.approx(60, rel=0.05)
        assert float(loss.label_weights.mean()) == pytest.approx(1)

    def test_a_label_that_was_seen_one_way_only_cannot_be_taught(self) -> None:
        targets = torch.tensor([[1.0, 1.0, NAN], [0.0, 1.0, NAN]])
        assert find_teachable(targets) == [0]


class TestClassifier:
    def make(self, base: BaseModel, head: HeadKind = HeadKind.LAYER_NORM) -> LatentClassifier:
        return make_fresh_classifier(base, head, torch.tensor([[1.0], [0.0], [0.0]]))

    @pytest.mark.parametrize("head", list(HeadKind))
    def test_it_begins_with_how_frequent_a_label_is(self, base: BaseModel, head: HeadKind) -> None:
        logits = self.make(base, head).classify(torch.randn(2, TINY.dim_latent))
        assert logits.sigmoid().flatten().tolist() == pytest.approx([1 / 3, 1 / 3])

    def test_training_sees_the_latents_of_inference_and_reaches_the_patches(self, base: BaseModel) -> None:
        classifier, volume = self.make(base), torch.randn(1, 1, 24, 16, 16)
        classifier.image.requires_grad_()
        latents = encode_for_training(classifier, volume)
        assert torch.allclose(latents, classifier.image(volume), atol=1e-5)
        latents[0, 0].backward()  # type: ignore[no-untyped-call]  # of torch
        gradient = classifier.image.encoder.patch_embedding.project.weight.grad
        assert gradient is not None
        assert bool(gradient.any())

    def test_parts_contain_each_other_and_never_code_book_or_projection(self, base: BaseModel) -> None:
        classifier = self.make(base)
        head, top, everything = (set(select_parameters(classifier, part)) for part in Part)
        assert head < top < everything
        assert not any(name.startswith(("image.encoder.code_book", "image.projection")) for name in everything)

    def test_deeper_layers_move_less(self, base: BaseModel) -> None:
        classifier = self.make(base)
        rates = compute_rates(classifier, select_parameters(classifier, Part.ALL), FineTuningPlan())
        assert rates["head.1.weight"] == 1e-3
        assert rates["image.encoder.temporal.norm.weight"] == 1e-5
        assert rates["image.encoder.spatial.norm.weight"] == pytest.approx(0.8e-5)
        assert rates["image.encoder.patch_embedding.project.weight"] == pytest.approx(0.64e-5)

    def test_dropout_keeps_the_mean(self) -> None:
        factors = make_dropout((200, 50), 0.3, torch.Generator().manual_seed(1))
        assert float(factors.mean()) == pytest.approx(1, abs=0.02)
        assert float((factors == 0).float().mean()) == pytest.approx(0.3, abs=0.02)

    def test_the_rate_warms_up_and_falls_to_a_tenth(self) -> None:
        factors = [compute_rate_factor(share, FineTuningPlan()) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
        assert factors == pytest.approx([0, 0.5, 1, 0.55, 0.1], abs=0.011)


def make_studies(
    base: BaseModel, count: int, seed: int, prepare: Callable[[Tensor], Tensor] = lambda each: each
) -> Studies:
    generator = torch.Generator().manual_seed(seed)
    volumes = torch.randn(count, 1, 1, 24, 16, 16, generator=generator)
    targets = torch.tensor([[float(n % 2), float(n // 2 % 2)] for n in range(count)])
    targets[0, 1] = NAN
    with torch.no_grad():
        latents = torch.cat([base.make_tower()(volume) for volume in volumes])
    return Studies(targets, torch.ones(count), latents, lambda number: prepare(volumes[number]))


class TestFitting:
    def fit(self, base: BaseModel, folder: Path, training: Studies) -> LatentClassifier:
        classifier = make_fresh_classifier(base, HeadKind.LAYER_NORM, training.targets)
        validation = make_studies(base, 4, seed=2)
        path = folder / "checkpoint.pt"
        return Fitting(
            classifier, PLAN, training=training, validation=validation, checkpoint=path, report=lambda _: None
        ).run()

    @pytest.mark.parametrize("killed_at", [1, 13])
    def test_a_run_that_was_killed_ends_with_the_same_weights(
        self, base: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
    ) -> None:
        monkeypatch.setattr("training.supervised.fitting._SAVE_S", 0.0)
        (tmp_path / "cut").mkdir()
        whole = self.fit(base, tmp_path, make_studies(base, 7, seed=1))
        left = killed_at

        def prepare(volume: Tensor) -> Tensor:
            nonlocal left
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
            return volume

        training = make_studies(base, 7, seed=1, prepare=prepare)
        with pytest.raises(KeyboardInterrupt):
            self.fit(base, tmp_path / "cut", training)
        resumed = self.fit(base, tmp_path / "cut", training)
        for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_the_encoder_moves_in_its_own_stage_only(self, base: BaseModel, tmp_path: Path) -> None:
        fitted = self.fit(base, tmp_path, make_studies(base, 7, seed=1))
        before = base.make_tower().state_dict()
        moved = {name for name, tensor in fitted.image.state_dict().items() if not torch.equal(tensor, before[name])}
        assert moved
        assert all(name.startswith(("encoder.temporal.", "encoder.spatial.")) for name in moved)

    def test_a_head_learns_what_latents_tell(self, base: BaseModel, tmp_path: Path) -> None:
        latents = torch.nn.functional.normalize(
            torch.randn(80, TINY.dim_latent, generator=torch.Generator().manual_seed(3)), dim=-1
        )
        targets = (latents[:, :1] > 0).float()
        studies = Studies(targets, torch.ones(80), latents, lambda _: latents)
        classifier = make_fresh_classifier(base, HeadKind.PLAIN, targets)
        plan = replace(FineTuningPlan(), stages=(FineTuningStage(Part.HEAD, 60),), head_rate=0.05)
        fitting = Fitting(
            classifier, plan, training=studies, validation=studies, checkpoint=tmp_path / "c.pt", report=lambda _: None
        )
        probabilities = answer(fitting.run(), studies, has_latents=True)
        assert float(((probabilities > 0.5) == (targets > 0.5)).float().mean()) > 0.95
        assert fitting.history[-1].validation_loss < fitting.history[0].validation_loss


class TestMeasures:
    TRUTH = np.asarray([[0.0], [0], [0], [0], [0], [1], [1], [1], [NAN], [1]])
    VALUES = np.asarray([[0.1], [0.2], [0.3], [0.4], [0.75], [0.7], [0.8], [0.9], [0.5], [0.35]])

    def test_a_threshold_keeps_the_specificity_that_was_asked_for(self) -> None:
        lenient = choose_thresholds(["one"], self.TRUTH, self.VALUES, 0.7)
        strict = choose_thresholds(["one"], self.TRUTH, self.VALUES, 1.0)
        assert lenient == {"one": pytest.approx(0.7)}
        assert strict == {"one": pytest.approx(0.8)}

    @pytest.mark.parametrize("truth", [np.zeros((4, 1)), np.full((4, 1), NAN)])
    def test_nothing_is_told_of_what_was_seen_one_way_only(self, truth: np.ndarray) -> None:
        assert choose_thresholds(["one"], truth, np.full((4, 1), 0.5), 0.8) == {}
        report = report_labels(["one"], truth, np.full((4, 1), 0.5), {}, groups=["a"] * 4, seed=1)[0]
        assert (report.auc, report.average_precision, report.threshold) == (None, None, None)

    def test_figures_stand_inside_their_intervals(self) -> None:
        groups = [str(number) for number in range(10)]
        (report,) = report_labels(["one"], self.TRUTH, self.VALUES, {"one": 0.7}, groups=groups, seed=1)
        assert report.auc is not None
        assert report.auc_interval is not None
        assert report.average_precision_interval is not None
        assert report.auc == pytest.approx(17 / 20)
        assert report.auc_interval[0] < report.auc < report.auc_interval[1]
        assert (report.positives, report.negatives, report.unknown) == (4, 5, 1)
        assert (report.sensitivity, report.specificity) == (0.75, 0.8)

    def test_studies_of_one_patient_are_no_independent_evidence(self) -> None:
        truth, values = np.repeat(self.TRUTH, 8, axis=0), np.repeat(self.VALUES, 8, axis=0)
        widths = []
        for together in (1, 8):
            groups = [str(number // together) for number in range(80)]
            interval = report_labels(["one"], truth, values, {}, groups=groups, seed=1)[0].auc_interval
            assert interval is not None
            widths.append(interval[1] - interval[0])
        assert widths[1] > widths[0]


@dataclass(frozen=True)
class Site:
    """A site's studies and table, and where its weights and its state are."""

    folder: Path
    table: Path
    checkpoint: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def run(self, *options: str, table: Path | None = None, weights: str = "weights") -> ModelEntry:
        given = [
            "finetune", str(table or self.table), "--ct-clip", str(self.checkpoint), "--config",
            str(self.checkpoint.with_name("config.json")), "--weights-dir", str(self.folder / weights), "--state",
            str(self.state), "--threads", "1", *options,
        ]  # fmt: skip
        main(given)
        (entry,) = load_catalogue(self.folder / weights / "catalogue.toml")
        return entry


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path) -> Site:
    folder = tmp_path_factory.mktemp("site")
    lines: list[dict[str, object]] = []
    for number, split in enumerate(SPLITS):
        has_effusion = number % 2
        path = folder / f"{number}.zip"
        write_zip(make_study(number, ["pleural_effusion"] if has_effusion else [], PhantomSettings.coarse()), path)
        labels = {
            "cancer": "",
            "covid": 0,
            "pleural_effusion": has_effusion,
            "fibrosis": "" if number == 2 else number // 2 % 2,
        }
        lines.append({"path": path.name, "patient": f"P{number}", "split": split, **labels})
    (folder / "broken.zip").write_bytes(b"PK\3\4" + bytes(40))
    spoilt = {"patient": "Q", "split": "train", "pleural_effusion": 1}
    lines += [{"path": name, **spoilt} for name in ("broken.zip", "absent.zip", "0.zip")]
    return Site(folder, write_table(folder / "studies.csv", *lines), checkpoint)


@dataclass(frozen=True)
class Run:
    """A finished run: its entry and its reports as they stood at its end, whatever wrote there later."""

    entry: ModelEntry
    report: str
    page: str


@pytest.fixture(scope="module")
def run(site: Site) -> Run:
    entry = site.run("--head-epochs", "4", "--top-epochs", "1", "--batch", "4")
    report, page = ((site.state / name).read_text() for name in ("report.json", "report.html"))
    return Run(entry, report, page)


@pytest.fixture(scope="module")
def entry(run: Run) -> ModelEntry:
    return run.entry


class TestFineTuning:
    def test_the_entry_answers_in_the_stage_for_what_it_was_taught(self, entry: ModelEntry) -> None:
        assert entry.stage is StageName.SUPERVISED
        assert entry.labels == ("pleural_effusion", "fibrosis")
        predictor = Predictor(entry, torch.device("cpu"), ComputeMode())
        probabilities = predictor.predict(torch.zeros(1, 1, 24, 16, 16))
        assert probabilities.shape == (1, 2)

    def test_it_stands_under_the_terms_of_what_it_was_trained_from(self, entry: ModelEntry) -> None:
        assert entry.licence == "CC-BY-NC-SA-4.0"
        assert str(entry.weights_profile) == "full"

    def test_what_cannot_be_read_is_a_line_of_the_report(self, run: Run) -> None:
        told = json.loads(run.report)
        assert {each["line"]: each["problem"] for each in told["left_out"]} == {
            10: "archive_truncated", 11: "not_found", 12: "duplicate_study"
        }  # fmt: skip
        assert told["counts"] == {"training": 4, "validation": 2, "held_out": 2}
        assert told["untaught"] == ["cancer", "covid"]

    def test_the_report_tells_figures_curves_and_doubts(self, run: Run) -> None:
        told = json.loads(run.report)
        effusion = next(label for label in told["labels"] if label["label"] == "pleural_effusion")
        assert set(effusion) >= {
            "auc",
            "auc_interval",
            "average_precision",
            "calibration_error",
            "sensitivity",
            "curve",
        }
        assert [epoch["stage"] for epoch in told["history"]] == ["head"] * 4 + ["top"]
        page = run.page
        assert "Not a medical device" in page
        assert "archive_truncated" in page
        assert "Not taught" in page
        assert "<script" not in page

    def test_card_and_report_name_no_folder_and_no_patient(self, run: Run, site: Site) -> None:
        assert run.entry.card is not None
        card = (site.folder / "weights" / run.entry.card).read_text()
        told = card + run.report + run.page
        assert str(site.folder) not in told
        assert "P3" not in told

    def test_the_same_command_gives_the_same_weights_without_reading_again(self, entry: ModelEntry, site: Site) -> None:
        again = site.run("--head-epochs", "4", "--top-epochs", "1", "--batch", "4", weights="again")
        assert again.digest == entry.digest

    def test_another_table_encodes_no_study_again(self, entry: ModelEntry, site: Site) -> None:
        kept = {path: path.stat().st_mtime_ns for path in (site.state / "latents").rglob("*.npy")}
        lines = [{"path": f"{n}.zip", "Hiatal hernia": n % 2, "Lymphadenopathy": ""} for n in range(8)]
        table = write_table(site.folder / "other.csv", *lines)
        found = site.run("--head", "rectified", "--head-epochs", "2", "--seed", "3", table=table, weights="public")
        assert found.labels == ("Hiatal hernia",)
        assert set(found.labels) < set(CT_RATE_LABELS)
        assert found.architecture["head"] == "rectified"
        assert {path: path.stat().st_mtime_ns for path in (site.state / "latents").rglob("*.npy")} == kept
        assert "names no patients" in (site.state / "report.html").read_text()


class TestBase:
    def test_an_installed_ct_clip_gives_the_same_encoder_as_its_checkpoint(
        self, base: BaseModel, tmp_path: Path
    ) -> None:
        convert(tmp_path, make_state(), {**DOCUMENT, "preprocessing": PREPROCESSING.to_table()})
        installed = open_base(tmp_path / "weights", TINY, Preprocessing())
        assert installed.encoder_digest == base.encoder_digest
        assert installed.licence == "CC-BY-NC-SA-4.0"

    def test_another_preparation_is_another_encoder(self, base: BaseModel) -> None:
        other = replace(base, preprocessing=replace(PREPROCESSING, spacing_mm=(1.0, 1.0, 1.0)))
        assert other.encoder_digest != base.encoder_digest


class TestCommand:
    def test_a_table_that_cannot_be_used_ends_with_one_line(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        table = write_table(tmp_path / "t.csv", {"path": "a", "covid": "yes"})
        with pytest.raises(SystemExit) as ended:
            site.run(table=table)
        assert ended.value.code == 2
        assert capsys.readouterr().err == "line 2 of the table: covid must be 0, 1 or empty\n"

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("--head-epochs", "0"), "nothing would be trained"),
            (("--batch", "0"), "the batch must be at least 1"),
            (("--head-rate", "nan"), "the rates must be above 0"),
            (("--least-specificity", "2"), "between 0 and 1"),
            (("--device", "cuda:7"), "try --device cpu"),
            (("--device", "abacus"), "try --device cpu"),
            (("--config", "absent.json"), "cannot be read as JSON"),
        ],
    )
    def test_an_option_that_means_nothing_ends_with_one_line(
        self, site: Site, capsys: pytest.CaptureFixture[str], options: tuple[str, str], said: str
    ) -> None:
        with pytest.raises(SystemExit) as ended:
            site.run(*options)
        assert ended.value.code == 2
        told = capsys.readouterr().err
        assert said in told
        assert told.count("\n") == 1

    def test_a_folder_that_cannot_be_written_ends_with_what_to_do(
        self, site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(SystemExit) as ended:
            site.run("--state", str(tmp_path / "file" / "state"))
        assert ended.value.code == 1
        assert "the same command goes on from here" in capsys.readouterr().err
