"""Fills a migrated database with jobs as the platform would have left them: in every table that a job touches.

Ids are random, as real ones are. A tenth of the jobs is of other tenants; finished ones ended over the last thirty
days, waiting ones came within the last three hours. Documents are smaller than real ones, an upload has three files,
and a job twelve events.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812  # a class under a lower-case name

from shared.features import LABELS, make_feature_name
from shared.stages import MODELS, StageName

TENANT = "default"
_BATCH_JOBS = 50_000
_TABLES = ("jobs", "stage_runs", "features", "artefacts", "events", "results", "upload_files", "outbox")
_RELOAD = "SELECT pg_reload_conf()"
_MODEL = "'{" + ",".join(MODELS) + "}'::text[]"

_JOBS = """
CREATE TEMP TABLE made ON COMMIT DROP AS
SELECT gen_random_uuid() AS id, n, n <= %(finished)s AS is_finished,
       CASE WHEN n %% 10 = 0 THEN 'tenant-' || n %% 7 ELSE 'default' END AS tenant,
       CASE WHEN n > %(finished)s THEN CASE WHEN n %% 10 < 7 THEN 'queued' ELSE 'running' END
            WHEN n %% 50 = 7 THEN 'rejected' WHEN n %% 100 = 9 THEN 'failed' WHEN n %% 100 = 11 THEN 'cancelled'
            ELSE 'completed_partial' END AS state,
       CASE n %% 20 WHEN 1 THEN 9 WHEN 2 THEN 1 ELSE 5 END AS priority,
       CASE WHEN n <= %(finished)s
            THEN now() - interval '2 hours' - interval '30 days' * (1 - n::float / %(finished)s)
            ELSE now() - interval '3 hours' * (1 - (n - %(finished)s)::float / greatest(1, %(waiting)s)) END AS at
FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n;
ALTER TABLE made ADD COLUMN has_result boolean GENERATED ALWAYS AS (state = 'completed_partial') STORED;
ANALYZE made;

INSERT INTO jobs (id, tenant, state, priority, options, labels, policy_id, weights_profile, patient_pseudonym,
                  created_at, finished_at, deadline_at, turn_at)
SELECT id, tenant, state, priority, '{"models": null, "reuse": true}',
       jsonb_build_object('site', 'ward-' || n %% 40, 'batch', (n / 500)::text), 'default-1', 'demo',
       CASE WHEN is_finished THEN substr(md5((n / 3)::text), 1, 32) END,
       at, CASE WHEN is_finished THEN at + interval '4 minutes' END, at + interval '6 hours',
       at - priority * interval '30 minutes'
FROM made;
"""

_STAGES = (
    """
INSERT INTO stage_runs (job_id, stage, state, reason, progress, attempt, published_at, publications, look_again_at,
                        ready_at, next_attempt_at, started_at, finished_at, facts, recipe_sha256)
SELECT id, stage, state, CASE state WHEN 'skipped' THEN 'model_not_installed' END,
       CASE state WHEN 'succeeded' THEN 1 ELSE 0 END, CASE WHEN has_begun THEN 1 ELSE 0 END,
       CASE WHEN state = 'ready' OR has_begun THEN at END, CASE WHEN state = 'ready' OR has_begun THEN 1 ELSE 0 END,
       CASE WHEN state = 'ready' THEN now() + interval '1 hour' END,
       CASE WHEN state = 'ready' OR has_begun THEN at END, CASE WHEN state = 'ready' OR has_begun THEN at END,
       CASE WHEN has_begun THEN at + interval '1 minute' END,
       CASE WHEN state NOT IN ('waiting', 'ready') THEN at + interval '2 minutes' END,
       CASE WHEN state <> 'succeeded' THEN '{}' WHEN stage = 'intake' THEN %(intake_facts)s::jsonb
            || jsonb_build_object('study_uid', '1.2.826.0.1.' || n) ELSE %(model_facts)s::jsonb END,
       CASE WHEN state = 'succeeded' AND stage = ANY("""
    + _MODEL
    + """) THEN md5(id::text || stage) || md5(stage) END
FROM (SELECT id, n, at, stage, run.state, run.state IN ('succeeded', 'failed') AS has_begun
      FROM made CROSS JOIN unnest(%(stages)s::text[]) AS stage
      CROSS JOIN LATERAL (SELECT CASE
          WHEN stage IN ('delivery', 'fvlm', 'segmentation') THEN 'skipped'
          WHEN has_result THEN 'succeeded'
          WHEN is_finished THEN CASE WHEN stage = 'intake' THEN 'failed' ELSE 'cancelled' END
          WHEN made.state = 'queued' THEN CASE WHEN stage = 'intake' THEN 'ready' ELSE 'waiting' END
          WHEN stage = 'intake' THEN 'succeeded' WHEN stage = 'fusion' THEN 'waiting' ELSE 'ready' END AS state
      ) AS run) AS runs;
"""
)

_FINDINGS = """
INSERT INTO features (job_id, stage, values, created_at)
SELECT id, stage, %(features)s::jsonb -> stage, at + interval '2 minutes'
FROM made CROSS JOIN unnest('{ct_clip,supervised,mednext,diffusion}'::text[]) AS stage WHERE has_result;

INSERT INTO artefacts (id, job_id, kind, stage, key, media_type, size_bytes, sha256, facts, created_at)
SELECT gen_random_uuid(), id, kind, CASE kind WHEN 'upload' THEN NULL ELSE 'intake' END,
       'jobs/' || id || '/' || kind || '/' || md5(id::text || kind), 'application/octet-stream', 40000000,
       md5(id::text) || md5(kind), '{"kind": "zip"}', at + interval '3 minutes'
