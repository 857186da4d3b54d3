"""What both sides are given: an entry with weights of the published size from a recipe, and a window with organs."""

from __future__ import annotations

from pathlib import Path

from model_weights.catalogue import ModelEntry, load_catalogue
from model_weights.publishing import make_catalogue_path
from shared.settings import WeightsProfile
from workers.fvlm.configuration import Architecture, ImageShape, Preprocessing
from workers.fvlm.conversion import Configuration, publish_model
from workers.fvlm.full_size_parity import make_recipe_model
from workers.fvlm.golden import draw_ellipsoid, draw_volume
from workers.fvlm.image_tower import find_tokens
from workers.fvlm.organs import Organ
from workers.fvlm.preprocess import Window

_SHAPE = Preprocessing().window
_ELLIPSOIDS = {
    Organ.LUNG: ((56, 144, 158), (50, 115, 140)),
    Organ.HEART: ((61, 115, 211), (22, 57, 70)),
    Organ.AORTA: ((56, 187, 193), (67, 23, 21)),
}
"""Centres and radii (z, y, x), as large in the window as organs of a chest are."""


def write_material(folder: Path) -> None:
    """Publish a model of the recipe into a folder, as a conversion does. Takes a minute and 0.9 GB of disk."""
    configuration = Configuration(
        name="recipe",
        version="1",
        origin="benchmarks.fvlm",
        licence="Apache-2.0",
        architecture=Architecture(),
        preprocessing=Preprocessing(),
        thresholds={},
    )
    publish_model(make_recipe_model(0, 0.07), configuration, WeightsProfile.FULL, make_catalogue_path(folder))


def read_entry(folder: Path) -> ModelEntry:
    """Return what `write_material` published."""
    (entry,) = load_catalogue(make_catalogue_path(folder))
    return entry


def make_window() -> Window:
    """Return one window of the published size that lung, heart and aorta share."""
    masks = {organ: draw_ellipsoid(_SHAPE, each) for organ, each in _ELLIPSOIDS.items()}
    shape = ImageShape()
    return Window(draw_volume(_SHAPE, 0), {organ: find_tokens(mask, shape) for organ, mask in masks.items()})
