"""The catalogue of problem codes: one vocabulary for HTTP, jobs, webhooks, metrics and documents (RFC 9457)."""

from shared.problems.catalogue import CATALOGUE
from shared.problems.codes import ProblemCode
from shared.problems.kinds import FieldError, ProblemExample, ProblemKind, show_of_job, show_of_request
from shared.problems.problem import Problem, make_example

__all__ = [
    "CATALOGUE",
    "FieldError",
    "Problem",
    "ProblemCode",
    "ProblemExample",
    "ProblemKind",
    "make_example",
    "show_of_job",
    "show_of_request",
]
