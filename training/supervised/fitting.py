"""Fitting a head, and where the plan says so the encoder, so that a run that was cut off ends with the same weights.

Order of studies and dropout are functions of the seed and the place in the plan, and the state is complete after every
update. The weights that are kept are those of the epoch with the smallest loss on the validation studies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from shared.errors import Defect
from training.kept_files import keep_checkpoint, read_checkpoint
from training.supervised.classifier import (
    compute_logits,
    compute_rates,
    encode_for_training,
    make_dropout,
    select_parameters,
)
from training.supervised.loss import MaskedLoss, count_known, make_loss
from training.supervised.plan import FineTuningPlan, FineTuningStage, Part
from workers.supervised.model import LatentClassifier, compute_probabilities

Report = Callable[[str], None]

_SAVE_S = 60.0
_TELL_S = 10.0
_LATENTS_TOGETHER = 4096
_ORDER, _DROPOUT = 0, 1
"""Streams of chance that are drawn apart from each other."""


@dataclass(frozen=True)
class Studies:
    """Studies of one split, on the CPU.

    `targets` (n, labels) are 1, 0, or NaN where unknown; `weights` (n,); `latents` (n, d) are those of the encoder as
    it was given; `prepare` returns the network's input (1, c, z, x, y) of a study by its number.
    """

    targets: Tensor
    weights: Tensor
    latents: Tensor
    prepare: Callable[[int], Tensor]


@dataclass(frozen=True)
class EpochReport:
    """Mean losses of one epoch; `validation_loss` is NaN where there is nothing to validate on."""

    stage: str
    epoch: int
    training_loss: float
    validation_loss: float


@dataclass
class _Place:
    """Where in the plan the next update is."""

    stage: int = 0
    epoch: int = 0
    step: int = 0


class Fitting:
    """Model, optimiser and place of one run; `checkpoint` is the file that it goes on from."""

    def __init__(
        self,
        classifier: LatentClassifier,
        plan: FineTuningPlan,
        *,
        training: Studies,
        validation: Studies,
        checkpoint: Path,
        report: Report,
    ) -> None:
        self.history: list[EpochReport] = []
        self._classifier = classifier
        self._plan = plan
        self._training = training
        self._validation = validation
        self._checkpoint = checkpoint
        self._report = report
        self._device = classifier.image.projection.weight.device
        loss = make_loss(training.targets, beta=plan.label_beta, positive_weight=plan.positive_weight)
        self._loss: MaskedLoss = loss.to(self._device)
        self._place = _Place()
        self._losses: list[float] = []
        self._best: dict[str, Tensor] = {}
        self._best_loss = math.inf
        self._optimiser: torch.optim.AdamW | None = None
        self._saved_at = self._told_at = time.monotonic()
        self._restore()

    def run(self) -> LatentClassifier:
        """Fit and return the classifier, in inference mode, with the weights of the best epoch."""
        while self._place.stage < len(self._plan.stages):
            self._run_stage(self._plan.stages[self._place.stage])
        self._load(self._best)
        return self._classifier.eval().requires_grad_(requires_grad=False)

    def _run_stage(self, stage: FineTuningStage) -> None:
        optimiser = self._start_stage()
        while self._place.epoch < stage.epochs:
            self._run_epoch(stage, optimiser)
            self._end_epoch(stage)
        self._load(self._best)
        self._place = _Place(self._place.stage + 1)
        self._optimiser = None
        self._save()

    def _start_stage(self) -> torch.optim.AdamW:
        if self._optimiser is None:
            self._optimiser = self._make_optimiser(self._plan.stages[self._place.stage].part)
        return self._optimiser

    def _run_epoch(self, stage: FineTuningStage, optimiser: torch.optim.AdamW) -> None:
        order = self._draw(_ORDER).permutation(len(self._training.targets))
        batches = [order[start : start + self._plan.batch] for start in range(0, len(order), self._plan.batch)]
        while self._place.step < len(batches):
            self._set_rates(
                optimiser, (self._place.epoch * len(batches) + self._place.step) / (stage.epochs * len(batches))
            )
            self._losses.append(self._learn(stage.part, torch.from_numpy(batches[self._place.step]), optimiser))
            self._place.step += 1
            self._tell(stage, len(batches))
            if time.monotonic() - self._saved_at >= _SAVE_S:
                self._save()

    def _end_epoch(self, stage: FineTuningStage) -> None:
        validation_loss = self._validate(stage.part)
        known = [loss for loss in self._losses if not math.isnan(loss)]
        mean = float(np.mean(known)) if known else math.nan
        self.history.append(EpochReport(str(stage.part), len(self.history) + 1, mean, validation_loss))
        # Without validation studies the last epoch is the best.
        if math.isnan(validation_loss) or validation_loss < self._best_loss:
            self._best, self._best_loss = self._copy_trained(), validation_loss
        self._losses = []
        self._place = _Place(self._place.stage, self._place.epoch + 1)

    def _learn(self, part: Part, chosen: Tensor, optimiser: torch.optim.AdamW) -> float:
        """Make one update and return the loss of its batch; NaN, and no update, where nothing is known."""
        targets, weights = self._training.targets[chosen], self._training.weights[chosen]
        known = count_known(targets, weights)
        if known == 0:
            return math.nan
        size = (len(chosen), self._training.latents.shape[1])
        seed = int(self._draw(_DROPOUT).integers(2**62))
        dropout = make_dropout(size, self._plan.dropout, torch.Generator().manual_seed(seed))
        total = 0.0
        for numbers, latents in self._iterate_latents(part, self._training, chosen):
            logits = compute_logits(self._classifier, latents, dropout[numbers].to(self._device))
            loss = self._loss.compute_sum(logits, targets[numbers].to(self._device), weights[numbers].to(self._device))
            loss = loss / known
            loss.backward()  # type: ignore[no-untyped-call]  # of torch
            total += loss.item()
        if not math.isfinite(total):
            raise Defect("the loss is no longer a number; take smaller rates")
        parameters = [each for group in optimiser.param_groups for each in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, self._plan.gradient_limit)
        optimiser.step()
        optimiser.zero_grad()
        return total

    def _iterate_latents(self, part: Part, studies: Studies, chosen: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield parts of a batch with their latents: all at once where they are kept, else study by study."""
        if part is Part.HEAD:
            yield slice(None), studies.latents[chosen].to(self._device)
            return
        for number, prepared in enumerate(_prepare_ahead(studies, chosen.tolist())):
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._plan.is_bfloat16):
                latents = encode_for_training(self._classifier, prepared.to(self._device))
            yield slice(number, number + 1), latents.float()

    @torch.no_grad()
    def _validate(self, part: Part) -> float:
        studies = self._validation
        known = count_known(studies.targets, studies.weights)
        if known == 0:
            return math.nan
        logits = torch.cat(
            [
                compute_logits(self._classifier, latents, None)
                for _, latents in self._iterate_latents(part, studies, torch.arange(len(studies.targets)))
            ]
        )
        total = self._loss.compute_sum(logits, studies.targets.to(self._device), studies.weights.to(self._device))
        return float(total) / known

    def _make_optimiser(self, part: Part) -> torch.optim.AdamW:
        self._classifier.requires_grad_(requires_grad=False)
        parameters = select_parameters(self._classifier, part)
        rates = compute_rates(self._classifier, parameters, self._plan)
        groups = [
            {"params": [parameter.requires_grad_()], "lr": rates[name], "peak": rates[name]}
            for name, parameter in parameters.items()
        ]
        return torch.optim.AdamW(groups, weight_decay=self._plan.weight_decay)

    def _set_rates(self, optimiser: torch.optim.AdamW, share: float) -> None:
        factor = compute_rate_factor(share, self._plan)
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def _draw(self, stream: int) -> np.random.Generator:
        place = self._place
        step = place.step if stream == _DROPOUT else 0
        return np.random.default_rng((self._plan.seed, stream, place.stage, place.epoch, step))

    def _copy_trained(self) -> dict[str, Tensor]:
        """Return the weights that any stage so far has moved."""
        parts = {stage.part for stage in self._plan.stages[: self._place.stage + 1]}
        trained = {name: each for part in parts for name, each in select_parameters(self._classifier, part).items()}
        return {name: parameter.detach().cpu().clone() for name, parameter in trained.items()}

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        parameters = dict(self._classifier.named_parameters())
        for name, tensor in tensors.items():
            parameters[name].copy_(tensor)

    def _tell(self, stage: FineTuningStage, batches: int) -> None:
        if time.monotonic() - self._told_at < _TELL_S:
            return
        self._told_at = time.monotonic()
        done = f"{self._place.epoch + 1} of {stage.epochs}, update {self._place.step} of {batches}"
        self._report(f"{stage.part}: epoch {done}, loss {np.nanmean(self._losses):.3f}")

    def _save(self) -> None:
        place = self._place
        kept = {
            "place": [place.stage, place.epoch, place.step],
            "losses": self._losses,
            "history": [[each.stage, each.epoch, each.training_loss, each.validation_loss] for each in self.history],
            "trained": self._copy_trained(),
            "best": self._best,
            "best_loss": self._best_loss,
            "optimiser": None if self._optimiser is None else self._optimiser.state_dict(),
        }
        keep_checkpoint(self._checkpoint, kept)
        self._saved_at = time.monotonic()

    def _restore(self) -> None:
        kept = read_checkpoint(self._checkpoint)
        if kept is None:
            return
        self._place = _Place(*kept["place"])
        self._losses = kept["losses"]
        self.history = [EpochReport(*each) for each in kept["history"]]
        self._best, self._best_loss = kept["best"], kept["best_loss"]
        self._load(kept["trained"])
        if kept["optimiser"] is not None:
            self._start_stage().load_state_dict(kept["optimiser"])
        self._report(f"going on from epoch {len(self.history) + 1}, update {self._place.step}")


