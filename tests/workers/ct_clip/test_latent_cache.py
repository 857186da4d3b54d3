"""Latents on disk: nothing but what was kept is ever read, whoever else uses the folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from workers.ct_clip import latent_cache
from workers.ct_clip.latent_cache import LatentCache

KEY = b"k" * 32
LATENTS = torch.arange(12.0).reshape(4, 3)

TURNS = """
import sys, pathlib, torch
from workers.ct_clip.latent_cache import LatentCache
cache = LatentCache(pathlib.Path(sys.argv[1]))
latents = torch.arange(12.0).reshape(4, 3)
for turn in range(50):
    cache.write(b"k" * 32, latents)
    found = cache.read(b"k" * 32)
    assert found is not None and torch.equal(found, latents)
"""


class TestReading:
    def test_what_was_kept_is_read(self, tmp_path: Path) -> None:
        cache = LatentCache(tmp_path / "new")
        cache.write(KEY, LATENTS)
        found = cache.read(KEY)
        assert found is not None
        assert torch.equal(found, LATENTS)

    def test_nothing_is_read_where_nothing_was_kept(self, tmp_path: Path) -> None:
        assert LatentCache(tmp_path / "absent").read(KEY) is None

    @pytest.mark.parametrize("content", [b"", b"x" * 300])
    def test_a_file_that_is_none_is_not_read(self, tmp_path: Path, content: bytes) -> None:
        cache = LatentCache(tmp_path)
        cache.write(KEY, LATENTS)
        next(tmp_path.iterdir()).write_bytes(content)
        assert cache.read(KEY) is None

    def test_latents_of_another_key_are_not_read(self, tmp_path: Path) -> None:
        cache = LatentCache(tmp_path)
        cache.write(KEY, LATENTS)
        next(tmp_path.iterdir()).rename(tmp_path / f"{(b'o' * 32).hex()}.safetensors")
        assert cache.read(b"o" * 32) is None


class TestSharing:
    def test_two_processes_that_write_at_once_always_read_whole_files(self, tmp_path: Path) -> None:
        both = [subprocess.Popen([sys.executable, "-c", TURNS, str(tmp_path)]) for _ in range(2)]
        assert [process.wait(120) for process in both] == [0, 0]
        assert [path.suffix for path in tmp_path.iterdir()] == [".safetensors"]

    def test_old_files_make_room(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(latent_cache, "MOST_FILES", 2)
        cache = LatentCache(tmp_path)
        for number in range(4):
            cache.write(bytes([number]) * 32, LATENTS)
        assert len(list(tmp_path.iterdir())) == 2
