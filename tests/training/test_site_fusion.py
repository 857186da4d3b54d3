"""A fusion for imported weights, from a table of studies to an entry that the stage loads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_weights.catalogue import CATALOGUE_FILE, load_catalogue
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from shared.errors import Defect
from shared.findings import FINDING_OF_LABEL, FINDINGS
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from tests.training.answered import MODELS, make_cases, make_entry, make_here
from training import site_fusion
from training.evaluation.case import Case, LeftOut
from training.evaluation.weights import WeightSet
from training.fusion_booster import BoosterSettings
from training.fusion_evidence import choose_evidence
from training.fusion_features import compute_own_auc
from training.site_fusion import NAME, SiteStudies, find_full, main, publish, refuse_repeated, train
from training.site_fusion_card import SiteFusion, describe, write_card
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import load_booster
from workers.fusion.stage import Fusion, make_stage

PLAN = replace(site_fusion.PLAN, booster=BoosterSettings(trees=40))
LEFT_OUT = [LeftOut(7, "not_an_archive", "This is no ZIP.")]


def make_studies(*, trained: int = 300, held_out: int = 100, has_patients: bool = True) -> SiteStudies:
    """Return studies of which every two are of one patient."""
    cases, others = make_cases(range(trained)), make_cases(range(1000, 1000 + held_out))
    patients, other_patients = ([f"patient {case.number // 2}" for case in some] for some in (cases, others))
    return SiteStudies(cases, patients, others, other_patients, LEFT_OUT, has_patients)


def keep_one_kind(studies: SiteStudies) -> SiteStudies:
    sick = [case for case in studies.training if case.is_pathological]
    return replace(studies, training=sick, patients=[str(case.number) for case in sick])


def keep_one_sick_patient(studies: SiteStudies) -> SiteStudies:
    patients = ["the same" if case.is_pathological else str(case.number) for case in studies.training]
    return replace(studies, patients=patients)


@pytest.fixture(scope="module")
def trained() -> SiteFusion:
    return train(PLAN, MODELS, make_studies())


class TestTraining:
    def test_learns_what_separates_the_studies(self, trained: SiteFusion) -> None:
        assert trained.reports[0].auc > 0.9
        assert trained.patients == 150

    def test_the_same_studies_give_the_same_weights(self, trained: SiteFusion) -> None:
        assert train(PLAN, MODELS, make_studies()).fitted.text == trained.fitted.text

    @pytest.mark.parametrize(
        ("studies", "told"),
        [
            (make_studies(trained=58), "to train on: 58, of 29 patients with and 29 without"),
            (make_studies(held_out=8), "to measure on (split `test`): 8, of 4 patients with and 4 without"),
            (keep_one_kind(make_studies()), "to train on: 150, of 150 patients with and 0 without"),
            (keep_one_sick_patient(make_studies()), "to train on: 300, of 1 patients with and 150 without"),
        ],
        ids=["few to train on", "few to measure on", "one kind", "one sick patient"],
    )
    def test_too_few_studies_or_patients_are_refused_with_their_number(self, studies: SiteStudies, told: str) -> None:
        with pytest.raises(Defect) as refused:
            train(PLAN, MODELS, studies)
        assert f"too few studies {told}" in str(refused.value)
        assert "1 lines were left out, line 7 as not_an_archive" in str(refused.value)

    def test_a_table_in_which_kinds_take_turns_is_calibrated_all_the_same(self) -> None:
        cases = [case for case in make_cases(range(400)) if case.is_pathological]
        sound = [case for case in make_cases(range(400)) if not case.is_pathological]
        turns = [each for start in range(40) for each in (sound[start], *cases[4 * start : 4 * start + 4])]
        patients = [str(number) for number in range(len(turns))]
        trained = train(PLAN, MODELS, replace(make_studies(), training=turns, patients=patients))
        assert all(line.slope > 0.5 for line in trained.fitted.booster.calibration if line.models)


class TestTheSameStudyTwice:
    def test_is_refused_by_its_content(self) -> None:
        first, second = (replace(case, digest="ab12") for case in make_cases(range(3, 5)))
        with pytest.raises(Defect, match="lines 3 and 4 of the table are the same study; keep one"):
            refuse_repeated([first, second])


class TestFewTold:
    def test_do_not_make_a_label_evidence(self) -> None:
        generator = np.random.default_rng(1)
        told = [hide_most(guess(case, generator), generator) for case in make_cases(range(400))]
        assert count_evidence(told, least_told=1) > 0
        assert count_evidence(told, least_told=10) == 0


def guess(case: Case, generator: np.random.Generator) -> Case:
    return replace(case, features={name: float(generator.random()) for name in case.features})


def hide_most(case: Case, generator: np.random.Generator) -> Case:
    """Return a study of which one finding in ten was looked for, as in a table with many empty fields."""
    unknown = frozenset(finding.id for finding in FINDINGS if generator.random() > 0.1)
    return replace(case, truth=case.truth - unknown, unknown=unknown)


def count_evidence(cases: Sequence[Case], *, least_told: int) -> int:
    tables = choose_evidence(cases, least_own_auc=0.8, least_specificity=0.9, least_told=least_told)
    return sum(len(table) for table in tables.values())


class TestUnknownFindings:
    def test_are_not_held_against_a_label(self) -> None:
        hidden = [hide(case, "pneumothorax") for case in make_cases(range(400)) if case.is_pathological]
        denied = [replace(case, unknown=frozenset()) for case in hidden]
        finding = FINDING_OF_LABEL[StageName.MEDNEXT, "pneumothorax"]
        of_hidden, of_denied = (compute_own_auc(each, "kolyan_pneumothorax", finding) for each in (hidden, denied))
        assert of_hidden > 0.95
        assert of_denied < of_hidden - 0.01


def hide(case: Case, finding: str) -> Case:
    """Return two of three studies with a finding as if nobody had looked for it."""
    if finding not in case.truth or case.number % 3 == 0:
        return case
    return replace(case, truth=case.truth - {finding}, unknown=frozenset({finding}))


class TestPublishing:
    def test_the_entry_is_of_the_imported_weights_and_gives_the_trained_answers(
        self, trained: SiteFusion, tmp_path: Path
    ) -> None:
        entry = publish(trained, "of the site", tmp_path / "catalogue.toml")
        assert (entry.name, entry.stage, entry.weights_profile) == (NAME, StageName.FUSION, WeightsProfile.FULL)
        vector = compute_vector(trained.held_out[0].features)
        assert load_booster(entry).explain(vector) == trained.fitted.booster.explain(vector)

    def test_the_stage_of_the_full_profile_serves_it(
        self, trained: SiteFusion, settings: Settings, tmp_path: Path
    ) -> None:
        publish(trained, "of the site", tmp_path / "catalogue.toml")
        full = settings.model_copy(update={"weights_profile": WeightsProfile.FULL, "weights_dir": tmp_path})
        assert isinstance(make_stage(full), Fusion)

    def test_the_card_doubts_figures_of_a_table_without_patients(self) -> None:
        card = write_card(train(PLAN, MODELS, make_studies(has_patients=False)))
        assert "whose patients the table does not name" in card
        assert "The table names no patients" in card
        assert "by patient" not in card

    def test_the_description_knows_the_segmentation(self) -> None:
        segmentation = make_entry(StageName.SEGMENTATION)
        told = describe(train(PLAN, MODELS, make_studies(), segmentation))
        assert told["training"]["models"]["segmentation"] == segmentation.digest

    def test_card_and_description_say_what_it_was_made_of(self, trained: SiteFusion, tmp_path: Path) -> None:
        entry = publish(trained, "of the site", tmp_path / "catalogue.toml")
        assert entry.card is not None
        card = (tmp_path / entry.card).read_text()
        assert f"{trained.reports[0].auc:.3f}" in card
        assert "300 studies, 150 with a pathology, of 150 patients" in card
        assert "1 as `not_an_archive`" in card
        description = json.loads(entry.get_file("description").path.read_text())
        assert description["training"]["models"] == {each.stage: each.digest for each in MODELS}


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """The demo's MedNeXt, as if it had been imported."""
    folder = tmp_path / "weights"
    folder.mkdir()
    head, *entries = CATALOGUE_FILE.read_text().split("[[models]]")
    (mednext,) = (entry for entry in entries if '"stage" = "mednext"' in entry)
    (folder / "demo").symlink_to(CATALOGUE_FILE.parent / "demo")
    text = f"{head}[[models]]{mednext}".replace('"weights_profile" = "demo"', '"weights_profile" = "full"')
    (folder / "catalogue.toml").write_text(text)
    return folder


