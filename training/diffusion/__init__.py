"""Training of the demo anomaly diffusion on phantoms: `python -m training.diffusion`."""
