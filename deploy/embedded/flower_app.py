"""The Celery application as Flower sees it: same broker, same priorities, so that queue lengths are right."""

from __future__ import annotations

from shared.settings import get_settings
from workers.runtime.celery_app import make_celery

app = make_celery(get_settings())
