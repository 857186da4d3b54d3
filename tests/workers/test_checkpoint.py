"""Checkpoints of others: whatever is wrong with one is told in a sentence, and nothing of it runs."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from shared.errors import Defect
from workers.checkpoint import open_checkpoint, require_finite_numbers, require_plain_tensors

WEIGHT = torch.arange(4000, dtype=torch.float32)
CONTENT = {"weight": WEIGHT, "epoch": 3}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint.pt"


def pack(content: object = CONTENT) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def repack(path: Path, method: int, pickled: bytes | None = None) -> None:
    """Write the archive of `CONTENT` again, compressed by a method or with another pickle in it."""
    with zipfile.ZipFile(io.BytesIO(pack())) as whole, zipfile.ZipFile(path, "w", method) as archive:
        for entry in whole.infolist():
            is_other = pickled is not None and entry.filename.endswith("data.pkl")
            archive.writestr(entry.filename, pickled if is_other and pickled else whole.read(entry))


class TestOpening:
    def test_tensors_and_scalars_of_numpy_are_read(self, path: Path) -> None:
        metrics = {"auc": np.float64(0.8125), "classes": np.int64(-5), "is_best": np.bool_(True), "loss": np.float32(2)}
        path.write_bytes(pack({**CONTENT, "metrics": metrics}))
        opened = open_checkpoint(path)
        assert isinstance(opened, dict)
        assert opened["metrics"] == {"auc": 0.8125, "classes": -5, "is_best": True, "loss": 2.0}
        assert torch.equal(opened["weight"], WEIGHT)

    @pytest.mark.parametrize("kept", [0, 1, 4, 100, 0.5, 0.9, 0.999])
    def test_one_that_is_cut_off(self, path: Path, kept: float) -> None:
        content = pack()
        path.write_bytes(content[: kept if isinstance(kept, int) else int(len(content) * kept)])
        with pytest.raises(Defect, match="cut off"):
            open_checkpoint(path)

    def test_one_whose_weights_changed_on_the_way(self, path: Path) -> None:
        content = bytearray(pack())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(Defect, match="damaged"):
            open_checkpoint(path)

    def test_a_compressed_one_is_not_expanded(self, path: Path) -> None:
        repack(path, zipfile.ZIP_DEFLATED, b"\0" * 100_000_000)
        assert path.stat().st_size < 1_000_000
        with pytest.raises(Defect, match="compressed"):
            open_checkpoint(path)

    def test_a_pickle_that_is_far_too_long(self, path: Path) -> None:
        repack(path, zipfile.ZIP_STORED, b"\0" * (65 * 1024 * 1024))
        with pytest.raises(Defect, match="far more than tensors"):
            open_checkpoint(path)

    @pytest.mark.parametrize("pickled", [b"\x80\x02" + b"(" * 1000 + b".", b"\x80\x02.", b"\x80\x02h\x05."])
    def test_a_pickle_that_is_none(self, path: Path, pickled: bytes) -> None:
        repack(path, zipfile.ZIP_STORED, pickled)
        with pytest.raises(Defect):
            open_checkpoint(path)

    def test_the_old_format_is_told_how_to_become_the_new_one(self, path: Path) -> None:
        torch.save(CONTENT, path, _use_new_zipfile_serialization=False)
        with pytest.raises(Defect, match=r"old format.*save it again"):
            open_checkpoint(path)

    def test_a_type_of_numpy_whose_bytes_are_addresses(self, path: Path) -> None:
        path.write_bytes(pack({**CONTENT, "metrics": np.dtype("V8")}))
        with pytest.raises(Defect):
            open_checkpoint(path)

    def test_a_folder_and_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        for path in (tmp_path, tmp_path / "absent.pt"):
            with pytest.raises(Defect, match="cannot be read"):
                open_checkpoint(path)


class TestPlainTensors:
    def test_ordinary_ones_of_any_type_pass(self) -> None:
        require_plain_tensors({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.int64), "c": torch.zeros(0, 3)})

    @pytest.mark.parametrize(
        "odd",
        [torch.eye(3).to_sparse(), torch.empty(3, device="meta")],
        ids=["sparse", "meta"],
    )
    def test_others_are_named(self, odd: torch.Tensor) -> None:
        with pytest.raises(Defect, match=r"sparse.*: second"):
            require_plain_tensors({"first": torch.zeros(2), "second": odd})


class TestFiniteNumbers:
    def test_floating_point_numbers_of_any_size_pass(self) -> None:
        require_finite_numbers({"a": torch.zeros(2), "b": torch.ones(2, dtype=torch.bfloat16), "c": torch.zeros(0, 3)})

    @pytest.mark.parametrize(
        ("odd", "told"),
        [
            (torch.tensor([1.0, float("nan")]), "not finite"),
            (torch.tensor([float("-inf")]).half(), "not finite"),
            (torch.zeros(2, dtype=torch.int64), "no floating-point numbers"),
            (torch.zeros(2, dtype=torch.complex64), "no floating-point numbers"),
            (torch.eye(3).to_sparse(), "sparse"),
        ],
        ids=["nan", "infinite", "int64", "complex", "sparse"],
    )
    def test_others_are_named(self, odd: torch.Tensor, told: str) -> None:
        with pytest.raises(Defect, match=f"{told}.*: second"):
            require_finite_numbers({"first": torch.zeros(2), "second": odd})
