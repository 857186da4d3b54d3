"""The bucket, which every process makes that finds none."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.settings import Settings
from shared.storage import ObjectStore

AT_ONCE = 8


class TestManyProcessesThatStartAtOnce:
    @pytest.mark.parametrize("attempt", range(3))
    def test_make_one_bucket(self, settings: Settings, attempt: int) -> None:
        fresh = settings.model_copy(update={"storage_bucket": f"bucket-{uuid.uuid4().hex}"})
        start = threading.Barrier(AT_ONCE)

        def ensure() -> None:
            store = ObjectStore(fresh)
            start.wait()
            store.ensure_bucket()

        with ThreadPoolExecutor(AT_ONCE) as pool:
            for made in [pool.submit(ensure) for _ in range(AT_ONCE)]:
                made.result()
        ObjectStore(fresh).check()
