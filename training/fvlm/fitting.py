"""Fitting the demo fVLM: its encoder on crops while phantoms are still being made, then the rest on whole studies.

New studies come in at a fixed pace in steps, not in seconds: the same plan gives the same weights however fast the
machine is, and a run that was cut off goes on from its last checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.ct_clip_vocabulary import make_vocabulary
from training.fvlm.batches import ITEMS, TAUGHT_ITEMS, Prepared, View, make_batch, make_view
from training.fvlm.learner import Learner, pool
from training.fvlm.masks import SegmenterErrors
from training.fvlm.plan import CropStage, FVLMPlan
from training.fvlm.whole import Encoded, encode_view, make_whole_batch
from training.kept_files import keep_checkpoint, read_checkpoint
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer
from workers.fvlm.items import list_prompts
from workers.fvlm.model import FVLM

Report = Callable[[str], None]

_PLACE_WEIGHT = 1.0
_CHECKPOINT_STEPS = 50
_REPORT_STEPS = 25
_ANYWHERE = 0.35
"""Share of crops around any voxel of an organ; the others are around an item, each item as often as the others."""

_FIRST_STUDIES = 40
"""Studies that patches are measured on before the first step."""

_ARRIVAL_SHARE = 0.6
_GRADIENT_LIMIT = 1.0
_QUICK = 5.0
"""Rate of the queries and of the scores' biases, which are single numbers, beside that of matrices."""


