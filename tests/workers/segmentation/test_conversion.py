"""Published weights, as TotalSegmentator downloads them: taken over to the last digit, or refused with the reason."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model_weights.catalogue import ModelEntry, load_catalogue
from shared.errors import Defect
from tests.workers.segmentation.making import TINY, make_tiny_network, make_volume, publish_tiny
from workers.command.models import app
from workers.segmentation.conversion import Configuration, convert_checkpoint
from workers.segmentation.grid import NetworkGrid
from workers.segmentation.package_folder import locate_model, make_package_folder
from workers.segmentation.predictor import Predictor

SAID = {"name": "from-a-folder", "version": "2.0.0", "origin": "nowhere", "licence": "Apache-2.0"}


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    return publish_tiny(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def folder(entry: ModelEntry, tmp_path: Path) -> Path:
    """A folder in the form that the package downloads."""
    return locate_model(make_package_folder(entry, tmp_path / "cache"), TINY.trainer)


def convert(checkpoint: Path, tmp_path: Path) -> ModelEntry:
    return convert_checkpoint(checkpoint, Configuration(**SAID), tmp_path / "catalogue.toml")


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text())
    edit(document)
    path.write_text(json.dumps(document))


def write_old_plans(plans: dict[str, Any]) -> None:
    """Describe the network as nnU-Net did when the published weights were trained."""
    configuration = plans["configurations"]["3d_fullres"]
    arguments = configuration.pop("architecture")["arch_kwargs"]
    configuration |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": arguments["n_conv_per_stage"],
        "n_conv_per_stage_decoder": arguments["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": arguments["strides"],
        "conv_kernel_sizes": arguments["kernel_sizes"],
    }


class TestConversion:
    def test_a_published_folder_answers_as_its_network(self, entry: ModelEntry, folder: Path, tmp_path: Path) -> None:
        converted = convert(folder, tmp_path)
        assert (converted.architecture, converted.preprocessing) == (entry.architecture, entry.preprocessing)
        assert converted.get_file("weights").sha256 == entry.get_file("weights").sha256
        volume = make_volume()
        coarse = NetworkGrid(volume.geometry).coarsen(volume.hu)
        ours, theirs = (Predictor(each, torch.device("cpu")) for each in (entry, converted))
        assert (ours.label(coarse, lambda _share: None) == theirs.label(coarse, lambda _share: None)).all()

    def test_it_is_named_by_its_folder_or_by_its_checkpoint(self, folder: Path, tmp_path: Path) -> None:
        named = [convert(path, tmp_path) for path in (folder.parent, folder / "fold_0" / "checkpoint_final.pth")]
        assert named[0].digest == named[1].digest

    def test_plans_of_the_old_form_say_the_same(self, entry: ModelEntry, folder: Path, tmp_path: Path) -> None:
        change(folder / "plans.json", write_old_plans)
        assert convert(folder, tmp_path).architecture == entry.architecture

    def test_what_a_training_leaves_in_a_checkpoint_is_passed_over(self, folder: Path, tmp_path: Path) -> None:
        network = make_tiny_network()
        checkpoint = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5)], "epoch_start_timestamps": [1.0]},
            "_best_ema": np.float64(0.7),
            "current_epoch": 4000,
            "init_args": {"fold": 0, "device": torch.device("cuda")},
            "trainer_name": TINY.trainer,
            "inference_allowed_mirroring_axes": None,
        }
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
        assert convert(folder, tmp_path).name == "from-a-folder"

    def test_the_command_writes_the_entry_with_its_licence(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "said.json").write_text(json.dumps(SAID))
        weights = tmp_path / "full"
        arguments = ["convert", "segmentation", str(folder.parent), "--config", str(tmp_path / "said.json")]
        finished = CliRunner().invoke(app, [*arguments, "--weights-dir", str(weights), "--json"])
        assert finished.exit_code == 0, finished.output
        (converted,) = load_catalogue(weights / "catalogue.toml")
        assert (converted.licence, converted.version) == ("Apache-2.0", "2.0.0")
        assert json.loads(finished.output)["digest"] == converted.digest


class _Dangerous:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return (print, ("this must not run",))


class TestRefusal:
    def test_a_checkpoint_that_could_run_code_is_not_opened(
        self, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        state = {"network_weights": make_tiny_network().state_dict(), "trainer_name": _Dangerous()}
        torch.save(state, folder / "fold_0" / "checkpoint_final.pth", pickle_module=pickle)
        with pytest.raises(Defect, match="could run code"):
            convert(folder, tmp_path)
        assert "must not run" not in capsys.readouterr().out

    def test_a_folder_without_plans_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(Defect, match=r"plans\.json"):
            convert(tmp_path, tmp_path)

    @pytest.mark.parametrize(
        ("edit", "words"),
        [
            (lambda plans: plans["configurations"]["3d_fullres"].update(spacing=[6.0, 6.0, 6.0]), "spacing_mm"),
            (lambda plans: plans.update(transpose_forward=[2, 0, 1]), "axes"),
            (
                lambda plans: plans["configurations"]["3d_fullres"].update(normalization_schemes=["ZScore"]),
                "CTNormalization",
            ),
            (lambda plans: plans.pop("configurations"), "KeyError"),
            (
                lambda plans: plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(
                    nonlin="torch.nn.ReLU"
                ),
                "nonlin",
            ),
            (
                lambda plans: plans["configurations"]["3d_fullres"]["architecture"].update(
                    network_class_name="another.UNet"
                ),
                "PlainConvUNet",
            ),
        ],
    )
    def test_plans_of_another_task_are_refused(
        self, folder: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], object], words: str
    ) -> None:
        change(folder / "plans.json", edit)
        with pytest.raises(Defect, match=words):
            convert(folder, tmp_path)

    @pytest.mark.parametrize(
        ("labels", "words"),
        [({"background": 0, "lung": 1}, "2 labels"), ({"background": "0"}, "numbers"), (None, "numbers")],
    )
    def test_labels_of_another_task_are_refused(
        self, folder: Path, tmp_path: Path, labels: dict[str, Any] | None, words: str
    ) -> None:
        change(folder / "dataset.json", lambda dataset: dataset.update(labels=labels))
        with pytest.raises(Defect, match=words):
            convert(folder, tmp_path)

    def test_labels_in_another_order_are_refused(self, folder: Path, tmp_path: Path) -> None:
        change(folder / "dataset.json", lambda dataset: dataset["labels"].update(spleen=2, kidney_right=1))
        with pytest.raises(Defect, match="spleen"):
            convert(folder, tmp_path)


def test_a_package_folder_is_made_once_and_sends_no_statistics(entry: ModelEntry, tmp_path: Path) -> None:
    first = make_package_folder(entry, tmp_path)
    written_at = locate_model(first, TINY.trainer).stat().st_mtime_ns
    assert make_package_folder(entry, tmp_path) == first
    assert locate_model(first, TINY.trainer).stat().st_mtime_ns == written_at
    assert json.loads((first / "home" / "config.json").read_text())["send_usage_stats"] is False
    assert [path.name for path in first.parent.iterdir()] == [entry.digest]
