"""`python -m tests.faults.faulty_worker`: a worker whose models read the volume, sleep, and fail while a file says so.

The errors of a device are those that PyTorch raises, met where the runtime meets those of a network.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.load import sleeping
from model_weights.catalogue import find_installed
from shared.artefacts import ArtefactKind
from shared.settings import Settings
from shared.stages import StageName
from tests.faults.fault_file import FAULT_FILE, ONCE
from workers.runtime.stage import StageContext, StageOutput
from workers.volume import VolumeFile

_SLEEP_S = 0.3


class FaultyStage(sleeping.SleepingStage):
    """Reads its volume before it sleeps. Of all models, MedNeXt fails."""

    def run(self, context: StageContext) -> StageOutput:
        """Answer, or raise what the file names."""
        VolumeFile(context.fetch_artefact(ArtefactKind.VOLUME)).read()
        context.report(0.5)
        if self.name is StageName.MEDNEXT:
            fail_as_told(Path(os.environ[FAULT_FILE]))
        return super().run(context)


def fail_as_told(path: Path) -> None:
    """Raise the fault that the file names, in our words, and remove a file that says once."""
    if not path.exists():
        return
    said = path.read_text()
    if said.endswith(ONCE):
        path.unlink()
    import torch  # noqa: PLC0415  # takes seconds, and only a worker that fails needs it

    from workers.model_host.device_faults import translated_device_faults  # noqa: PLC0415

    faults = {"out_of_memory": torch.OutOfMemoryError, "device_failed": torch.AcceleratorError, "defect": ValueError}
    with translated_device_faults():
        raise faults[said.removesuffix(ONCE)]("of the test")


def make_stage(settings: Settings, stage: StageName) -> FaultyStage | None:
    """Return what stands in for a model; None where it is not installed."""
    entry = find_installed(settings, stage)
    return None if entry is None else FaultyStage(entry, _SLEEP_S)


if __name__ == "__main__":
    sleeping.make_stage = make_stage
    sleeping.main()
