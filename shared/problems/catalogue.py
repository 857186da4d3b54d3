"""The whole catalogue, in the order of the codes."""

from __future__ import annotations

from collections.abc import Mapping

from shared.problems import access, archives, faults, pressure, requests, studies, uploads, webhooks
from shared.problems.codes import ProblemCode
from shared.problems.kinds import ProblemKind

CATALOGUE: Mapping[ProblemCode, ProblemKind] = {
    **requests.KINDS,
    **uploads.KINDS,
    **webhooks.KINDS,
    **access.KINDS,
    **pressure.KINDS,
    **archives.KINDS,
    **studies.KINDS,
    **faults.KINDS,
}
