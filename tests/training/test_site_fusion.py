"""A fusion for imported weights, from a table of studies to an entry that the stage loads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from model_weights.catalogue import CATALOGUE_FILE, load_catalogue
from phantom.dicom import write_zip
from phantom.study import PhantomSettings, make_study
from shared.errors import Defect
from shared.findings import FINDING_OF_LABEL
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName
from tests.training.answered import MODELS, make_cases
from training.evaluation.case import Case, LeftOut
from training.evaluation.weights import WeightSet
from training.fusion_booster import BoosterSettings
from training.fusion_features import compute_own_auc
from training.fusion_plan import FusionPlan
from training.site_fusion import NAME, SiteStudies, find_full, main, publish, train
from training.site_fusion_card import SiteFusion
from workers.fusion.aggregates import compute_vector
from workers.fusion.booster import load_booster
from workers.fusion.stage import Fusion, make_stage

PLAN = FusionPlan(booster=BoosterSettings(trees=40))
LEFT_OUT = [LeftOut(7, "not_an_archive", "This is no ZIP.")]


def make_studies(*, trained: int = 300, held_out: int = 100) -> SiteStudies:
    """Return studies of which every two are of one patient."""
    cases = make_cases(range(trained))
    patients = [f"patient {case.number // 2}" for case in cases]
    return SiteStudies(cases, patients, make_cases(range(1000, 1000 + held_out)), LEFT_OUT)


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
            (make_studies(trained=58), "too few studies to train on: 58, 29 of them with a pathology"),
            (make_studies(held_out=4), "too few studies to measure on .split `test`.: 4, 2 of them"),
        ],
        ids=["training", "held out"],
    )
    def test_too_few_studies_are_refused_with_their_number(self, studies: SiteStudies, told: str) -> None:
        with pytest.raises(Defect, match=told):
            train(PLAN, MODELS, studies)

    def test_studies_of_one_kind_are_refused(self) -> None:
        studies = make_studies()
        sick = [case for case in studies.training if case.is_pathological]
        with pytest.raises(Defect, match=r"at least 60 are needed, 20 of each kind \(1 lines were left out, line 7"):
            train(PLAN, MODELS, replace(studies, training=sick, patients=[str(case.number) for case in sick]))


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

    def test_card_and_description_say_what_it_was_made_of(self, trained: SiteFusion, tmp_path: Path) -> None:
        entry = publish(trained, "of the site", tmp_path / "catalogue.toml")
        assert entry.card is not None
        card = (tmp_path / entry.card).read_text()
        assert f"{trained.reports[0].auc:.3f}" in card
        assert "300 studies, 150 with a pathology, of 150 patients" in card
        assert "1 as `not_an_archive`" in card
        description = json.loads(entry.get_file("description").path.read_text())
        assert description["training"]["models"] == {each.stage: each.digest for each in MODELS}


def make_here(make: Callable[[str], None], keys: Sequence[str], _processes: int) -> Iterator[None]:
    """Do in this process what training leaves to others, which take seconds to start."""
    return map(make, keys)


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
        assert "too few studies to train on: 1, 1 of them with a pathology" in told
        assert "1 lines were left out, line 3 as not_found" in told
        assert list(state.glob("answers/mednext-*/*.json"))
        assert len(load_catalogue(imported / "catalogue.toml")) == 1

    def test_the_weights_of_the_demo_keep_their_own_fusion(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(Defect, match="of the profile demo; name a folder of `ctclip models convert`"):
            find_full(WeightSet().catalogue)
        assert main([str(tmp_path / "none.csv"), "--weights", str(WeightSet().catalogue)]) == 1
        assert "Cannot train a fusion: the weights are of the profile demo" in capsys.readouterr().err
