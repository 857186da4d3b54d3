"""What becomes of a study whose masks show too little of the lungs. Light: no torch."""

from __future__ import annotations

from enum import StrEnum

from shared.errors import Defect
from shared.json_values import JsonObject

KEY = "lung_check"
"""Name of the field in a policy."""


class LungCheck(StrEnum):
    """`warn` goes on and says so in the result; `reject` ends the job, as the predecessor did."""

    WARN = "warn"
    REJECT = "reject"


def parse_lung_check(said: object) -> LungCheck:
    """Return what a policy says. Raises Defect when it is neither."""
    if said not in list(LungCheck):
        raise Defect(f"{KEY} is {said!r}; it must be one of {[str(check) for check in LungCheck]}")
    return LungCheck(str(said))


def read_lung_check(policy: JsonObject) -> LungCheck:
    """Return what the policy document of a job says; policies without the field warn."""
    return parse_lung_check(policy.get(KEY, LungCheck.WARN))
