"""Object storage: the bucket, and a probe that is written, read and removed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from io import BytesIO

from minio.error import S3Error

from deploy.doctor.finding import Finding, broken, fine
from deploy.doctor.reaching import Address, explain_silence
from shared.errors import Defect, TransientFault
from shared.settings import Settings
from shared.storage import ObjectStore

_PROBE = b"ctclip doctor"
_PREFIX = "doctor"
_ADVICE_BY_CODE = {
    "AccessDenied": "Give the key of CTCLIP_STORAGE_ACCESS_KEY rights on the bucket: list, read, write, delete.",
    "InvalidAccessKeyId": "Mend CTCLIP_STORAGE_ACCESS_KEY: the server does not know it.",
    "SignatureDoesNotMatch": "Mend CTCLIP_STORAGE_SECRET_KEY: it is not the secret of the access key.",
    "RequestTimeTooSkewed": "Synchronise the clocks (NTP): S3 refuses requests that are 15 minutes off.",
    "NoSuchBucket": "Start control, which makes the bucket, or make it with the name of CTCLIP_STORAGE_BUCKET.",
}
_START = "Start the object storage, or mend CTCLIP_STORAGE_ENDPOINT and CTCLIP_STORAGE_SECURE."
_HTTPS_PORT, _HTTP_PORT = 443, 80


def look_at_storage(settings: Settings) -> Iterator[Finding]:
    """Yield what was found about the object storage; a probe is left only where it cannot be removed."""
    silence = explain_silence(_find_address(settings))
    if silence is not None:
        yield broken("reachable", f"The object storage is out of reach: {silence}.", _START)
        return
    store = ObjectStore(settings)
    try:
        store.check()
    except TransientFault as fault:
        yield _explain("bucket", f"The bucket {settings.storage_bucket} cannot be used", fault)
        return
    yield fine("bucket", f"The bucket {settings.storage_bucket} is there, at {settings.storage_endpoint}.")
    yield from _probe(store)
    yield from _look_at_disk(settings)


def _probe(store: ObjectStore) -> Iterator[Finding]:
    doing, started = "written", time.monotonic()
    try:
        stored = store.write_bytes(_PROBE, prefix=_PREFIX)
        doing = "read back"
        store.fetch(stored, BytesIO())
        doing = "removed"
        store.remove(stored.key)
    except (TransientFault, Defect) as error:
        yield _explain("probe", f"A probe cannot be {doing}", error)
        return
    seconds = time.monotonic() - started
    yield fine("probe", f"A probe was written, read back unchanged and removed in {seconds:.2f} s.", seconds=seconds)


def _look_at_disk(settings: Settings) -> Iterator[Finding]:
    folder, reserve = settings.storage_watch_dir, settings.storage_reserve_bytes
    if folder is None:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        yield broken("space", f"The folder {folder} of the storage is not there.", "Mend CTCLIP_STORAGE_WATCH_DIR.")
        return
    told = f"{free / 1e9:.1f} GB are free where objects lie; submissions need more than {reserve / 1e9:.1f} GB."
    if free < reserve:
        yield broken("space", told, "Make room, or let retention: CTCLIP_UPLOAD_RETENTION, CTCLIP_VOLUME_RETENTION.")
    else:
        yield fine("space", told, free_bytes=free)


def _explain(check: str, told: str, error: TransientFault | Defect) -> Finding:
    cause = error.__cause__
    if isinstance(cause, S3Error):
        advice = _ADVICE_BY_CODE.get(str(cause.code), "Read the log of the object storage.")
        return broken(check, f"{told}: {cause.code}.", advice, code=cause.code)
    advice = _ADVICE_BY_CODE["NoSuchBucket"] if cause is None else _START
    return broken(check, f"{told}: {error}.", advice)


def _find_address(settings: Settings) -> Address:
    host, _, port = settings.storage_endpoint.rpartition(":")
    if not port.isdecimal():
        return Address(settings.storage_endpoint, _HTTPS_PORT if settings.storage_secure else _HTTP_PORT)
    return Address(host.strip("[]"), int(port))
