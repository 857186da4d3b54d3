"""Publishing: an entry is there whole or not at all, and what runs on the old files does not notice."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from model_weights.catalogue import load_catalogue
from model_weights.publishing import publish_entry
from model_weights.verifying import read_verified, verify
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import StageName

_KIB = 1024
_ENDED = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


def publish(folder: Path, content: bytes, **changes: Any) -> None:  # noqa: ANN401  # any field of an entry
    source = folder.parent / f"source-{len(content)}-{content[:4].hex()}.safetensors"
    source.write_bytes(content)
    fields: Mapping[str, Any] = {
        "name": "model",
        "stage": StageName.CT_CLIP,
        "version": "1",
        "weights_profile": WeightsProfile.FULL,
        "architecture": {},
        "preprocessing": {},
        "labels": ["a"],
        "thresholds": {"a": 0.5},
        "origin": "test",
        "licence": "none",
    }
    files = {"weights": source, "known_answer": source}
    publish_entry(**{**fields, **changes}, sources=files, catalogue=folder / "catalogue.toml")


def read(folder: Path) -> bytes:
    """Return what is published, verified."""
    (entry,) = load_catalogue(folder / "catalogue.toml")
    for file in entry.files.values():
        verify(file)
    return entry.get_file("weights").path.read_bytes()


def list_files(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def name_files(*contents: bytes) -> set[str]:
    """Return the names of all files where these were published, the one after the other."""
    digests = [hashlib.sha256(content).hexdigest()[:8] for content in contents]
    return {
        "catalogue.toml",
        *(f"{role}-{digest}.safetensors" for role in ("weights", "known_answer") for digest in digests),
    }


class TestPublishing:
    def test_the_new_one_takes_the_place_of_the_old(self, folder: Path) -> None:
        publish(folder, b"old")
        publish(folder, b"newer")
        assert read(folder) == b"newer"
        assert list_files(folder) == name_files(b"old", b"newer")

    def test_a_worker_that_runs_on_the_old_one_finds_its_files_later(self, folder: Path) -> None:
        publish(folder, b"old")
        (old,) = load_catalogue(folder / "catalogue.toml")
        publish(folder, b"new")
        publish(folder, b"newest")
        assert read_verified(old.get_file("weights")) == b"old"

    def test_the_same_again_leaves_nothing_over(self, folder: Path) -> None:
        publish(folder, b"old")
        publish(folder, b"old", thresholds={"a": 0.6})
        assert read(folder) == b"old"
        assert list_files(folder) == name_files(b"old")

    def test_one_that_ends_before_the_catalogue_is_renamed_changes_no_entry(self, folder: Path) -> None:
        publish(folder, b"old")
        process = multiprocessing.get_context("spawn").Process(target=_publish_until_the_catalogue, args=(folder,))
        process.start()
        process.join()
        assert process.exitcode == _ENDED
        assert list_files(folder) == name_files(b"old", b"new") | {"catalogue.new"}
        assert read(folder) == b"old"
        publish(folder, b"new")
        assert read(folder) == b"new"
        assert list_files(folder) == name_files(b"old", b"new")

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"thresholds": {"b": 0.5}}, "not a label"),
            ({"thresholds": {"a": float("nan")}}, "cannot hold the number nan"),
            ({"name": " "}, "name must be a string"),
            ({"labels": ["a", "a"]}, "twice"),
            ({"origin": "\udcff"}, "not Unicode"),
        ],
    )
    def test_an_entry_that_would_not_be_valid_changes_nothing(
        self, folder: Path, changes: Mapping[str, Any], told: str
    ) -> None:
        publish(folder, b"old")
        with pytest.raises(Defect, match=told):
            publish(folder, b"new", **changes)
        assert read(folder) == b"old"
        assert list_files(folder) == name_files(b"old")

    def test_texts_with_any_character_come_back(self, folder: Path) -> None:
        publish(folder, b"old", origin='a "b" \\ \x7f \t é 肺')
        (entry,) = load_catalogue(folder / "catalogue.toml")
        assert entry.origin == 'a "b" \\ \x7f \t é 肺'

    def test_a_disk_that_is_full_changes_nothing(self, folder: Path) -> None:
        publish(folder, b"old")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told = pool.apply(_publish_with_little_disk, (folder,))
        assert "nothing was changed" in told
        assert read(folder) == b"old"
        assert list_files(folder) == name_files(b"old")

    def test_a_link_in_place_of_a_file_is_replaced_and_not_followed(self, folder: Path, tmp_path: Path) -> None:
        publish(folder, b"new")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.write_bytes(b"precious")
        target = load_catalogue(folder / "catalogue.toml")[0].get_file("weights").path
        target.unlink()
        target.symlink_to(elsewhere)
        publish(folder, b"new")
        assert elsewhere.read_bytes() == b"precious"
        assert read(folder) == b"new"

    def test_two_at_once_leave_one_of_both_whole(self, folder: Path) -> None:
        contents = [bytes([number]) * (64 * _KIB + number) for number in range(4)]
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            pool.starmap(publish, [(folder, content) for content in contents])
        assert read(folder) in contents
        assert list_files(folder) == name_files(*contents)


def _publish_until_the_catalogue(folder: Path) -> None:
    """End as a killed process does, before the catalogue is renamed, the last of all."""

    def stop(event: str, arguments: tuple[object, ...]) -> None:
        if event == "os.rename" and str(arguments[1]).endswith("catalogue.toml"):
            os._exit(_ENDED)

    sys.addaudithook(stop)
    publish(folder, b"new")


def _publish_with_little_disk(folder: Path) -> str:
    content = b"new" * 100 * _KIB
    source = folder.parent / "large.safetensors"
    source.write_bytes(content)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * _KIB, 64 * _KIB))  # as a full disk: a write fails halfway
    try:
        publish_entry(
            name="model",
            stage=StageName.CT_CLIP,
            version="2",
            weights_profile=WeightsProfile.FULL,
            architecture={},
            preprocessing={},
            labels=["a"],
            thresholds={},
            sources={"weights": source},
            origin="test",
            licence="none",
            catalogue=folder / "catalogue.toml",
        )
    except Defect as defect:
        return str(defect)
    return "published"
