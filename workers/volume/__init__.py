"""The volume artefact: int16 HU in (z, y, x) with LPS geometry, readable in part."""

from workers.volume.artefact import Volume, VolumeFile, compute_content_digest, write_volume
from workers.volume.geometry import Geometry

__all__ = ["Geometry", "Volume", "VolumeFile", "compute_content_digest", "write_volume"]
