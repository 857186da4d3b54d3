"""What metrics tell of models: how long each took to get ready, and the most memory that a run of it takes."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model_weights.catalogue import ModelEntry
from shared.metrics import MODEL_INFO, MODEL_LOAD_SECONDS, MODEL_PEAK_BYTES, MODEL_WARM_UP_SECONDS
from shared.stages import StageName
from shared.tracing import start_span

_KIB = 1024  # ru_maxrss is in KiB on Linux


@contextmanager
def told_loading(entry: ModelEntry) -> Iterator[None]:
    """Tell how long it takes to get a model ready, and which one it is."""
    started = time.monotonic()
    yield
    MODEL_LOAD_SECONDS.labels(stage=entry.stage).set(time.monotonic() - started)
    MODEL_INFO.labels(
        stage=entry.stage,
        name=entry.name,
        version=entry.version,
        digest=entry.digest,
        weights_profile=entry.weights_profile,
    ).set(1)


@contextmanager
def told_warm_up(stage: StageName) -> Iterator[None]:
    """Tell how long a model's warm-up takes."""
    started = time.monotonic()
    yield
    MODEL_WARM_UP_SECONDS.labels(stage=stage).set(time.monotonic() - started)


@contextmanager
def told_prediction(stage: StageName) -> Iterator[None]:
    """Tell the most memory that is taken while a network runs; the device must be the caller's alone."""
    has_device = torch.cuda.is_available()
    if has_device:
        torch.cuda.reset_peak_memory_stats()
    with start_span(f"predict {stage}"):
        yield
    device_bytes = torch.cuda.max_memory_allocated() if has_device else 0
    MODEL_PEAK_BYTES.labels(stage=stage, place="device").set(device_bytes)
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    MODEL_PEAK_BYTES.labels(stage=stage, place="host").set(peak_kib * _KIB)
