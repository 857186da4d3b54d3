"""The application: which routes there are, and what surrounds them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version

from fastapi import FastAPI

from gateway.access import rules as access
from gateway.access.api import router as api_keys
from gateway.access.gate import AccessGate
from gateway.artifacts.api import router as artifacts
from gateway.compatible.api import router as compatible
from gateway.documentation.api import router as documentation
from gateway.documentation.openapi import install_openapi
from gateway.events.api import router as events
from gateway.health.api import router as health
from gateway.jobs.api import router as jobs
from gateway.limits.api import router as limits
from gateway.lingering import LingeringClose
from gateway.models.api import router as models
from gateway.observer import RequestObserver
from gateway.own_context import OwnContext
from gateway.problems.api import router as problems
from gateway.problems.handlers import install_problem_handlers
from gateway.receipts.api import router as receipts
from gateway.resources import Resources
from gateway.results.api import router as results
from gateway.uploads.api import router as uploads
from gateway.webhooks.api import router as webhooks
from shared.settings import Settings

RULES = access.AccessRules(
    (
        (jobs, access.OF_JOBS),
        (uploads, access.OF_UPLOADS),
        (events, access.OF_JOBS),
        (results, access.OF_RESULTS),
        (receipts, access.OF_RESULTS),
        (artifacts, access.OF_RESULTS),
        (webhooks, access.OF_WEBHOOKS),
        (api_keys, access.OF_KEYS),
        (models, access.FOR_KNOWN),
        (limits, access.FOR_KNOWN),
        (problems, access.FOR_ALL),
        (compatible, access.OF_COMPATIBLE),
        (health, access.OF_HEALTH),
        (documentation, access.FOR_ALL),
    )
)
"""Every router of the application, and what its routes ask of callers."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application. Nothing is connected before the first request that needs it."""
    app = FastAPI(
        title="CT-CLIP Inference API",
        version=_find_version(),
        lifespan=_live,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its own spans would tell paths, queries and the messages of errors; ours tell routes (`gateway/observer.py`).
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.resources = Resources(settings)
    app.state.rules = RULES
    app.add_middleware(AccessGate, rules=RULES, resources=app.state.resources)
    app.add_middleware(RequestObserver)
    app.add_middleware(LingeringClose)  # around the observer: its own answers linger too
    app.add_middleware(OwnContext)
    install_problem_handlers(app)
    for router in RULES.routers:
        app.include_router(router)
    install_openapi(app, RULES)
    return app


@asynccontextmanager
async def _live(app: FastAPI) -> AsyncIterator[None]:
    yield
    app.state.resources.close()


def _find_version() -> str:
    try:
        return version("ct-clip-inference")
    except PackageNotFoundError:
        return "0.0.0"
