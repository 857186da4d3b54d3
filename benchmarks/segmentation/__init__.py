"""Organ masks in process beside TotalSegmentator's own command line, on the same weights and studies."""
