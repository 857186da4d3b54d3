"""Acceptance of an installation: inputs of the corpus are sent to it, and its answers held against the right ones."""
