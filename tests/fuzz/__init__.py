"""Fuzzing of the readers of intake; `python -m tests.fuzz.intake --help` tells how."""
