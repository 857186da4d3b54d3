"""Object storage: the one seam to the S3 client. Objects never change once written.

Facts about objects stand in Postgres; object metadata is not relied on. Keys are random, so no name of an upload
ever becomes a key and no writer can overwrite another's object.
"""

from __future__ import annotations

import hashlib
import io
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, MinioException, S3Error

from shared.byte_units import MIB
from shared.errors import Defect, TransientFault
from shared.problems import ProblemCode
from shared.settings import Settings

_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_CHUNK_BYTES = MIB
_PRESIGNED_LIFETIME = timedelta(hours=1)
_FULL = {"XMinioStorageFull", "QuotaExceeded", "InsufficientCapacity"}
# Of these, servers name the cause in many ways; to a HEAD they answer with a status alone.
_REFUSED = {"AccessDenied", "BadRequest", "InvalidAccessKeyId", "RequestTimeTooSkewed", "SignatureDoesNotMatch"}


class Readable(Protocol):
    """What an upload is read from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes; empty at the end."""


class Writable(Protocol):
    """What a download is written to."""

    def write(self, chunk: bytes, /) -> int:
        """Take a chunk."""


@dataclass(frozen=True)
class StoredObject:
    """An object as written: where it is, how long, and its digest."""

    key: str
    size_bytes: int
    sha256: str


class ObjectStore:
    """Objects by key in one bucket."""

    def __init__(self, settings: Settings) -> None:
        self._bucket = settings.storage_bucket
        self._region = settings.storage_region
        self._part_bytes = settings.upload_part_bytes
        # One retry only: the stage runtime owns the retry policy, and a stream cannot be read twice.
        self._pool = urllib3.PoolManager(
            timeout=_TIMEOUT, maxsize=16, retries=urllib3.Retry(total=1, backoff_factor=0.1)
        )
        self._client = Minio(
            settings.storage_endpoint,
            access_key=settings.storage_access_key.get_secret_value(),
            secret_key=settings.storage_secret_key.get_secret_value(),
            secure=settings.storage_secure,
            region=settings.storage_region,
            http_client=self._pool,
        )

    def ensure_bucket(self) -> None:
        """Make the bucket unless it is there; all processes of a platform do so as they start."""
        with _translated():
            if self._client.bucket_exists(self._bucket):
                return
            try:
                self._client.make_bucket(self._bucket, location=self._region)
            except MinioException:
                # Another process was faster; every server says so in its own way.
                if not self._client.bucket_exists(self._bucket):
                    raise

    def check(self) -> None:
        """Prove that the bucket can be reached. Raises TransientFault."""
        with _translated():
            if not self._client.bucket_exists(self._bucket):
                raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "storage: the bucket is missing")

    def write_stream(self, stream: Readable, *, prefix: str) -> StoredObject:
        """Write a stream of unknown length under a new random key, hashing on the way.

        Memory is bounded by the part size. What `stream.read` raises is passed on, and nothing is kept.
        """
        key = f"{prefix}/{uuid.uuid4().hex}"
        source = _HashingReader(stream)
        with _translated():
            self._client.put_object(
                self._bucket,
                key,
                source,  # type: ignore[arg-type]  # minio calls nothing but read
                length=-1,
                part_size=self._part_bytes,
                num_parallel_uploads=1,
            )
        return StoredObject(key, source.size_bytes, source.sha256.hexdigest())

    def write_file(self, path: Path, *, prefix: str) -> StoredObject:
        """Write a file under a new random key."""
        with path.open("rb") as stream:
            return self.write_stream(stream, prefix=prefix)

    def write_bytes(self, content: bytes, *, prefix: str) -> StoredObject:
        """Write bytes under a new random key."""
        return self.write_stream(io.BytesIO(content), prefix=prefix)

    def write_chunks(self, chunks: Iterator[bytes], *, prefix: str) -> StoredObject:
        """Write what an iterator yields under a new random key. What it raises is passed on, and nothing is kept."""
        return self.write_stream(_ChunkReader(chunks), prefix=prefix)

    def put_back(self, stored: StoredObject, stream: Readable) -> None:
        """Write an object under the key that it had, as the rows of a backup name it."""
        with _translated():
            self._client.put_object(
                self._bucket,
                stored.key,
                stream,  # type: ignore[arg-type]  # minio calls nothing but read
                length=stored.size_bytes,
                part_size=self._part_bytes,
            )

    def fetch(self, stored: StoredObject, target: Writable) -> None:
        """Copy an object into `target`, checking length and digest.

        Raises TransientFault when storage fails or the bytes differ from what was written.
        """
        for chunk in self.iterate(stored):
            target.write(chunk)

    def iterate(self, stored: StoredObject) -> Generator[bytes, None, None]:
        """Yield the bytes of an object and check its digest at the end. Raises TransientFault as `fetch` does."""
        digest = hashlib.sha256()
        with _translated():
            response = self._client.get_object(self._bucket, stored.key)
            try:
                for chunk in response.stream(_CHUNK_BYTES):
                    digest.update(chunk)
                    yield chunk
            finally:
                response.close()
                response.release_conn()
        if digest.hexdigest() != stored.sha256:
            raise TransientFault(ProblemCode.STORAGE_UNAVAILABLE, "storage: an object came back changed")

    def presign(self, key: str) -> str:
        """Return an address that reads one object without credentials, for about an hour."""
        with _translated():
            return self._client.presigned_get_object(self._bucket, key, expires=_PRESIGNED_LIFETIME)

    def remove(self, key: str) -> None:
        """Remove an object; nothing happens when it is gone already."""
        with _translated():
            self._client.remove_object(self._bucket, key)

    def iterate_keys(self) -> Iterator[tuple[str, datetime]]:
        """Yield every key with the time of its writing."""
        with _translated():
            for entry in self._client.list_objects(self._bucket, recursive=True):
                yield str(entry.object_name), entry.last_modified


class _ChunkReader:
    """Chunks as a stream; a read may return less than asked, nothing only at the end."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        chunk = self._rest or next(self._chunks, b"")
        if size < 0 or len(chunk) <= size:
            self._rest = b""
            return chunk
        self._rest = chunk[size:]
        return chunk[:size]


class _HashingReader:
    """Counts and hashes what passes through."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.sha256 = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        chunk = self._stream.read(size)
        self.sha256.update(chunk)
        self.size_bytes += len(chunk)
        return chunk


@contextmanager
def _translated() -> Iterator[None]:
    """Translate the S3 client's errors into ours."""
    try:
        yield
    except S3Error as error:
        if error.code in {"NoSuchKey", "NoSuchObject"}:
            raise Defect("storage: an object that a row names is gone") from error
        if error.code in _FULL:
            raise TransientFault(ProblemCode.NO_SPACE, f"storage: {error.code}") from error
        hint = " (are its keys right, and the clock of this machine?)" if error.code in _REFUSED else ""
        raise _unavailable(f"{error.code}{hint}") from error
    except InvalidResponseError as error:
        # rclone types its XML errors with a charset, which the client takes for a broken answer.
        if "NoSuchKey" in str(error):
            raise Defect("storage: an object that a row names is gone") from error
        raise _unavailable(type(error).__name__) from error
    except (MinioException, urllib3.exceptions.HTTPError) as error:
        raise _unavailable(type(error).__name__) from error


def _unavailable(why: str) -> TransientFault:
    return TransientFault(ProblemCode.STORAGE_UNAVAILABLE, f"storage: {why}")
