"""A loaded CT-CLIP: image side by digest, warm, checked against its known answer, and the latents of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model_weights.catalogue import ModelEntry
from model_weights.loading import load_tensors
from model_weights.policies import read_finding_texts
from shared.artefacts import ArtefactKind
from shared.errors import Defect
from workers.ct_clip.configuration import Architecture, Preprocessing
from workers.ct_clip.evidence import RELEVANCE, Explainer, make_claims
from workers.ct_clip.image_tower import Encoding
from workers.ct_clip.known_answer import require_known_answer
from workers.ct_clip.loading import compile_layers, make_image_tower
from workers.ct_clip.memory import predict_memory
from workers.ct_clip.preprocess import prepare
from workers.ct_clip.site_findings import FACT, Questionnaire, SiteFindings
from workers.ct_clip.text_latents import load_text_latents
from workers.device import ComputeMode
from workers.label_roles import sort_labels
from workers.model_host.measuring import told_warm_up
from workers.model_host.memory import MemoryAmount
from workers.model_stage import Answer, Question
from workers.volume import Volume

_TEMPERATURE = "temperature"
_AS_STORED = ComputeMode()


class Predictor:
    """CT-CLIP of one catalogue entry, ready to predict. Safe to use from several threads.

    `latents_folder` keeps the latents of a site's own texts, for this process and the next.
    """

    def __init__(
        self,
        entry: ModelEntry,
        device: torch.device,
        mode: ComputeMode = _AS_STORED,
        latents_folder: Path | None = None,
    ) -> None:
        architecture = Architecture.from_table(entry.architecture)
        self.preprocessing = Preprocessing.from_table(entry.preprocessing)
        self.preprocessing.require_fit(architecture.image)
        self._device, self._mode = device, mode
        tensors = load_tensors(entry.get_file("weights"), device)
        if _TEMPERATURE not in tensors:
            raise Defect(f"the weights do not fit the architecture of CT-CLIP; 1 missing: {_TEMPERATURE}")
        self._tower = make_image_tower(architecture, tensors)
        if mode.is_compiled:
            compile_layers(self._tower)
        with told_warm_up(entry.stage):
            require_known_answer(entry, self._tower)
        if mode.needs_real_shape(device):
            self.encode(torch.zeros(1, architecture.image.channels, *self.preprocessing.shape))
        self._temperature = tensors[_TEMPERATURE]
        self._axes = self._make_axes(load_text_latents(entry))
        self._site_findings = SiteFindings(entry, latents_folder)
        self._roles = sort_labels(entry.stage, entry.labels)
        self._entry, self.explainer = entry, Explainer(entry, self._tower, ArtefactKind.CT_CLIP_RELEVANCE)

    def predict_memory(self, shape_zyx: tuple[int, int, int]) -> MemoryAmount:
        """Return the most that preparing and answering a volume of this shape takes beside the loaded model."""
        return predict_memory(self._tower.encoder.shape, self.preprocessing, self._device, shape_zyx)

    def prepare(self, volume: Volume) -> Tensor:
        """Return the network's input of one volume, on the CPU."""
        return prepare(volume, self.preprocessing)

    def answer(self, prepared: Tensor, question: Question) -> Answer:
        """Return how probable each label is in one prepared volume (1, c, z, x, y), which is encoded once, and why.

        The site's own findings, where the policy has some, stand in the facts.
        """
        encoding = self.encode(prepared)
        probabilities = self.score(encoding)[0].tolist()
        claims = make_claims(self._entry, probabilities)
        evidence = self.explainer.explain(encoding.codes[0], claims, self.direct, question)
        unfused = self._roles.describe_unfused(dict(zip(self._entry.labels, probabilities, strict=True)))
        facts, warnings = {RELEVANCE: evidence.facts, **unfused}, self._roles.list_warnings()
        texts = read_finding_texts(question.policy)
        if not texts:
            return Answer(probabilities, [evidence.artefact], facts, warnings)
        questionnaire = self._site_findings.read(texts)
        found = questionnaire.describe(probabilities, self._score_others(encoding, questionnaire))
        return Answer(probabilities, [evidence.artefact], {**facts, FACT: found}, [*warnings, *questionnaire.warnings])

    def predict(self, prepared: Tensor) -> Tensor:
        """Return how probable each label is (b, labels), on the CPU in float32, of prepared volumes (b, c, z, x, y)."""
        return self.score(self.encode(prepared))

    @torch.inference_mode()
    def encode(self, prepared: Tensor) -> Encoding:
        """Return codes and latents of prepared volumes (b, c, z, x, y), where the network is."""
        with self._mode.autocast(self._device):
            return self._tower.encode(prepared.to(self._device))

    @torch.inference_mode()
    def score(self, encoding: Encoding) -> Tensor:
        """Return how probable each label of the entry is (b, labels), on the CPU in float32."""
        return _score_along(encoding.latents, self._axes)

    def direct(self, raw: Tensor, labels: Sequence[int]) -> Tensor:
        """Return directions (labels, d): each times `raw` (d,), the latent before its norm, is the label's log-odds."""
        directions: Tensor = self._axes[list(labels)] / raw.norm()
        return directions

    @torch.inference_mode()
    def _score_others(self, encoding: Encoding, questionnaire: Questionnaire) -> list[float]:
        if questionnaire.latents is None:
            return []
        found: list[float] = _score_along(encoding.latents, self._make_axes(questionnaire.latents))[0].tolist()
        return found

    def _make_axes(self, text_latents: Tensor) -> Tensor:
        """Return one direction for each finding (findings, d): the softmax over two prompts is the sigmoid along it."""
        text_latents = text_latents.to(self._device)
        return self._temperature.exp() * (text_latents[0::2] - text_latents[1::2])


def _score_along(latents: Tensor, axes: Tensor) -> Tensor:
    """Return probabilities (b, findings) on the CPU in float32."""
    return (latents @ axes.t()).float().sigmoid().cpu()
