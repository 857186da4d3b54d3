"""Anomaly diffusion: slices that do not look healthy, and where in them."""
