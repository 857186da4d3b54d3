"""What can keep the stack from starting; messages are for the operator and say what to do next."""

from __future__ import annotations


class StackProblem(Exception):
    """The stack cannot start, or stopped itself. The message says why and what to do."""


class AlreadyRunning(StackProblem):
    """Another launcher holds this state folder."""
