"""Scratch and cache: writable, with the room that a stage begins with."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator

from deploy.doctor.finding import Finding, broken, fine
from shared.settings import Settings


def look_at_room(settings: Settings) -> Iterator[Finding]:
    """Yield what was found about the folder in which workers work."""
    folder = settings.cache_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"ctclip doctor")
    except OSError as error:
        advice = "Give CTCLIP_CACHE_DIR a folder of the user that runs the workers, on a disk with room."
        yield broken("scratch", f"{folder} cannot be written: {error.strerror or type(error).__name__}.", advice)
        return
    yield fine("scratch", f"{folder} can be written.")
    free, reserve = shutil.disk_usage(folder).free, settings.scratch_reserve_bytes
    told = f"{free / 1e9:.1f} GB are free there; a stage begins only with {reserve / 1e9:.1f} GB."
    if free < reserve:
        yield broken("space", told, "Make room there, or lower CTCLIP_CACHE_LIMIT_BYTES.", free_bytes=free)
    else:
        yield fine("space", told, free_bytes=free)
