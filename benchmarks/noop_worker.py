"""A bare Celery worker with two tasks that do nothing: what the platform is compared with."""

from __future__ import annotations

import sys

from celery import Celery
from redis import Redis

FIRST = "bare.first"
LAST = "bare.last"
COUNTER = "bare:ended"


def main(broker_url: str) -> None:
    """Run the worker until terminated."""
    app = Celery("bare", broker=broker_url)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_ignore_result=True)
    counter = Redis.from_url(broker_url)

    # Celery makes a class of each task's name, so a lambda cannot be one.
    def do_nothing() -> None:
        return None

    def count() -> None:
        counter.incr(COUNTER)

    app.task(do_nothing, name=FIRST)
    app.task(count, name=LAST)
    app.worker_main(["worker", "--pool=threads", "--concurrency=2", "--loglevel=ERROR", "--without-gossip"])


if __name__ == "__main__":
    main(sys.argv[1])
