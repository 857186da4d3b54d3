"""Weights that are not what they should be: a worker says why and is never ready."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from deploy.embedded.servers import ServerSet
from model_weights.catalogue import WeightFile, load_catalogue
from model_weights.verifying import compute_sha256
from shared.errors import Defect
from shared.settings import Settings
from shared.stages import StageName
from tests.workers.ct_clip.converting import DOCUMENT, convert
from tests.workers.ct_clip.tiny import make_state
from tests.workers.supervised.tiny import make_classifier_state
from workers.runtime.stage import Stage
from workers.supervised.configuration import HeadKind

MODELS = (StageName.CT_CLIP, StageName.SUPERVISED)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def rename(path: Path) -> None:
    path.rename(path.with_name("other.safetensors"))


def change_a_byte(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def reshape(path: Path) -> None:
    tensors = load_file(path)
    save_file({name: torch.cat([tensor, tensor]) if tensor.ndim else tensor for name, tensor in tensors.items()}, path)


def pickle(path: Path) -> None:
    torch.save(load_file(path), path)


FAULTS: Mapping[str, tuple[Callable[[Path], None], str]] = {
    "truncated": (truncate, "bytes, the catalogue says"),
    "renamed": (rename, "is not there; install the weights again"),
    "changed": (change_a_byte, "is not the one that the catalogue pins"),
    "of other shapes": (reshape, "of another shape"),
    "pickled": (pickle, "is not a safetensors file"),
}
PINNED_ANEW = ("of other shapes", "pickled")
"""Faults of a catalogue that was made for such a file; the others are of a file that changed under its catalogue."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    document = {**DOCUMENT, "thresholds": {}, "labels": ["Pneumonia", "Emphysema", "Atelectasis"]}
    convert(folder, make_state(), document)
    convert(folder, make_classifier_state(HeadKind.LAYER_NORM), document, "supervised")
    return folder / "weights"


def spoil(sound: Path, weights: Path, stage: StageName, fault: str) -> str:
    """Copy sound weights with one fault; return what a worker must say of it."""
    shutil.copytree(sound, weights)
    catalogue = weights / "catalogue.toml"
    file = next(entry for entry in load_catalogue(catalogue) if entry.stage is stage).get_file("weights")
    break_file, message = FAULTS[fault]
    break_file(file.path)
    if fault in PINNED_ANEW:
        pin(catalogue, file)
    return message


def pin(catalogue: Path, file: WeightFile) -> None:
    text = catalogue.read_text().replace(file.sha256, compute_sha256(file.path))
    catalogue.write_text(
        text.replace(f'"size_bytes" = {file.size_bytes}', f'"size_bytes" = {file.path.stat().st_size}')
    )


def load(stage: StageName, weights: Path, **changes: object) -> Stage | None:
    needed = {
        "database_url": "postgresql+psycopg2://nobody@localhost/none",
        "storage_endpoint": "localhost:1",
        "storage_access_key": "key",
        "storage_secret_key": "secret",
        "threads": 1,
        "weights_profile": "full",
        "weights_dir": weights,
    }
    settings = Settings.model_validate({**needed, **changes})
    return cast("Stage | None", import_module(f"workers.{stage}.stage").make_stage(settings))


class TestLoading:
    @pytest.mark.parametrize("fault", FAULTS)
    @pytest.mark.parametrize("stage", MODELS)
    def test_a_fault_is_named(self, sound: Path, tmp_path: Path, stage: StageName, fault: str) -> None:
        message = spoil(sound, tmp_path / "weights", stage, fault)
        with pytest.raises(Defect, match=message):
            load(stage, tmp_path / "weights")

    @pytest.mark.parametrize("stage", MODELS)
    def test_sound_weights_are_taken(self, sound: Path, stage: StageName) -> None:
        assert load(stage, sound) is not None

    @pytest.mark.parametrize("stage", MODELS)
    def test_a_precision_that_was_not_measured_is_refused(self, sound: Path, stage: StageName) -> None:
        with pytest.raises(Defect, match=f"ctclip models precision {stage}"):
            load(stage, sound, precision="bf16")


def run_worker(
    servers: ServerSet, stage: StageName, weights: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a worker that cannot start, to its end."""
    named = {
        "CTCLIP_WEIGHTS_PROFILE": "full",
        "CTCLIP_WEIGHTS_DIR": str(weights),
        "CTCLIP_CACHE_DIR": str(weights.parent / "cache"),
        "CTCLIP_READY_FILE": str(weights.parent / "ready"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "workers", "--stages", stage],
        env={**os.environ, **servers.environment, **named, **environment},
        timeout=300,
        check=False,
        capture_output=True,
        text=True,
    )


class TestWorker:
    @pytest.mark.parametrize(
        ("stage", "fault"), [(StageName.CT_CLIP, "truncated"), (StageName.SUPERVISED, "of other shapes")]
    )
    def test_it_says_why_and_is_never_ready(
        self, servers: ServerSet, sound: Path, tmp_path: Path, stage: StageName, fault: str
    ) -> None:
        message = spoil(sound, tmp_path / "weights", stage, fault)
        ended = run_worker(servers, stage, tmp_path / "weights")
        assert ended.returncode == 1
        assert "This worker cannot start: " in ended.stderr
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr
        assert str(tmp_path) not in ended.stderr
        assert not (tmp_path / "ready").exists()

    def test_without_a_compiler_it_compiles_nothing_and_says_so(
        self, servers: ServerSet, sound: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(sound, tmp_path / "weights")
        environment = {
            "CTCLIP_COMPILE_NETWORKS": "true",
            "PATH": "",
            "CXX": "",
            "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "compiled"),
        }
        ended = run_worker(servers, StageName.CT_CLIP, tmp_path / "weights", **environment)
        assert ended.returncode == 1
        assert "torch cannot compile networks on this machine" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert not (tmp_path / "ready").exists()
