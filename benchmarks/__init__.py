"""Paired measurements; each prints ratios taken in one run."""
