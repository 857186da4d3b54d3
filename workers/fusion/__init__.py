"""Fusion: all features in, one explained probability out."""
