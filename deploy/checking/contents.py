"""`python -m deploy.checking.contents`: write what the Python part of each image is made of, as CycloneDX documents.

The operating system's part is known to whoever builds: `docker buildx build --sbom=true` (docs/deploy.md).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.docker.requirements import IMAGES, LOCK, TORCH, locate_list, read_lock

FOLDER = LOCK.parent / "build" / "sbom"


def main() -> None:
    """Write one document for each list."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        print(write_contents(image, FOLDER))


def write_contents(image: str, folder: Path) -> Path:
    """Write the document of one image and return where it stands; torch is added to workers, whose lists lack it."""
    lines = locate_list(image).read_text("utf-8")
    added = f"{read_lock()[TORCH]}\n" if image == "worker" else ""
    path = folder / f"{image}.cdx.json"
    subprocess.run(  # noqa: S603  # our own command line
        [*(sys.executable, "-m", "cyclonedx_py", "requirements"), *("--output-reproducible", "-o", str(path), "-")],
        input=lines + added,
        text=True,
        check=True,
        capture_output=True,
    )
    return path


if __name__ == "__main__":
    main()
