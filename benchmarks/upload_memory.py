"""Memory of the gateway while a study of 2 GiB streams through it, beside its memory when idle.

A real gateway process on real PostgreSQL and S3 storage takes in bodies that are made while they are sent. Its
resident memory is sampled all the time. Prints peak beside idle, and the large body beside the small one, as ratios.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from deploy.embedded.ports import assign_ports
from deploy.embedded.servers import start_servers
from migrations import upgrade
from shared.byte_units import GIB, MIB
from shared.database import make_engine
from shared.settings import Settings
from shared.storage import ObjectStore
from workers.control.registration import register_installation

PIECE = os.urandom(MIB)
SAMPLE_S = 0.005
START_LIMIT_S = 60.0
SMALL_BYTES = 64 * MIB


@dataclass(frozen=True)
class Upload:
    """One measured upload."""

    size_bytes: int
    seconds: float
    peak_bytes: int


def main() -> None:
    """Measure the idle gateway, a small body and a large one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=2048, help="size of the large body")
    large_bytes = parser.parse_args().mebibytes * MIB
    with (
        tempfile.TemporaryDirectory(prefix="ctclip-") as folder,
        _started_gateway(Path(folder)) as (process, url),
        httpx.Client(base_url=url, timeout=600) as http,
    ):
        _send(http, process, MIB)  # loads what the first request loads
        idle = process.memory_info().rss
        uploads = [_send(http, process, size) for size in (SMALL_BYTES, large_bytes)]
    _print_comparison(idle, uploads)


def _print_comparison(idle: int, uploads: list[Upload]) -> None:
    print(f"idle                          {idle / MIB:8.1f} MiB resident")
    for upload in uploads:
        size, rate = upload.size_bytes / MIB, upload.size_bytes / MIB / upload.seconds
        print(
            f"peak during {size:6.0f} MiB        {upload.peak_bytes / MIB:8.1f} MiB resident"
            f" = {upload.peak_bytes / idle:.2f} x idle ({rate:.0f} MiB/s)"
        )
    small, large = uploads
    print(f"peak of large beside small    {large.peak_bytes / small.peak_bytes:8.2f} x")
    print(f"bytes of large beside small   {large.size_bytes / small.size_bytes:8.2f} x")


def _send(http: httpx.Client, process: psutil.Process, size_bytes: int) -> Upload:
    """Send a body of no known length as a form, as browsers and curl do, and watch the gateway meanwhile."""
    with _watched(process) as peak:
        started = time.monotonic()
        headers = {"Content-Type": "multipart/form-data; boundary=cut"}
        answer = http.post("/v1/jobs", content=_iterate_form(size_bytes), headers=headers)
        seconds = time.monotonic() - started
    if answer.status_code != 202:
        raise SystemExit(f"The gateway answered {answer.status_code}: {answer.text}")
    return Upload(size_bytes, seconds, max(peak))


def _iterate_form(size_bytes: int) -> Iterator[bytes]:
    yield b'--cut\r\nContent-Disposition: form-data; name="file"; filename="study.zip"\r\n\r\nPK\x03\x04'
    for _ in range(size_bytes // MIB):
        yield PIECE
    yield b"\r\n--cut--\r\n"


@contextmanager
def _watched(process: psutil.Process) -> Iterator[list[int]]:
    """Collect the resident memory of a process while the block runs."""
    samples = [process.memory_info().rss]
    stopped = threading.Event()

    def sample() -> None:
        while not stopped.wait(SAMPLE_S):
            samples.append(process.memory_info().rss)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield samples
    finally:
        stopped.set()
        thread.join()


@contextmanager
def _started_gateway(folder: Path) -> Iterator[tuple[psutil.Process, str]]:
    """Run servers and gateway in `folder`; nothing outlives the block."""
    with start_servers(folder / "state") as servers:
        ready_file = folder / "ready"
        port = assign_ports(("gateway",), {})["gateway"]
        environment = {
            **os.environ,
            **servers.environment,
            "CTCLIP_GATEWAY_PORT": str(port),
            "CTCLIP_READY_FILE": str(ready_file),
            "CTCLIP_UPLOAD_LIMIT_BYTES": str(64 * GIB),
        }
        _prepare(Settings.model_validate({_drop_prefix(name): value for name, value in servers.environment.items()}))
        gateway = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=subprocess.DEVNULL)
        try:
            _wait_for(ready_file)
            yield psutil.Process(gateway.pid), f"http://127.0.0.1:{port}"
        finally:
            gateway.terminate()
            gateway.wait(timeout=30)


def _prepare(settings: Settings) -> None:
    upgrade(settings.database_url.get_secret_value())
    ObjectStore(settings).ensure_bucket()
    engine = make_engine(settings)
    register_installation(engine, settings)
    engine.dispose()


def _drop_prefix(name: str) -> str:
    return name.removeprefix("CTCLIP_").lower()


def _wait_for(file: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"The gateway was not ready within {START_LIMIT_S:.0f} s.")
        time.sleep(0.05)


if __name__ == "__main__":
    main()
