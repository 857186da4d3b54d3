"""Answers of earlier jobs: a stage whose inputs, model and code are those of an earlier run is not run again."""

from workers.reuse.earlier_answers import EarlierAnswers

__all__ = ["EarlierAnswers"]
