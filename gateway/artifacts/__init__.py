"""Artefacts of a job: what its stages made, listed and streamed from object storage."""
