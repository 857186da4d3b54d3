"""Which class runs which stage. Modules load only in the process that runs their stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Protocol, cast

from shared.errors import Defect
from shared.settings import Settings
from shared.stages import StageName
from workers.runtime.stage import Stage

STAGE_MODULES: Mapping[StageName, str] = {
    StageName.INTAKE: "workers.intake.stage",
    StageName.CT_CLIP: "workers.ct_clip.stage",
    StageName.SUPERVISED: "workers.supervised.stage",
    StageName.MEDNEXT: "workers.mednext.stage",
    StageName.DIFFUSION: "workers.diffusion.stage",
    StageName.SEGMENTATION: "workers.segmentation.stage",
    StageName.FVLM: "workers.fvlm.stage",
    StageName.FUSION: "workers.fusion.stage",
}
"""Stages that this version can run; each module has `make_stage(settings) -> Stage | None`."""


class StageModule(Protocol):
    """What a module named in `STAGE_MODULES` offers."""

    def make_stage(self, settings: Settings) -> Stage | None:
        """Return the stage, loaded and checked, or None when its weights are not installed."""


def make_stages(names: Iterable[StageName], settings: Settings) -> list[Stage]:
    """Return the stages among `names` that this installation can run."""
    stages = (make_stage(name, settings) for name in names if name in STAGE_MODULES)
    return [stage for stage in stages if stage is not None]


def make_stage(name: StageName, settings: Settings) -> Stage | None:
    """Return one stage, or None when its weights are not installed."""
    module = cast("StageModule", import_module(STAGE_MODULES[name]))
    stage = module.make_stage(settings)
    if stage is not None and stage.name is not name:
        raise Defect(f"{STAGE_MODULES[name]} made the stage {stage.name} where {name} was expected")
    return stage
