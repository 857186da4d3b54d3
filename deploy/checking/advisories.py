"""`python -m deploy.checking.advisories`: ask PyPI's advisories about every locked package.

Exit status 0: none is known; 1: some are; 0 with a clear sentence where the advisories cannot be reached.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

Report = dict[str, Any]
"""What pip-audit writes."""

ROOT = Path(__file__).resolve().parents[2]
LISTS = ("requirements.lock", "requirements-bench.lock", "requirements-deploy.lock", "requirements-docs.lock")

_PATIENCE_S = 1800
_UNREACHABLE = (
    "NOT AUDITED: no advisories can be reached from here, so nothing is known of vulnerabilities. "
    "Run `make audit` where PyPI itself can be reached."
)


def main() -> int:
    """Print what is known, and return the exit status."""
    report = read_report()
    if report is None:
        print(_UNREACHABLE)
        return 0
    told, silent = describe(report)
    print("\n".join(told) or f"No vulnerability is known of {len(report['dependencies']) - silent} packages.")
    if silent:
        print(f"{silent} packages are unknown there.")
    return 1 if told else 0


def read_report() -> Report | None:
    """Return what pip-audit says, None where it can ask nobody."""
    lists = [part for name in LISTS for part in ("--requirement", str(ROOT / name))]
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--no-deps",
        "--disable-pip",
        "--format=json",
        "--progress-spinner=off",
    ]
    done = subprocess.run(  # noqa: S603  # our own command line
        [*command, *lists], capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    try:
        report: Report = json.loads(done.stdout)
    except ValueError:
        return None
    is_answered = any("skip_reason" not in package for package in report["dependencies"])
    return report if is_answered else None


def describe(report: Report) -> tuple[list[str], int]:
    """Return a line for each vulnerability, and of how many packages nothing could be said."""
    packages = report["dependencies"]
    told = [
        f"{package['name']} {package['version']}: {known['id']}, mended in {', '.join(known['fix_versions']) or 'none'}"
        for package in packages
        for known in package.get("vulns", ())
    ]
    return told, sum("skip_reason" in package for package in packages)


if __name__ == "__main__":
    sys.exit(main())
