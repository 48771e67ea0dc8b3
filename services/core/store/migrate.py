"""Brings a database to the schema of `tables.py` with alembic's migrations."""

from __future__ import annotations

import os

from sqlalchemy import Connection, inspect, text

#: The newest revision in `migrations/versions/`; a test compares.
HEAD = "0001"


def is_current(connection: Connection) -> bool:
    """Whether the schema is that of this version, found without loading alembic."""
    if not inspect(connection).has_table("alembic_version"):
        return False
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations that are missing, in the transaction of `connection`. Replicas that start at once do it one
    after the other."""
    from alembic import command
    from alembic.config import Config

    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(727367)"))
    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(__file__), "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
