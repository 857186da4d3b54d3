"""The catalogue of model weights: parsing, publishing, digests, and a loop over everything that is shipped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_weights.catalogue import CATALOGUE_FILE, ModelEntry, find_installed, list_installed, load_catalogue
from model_weights.publishing import publish_entry
from model_weights.verifying import read_description, read_verified, verify
from shared.errors import Defect
from shared.settings import Settings, WeightsProfile
from shared.stages import StageName

GOOD = f"""
[[models]]
name = "m"
stage = "mednext"
version = "1"
weights_profile = "full"
origin = "here"
licence = "Apache-2.0"
labels = ["a", "b"]
[models.architecture]
width = 3
[models.preprocessing]
[models.thresholds]
a = 0.5
[[models.files]]
role = "weights"
path = "w.bin"
sha256 = "{"0" * 64}"
size_bytes = 3
"""


def make_settings(**changes: object) -> Settings:
    needed: dict[str, object] = {
        "database_url": "postgresql+psycopg2://nobody@localhost/none",
        "storage_endpoint": "localhost:1",
        "storage_access_key": "key",
        "storage_secret_key": "secret",
    }
    return Settings.model_validate({**needed, **changes})


def write_catalogue(folder: Path, text: str) -> Path:
    path = folder / "catalogue.toml"
    path.write_text(text)
    return path


def publish(folder: Path, content: bytes = b"abc", **changes: object) -> ModelEntry:
    source = folder / "source.bin"
    source.write_bytes(content)
    fields: Mapping[str, Any] = {
        "name": "m",
        "stage": StageName.MEDNEXT,
        "version": "1",
        "weights_profile": WeightsProfile.FULL,
        "architecture": {"widths": [1, 2], "flag": True, "rate": 1e-5, "nested": {"deep": 'Größe "q"'}},
        "preprocessing": {"window_hu": [-1000.0, 1000.0]},
        "labels": ["a", "b c"],
        "thresholds": {"b c": 0.25},
        "sources": {"weights": source},
        "origin": "here",
        "licence": "Apache-2.0",
        "catalogue": folder / "catalogue.toml",
    }
    return publish_entry(**{**fields, **changes})


class TestParsing:
    def test_a_good_entry_is_read(self, tmp_path: Path) -> None:
        (entry,) = load_catalogue(write_catalogue(tmp_path, GOOD))
        assert (entry.stage, entry.labels, entry.card) == (StageName.MEDNEXT, ("a", "b"), None)
        assert entry.get_file("weights").path == tmp_path / "w.bin"

    @pytest.mark.parametrize(
        ("found", "wrong", "said"),
        [
            ('stage = "mednext"', 'stage = "mednecks"', "stage is 'mednecks'"),
            ('version = "1"', "version = 1", "version must be a string"),
            ('labels = ["a", "b"]', 'labels = ["a", "a"]', "labels names something twice"),
            ('path = "w.bin"', 'path = "../w.bin"', "path must stay inside"),
            ('path = "w.bin"', 'path = "/etc/w.bin"', "path must stay inside"),
            ("size_bytes = 3", "size_bytes = 0", "size_bytes must be a positive"),
            ("0" * 64, "0" * 63, "sha256 must be 64"),
            ("a = 0.5", "a = 1.5", "thresholds of 'a' must be between"),
            ("a = 0.5", "z = 0.5", "which is not a label"),
            ('name = "m"', "", "name must be a string"),
        ],
    )
    def test_a_wrong_field_is_named(self, tmp_path: Path, found: str, wrong: str, said: str) -> None:
        assert found in GOOD
        with pytest.raises(Defect, match=said):
            load_catalogue(write_catalogue(tmp_path, GOOD.replace(found, wrong)))

    def test_two_models_for_one_stage_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="2 models for the stage mednext"):
            load_catalogue(write_catalogue(tmp_path, GOOD + GOOD))

    def test_what_is_not_toml_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="not TOML"):
            load_catalogue(write_catalogue(tmp_path, "models = ["))


class TestPublishing:
    def test_what_is_published_is_read_back_equal(self, tmp_path: Path) -> None:
        entry = publish(tmp_path)
        assert entry == load_catalogue(tmp_path / "catalogue.toml")[0]
        assert entry.architecture["nested"] == {"deep": 'Größe "q"'}
        assert entry.architecture["rate"] == 1e-5

    def test_publishing_again_replaces_the_entry_and_keeps_others(self, tmp_path: Path) -> None:
        publish(tmp_path)
        publish(tmp_path, stage=StageName.FUSION, name="f")
        publish(tmp_path, version="2")
        entries = load_catalogue(tmp_path / "catalogue.toml")
        assert [(entry.stage, entry.version) for entry in entries] == [("fusion", "1"), ("mednext", "2")]

    def test_a_card_is_copied_and_named_relative_to_the_catalogue(self, tmp_path: Path) -> None:
        card = tmp_path / "written.md"
        card.write_text("# m")
        assert publish(tmp_path, card=card).card == "full/mednext/card.md"
        assert (tmp_path / "full/mednext/card.md").read_text() == "# m"


class TestDigest:
    def test_it_changes_with_everything_that_changes_an_answer(self, tmp_path: Path) -> None:
        entry = publish(tmp_path)
        others = [
            replace(entry, architecture={}),
            replace(entry, preprocessing={}),
            replace(entry, labels=("b c", "a")),
            replace(entry, thresholds={}),
            publish(tmp_path, content=b"abd"),
        ]
        assert len({entry.digest, *(other.digest for other in others)}) == 6

    def test_it_does_not_change_with_the_place_or_the_words(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        assert publish(tmp_path / "a").digest == publish(tmp_path / "b", origin="elsewhere", name="n").digest


class TestInstalled:
    def test_nothing_is_installed_for_the_profile_none(self) -> None:
        assert list_installed(make_settings(weights_profile="none")) == ()

    def test_the_full_profile_reads_the_folder_of_the_operator(self, tmp_path: Path) -> None:
        settings = make_settings(weights_profile="full", weights_dir=tmp_path)
        assert list_installed(settings) == ()
        entry = publish(tmp_path)
        assert find_installed(settings, StageName.MEDNEXT) == entry
        assert find_installed(settings, StageName.FUSION) is None

    def test_the_full_profile_needs_a_folder(self) -> None:
        with pytest.raises(Defect, match="CTCLIP_WEIGHTS_DIR"):
            list_installed(make_settings(weights_profile="full"))

    def test_a_file_that_is_gone_or_cut_is_a_defect(self, tmp_path: Path) -> None:
        settings = make_settings(weights_profile="full", weights_dir=tmp_path)
        path = publish(tmp_path).get_file("weights").path
        path.write_bytes(b"ab")
        with pytest.raises(Defect, match="has 2 bytes"):
            list_installed(settings)
        path.unlink()
        with pytest.raises(Defect, match="is not there"):
            list_installed(settings)


class TestVerifiedReading:
    def test_changed_bytes_are_refused(self, tmp_path: Path) -> None:
        file = publish(tmp_path).get_file("weights")
        assert read_verified(file) == b"abc"
        file.path.write_bytes(b"abd")
        with pytest.raises(Defect, match="'weights' is not the one"):
            read_verified(file)
        with pytest.raises(Defect, match="'weights' is not the one"):
            verify(file)

    def test_a_description_must_be_a_json_object(self, tmp_path: Path) -> None:
        assert read_description(publish(tmp_path, content=b'{"a": 1}').get_file("weights")) == {"a": 1}
        with pytest.raises(Defect, match="not a JSON object"):
            read_description(publish(tmp_path, content=b"[]").get_file("weights"))
        with pytest.raises(Defect, match="not JSON"):
            read_description(publish(tmp_path, content=b"{").get_file("weights"))

    def test_an_unknown_role_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match="no file with the role 'booster'"):
            publish(tmp_path).get_file("booster")


def test_no_file_is_shipped_that_the_catalogue_does_not_name() -> None:
    named = {file.path for entry in load_catalogue() for file in entry.files.values()}
    told = {"card.md", "precision.json"}
    demo = (path for path in (CATALOGUE_FILE.parent / "demo").rglob("*") if path.is_file() and path.name not in told)
    assert set(demo) == named


@pytest.mark.parametrize("entry", load_catalogue(), ids=lambda entry: entry.name)
class TestEveryShippedModel:
    def test_its_files_are_those_that_are_pinned(self, entry: ModelEntry) -> None:
        for file in entry.files.values():
            verify(file)

    def test_it_ships_no_pickle(self, entry: ModelEntry) -> None:
        for file in entry.files.values():
            assert file.path.suffix in {".safetensors", ".json", ".txt"}
            assert file.path.read_bytes()[:2] not in {b"PK", b"\x80\x02", b"\x80\x04"}

    def test_its_card_warns_that_it_knows_phantoms_only(self, entry: ModelEntry) -> None:
        assert entry.card is not None
        card = (CATALOGUE_FILE.parent / entry.card).read_text()
        assert "not for clinical use" in card.lower()

    def test_its_profile_is_demo(self, entry: ModelEntry) -> None:
        assert entry.weights_profile is WeightsProfile.DEMO


class TestWeight:
    def test_the_catalogue_is_light(self) -> None:
        code = "import sys, model_weights.catalogue, model_weights.verifying; sys.exit('torch' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
