"""The migrations and the tables in the code say the same."""

from __future__ import annotations

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from migrations import make_config
from shared.database import OLDER_REVISIONS, SCHEMA_REVISION, fetch_schema_revision, transaction


class TestSchema:
    def test_the_code_names_the_newest_migration(self) -> None:
        assert ScriptDirectory.from_config(make_config("")).get_current_head() == SCHEMA_REVISION

    def test_the_code_names_every_migration_before_it(self) -> None:
        revisions = {script.revision for script in ScriptDirectory.from_config(make_config("")).walk_revisions()}
        assert revisions - {SCHEMA_REVISION} == OLDER_REVISIONS

    def test_a_migrated_database_is_at_that_revision(self, engine: Engine) -> None:
        with transaction(engine) as session:
            assert fetch_schema_revision(session) == SCHEMA_REVISION

    def test_the_tables_of_the_code_need_no_further_migration(self, engine: Engine) -> None:
        command.check(make_config(engine.url.render_as_string(hide_password=False)))
