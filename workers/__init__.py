"""The workers: one package per stage, the runtime that they share, and the control loops."""
