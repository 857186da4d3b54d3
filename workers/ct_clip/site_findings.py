"""Findings of a site's own, from the texts of a job's policy: zero-shot, shown in the result and never fused.

Statements are encoded once for weights and texts: a policy that this process or this machine has met costs nothing
but one product. Whatever goes wrong here leaves a warning and the labels of the model as they are.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.policies import FindingText
from model_weights.verifying import read_verified
from shared.errors import Defect
from shared.json_values import JsonValue
from shared.telemetry import get_logger
from workers.ct_clip.configuration import Architecture
from workers.ct_clip.latent_cache import LatentCache
from workers.ct_clip.prompts import load_label_texts
from workers.ct_clip.text_latents import compute_key, encode_texts
from workers.ct_clip.tokenizer import explain_unreadable, make_tokenizer
from workers.runtime.stage import StageWarning

FACT = "site_findings"
_ENCODING_FAILED = "encoding_failed"
_SAME_STATEMENTS = "same_statements"
_MOST_POLICIES = 16
"""So many lists of texts a process remembers."""

_log = get_logger()


@dataclass(frozen=True)
class AskedFinding:
    """One finding and its statements. `label` is the position of the model's own label that is stated just so."""

    name: str
    present: str
    absent: str
    label: int | None


@dataclass(frozen=True)
class Questionnaire:
    """What can be asked of a policy's texts, in its order. `latents` (2 * n, d) are of the n that are no labels."""

    findings: Sequence[AskedFinding]
    latents: Tensor | None
    warnings: Sequence[StageWarning]

    def describe(self, labels: Sequence[float], others: Sequence[float]) -> list[JsonValue]:
        """Return the fact of the stage: each finding with its probability, from the labels' or from the others'."""
        rest = iter(others)
        return [
            {
                "name": finding.name,
                "probability": next(rest) if finding.label is None else labels[finding.label],
                "present": finding.present,
                "absent": finding.absent,
            }
            for finding in self.findings
        ]


class SiteFindings:
    """Reads the texts of policies for one model. Safe to use from several threads."""

    def __init__(self, entry: ModelEntry, folder: Path | None) -> None:
        self._entry = entry
        self._texts = load_label_texts(entry)
        stated = [self._texts.state(label) for label in entry.labels]
        self._labels = {(said.present, said.absent): position for position, said in enumerate(stated)}
        self._cache = None if folder is None else LatentCache(folder)
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[FindingText, ...], Questionnaire] = OrderedDict()

    def read(self, texts: tuple[FindingText, ...]) -> Questionnaire:
        """Return the questionnaire of a policy's texts; what cannot be asked is left out with a warning."""
        with self._lock:
            if texts not in self._remembered:
                findings = [self._ask(text) for text in texts]
                try:
                    self._remember(texts, self._make(findings))
                except (Defect, OSError, MemoryError, RuntimeError):  # torch tells of memory by RuntimeError
                    _log.exception("site findings not encoded", model=self._entry.name, findings=len(findings))
                    lost = {finding.name: _ENCODING_FAILED for finding in findings if finding.label is None}
                    return _leave_out(findings, lost, None)
            self._remembered.move_to_end(texts)
            return self._remembered[texts]

    def explain_unasked(self, texts: Sequence[FindingText]) -> dict[str, str]:
        """Return the names that this model cannot be asked for, each with the reason; encodes nothing."""
        others = [finding for finding in map(self._ask, texts) if finding.label is None]
        return dict(self._find_reasons(others)) if others else {}

    def _remember(self, texts: tuple[FindingText, ...], questionnaire: Questionnaire) -> None:
        self._remembered[texts] = questionnaire
        while len(self._remembered) > _MOST_POLICIES:
            self._remembered.popitem(last=False)

    def _ask(self, text: FindingText) -> AskedFinding:
        template = self._texts.state(text.name)
        said = (text.present or template.present, text.absent or template.absent)
        return AskedFinding(text.name, *said, self._labels.get(said))

    def _make(self, findings: Sequence[AskedFinding]) -> Questionnaire:
        others = [finding for finding in findings if finding.label is None]
        reasons = dict(self._find_reasons(others)) if others else {}
        asked = [finding for finding in others if finding.name not in reasons]
        prompts = [said for finding in asked for said in (finding.present, finding.absent)]
        return _leave_out(findings, reasons, self._find_latents(prompts) if prompts else None)

    def _find_reasons(self, findings: Sequence[AskedFinding]) -> Iterator[tuple[str, str]]:
        """Yield the name of each finding that this model cannot be asked for, and the reason."""
        longest = Architecture.from_table(self._entry.architecture).text.max_position_embeddings
        tokenizer = make_tokenizer(read_verified(self._entry.get_file("vocabulary")).decode(), longest)
        for finding in findings:
            said = (finding.present, finding.absent)
            reasons = [reason for text in said if (reason := explain_unreadable(tokenizer, text))]
            if (
                finding.present.casefold() == finding.absent.casefold()
            ):  # one of them told by the policy, one by the template
                reasons.append(_SAME_STATEMENTS)
            if reasons:
                yield finding.name, reasons[0]

    def _find_latents(self, prompts: Sequence[str]) -> Tensor:
        key = compute_key(self._entry, prompts)
        kept = self._cache.read(key) if self._cache else None
        if kept is not None:
            return kept
        latents = encode_texts(self._entry, prompts)
        _log.info("site findings encoded", model=self._entry.name, prompts=len(prompts))
        if self._cache:
            _keep(self._cache, key, latents)
        return latents


def _keep(cache: LatentCache, key: bytes, latents: Tensor) -> None:
    try:
        cache.write(key, latents)
    except OSError as error:  # they are encoded again after the next start
        _log.warning("latents of site findings not kept", reason=type(error).__name__)


def _leave_out(findings: Sequence[AskedFinding], reasons: Mapping[str, str], latents: Tensor | None) -> Questionnaire:
    """Return the questionnaire without the findings that have a reason, and one warning for each reason."""
    names = {why: [name for name, reason in reasons.items() if reason == why] for why in sorted(set(reasons.values()))}
    warnings = [
        StageWarning("site_findings_unanswered", {"reason": why, "findings": lost}) for why, lost in names.items()
    ]
    return Questionnaire([finding for finding in findings if finding.name not in reasons], latents, warnings)
