"""The policy object, its TOML form in this folder and its JSON form in the database."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model_weights.policies.calibration import Calibration, parse_calibration, parse_models
from model_weights.policies.finding_texts import FindingText, parse_finding_texts, require_distinct
from model_weights.policies.finding_thresholds import KEY as THRESHOLDS_KEY
from model_weights.policies.finding_thresholds import FindingThresholds, parse_finding_thresholds, to_document
from model_weights.policies.lung_check import KEY as LUNG_KEY
from model_weights.policies.lung_check import LungCheck, parse_lung_check
from model_weights.policies.reconstruction import KEY, ReconstructionOptions
from shared.errors import Defect
from shared.json_values import JsonObject, JsonValue
from shared.stages import MODELS, StageName

POLICIES_FOLDER = Path(__file__).parent

_LONGEST = 40
_NAME = re.compile(rf"[a-z][a-z0-9_]{{0,{_LONGEST - 1}}}")
_VERSION = re.compile(rf"[\w.+:-][\w.+: -]{{0,{_LONGEST - 1}}}")
_DIGEST_CHARACTERS = 8
_SUBSETS = "allowed_subsets"


@dataclass(frozen=True)
class Policy:
    """How a probability becomes a decision. Never changed once used: another number is another version.

    `threshold`: class 1 at or above this probability. `minimum_models`: fewer answers give no result.
    `allowed_subsets`: just these sets of models give a result; None for all that have enough models.
    `calibration`: lines of the site's own, by the models that answered; None for those of the fusion's weights.
    `finding_texts`: findings of the site's own that a zero-shot model is asked for; they are shown and never fused.
    `finding_thresholds`: from what probability on a model stands for a finding; None for those of the fusion's weights.
    `reconstruction`: what the anomaly diffusion does beside scoring slices; nothing where it is None.
    `lung_check`: what becomes of a study whose masks show too little of the lungs.
    """

    name: str
    version: str
    threshold: float
    minimum_models: int
    calibration: Calibration | None = None
    finding_texts: tuple[FindingText, ...] = ()
    reconstruction: ReconstructionOptions | None = None
    lung_check: LungCheck = LungCheck.WARN
    allowed_subsets: tuple[tuple[StageName, ...], ...] | None = None
    finding_thresholds: FindingThresholds | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be a policy. Raises Defect."""
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise Defect(
                f"policy {str(self.name)[:_LONGEST]!r}: the name must be up to {_LONGEST} of a to z, 0 to 9 and _"
            )
        if not isinstance(self.version, str) or not _VERSION.fullmatch(self.version):
            raise Defect(f'policy {self.name}: version must be a text in quotes, up to {_LONGEST} characters, like "2"')
        if type(self.threshold) not in (int, float) or not 0 < self.threshold < 1:
            raise Defect(f"policy {self.name}: threshold {self.threshold!r} is not between 0 and 1")
        if type(self.minimum_models) is not int or not 0 <= self.minimum_models <= len(MODELS):
            raise Defect(
                f"policy {self.name}: minimum_models {self.minimum_models!r} is no whole number from 0 to {len(MODELS)}"
            )
        if self.allowed_subsets is not None and not any(map(self.allows, self.allowed_subsets)):
            raise Defect(f"policy {self.name}: allowed_subsets and minimum_models together allow no answer")
        require_distinct(self.finding_texts)

    def allows(self, models: Collection[StageName]) -> bool:
        """Whether the answers of just these models give a result."""
        has_enough = len(models) >= self.minimum_models
        return has_enough and (
            self.allowed_subsets is None or any(set(subset) == set(models) for subset in self.allowed_subsets)
        )

    @property
    def digest(self) -> str:
        """SHA-256 over everything that the policy says."""
        return hashlib.sha256(json.dumps(self._list_words(), sort_keys=True).encode()).hexdigest()

    @property
    def id(self) -> str:
        """Name of exactly this policy, given in every result that was decided under it."""
        return f"{self.name}-{self.version}-{self.digest[:_DIGEST_CHARACTERS]}"

    def to_document(self) -> dict[str, JsonValue]:
        """Return the JSON form, as it stands in the table `policies`."""
        return {"id": self.id, "digest": self.digest, **self._list_words()}

    def _list_words(self) -> dict[str, JsonValue]:
        """Return all that the policy says; without later fields just what it said before there were any."""
        words = asdict(self)
        del words["finding_texts"], words[KEY], words[LUNG_KEY], words[_SUBSETS], words[THRESHOLDS_KEY]
        words["calibration"] = None if self.calibration is None else [line.to_document() for line in self.calibration]
        if self.allowed_subsets is not None:
            words[_SUBSETS] = [[str(model) for model in subset] for subset in self.allowed_subsets]
        if self.finding_thresholds is not None:
            words[THRESHOLDS_KEY] = to_document(self.finding_thresholds)
        if self.finding_texts:
            words["finding_texts"] = [text.to_document() for text in self.finding_texts]
        if self.lung_check is not LungCheck.WARN:
            words[LUNG_KEY] = str(self.lung_check)
        return words if self.reconstruction is None else {**words, KEY: self.reconstruction.to_document()}


