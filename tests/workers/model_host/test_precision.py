"""Less than float32 is used only where it was measured for these weights on this kind of device."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from model_weights.catalogue import ModelEntry
from shared.errors import Defect
from shared.precision import Precision, PrecisionChoice
from tests.workers.ct_clip.converting import DOCUMENT, convert, get_entry
from tests.workers.ct_clip.tiny import TINY, make_state
from workers.command.models import app
from workers.ct_clip.image_tower import ImageTower
from workers.device import ComputeMode, describe_kind
from workers.model_host.precision import FILE_NAME, PrecisionMeasurement, choose_precision, read_measurements, record
from workers.model_host.precision_measuring import Trial, find_largest_error

CPU = torch.device("cpu")
DEVICE = "cpu of a kind"


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> ModelEntry:
    folder = tmp_path_factory.mktemp("weights")
    preprocessing = {"variant": "public", "shape": [12, 16, 16], "spacing_mm": [25, 20, 20]}
    convert(folder, make_state(), {**DOCUMENT, "preprocessing": preprocessing})
    return get_entry(folder)


def measured(entry: ModelEntry, error: float, **changes: object) -> PrecisionMeasurement:
    measurement = PrecisionMeasurement(entry.digest, DEVICE, Precision.BF16, 8, error, 0.02, 0.5, 1.0)
    return replace(measurement, **changes)  # type: ignore[arg-type]  # fields of the measurement


class TestChosen:
    def test_float32_asked_for_needs_no_measurement_and_heeds_none(self, entry: ModelEntry) -> None:
        assert choose_precision(entry, "any device", PrecisionChoice.FP32) is Precision.FP32
        record(entry, measured(entry, 0.0, device="a fast device"))
        assert choose_precision(entry, "a fast device", PrecisionChoice.FP32) is Precision.FP32

    def test_what_was_not_measured_is_refused_with_the_command_to_run(self, entry: ModelEntry) -> None:
        with pytest.raises(Defect, match="ctclip models precision ct_clip"):
            choose_precision(entry, "another device", PrecisionChoice.BF16)

    @pytest.mark.parametrize("choice", [PrecisionChoice.BF16, PrecisionChoice.AUTO])
    def test_what_was_measured_to_be_near_and_faster_is_taken(self, entry: ModelEntry, choice: PrecisionChoice) -> None:
        record(entry, measured(entry, 0.01))
        assert choose_precision(entry, DEVICE, choice) is Precision.BF16

    def test_what_was_measured_to_be_far_is_refused(self, entry: ModelEntry) -> None:
        record(entry, measured(entry, 0.011, device="a coarse device"))
        with pytest.raises(Defect, match=r"by 0\.011; allowed are 0\.01"):
            choose_precision(entry, "a coarse device", PrecisionChoice.BF16)

    def test_a_measurement_of_other_weights_says_nothing(self, entry: ModelEntry) -> None:
        record(entry, measured(entry, 0.0, digest="0" * 64, device="a third device"))
        with pytest.raises(Defect, match="was not measured"):
            choose_precision(entry, "a third device", PrecisionChoice.BF16)
        assert choose_precision(entry, "a third device", PrecisionChoice.AUTO) is Precision.FP32

    def test_what_is_slower_is_taken_where_it_is_asked_for(self, entry: ModelEntry) -> None:
        record(entry, measured(entry, 0.001, device="a slow device", seconds=2.0))
        assert choose_precision(entry, "a slow device", PrecisionChoice.BF16) is Precision.BF16

    def test_a_file_that_cannot_be_read_keeps_nobody_from_float32(self, tmp_path: Path) -> None:
        preprocessing = {"variant": "public", "shape": [12, 16, 16], "spacing_mm": [25, 20, 20]}
        convert(tmp_path, make_state(), {**DOCUMENT, "preprocessing": preprocessing})
        spoilt = get_entry(tmp_path)
        (spoilt.get_file("weights").path.parent / FILE_NAME).write_text("{", encoding="utf-8")
        assert choose_precision(spoilt, DEVICE, PrecisionChoice.AUTO) is Precision.FP32
        with pytest.raises(Defect, match="cannot be read; remove it"):
            choose_precision(spoilt, DEVICE, PrecisionChoice.BF16)

    @pytest.mark.parametrize(
        "changes", [{"largest_error": 0.011}, {"seconds": 0.96}, {"digest": "0" * 64}, {"studies": 3}]
    )
    def test_left_to_itself_it_is_float32_where_the_other_is_far_or_slower_or_little_known(
        self, entry: ModelEntry, changes: dict[str, object]
    ) -> None:
        record(entry, measured(entry, 0.001, device=f"device of {changes}", **changes))
        assert choose_precision(entry, f"device of {changes}", PrecisionChoice.AUTO) is Precision.FP32

    def test_a_new_measurement_takes_the_place_of_the_old(self, entry: ModelEntry) -> None:
        for error in (0.5, 0.001):
            record(entry, measured(entry, error, device="a fourth device"))
        found = [one.largest_error for one in read_measurements(entry) if one.device == "a fourth device"]
        assert found == [0.001]


def test_a_probability_that_is_no_number_is_as_far_as_can_be() -> None:
    exact, broken = (Trial(torch.tensor([[value, 0.5]]), None, 1.0, 1.0) for value in (0.4, float("nan")))
    assert find_largest_error(exact, broken) == 1.0


class TestKind:
    def test_of_a_processor_names_what_it_has_for_bfloat16(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for instructions, ending in (({"amx_bf16": True, "avx2": True}, " amx_bf16"), ({"avx2": True}, "")):
            monkeypatch.setattr(torch.cpu, "get_capabilities", lambda told=instructions: told)
            assert describe_kind(CPU) == f"cpu {platform.machine()} {torch.backends.cpu.get_cpu_capability()}{ending}"


class TestCommand:
    def test_it_measures_phantoms_and_records_what_workers_read(self, entry: ModelEntry) -> None:
        folder = entry.get_file("weights").path.parents[2]
        where = ["--profile", "full", "--weights-dir", str(folder), "--json"]
        result = CliRunner().invoke(app, ["precision", "ct_clip", "--phantoms", "1", *where])
        told = json.loads(result.stdout)
        assert result.exit_code == (0 if told["bf16"]["is_allowed"] else 1)
        assert told["auto"] in ("fp32", "bf16")
        assert (told["digest"], told["device"], told["studies"]) == (entry.digest, describe_kind(CPU), 1)
        assert 0 <= told["bf16"]["code_flips"] <= 1
        (found,) = [one for one in read_measurements(entry) if one.device == describe_kind(CPU)]
        assert found.largest_error == told["bf16"]["largest_error"]

    def test_a_model_that_is_not_installed_is_told(self, tmp_path: Path) -> None:
        where = ["--profile", "full", "--weights-dir", str(tmp_path)]
        result = CliRunner().invoke(app, ["precision", "mednext", *where])
        assert result.exit_code == 2
        assert "no model for the stage 'mednext' is installed" in result.stderr


class TestFloat32WhereItMatters:
    def test_sums_norm_code_search_and_projection_stay_in_it(self) -> None:
        tower = ImageTower(TINY.image, TINY.dim_latent).eval()
        with torch.inference_mode(), ComputeMode(Precision.BF16).autocast(CPU):
            found = dict(tower.iterate_activations(torch.randn(1, 1, 4, 16, 16)))
        assert all(
            each.dtype is torch.float32
            for name, each in found.items()
            if name not in {"spatial_position_bias", "vq_indices"}
        )

    def test_the_products_before_them_are_in_bfloat16(self) -> None:
        tower = ImageTower(TINY.image, TINY.dim_latent).eval()
        volume = torch.randn(1, 1, 4, 16, 16)
        with torch.inference_mode():
            exact = dict(tower.iterate_activations(volume))["encoded_tokens"]
            with ComputeMode(Precision.BF16).autocast(CPU):
                rounded = dict(tower.iterate_activations(volume))["encoded_tokens"]
        assert 1e-4 < float((exact - rounded).abs().max()) < 0.5