FROM made CROSS JOIN unnest('{upload,source_series,volume,preview,run_manifest,report_html_en}'::text[]) AS kind
WHERE CASE kind WHEN 'upload' THEN at > now() - %(kept)s::interval
                WHEN 'source_series' THEN at > now() - %(kept)s::interval AND (has_result OR state = 'running')
                WHEN 'volume' THEN has_result OR state = 'running' ELSE has_result END;

INSERT INTO results (job_id, document, policy_id, probability, published_at)
SELECT id, %(result)s::jsonb || jsonb_build_object('job_id', id), 'default-1', 0.5, at + interval '4 minutes'
FROM made WHERE has_result;

INSERT INTO upload_files (job_id, ordinal, name, size_bytes, outcome)
SELECT id, ordinal, CASE WHEN at > now() - %(kept)s::interval THEN 'slice' || ordinal || '.dcm' END, 131072, 'used'
FROM made CROSS JOIN generate_series(0, 2) AS ordinal WHERE has_result OR state = 'running';
"""

_MESSAGES = """
INSERT INTO events (job_id, type, stage, state, progress, at)
SELECT id, CASE WHEN step %% 5 = 4 THEN 'stage.progress' ELSE 'stage.state' END,
       (%(stages)s::text[])[1 + step / 2], CASE step %% 3 WHEN 0 THEN 'ready' WHEN 1 THEN 'leased' ELSE 'succeeded' END,
       CASE WHEN step %% 5 = 4 THEN 0.5 END, at + step * interval '10 seconds'
FROM made CROSS JOIN generate_series(0, 11) AS step
WHERE step < CASE WHEN is_finished THEN 12 WHEN state = 'running' THEN 8 ELSE 2 END;

INSERT INTO outbox (job_id, stage, priority, turn_at, created_at)
SELECT id, stage, priority, at - priority * interval '30 minutes', at
FROM made CROSS JOIN unnest('{intake,ct_clip,supervised,mednext,diffusion}'::text[]) AS stage
WHERE NOT is_finished AND (state = 'queued') = (stage = 'intake');
"""


def fill(url: str, *, finished: int, waiting: int, kept: str = "1 day") -> None:
    """Add jobs to a database that has none. `kept`: how long uploads were kept, as PostgreSQL's interval."""
    parameters = {**_make_documents(), "finished": finished, "waiting": waiting, "kept": kept}
    connection = psycopg2.connect(url)
    try:
        with _hurrying(connection), _bare(connection):
            for first in range(1, finished + waiting + 1, _BATCH_JOBS):
                last = min(first + _BATCH_JOBS - 1, finished + waiting)
                _add(connection, {**parameters, "first": first, "last": last})
        _run_alone(connection, "VACUUM (ANALYZE)", "CHECKPOINT")
    finally:
        connection.close()


@contextmanager
def _hurrying(connection: Connection) -> Iterator[None]:
    """Let the server put off what it does beside the work; everything is measured as it is shipped again."""
    settings = {"max_wal_size": "8GB", "checkpoint_timeout": "30min", "autovacuum": "off"}
    _run_alone(connection, *(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()), _RELOAD)
    yield
    _run_alone(connection, *(f"ALTER SYSTEM RESET {name}" for name in settings), _RELOAD)


def _run_alone(connection: Connection, *statements: str) -> None:
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.autocommit = False


def _add(connection: Connection, parameters: dict[str, object]) -> None:
    with connection, connection.cursor() as cursor:
        for statements in (_JOBS, _STAGES, _FINDINGS, _MESSAGES):
            cursor.execute(statements, parameters)


def _make_documents() -> dict[str, object]:
    features = {
        model: {make_feature_name(model, label): 0.123456 for label in LABELS.get(model, ())} for model in MODELS
    }
    return {
        "stages": list(map(str, StageName)),
        "intake_facts": json.dumps({"series_uid": "1.2.826.0.1.9", "slices": 312, "spacing_zyx_mm": [1.0, 0.7, 0.7]}),
        "model_facts": json.dumps({"model": "ct_clip", "version": "1", "digest": "d" * 64, "seconds": 41.5}),
        "features": json.dumps(features),
        "result": json.dumps({"probability_of_pathology": 0.5, "findings": [{"finding": "x", "models": {}}] * 10}),
    }


@contextmanager
def _bare(connection: Connection) -> Iterator[None]:
    """Take indexes and checks away while rows are added, and put them back: a million jobs come in minutes so."""
    with connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("SET synchronous_commit = off")
        cursor.execute("SET maintenance_work_mem = '512MB'")
        cursor.execute("SET statement_timeout = 0")
        rebuilding = [statement for table in _TABLES for statement in _strip(cursor, table)]
    yield
    for statement in rebuilding:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)


def _strip(cursor: psycopg2.extensions.cursor, table: str) -> list[str]:
    """Drop the indexes of a table but for what others refer to; return the statements that make them again."""
    cursor.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid = %(table)s::regclass AND contype IN ('p', 'u') "
        "AND NOT EXISTS (SELECT FROM pg_constraint AS other WHERE other.confrelid = %(table)s::regclass)",
        {"table": table},
    )
    constraints = cursor.fetchall()
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND schemaname = 'public' "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass)",
        (table, table),
    )
    indexes = cursor.fetchall()
    for name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    kept = [f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}" for name, definition in constraints]
    return [*kept, *(definition for _, definition in indexes)]