def parse_policy(document: JsonObject) -> Policy:
    """Return the policy that a JSON form says. Raises Defect when it is none or its id is not its own."""
    said = {name: value for name, value in document.items() if name not in {"id", "digest"}}
    policy = _make_policy(said, "the policy of the job")
    if document.get("id") != policy.id:
        raise Defect(f"a stored policy names itself {document.get('id')!r} but its words are those of {policy.id!r}")
    return policy


def load_policies(site: Path | None = None) -> tuple[Policy, ...]:
    """Read every policy that comes with the platform, and those of a site's folder.

    Raises Defect when one cannot be read or two share a name.
    """
    if site is not None and not site.is_dir():
        raise Defect("CTCLIP_POLICIES_DIR names no folder; make it or leave the setting out")
    folders = [POLICIES_FOLDER, *([] if site is None else [site])]
    policies = tuple(read_policy(path) for folder in folders for path in sorted(folder.glob("*.toml")))
    twice = sorted(name for name, count in Counter(policy.name for policy in policies).items() if count > 1)
    if twice:
        raise Defect(f"two policies share a name: {twice}; give each its own, CTCLIP_POLICY says which one is used")
    return policies


def read_policy(path: Path) -> Policy:
    """Read one policy file. Raises Defect that names the file and says what is wrong with it."""
    try:
        return _make_policy(_read(path), "the policy")
    except Defect as defect:
        raise Defect(f"{path.name}: {defect}") from defect


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Defect(f"the policy cannot be read: {type(error).__name__}") from error
    except tomllib.TOMLDecodeError as error:
        raise Defect(f"the policy is not TOML: {error}") from error
    except RecursionError as error:
        raise Defect("the policy is not TOML: it is nested too deep") from error


def _make_policy(said: Mapping[str, Any], origin: str) -> Policy:
    texts = parse_finding_texts(said.get("finding_texts", ()))
    reconstruction = ReconstructionOptions.from_table(said[KEY]) if KEY in said else None
    read = {
        "finding_texts": texts,
        KEY: reconstruction,
        LUNG_KEY: parse_lung_check(said.get(LUNG_KEY, LungCheck.WARN)),
        "calibration": None if said.get("calibration") is None else parse_calibration(said["calibration"]),
        _SUBSETS: _parse_subsets(said[_SUBSETS]) if _SUBSETS in said else None,
        THRESHOLDS_KEY: parse_finding_thresholds(said[THRESHOLDS_KEY]) if THRESHOLDS_KEY in said else None,
    }
    try:
        return Policy(**{**said, **read})
    except TypeError as error:  # a field that is missing, unknown or of another type
        raise Defect(f"{origin} has wrong fields: {sorted(said)}; needed are {_list_needed()}") from error


def _parse_subsets(said: object) -> tuple[tuple[StageName, ...], ...]:
    if not isinstance(said, Sequence) or isinstance(said, str) or not said:
        raise Defect(f"{_SUBSETS}: expected a list of lists of models, with at least one")
    return tuple(parse_models(names, _SUBSETS) for names in said)


def _list_needed() -> list[str]:
    return [field.name for field in fields(Policy) if field.default is MISSING]
