"""rclone as the S3 server of one state folder: objects are plain files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from deploy.embedded.executables import find_rclone
from deploy.embedded.ports import LOOPBACK
from deploy.embedded.program import Program, StopTurn

NAME = "storage"

_REGION = "us-east-1"
_ANSWER_LIMIT_S = 1.0


@dataclass(frozen=True, repr=False)
class StorageServer:
    """The S3 server of the files under `folder`."""

    folder: Path
    port: int
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """Where the server listens, as `host:port`."""
        return f"{LOOPBACK}:{self.port}"

    def program(self) -> Program:
        """Return the server as the supervisor runs it."""
        return Program(
            name=NAME,
            command=self._command(),
            environment=self._environment(),
            is_ready=self.is_ready,
            stop_turn=StopTurn.SERVERS,
        )

    def is_ready(self) -> bool:
        """Say whether the server answers to our keys."""
        pool = urllib3.PoolManager(timeout=_ANSWER_LIMIT_S, retries=False)
        client = Minio(
            self.endpoint,
            access_key=self.access_key,
            secret_key=self.secret_key,
            secure=False,
            region=_REGION,
            http_client=pool,
        )
        try:
            client.list_buckets()
        except (MinioException, urllib3.exceptions.HTTPError):
            return False
        finally:
            pool.clear()
        return True

    def _command(self) -> tuple[str, ...]:
        return (
            str(find_rclone()),
            "serve",
            "s3",
            "--addr",
            self.endpoint,
            # Parts that come out of order wait in memory; ours come in order, so this bounds strangers.
            "--multipart-streaming-buffer-limit=64M",
            "--multipart-streaming-buffer-total=128M",
            "--multipart-max-uploads=100",
            "--buffer-size=4M",
            "--stats=0",
            str(self.folder),
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "RCLONE_CONFIG": os.devnull,
            # Not in the command line, which everybody can read. The pair is one CSV field.
            "RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"',
            "GOMEMLIMIT": "192MiB",
        }
