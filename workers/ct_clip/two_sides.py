"""Files of a model with an image side and a text side, which CT-CLIP and fVLM are: each side apart, texts encoded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from model_weights.verifying import compute_sha256
from shared.errors import Defect
from workers.ct_clip.text_encoding import compute_text_latents
from workers.ct_clip.text_latents import make_stored_latents
from workers.ct_clip.text_tower import TextTower

_TEXT_SIDE = "text."


def write_sides(
    state: Mapping[str, Tensor],
    text_tower: TextTower,
    known_answer: Mapping[str, Tensor],
    *,
    prompts: Sequence[str],
    vocabulary: Path,
    folder: Path,
) -> dict[str, Path]:
    """Write the sides of a model's `state`, its known answer and the latents of the prompts; return paths by role.

    Raises Defect when the vocabulary cannot be read or is not that of the text side.
    """
    text = {name: tensor for name, tensor in state.items() if name.startswith(_TEXT_SIDE)}
    paths = {
        role: folder / f"{role}.safetensors" for role in ("weights", "text_weights", "text_latents", "known_answer")
    }
    save_tensors({name: tensor for name, tensor in state.items() if name not in text}, paths["weights"])
    save_tensors(text, paths["text_weights"])
    save_file(dict(known_answer), paths["known_answer"])
    latents = compute_text_latents(text_tower, _read_vocabulary(vocabulary), prompts)
    digests = [compute_sha256(path) for path in (paths["text_weights"], vocabulary)]
    save_file(make_stored_latents(latents, digests[0], digests[1], prompts), paths["text_latents"])
    return {**paths, "vocabulary": vocabulary}


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as float32 safetensors."""
    save_file({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()}, path)


def _read_vocabulary(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Defect(f"the vocabulary {path.name} cannot be read as text: {type(error).__name__}") from error
