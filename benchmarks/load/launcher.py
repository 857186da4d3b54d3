"""The whole platform as `ctclip up` starts it, with models that sleep."""

from __future__ import annotations

import sys
from dataclasses import replace

from deploy.embedded.launcher import main
from deploy.embedded.platform_programs import Platform, Surroundings, product_platform
from deploy.embedded.program import Program

COMMAND = (sys.executable, "-m", "benchmarks.load.launcher")

_MODELS_WORKER = "worker-models"


def make_platform() -> Platform:
    """Return the product with another worker of models."""
    product = product_platform()

    def make_programs(surroundings: Surroundings) -> list[Program]:
        return [_put_to_sleep(program) for program in product.make_programs(surroundings)]

    return Platform(product.migration, make_programs)


def _put_to_sleep(program: Program) -> Program:
    if program.name != _MODELS_WORKER:
        return program
    arguments = program.command[program.command.index("workers") + 1 :]
    return replace(program, command=(sys.executable, "-m", "benchmarks.load.sleeping", *arguments))


if __name__ == "__main__":
    sys.exit(main(make_platform()))
