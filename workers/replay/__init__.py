"""Replay: a job is run again from its manifest, and every feature is compared."""
