"""Registration: what is installed here, written into the tables that jobs are planned from.

Runs at every start of control. Idempotent; an advisory lock puts several at once one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from model_weights.catalogue import ModelEntry, list_installed
from model_weights.policies import Policy, load_policies
from shared import tables
from shared.database import transaction
from shared.settings import Settings
from shared.telemetry import get_logger

_log = get_logger()
_LOCK = 0x6374_636C_6970  # "ctclip"; any constant that nothing else locks on


def register_installation(engine: Engine, settings: Settings) -> None:
    """Write the policies and the models of this installation; what is no longer here becomes inactive.

    Raises Defect when the catalogue or a policy cannot be read, TransientFault when the database is away.
    """
    policies = load_policies(settings.policies_dir)
    models = list_installed(settings)
    with transaction(engine) as session:
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        _register_policies(session, policies)
        _register_models(session, models)
    _log.info("installation registered", policies=len(policies), models=[str(model.stage) for model in models])


def _register_policies(session: Session, policies: Sequence[Policy]) -> None:
    # Off first, then on: at no moment do two of one name stand active.
    ids = [policy.id for policy in policies]
    session.execute(update(tables.Policy).where(tables.Policy.id.not_in(ids)).values(is_active=False))
    for policy in policies:
        row = {"name": policy.name, "digest": policy.digest, "document": policy.to_document()}
        session.execute(
            insert(tables.Policy)
            .values(id=policy.id, is_active=True, **row)
            .on_conflict_do_update(index_elements=["id"], set_={"is_active": True})
        )


def _register_models(session: Session, models: Sequence[ModelEntry]) -> None:
    place = tuple_(tables.ModelVersion.stage, tables.ModelVersion.digest)
    installed = [(model.stage, model.digest) for model in models]
    session.execute(update(tables.ModelVersion).where(place.not_in(installed)).values(is_active=False))
    for model in models:
        described = {
            "version": model.version,
            "weights_profile": model.weights_profile,
            "is_active": True,
            "facts": _describe(model),
        }
        session.execute(
            insert(tables.ModelVersion)
            .values(stage=model.stage, digest=model.digest, **described)
            .on_conflict_do_update(index_elements=["stage", "digest"], set_=described)
        )


def _describe(model: ModelEntry) -> dict[str, object]:
    return {
        "name": model.name,
        "origin": model.origin,
        "licence": model.licence,
        "labels": list(model.labels),
        "files": {role: file.sha256 for role, file in model.files.items()},
    }
