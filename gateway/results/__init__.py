"""Results: the published document of a job, as fusion wrote it."""
