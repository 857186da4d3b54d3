"""The policy object, its TOML form in this folder and its JSON form in the database."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import Defect
from shared.json_values import JsonObject, JsonValue

POLICIES_FOLDER = Path(__file__).parent

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DIGEST_CHARACTERS = 8


@dataclass(frozen=True)
class Policy:
    """How a probability becomes a decision. Never changed once used: another number is another version.

    `threshold`: class 1 at or above this probability. `minimum_models`: fewer answers give no result.
    `calibration`: none yet; the probability is the booster's own.
    """

    name: str
    version: str
    threshold: float
    minimum_models: int
    calibration: None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a policy. Raises Defect."""
        if not _NAME.fullmatch(self.name) or not self.version:
            raise Defect(f"policy {self.name!r} version {self.version!r}: a lower-case name and a version are needed")
        if not 0 < self.threshold < 1:
            raise Defect(f"policy {self.name}: threshold {self.threshold} is not between 0 and 1")
        if self.minimum_models < 0:
            raise Defect(f"policy {self.name}: minimum_models {self.minimum_models} is negative")
        if self.calibration is not None:
            raise Defect(f"policy {self.name}: this version knows no calibration")

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the policy says."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Name of exactly this policy, given in every result that was decided under it."""
        return f"{self.name}-{self.version}-{self.digest[:_DIGEST_CHARACTERS]}"

    def to_document(self) -> dict[str, JsonValue]:
        """Return the JSON form, as it stands in the table `policies`."""
        return {"id": self.id, "digest": self.digest, **asdict(self)}


def parse_policy(document: JsonObject) -> Policy:
    """Return the policy that a JSON form says. Raises Defect when it is none or its id is not its own."""
    said = {name: value for name, value in document.items() if name not in {"id", "digest"}}
    policy = _make_policy(said, "the policy of the job")
    if document.get("id") != policy.id:
        raise Defect(f"a stored policy names itself {document.get('id')!r} but its words are those of {policy.id!r}")
    return policy


def load_policies(folder: Path = POLICIES_FOLDER) -> tuple[Policy, ...]:
    """Read every policy of a folder, by name. Raises Defect when one cannot be read or two share a name."""
    policies = [_make_policy(_read(path), path.name) for path in sorted(folder.glob("*.toml"))]
    names = [policy.name for policy in policies]
    if len(set(names)) != len(names):
        raise Defect(f"two policies share a name: {sorted(names)}")
    return tuple(policies)


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Defect(f"policy {path.name} cannot be read: {type(error).__name__}") from error


def _make_policy(fields: Mapping[str, Any], origin: str) -> Policy:
    try:
        return Policy(**fields)
    except TypeError as error:  # a field that is missing, unknown or of another type
        raise Defect(f"{origin} has wrong fields: {sorted(fields)}") from error