class TestCommand:
    def test_asks_the_imported_models_about_the_table_and_says_what_it_lacks(
        self, imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("training.evaluation.answers.make_ahead", make_here)
        write_zip(make_study(3, ("pleural_effusion",), PhantomSettings.coarse()), tmp_path / "study.zip")
        table = tmp_path / "studies.csv"
        table.write_text("path,patient,split,pathology,pleural_effusion\nstudy.zip,P1,train,1,1\nno.zip,P2,test,0,0\n")
        state = tmp_path / "state"
        assert main([str(table), "--weights", str(imported), "--state", str(state)]) == 1
        told = capsys.readouterr().err
        assert "too few studies to train on: 1, of 1 patients with and 0 without a pathology" in told
        assert "1 lines were left out, line 3 as not_found" in told
        assert list(state.glob("answers/mednext-*/*.json"))
        assert len(load_catalogue(imported / "catalogue.toml")) == 1

    def test_a_folder_without_weights_is_told_so(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match=r"there are no weights in .*; name a folder that `ctclip models convert`"):
            find_full(tmp_path)

    def test_the_weights_of_the_demo_keep_their_own_fusion(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(Defect, match="of the profile demo; name a folder of `ctclip models convert`"):
            find_full(WeightSet().catalogue)
        assert main([str(tmp_path / "none.csv"), "--weights", str(WeightSet().catalogue)]) == 1
        assert "Cannot train a fusion: the weights are of the profile demo" in capsys.readouterr().err
