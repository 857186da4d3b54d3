"""State dicts out of checkpoints of either network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from shared.errors import Defect

_CONTAINED = "model_state_dict"


def unwrap_checkpoint(checkpoint: object) -> dict[str, Tensor]:
    """Return the state dict of a checkpoint: bare, or in the container of the noise predictor's trainer."""
    state = checkpoint
    if isinstance(state, Mapping) and isinstance(state.get(_CONTAINED), Mapping):
        state = state[_CONTAINED]
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise Defect(f"the checkpoint is neither a state dict nor a dict with `{_CONTAINED}`")
    return {str(name): tensor for name, tensor in state.items()}
