"""What a rendering is given of a job beside what the model found: the scan, and the images it came from."""

from __future__ import annotations

from shared.artefacts import ArtefactKind
from workers.runtime.stage import StageContext
from workers.volume import Volume, VolumeFile
from workers.volume.source import SourceSeries, read_source


def fetch_source(context: StageContext) -> SourceSeries | None:
    """Return the images that the job's volume was made of; None for a NIfTI upload, which has none."""
    if all(record.kind is not ArtefactKind.SOURCE_SERIES for record in context.fetch_artefact_records()):
        return None
    return read_source(context.fetch_artefact(ArtefactKind.SOURCE_SERIES))


class RenderedStudy:
    """Reads the scan and its source when a rendering asks for them."""

    def __init__(self, context: StageContext) -> None:
        self._context = context

    def read_volume(self) -> Volume:
        """Return the scan."""
        return VolumeFile(self._context.fetch_artefact(ArtefactKind.VOLUME)).read()

    def fetch_source(self) -> SourceSeries | None:
        """Return the images that the scan was made of; None for a NIfTI upload, which has none."""
        return fetch_source(self._context)