class Fitting:
    """Learner, optimiser and schedule of one run."""

    def __init__(self, plan: FVLMPlan, state: Path, report: Report) -> None:
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._checkpoint = state / "checkpoint.pt"
        self._report = report
        vocabulary = make_vocabulary()
        tokenizer = make_tokenizer(vocabulary, plan.prompt_tokens)
        self._prompts = encode_prompts(tokenizer, list_prompts(ITEMS))
        self.learner = Learner(plan.make_architecture(len(vocabulary.splitlines()))).train()
        self._step = 0
        self.seconds = 0.0
        """How long was fitted, over all runs that went on from one another."""
        self._optimiser, self._schedule = self._start(0)
        self._started = time.monotonic()
        self._losses: list[float] = []
        self._views: dict[int, tuple[int, View]] = {}
        self._restore()

    def run(self, studies: Iterator[Prepared]) -> FVLM:
        """Fit on studies as they come, and return the model in inference mode."""
        self._started = time.monotonic() - self.seconds
        seen: list[Prepared] = []
        while self._step < self._plan.crop_steps:
            while len(seen) < self._count_arrived():
                seen.append(next(studies))
            if self._step == 0:
                self._measure_patches(seen)
            self._finish_step(self._learn_from_crops(seen), len(seen))
        if self._step < self._plan.steps:
            count = min(self._plan.whole_studies, self._plan.training_studies)
            seen.extend(next(studies) for _ in range(count - len(seen)))
            self._learn_from_whole(seen[:count])
        return self.learner.finish()

    def _learn_from_crops(self, seen: Sequence[Prepared]) -> Tensor:
        stage = find_stage(self._plan, self._step)
        rng = np.random.default_rng((self._plan.seed, self._step))
        wanted = [choose_item(rng) for _ in range(stage.batch)]
        views = [self._look(seen[choose_study(seen, item, rng)]) for item in wanted]
        batch = make_batch(views, wanted, stage.tokens, self._plan.image.patch_size, rng)
        # Dropout of the text side draws from torch's own generator.
        torch.manual_seed(int(rng.integers(2**62)))
        pooled = self.learner(batch)
        loss = self.learner.compute_pair_loss(pooled.latents, self._read_prompts(), batch.targets, batch.weights)
        return loss + _PLACE_WEIGHT * self.learner.compute_place_loss(pooled.scores, batch)

    def _look(self, study: Prepared) -> View:
        """Return the view of a study that belongs to this step: preparing it costs more than learning from a crop."""
        number = (self._step + study.seed) // self._plan.look_steps
        kept = self._views.get(study.seed)
        if kept is None or kept[0] != number:
            rng = np.random.default_rng((self._plan.seed, study.seed, number))
            kept = number, make_view(study, self._plan.preprocessing, SegmenterErrors(), rng)
            self._views[study.seed] = kept
        return kept[1]

    def _learn_from_whole(self, seen: Sequence[Prepared]) -> None:
        """Fit all but the encoder on studies that it has encoded."""
        if self._step == self._plan.crop_steps:
            self._optimiser, self._schedule = self._start(self._step)
        self._views.clear()
        encoded = self._encode(seen)
        pos_weight = compute_pos_weight(seen)
        while self._step < self._plan.steps:
            rng = np.random.default_rng((self._plan.seed, self._step))
            chosen = rng.choice(len(encoded), min(self._plan.whole_batch, len(encoded)), replace=False)
            batch = make_whole_batch([encoded[index] for index in chosen], rng)
            torch.manual_seed(int(rng.integers(2**62)))
            latents = pool(self.learner.model.image, batch.levels, batch.organs).latents
            loss = self.learner.compute_pair_loss(
                latents, self._read_prompts(), batch.targets, batch.weights, pos_weight
            )
            self._finish_step(loss, len(seen))

    def _encode(self, seen: Sequence[Prepared]) -> list[Encoded]:
        encoder, plan, encoded = self.learner.model.image.encoder, self._plan, []
        encoder.requires_grad_(requires_grad=False)
        for number, study in enumerate(seen, 1):
            rng = np.random.default_rng((plan.seed, plan.steps, study.seed))
            view = make_view(study, plan.preprocessing, SegmenterErrors(), rng, plan.whole_masks)
            encoded.append(encode_view(encoder, view, rng))
            if number % 100 == 0:
                self._report(f"encoded {number} of {len(seen)} studies, {time.monotonic() - self._started:.0f} s")
        return encoded

    def _finish_step(self, loss: Tensor, studies: int) -> None:
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), _GRADIENT_LIMIT)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        self._step += 1
        self._losses.append(float(loss.detach()))
        self.seconds = time.monotonic() - self._started
        if self._step % _REPORT_STEPS == 0:
            share, recent = self._step / self._plan.steps, np.mean(self._losses[-_REPORT_STEPS:])
            told = f"step {self._step} ({share:.0%}), {studies} studies, loss {recent:.3f}"
            self._report(f"{told}, {self.seconds:.0f} s")
        if self._step % _CHECKPOINT_STEPS == 0 or self._step in (self._plan.crop_steps, self._plan.steps):
            self._save()

    def _read_prompts(self) -> Tensor:
        texts: Tensor = self.learner.model.text(*self._prompts)
        return texts

    def _measure_patches(self, seen: Sequence[Prepared]) -> None:
        rng = np.random.default_rng((self._plan.seed, self._plan.steps))
        plan = self._plan
        views = [make_view(study, plan.preprocessing, SegmenterErrors(), rng) for study in seen[:_FIRST_STUDIES]]
        tokens = plan.crop_stages[0].tokens
        crops = make_batch(views, [None] * len(views), tokens, plan.image.patch_size, rng).crops
        sizes = plan.image.patch_size
        cut = crops.unfold(2, sizes[0], sizes[0]).unfold(3, sizes[1], sizes[1]).unfold(4, sizes[2], sizes[2])
        self.learner.spread_patches(cut.flatten(5).flatten(0, 4))

    def _count_arrived(self) -> int:
        share = (self._step + 1) / (_ARRIVAL_SHARE * self._plan.crop_steps)
        count = max(_FIRST_STUDIES, int(share * self._plan.training_studies))
        return min(self._plan.training_studies, count)

    def _start(self, step: int) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Return optimiser and schedule of the part that begins with a step."""
        plan, learner = self._plan, self.learner
        is_whole = step >= plan.crop_steps
        encoder = {id(parameter) for parameter in learner.model.image.encoder.parameters()} if is_whole else set()
        quick = [learner.score_bias, learner.model.image.queries]
        apart = encoder | {id(parameter) for parameter in quick}
        moved = [parameter for parameter in learner.parameters() if id(parameter) not in apart]
        peak, steps = (plan.whole_rate, plan.whole_steps) if is_whole else (plan.peak_rate, plan.crop_steps)
        groups = [{"params": moved, "lr": peak}, {"params": quick, "lr": _QUICK * peak}]
        optimiser = torch.optim.AdamW(groups, weight_decay=plan.weight_decay)
        peaks = [group["lr"] for group in optimiser.param_groups]
        return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, peaks, total_steps=steps, pct_start=0.1)

    def _save(self) -> None:
        keep_checkpoint(
            self._checkpoint,
            {
                "learner": self.learner.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "step": self._step,
                "seconds": self.seconds,
            },
        )

    def _restore(self) -> None:
        kept = read_checkpoint(self._checkpoint)
        if kept is None:
            return
        self._step, self.seconds = int(kept["step"]), float(kept["seconds"])
        self.learner.load_state_dict(kept["learner"])
        if self._step != self._plan.crop_steps:
            self._optimiser, self._schedule = self._start(self._step)
            self._optimiser.load_state_dict(kept["optimiser"])
            self._schedule.load_state_dict(kept["schedule"])
        self._report(f"going on from step {self._step}")


def find_stage(plan: FVLMPlan, step: int) -> CropStage:
    """Return the stage that a step on crops belongs to."""
    for stage in plan.crop_stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    raise ValueError(f"the crops end {step} steps before")


def choose_item(rng: np.random.Generator) -> int | None:
    """Return the number of an item that a crop shall be laid around; None for no item."""
    return None if rng.random() < _ANYWHERE else int(rng.integers(len(TAUGHT_ITEMS)))


def choose_study(seen: Sequence[Prepared], item: int | None, rng: np.random.Generator) -> int:
    """Return the number of a study that has an item; of any where none has."""
    having = [number for number, study in enumerate(seen) if item is not None and study.has_item[item]]
    return int(rng.choice(having)) if having else int(rng.integers(len(seen)))


def compute_pos_weight(seen: Sequence[Prepared]) -> Tensor:
    """Return the weight of positive examples: the root of what would balance them, so that probabilities stay fair."""
    shares = torch.from_numpy(np.mean([study.has_item for study in seen], axis=0)).float().clamp(0.02, 0.98)
    return torch.sqrt((1 - shares) / shares)
