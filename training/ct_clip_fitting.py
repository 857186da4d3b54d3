"""Fitting the demo CT-CLIP while its phantoms are still being made, so that two cores are busy.

First with tokens as the encoder gives them, because a code book that is there from the start collapses; then codes are
set to clusters of these tokens, and the rest is learnt through them. New studies come in at a fixed pace in steps, not
in seconds: the same plan gives the same weights however fast the machine is, and a run that was cut off goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phantom.study import FINDINGS
from shared.features import CT_CLIP_LABELS
from training.ct_clip_batches import Batch, make_batch
from training.ct_clip_codes import CodeBookTracker
from training.ct_clip_examples import Example
from training.ct_clip_learner import Learner, encode_tokens, hold_first_channel
from training.ct_clip_plan import ANY_FINDING, UNTRAINED_LABELS, CTCLIPPlan
from training.ct_clip_vocabulary import make_vocabulary
from training.kept_files import keep_checkpoint, read_checkpoint
from workers.ct_clip.model import CTCLIP
from workers.ct_clip.prompts import make_prompts
from workers.ct_clip.tokenizer import encode_prompts, make_tokenizer

Report = Callable[[str], None]

_UNTRAINED_WEIGHT = 0.1
_TEXT_RATE, _PLACE_RATE = 0.5, 0.1
_PLACE_DECAY = 2.0
_CHECKPOINT_STEPS = 100
_REPORT_STEPS = 25
_CLUSTER_BATCHES = 20
_CLUSTER_TOKENS = 1500
"""Tokens of each finding that clusters are sought in; as many as of all findings together come from anywhere."""


class Fitting:
    """Learner, optimiser and schedule of one run."""

    def __init__(self, plan: CTCLIPPlan, state: Path, report: Report) -> None:
        torch.manual_seed(plan.seed)
        self._plan = plan
        self._checkpoint = state / "checkpoint.pt"
        self._report = report
        vocabulary = make_vocabulary()
        self._tokenizer = make_tokenizer(vocabulary, plan.most_text_tokens)
        self._prompts = encode_prompts(self._tokenizer, make_prompts(CT_CLIP_LABELS))
        self._learner = Learner(plan.make_architecture(len(vocabulary.splitlines()))).train()
        self._encoder = self._learner.model.image.encoder
        hold_first_channel(self._encoder)
        self._tracker = CodeBookTracker(self._encoder.code_book)
        self._weights = compute_weights(plan)
        self._optimiser = self._make_optimiser()
        self._schedule = self._make_schedule()
        self._visits = np.zeros(plan.training_studies, np.int64)
        self._step = 0
        self.seconds = 0.0
        """How long was fitted, over all runs that went on from one another."""
        self._restore()

    def run(self, examples: Iterator[Example]) -> CTCLIP:
        """Fit on examples as they come, and return the model in inference mode."""
        seen: list[Example] = []
        started, losses = time.monotonic() - self.seconds, []
        while self._step < self._plan.steps:
            while len(seen) < self._count_arrived():
                seen.append(next(examples))
            losses.append(self._learn(seen))
            self._step += 1
            self.seconds = time.monotonic() - started
            if self._step % _REPORT_STEPS == 0:
                self._tell(losses[-_REPORT_STEPS:], len(seen))
            if self._step % _CHECKPOINT_STEPS == 0 or self._step == self._plan.steps:
                self._save()
        # A run that goes on from its last step has learnt from these already; they are not for measuring.
        for _ in range(self._plan.training_studies - len(seen)):
            next(examples)
        return self._learner.eval().fold()

    def _learn(self, seen: list[Example]) -> float:
        plan = self._plan
        is_quantised = self._step >= plan.continuous_steps
        if self._step == plan.continuous_steps:
            self._start_codes(seen)
        rng = np.random.default_rng((plan.seed, self._step))
        batch = self._make_batch(seen, rng)
        # Dropout of the text side draws from torch's own generator.
        torch.manual_seed(int(rng.integers(2**62)))
        understood = self._learner(batch.volumes, is_quantised=is_quantised)
        texts = self._learner.model.text(*encode_prompts(self._tokenizer, batch.reports))
        prompts = self._learner.model.text(*self._prompts)
        loss = self._learner.compute_loss(understood, batch, texts, prompts, self._weights)
        loss.backward()  # type: ignore[no-untyped-call]  # of torch
        torch.nn.utils.clip_grad_norm_(self._learner.parameters(), 1.0)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._schedule.step()
        hold_first_channel(self._encoder)
        if understood.indices is not None:
            tokens = understood.tokens.detach().flatten(0, -2)
            self._tracker.update(tokens, understood.indices.flatten(), _make_generator(rng))
        return float(loss.detach())

    def _start_codes(self, seen: list[Example]) -> None:
        """Set the codes to clusters of tokens, of which every finding has its share."""
        rng = np.random.default_rng((self._plan.seed, self._plan.steps))
        pools: list[list[Tensor]] = [[] for _ in range(len(FINDINGS) + 1)]
        with torch.no_grad():
            for _ in range(_CLUSTER_BATCHES):
                batch = self._make_batch(seen, rng)
                tokens = encode_tokens(self._encoder, batch.volumes).flatten(0, -2)
                pools[0].append(tokens)
                for pool, place in zip(pools[1:], batch.places.movedim(1, 0), strict=True):
                    pool.append(tokens[place.flatten() > 0])
        generator = _make_generator(rng)
        sizes = [len(FINDINGS) * _CLUSTER_TOKENS, *[_CLUSTER_TOKENS] * len(FINDINGS)]
        chosen = [_sample(torch.cat(pool), size, generator) for pool, size in zip(pools, sizes, strict=True)]
        self._tracker.start(torch.cat(chosen), generator)
        self._report(f"step {self._step}: codes set from {sum(map(len, chosen))} tokens")

    def _make_batch(self, seen: list[Example], rng: np.random.Generator) -> Batch:
        chosen = self._choose(len(seen), min(self._plan.batch, len(seen)), rng)
        return make_batch([seen[index] for index in chosen], self._plan.image, rng)

    def _choose(self, count: int, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """Return half a batch of the least seen studies and half of any others."""
        half = size // 2
        order = np.argsort(self._visits[:count] + rng.random(count))
        chosen = np.concatenate([order[:half], rng.choice(order[half:], size - half, replace=False)])
        self._visits[chosen] += 1
        return chosen

    def _count_arrived(self) -> int:
        share = (self._step + 1) / (self._plan.arrival_share * self._plan.steps)
        return min(self._plan.training_studies, max(self._plan.batch, int(share * self._plan.training_studies)))

    def _make_optimiser(self) -> torch.optim.AdamW:
        plan, learner = self._plan, self._learner
        by_place = list(learner.projection.by_place.parameters())
        text = list(learner.model.text.parameters())
        apart = {id(parameter) for parameter in (*by_place, *text)}
        others = [each for each in learner.parameters() if each.requires_grad and id(each) not in apart]
        groups = [
            {"params": others, "lr": plan.peak_rate, "weight_decay": plan.weight_decay},
            {"params": text, "lr": _TEXT_RATE * plan.peak_rate, "weight_decay": plan.weight_decay},
            {"params": by_place, "lr": _PLACE_RATE * plan.peak_rate, "weight_decay": _PLACE_DECAY},
        ]
        return torch.optim.AdamW(groups)

    def _make_schedule(self) -> torch.optim.lr_scheduler.OneCycleLR:
        peaks = [group["lr"] for group in self._optimiser.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(self._optimiser, peaks, total_steps=self._plan.steps, pct_start=0.1)

    def _tell(self, losses: list[float], studies: int) -> None:
        share = self._step / self._plan.steps
        told = f"step {self._step} ({share:.0%}), {studies} studies, loss {np.mean(losses):.3f}"
        self._report(f"{told}, {self.seconds:.0f} s")

    def _save(self) -> None:
        keep_checkpoint(
            self._checkpoint,
            {
                "learner": self._learner.state_dict(),
                "tracker": self._tracker.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "schedule": self._schedule.state_dict(),
                "visits": torch.from_numpy(self._visits),
                "step": self._step,
                "seconds": self.seconds,
            },
        )

    def _restore(self) -> None:
        kept = read_checkpoint(self._checkpoint)
        if kept is None:
            return
        self._learner.load_state_dict(kept["learner"])
        self._tracker.load_state_dict(kept["tracker"])
        self._optimiser.load_state_dict(kept["optimiser"])
        self._schedule.load_state_dict(kept["schedule"])
        self._visits = kept["visits"].numpy().copy()
        self._step, self.seconds = int(kept["step"]), float(kept["seconds"])
        self._report(f"going on from step {self._step}")


def compute_weights(plan: CTCLIPPlan) -> tuple[Tensor, Tensor]:
    """Return the weight of each label, and of its positive examples: the root of what would balance them."""
    prevalence = plan.training_prevalence
    share = (1 - prevalence.normal) * (1 + prevalence.most_findings) / 2 / len(FINDINGS)
    shares = torch.tensor([1 - prevalence.normal if label == ANY_FINDING else share for label in CT_CLIP_LABELS])
    weights = torch.tensor([_UNTRAINED_WEIGHT if label in UNTRAINED_LABELS else 1.0 for label in CT_CLIP_LABELS])
    return weights / weights.mean(), torch.sqrt((1 - shares) / shares)


def _make_generator(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _sample(tokens: Tensor, count: int, generator: torch.Generator) -> Tensor:
    return tokens[torch.randperm(len(tokens), generator=generator)[:count]]
