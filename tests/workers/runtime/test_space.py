"""A worker whose disk is full: copies go, nothing is begun, and what meets the end of it is tried again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine

from shared.database import transaction
from shared.settings import Settings
from shared.stages import StageName
from shared.states import StageState
from shared.storage import ObjectStore
from shared.tables import StageRun
from tests.stack.running import wait_until
from tests.workers.runtime.conftest import JobMaker
from workers.runtime.artefact_cache import ArtefactCache
from workers.runtime.heartbeat import Heartbeat
from workers.runtime.runner import StageRunner
from workers.runtime.stage import StageContext, StageOutput

MORE_THAN_ANY_DISK = 2**62

DOWNLOAD_AND_DIE = """
import os, signal
from pathlib import Path
from shared.storage import StoredObject
from workers.runtime.artefact_cache import ArtefactCache

class Storage:
    def fetch(self, stored, target):
        target.write(b"half")
        target.flush()
        os.kill(os.getpid(), signal.SIGKILL)

ArtefactCache(Path({folder!r}), 2**40, Storage()).fetch({stored!r})
"""


class FullIntake:
    """Meets the end of the disk."""

    name = StageName.INTAKE

    def run(self, context: StageContext) -> StageOutput:
        raise OSError(errno.ENOSPC, "No space left on device", str(context.scratch / "file"))


def run_intake(
    engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker, **changed: object
) -> StageRun:
    job_id = make_job()
    runner = StageRunner(
        [FullIntake()],
        settings.model_copy(update=changed),
        engine=engine,
        store=store,
        heartbeat=Heartbeat(engine, settings),
        worker="space-tests",
    )
    runner.run(job_id, StageName.INTAKE)
    with transaction(engine) as session:
        return session.get_one(StageRun, (job_id, StageName.INTAKE))


class TestAFullDisk:
    def test_that_a_stage_meets_is_a_passing_fault(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker
    ) -> None:
        run = run_intake(engine, settings, store, make_job)
        assert (run.state, run.attempt, run.transient_faults, run.defects) == (StageState.READY, 1, 1, 0)

    def test_that_is_seen_before_leaves_the_stage_to_others(
        self, engine: Engine, settings: Settings, store: ObjectStore, make_job: JobMaker, tmp_path: Path
    ) -> None:
        full = {"scratch_reserve_bytes": MORE_THAN_ANY_DISK, "cache_dir": tmp_path}
        run = run_intake(engine, settings, store, make_job, **full)
        assert (run.state, run.attempt, run.transient_faults) == (StageState.READY, 0, 0)


class TestRoom:
    def test_is_made_of_copies_that_nobody_used_lately(self, store: ObjectStore, tmp_path: Path) -> None:
        cache = ArtefactCache(tmp_path, 2**40, store)
        old, new = tmp_path / "aa" / "old", tmp_path / "bb" / "new"
        for path in (old, new):
            path.parent.mkdir()
            path.write_bytes(b"copy")
        os.utime(old, (0, time.time() - 3600))
        assert cache.make_room(1)
        assert old.exists()
        assert not cache.make_room(MORE_THAN_ANY_DISK)
        assert (old.exists(), new.exists()) == (False, True)

    def test_is_made_where_somebody_removed_the_folder(self, store: ObjectStore, tmp_path: Path) -> None:
        cache = ArtefactCache(tmp_path / "artefacts", 2**40, store)
        (tmp_path / "artefacts").rmdir()
        assert cache.make_room(1)
        file = tmp_path / "produced"
        file.write_bytes(b"volume")
        (tmp_path / "artefacts").rmdir()
        cache.adopt(file, "ab" * 32)
        assert (tmp_path / "artefacts" / "ab" / ("ab" * 32)).exists()


class TestRetention:
    def test_ends_what_nobody_asked_for_in_so_long(self, store: ObjectStore, tmp_path: Path) -> None:
        cache = ArtefactCache(tmp_path / "artefacts", 2**40, store)
        asked, forgotten = (tmp_path / "artefacts" / (letter * 2) / (letter * 64) for letter in "ab")
        for path in (asked, forgotten):
            path.parent.mkdir()
            path.write_bytes(b"a volume")
        os.utime(forgotten, (0, time.time() - 3601))
        cache.start_expiring(timedelta(hours=1))
        wait_until(lambda: not forgotten.exists(), "the copy is removed")
        assert asked.exists()

    def test_ends_what_a_killed_process_left_of_a_download(self, store: ObjectStore, tmp_path: Path) -> None:
        folder = tmp_path / "artefacts"
        stored = store.write_bytes(b"a volume", prefix="killed")
        script = DOWNLOAD_AND_DIE.format(folder=str(folder), stored=stored)
        killed = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        (partial,) = folder.iterdir()
        cache = ArtefactCache(folder, 2**40, store)
        cache.expire(timedelta(hours=1))
        assert partial.exists()  # as one of a process that still downloads would
        os.utime(partial, (0, time.time() - 3601))
        cache.expire(timedelta(hours=1))
        assert not partial.exists()