@torch.no_grad()
def answer(classifier: LatentClassifier, studies: Studies, *, has_latents: bool) -> Tensor:
    """Return probabilities (n, labels) of studies; `has_latents` says that theirs are those of this encoder."""
    device = classifier.image.projection.weight.device
    if has_latents:
        batches: Iterator[Tensor] = iter(torch.split(studies.latents, _LATENTS_TOGETHER))
        logits = [classifier.classify(latents.to(device)) for latents in batches]
    else:
        logits = [classifier(each.to(device)) for each in _prepare_ahead(studies, range(len(studies.targets)))]
    return compute_probabilities(torch.cat(logits)).cpu() if logits else torch.zeros(studies.targets.shape)


def compute_rate_factor(share: float, plan: FineTuningPlan) -> float:
    """Return the share of the peak rate after a share of a stage's updates: up in a line, then down half a cosine."""
    if share < plan.warm_up:
        return (share + 1e-3) / (plan.warm_up + 1e-3)
    fallen = (share - plan.warm_up) / (1 - plan.warm_up)
    return plan.final_rate + (1 - plan.final_rate) * (1 + math.cos(math.pi * fallen)) / 2


def _prepare_ahead(studies: Studies, numbers: Sequence[int]) -> Iterator[Tensor]:
    """Yield the inputs of studies; the next one is read while this one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        pending = None
        for number in numbers:
            following = pool.submit(studies.prepare, number)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()
