"""One occurrence of a problem."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.json_values import JsonObject, JsonValue
from shared.problems.catalogue import CATALOGUE
from shared.problems.codes import ProblemCode
from shared.problems.kinds import FieldError, ProblemKind, make_document, make_example_document


@dataclass(frozen=True)
class Problem:
    """One occurrence of a problem.

    `detail` says what was found, what was expected and where. `facts` are extension members. Neither ever holds
    patient data, a path of ours or a name from the upload that was not escaped.
    """

    code: ProblemCode
    detail: str
    facts: JsonObject = field(default_factory=dict)
    errors: tuple[FieldError, ...] = ()

    @property
    def kind(self) -> ProblemKind:
        """The entry of the catalogue."""
        return CATALOGUE[self.code]

    def to_document(self) -> dict[str, JsonValue]:
        """Return the RFC 9457 members that do not depend on the request."""
        return make_document(self.code, self.kind, self.detail, self.facts, self.errors)


def make_example(code: ProblemCode) -> dict[str, JsonValue]:
    """Return the catalogue's example of a problem, as a caller would see it."""
    return make_example_document(code, CATALOGUE[code])
