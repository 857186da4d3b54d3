"""Organ masks: TotalSegmentator's fast task `total`, run in process on the volume artefact."""
