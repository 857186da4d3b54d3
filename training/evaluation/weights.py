"""Which weights are evaluated, and under which policy: those of the platform, or those of another catalogue."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from model_weights.catalogue import CATALOGUE_FILE, CATALOGUE_NAME, ModelEntry, load_catalogue
from model_weights.policies import Policy, load_policies
from shared.errors import Defect
from shared.settings import WeightsProfile
from shared.stages import MODELS, STAGES, StageName
from workers.fusion.booster import FusionBooster, load_booster
from workers.runtime.registry import STAGE_MODULES


@dataclass(frozen=True)
class WeightSet:
    """The entries of one profile in one catalogue. Without masks, models that read them are left out."""

    catalogue: Path = CATALOGUE_FILE
    profile: WeightsProfile = WeightsProfile.DEMO
    has_masks: bool = True

    def find(self, stage: StageName) -> ModelEntry | None:
        """Return the entry that runs a stage, or None."""
        return next((entry for entry in self._entries if entry.stage is stage), None)

    @property
    def models(self) -> tuple[ModelEntry, ...]:
        """The models that can be asked, in the order of `MODELS`. Raises LookupError without any."""
        found = (entry for stage in MODELS if stage in STAGE_MODULES and (entry := self.find(stage)) is not None)
        has_masks = self.has_masks and self.find(StageName.SEGMENTATION) is not None
        models = tuple(entry for entry in found if has_masks or not reads_masks(entry))
        if not models:
            raise LookupError(self._explain_none())
        return models

    @property
    def without_masks(self) -> tuple[ModelEntry, ...]:
        """Models that are installed and cannot be asked, since there is no segmentation whose masks they read."""
        if self.find(StageName.SEGMENTATION) is not None:
            return ()
        return tuple(entry for entry in self._entries if entry.stage in MODELS and reads_masks(entry))

    def _explain_none(self) -> str:
        if self.without_masks:
            names = ", ".join(entry.stage for entry in self.without_masks)
            return (
                f"the catalogue has no {self.profile} model but {names}, without the segmentation whose masks it reads"
            )
        return f"the catalogue has no {self.profile} model: train one first, as with `python -m training.mednext`"

    @property
    def _entries(self) -> tuple[ModelEntry, ...]:
        return tuple(entry for entry in load_catalogue(self.catalogue) if entry.weights_profile is self.profile)


@dataclass(frozen=True)
class Ensemble:
    """Models and the fusion that weighs them."""

    weights: WeightSet
    models: tuple[ModelEntry, ...]
    fusion: ModelEntry
    booster: FusionBooster

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Load what a catalogue, or a folder with one, holds; without one, the demo weights of the platform.

        Raises Defect when it has models of two profiles, or no fusion, or no model.
        """
        weights = find_weights(path)
        fusion = weights.find(StageName.FUSION)
        if fusion is None:
            raise Defect("the catalogue has no fusion, so there is no probability to evaluate; train one")
        try:
            models = weights.models
        except LookupError as error:
            raise Defect(str(error)) from error
        return cls(weights, models, fusion, load_booster(fusion))

    @property
    def stages(self) -> tuple[StageName, ...]:
        """The models, in the order of `MODELS`."""
        return tuple(entry.stage for entry in self.models)


def find_weights(path: Path | None) -> WeightSet:
    """Return the weights of a catalogue file or of a folder with one. Raises Defect."""
    if path is None:
        return WeightSet()
    catalogue = path / CATALOGUE_NAME if path.is_dir() else path
    if not catalogue.is_file() or not load_catalogue(catalogue):
        raise Defect(f"there are no weights in {path}; name a folder that `ctclip models convert` has written")
    profiles = sorted({entry.weights_profile for entry in load_catalogue(catalogue)})
    if len(profiles) != 1:
        raise Defect(f"the catalogue has the profiles {[*map(str, profiles)]}; keep one in a folder of its own")
    return WeightSet(catalogue, profiles[0])


def find_policy() -> Policy:
    """Return the policy that figures are given under where no other one is named."""
    return next(policy for policy in load_policies() if policy.name == "default")


def reads_masks(model: ModelEntry) -> bool:
    """Whether the stage of a model needs the segmentation."""
    return StageName.SEGMENTATION in STAGES[model.stage].needs


def name_answers(entry: ModelEntry, weights: WeightSet) -> str:
    """Return what names the answers of a model: its digest, and that of the segmentation whose masks it reads."""
    segmenter = weights.find(StageName.SEGMENTATION) if reads_masks(entry) else None
    # Thresholds say what an answer means and do not change it.
    digests = [each.digest for each in (replace(entry, thresholds={}), segmenter) if each is not None]
    return "-".join([str(entry.stage), *(digest[:12] for digest in digests)])
