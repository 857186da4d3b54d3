"""The CT-CLIP that a fine-tuning starts from: an installed entry, or a checkpoint as it is published."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from model_weights.catalogue import CATALOGUE_NAME, ModelEntry, load_catalogue
from model_weights.loading import load_tensors
from shared.errors import Defect
from shared.stages import StageName
from workers.checkpoint import open_checkpoint
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.image_tower import ImageTower
from workers.ct_clip.loading import make_image_tower
from workers.ct_clip.relevance import ROLE as REFERENCE_ROLE
from workers.ct_clip.weights import read_ct_clip, unwrap_checkpoint

PUBLISHED_LICENCE = "CC-BY-NC-SA-4.0"
"""Of CT-CLIP's published weights; what is trained from them stands under the same terms."""

_IMAGE_SIDE = "image."


@dataclass(frozen=True)
class BaseModel:
    """The image side of a CT-CLIP. `encoder_digest` covers its tensors and what prepares a volume for it.

    `reference` are its healthy tokens for relevance maps, where it has some.
    """

    description: str
    licence: str
    architecture: Architecture
    preprocessing: Preprocessing
    tensors: Mapping[str, Tensor]
    reference: Mapping[str, Tensor] | None = None

    @property
    def encoder_digest(self) -> str:
        """SHA-256 over everything that a latent depends on beside the study."""
        digest = hashlib.sha256(repr((self.architecture.image, self.preprocessing)).encode())
        for name, tensor in sorted(self.tensors.items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def make_tower(self) -> ImageTower:
        """Return the image tower in inference mode, with tensors of its own."""
        return make_image_tower(self.architecture, {name: tensor.clone() for name, tensor in self.tensors.items()})


def open_base(source: Path, architecture: Architecture, preprocessing: Preprocessing) -> BaseModel:
    """Open a published checkpoint (a file), or the CT-CLIP of a folder of installed weights.

    Architecture and preprocessing are those of a checkpoint; an installed entry has its own. Raises Defect.
    """
    if source.is_file() and source.name != CATALOGUE_NAME:
        return _open_checkpoint(source, architecture, preprocessing)
    return _open_entry(_find_entry(source / CATALOGUE_NAME if source.is_dir() else source))


def _open_checkpoint(path: Path, architecture: Architecture, preprocessing: Preprocessing) -> BaseModel:
    tensors = read_ct_clip(architecture, unwrap_checkpoint(open_checkpoint(path)))
    preprocessing.require_fit(architecture.image)
    return BaseModel(
        description="a published CT-CLIP checkpoint",
        licence=PUBLISHED_LICENCE,
        architecture=architecture,
        preprocessing=preprocessing,
        tensors=_take_image_side(tensors),
    )


def _find_entry(catalogue: Path) -> ModelEntry:
    entries = [entry for entry in load_catalogue(catalogue) if entry.stage is StageName.CT_CLIP]
    if not entries:
        raise Defect("the catalogue has no CT-CLIP; convert one with `ctclip models convert ct_clip`")
    return entries[0]


def _open_entry(entry: ModelEntry) -> BaseModel:
    return BaseModel(
        description=f"{entry.name} {entry.version} (digest {entry.digest})",
        licence=entry.licence,
        architecture=Architecture.from_table(entry.architecture),
        preprocessing=Preprocessing.from_table(entry.preprocessing),
        tensors=_take_image_side(load_tensors(entry.get_file("weights"))),
        reference=load_tensors(entry.get_file(REFERENCE_ROLE)) if REFERENCE_ROLE in entry.files else None,
    )


def _take_image_side(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(_IMAGE_SIDE)}
