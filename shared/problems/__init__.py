"""The catalogue of problem codes: one vocabulary for HTTP, jobs, webhooks, metrics and documents (RFC 9457)."""

from shared.problems.catalogue import CATALOGUE
from shared.problems.codes import ProblemCode
from shared.problems.kinds import FieldError, ProblemExample, ProblemKind
from shared.problems.problem import Problem

__all__ = ["CATALOGUE", "FieldError", "Problem", "ProblemCode", "ProblemExample", "ProblemKind"]
