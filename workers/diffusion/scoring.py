"""How probable it is that each slice shows something pathological, and where the slices are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from shared.json_values import JsonObject
from workers.diffusion.classifier import SliceClassifier
from workers.diffusion.slice_grid import SliceGrid

_CLEAN_TIME = 0
_SHOWN = 5
_DIGITS = 6


@torch.inference_mode()
def score_slices(classifier: SliceClassifier, batches: Iterable[Tensor], *, pathological_class: int) -> Tensor:
    """Return probabilities (n,), on the CPU in float32, of slices given as batches (b, c, x, y).

    One batch is held at a time, so memory does not grow with the number of slices.
    """
    device = classifier.head_norm.weight.device
    time = torch.tensor([_CLEAN_TIME], device=device)
    logits = [classifier(batch.to(device), time).float().cpu() for batch in batches]
    return torch.cat(logits).softmax(dim=-1)[:, pathological_class]


def describe_scores(numbers: Sequence[int], probabilities: Tensor, grid: SliceGrid) -> JsonObject:
    """Return the scores of the slices that lie in the scan, with positions in LPS millimetres, as JSON values.

    The slices follow each other from `first_centre_lps_mm` in equal steps; `highest` are the most suspicious ones.
    """
    scores = {
        number: round(float(probability), _DIGITS)
        for number, probability in zip(numbers, probabilities, strict=True)
        if number in grid.scanned
    }
    highest = sorted(scores, key=lambda number: (-scores[number], number))[:_SHOWN]
    first, second = grid.locate_centres([min(scores, default=0), min(scores, default=0) + 1])
    return {
        "first_centre_lps_mm": first.tolist(),
        "step_lps_mm": (second - first).tolist(),
        "probabilities": list(scores.values()),
        "highest": [
            {"probability": scores[number], "centre_lps_mm": centre}
            for number, centre in zip(highest, grid.locate_centres(highest).tolist(), strict=True)
        ],
    }
