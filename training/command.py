"""What the training commands share: the options that all of them have, and lines of progress."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from model_weights.catalogue import CATALOGUE_FILE


def make_parser(description: str | None, plan: object, numbers: tuple[str, ...], state: str) -> argparse.ArgumentParser:
    """Return a parser with an option for each of the `numbers` of a plan, and those of every training.

    `state` names the folder where it keeps what it goes on from.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    for name in numbers:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(plan, name))
    folder = Path(".ctclip/training", state)
    parser.add_argument("--state", type=Path, default=folder, help="examples, checkpoints")
    parser.add_argument("--catalogue", type=Path, default=CATALOGUE_FILE, help="where the model is published")
    parser.add_argument("--processes", type=int, default=1, help="processes that make phantoms ahead")
    parser.add_argument("--threads", type=int, default=1, help="threads of the network")
    return parser


def say(message: str) -> None:
    """Tell how far a run is."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
