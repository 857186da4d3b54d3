"""`python -m workers --stages intake,...`: run one worker process."""

from __future__ import annotations

import argparse

from shared.errors import Defect, TransientFault
from shared.pseudonyms import UnusableSecret
from shared.settings import get_settings
from shared.stages import StageName
from workers.runtime.process import run_worker


def main() -> None:
    """Read the command line and run until stopped."""
    parser = argparse.ArgumentParser(prog="python -m workers", description="Run one worker process.")
    parser.add_argument("--stages", required=True, help="stages to offer, separated by commas")
    parser.add_argument("--name", default="worker", help="name of this worker in logs and in Flower")
    parser.add_argument("--concurrency", type=int, default=2, help="stages run at the same time (threads)")
    arguments = parser.parse_args()
    stages = [StageName(name) for name in arguments.stages.split(",")]
    try:
        run_worker(get_settings(), stages, name=arguments.name, concurrency=arguments.concurrency)
    except (UnusableSecret, Defect, TransientFault) as error:
        raise SystemExit(f"This worker cannot start: {error}") from error


if __name__ == "__main__":
    main()
