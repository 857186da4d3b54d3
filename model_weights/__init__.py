"""Model weights: the catalogue, its loader and its converter."""
