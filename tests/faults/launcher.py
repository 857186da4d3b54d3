"""A launcher of the platform whose processes reach their servers through proxies, and whose models sleep.

`PROXIES` in the environment says which port stands for which: `5432:40001,6379:40002`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace

from deploy.embedded.launcher import main
from deploy.embedded.platform_programs import FLOWER, Platform, Surroundings, product_platform
from deploy.embedded.program import Program

PROXIES = "CTCLIP_TEST_PROXIES"
_MODELS = "worker-models"
_FAULTY_WORKER = (sys.executable, "-m", "tests.faults.faulty_worker")
_REACHED_BY = ("CTCLIP_DATABASE_URL", "CTCLIP_BROKER_URL", "CTCLIP_STORAGE_ENDPOINT")


def make_platform(proxies: Mapping[str, str]) -> Platform:
    """Return the product behind proxies, by the port that each stands for."""

    def make_programs(surroundings: Surroundings) -> list[Program]:
        redirected = replace(surroundings, environment=_redirect(surroundings.environment, proxies))
        programs = product_platform().make_programs(redirected)
        return [_lighten(program) for program in programs if program.name != FLOWER]

    return Platform(product_platform().migration, make_programs)


def _redirect(environment: Mapping[str, str], proxies: Mapping[str, str]) -> dict[str, str]:
    redirected = dict(environment)
    for name in _REACHED_BY:
        for port, proxy in proxies.items():
            redirected[name] = redirected[name].replace(f":{port}", f":{proxy}")
    return redirected


def _lighten(program: Program) -> Program:
    """Put stand-ins in the place of two models: their worker is started again and again."""
    if program.name != _MODELS:
        return program
    return replace(program, command=(*_FAULTY_WORKER, *program.command[3:-1], "mednext,supervised"))


if __name__ == "__main__":
    pairs = [pair.split(":") for pair in os.environ[PROXIES].split(",")]
    sys.exit(main(make_platform({port: proxy for port, proxy in pairs})))  # noqa: C416  # lists are no pairs to mypy
