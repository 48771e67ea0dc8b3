"""Brings a database to the schema of `tables.py`: an old one by alembic's migrations, an empty one at once.

(alembic costs a process 15 MiB, which a backend would keep for as long as it runs after its first start.)
"""

from __future__ import annotations

import os

from sqlalchemy import Connection, inspect, text

from services.core.store.tables import metadata

#: The newest revision in `migrations/versions/`; a test compares.
HEAD = "0001"


def migrate(connection: Connection) -> None:
    """Does what is missing, in the transaction of `connection`. Replicas that start at once do it one after the other."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(727367)"))
    if not inspect(connection).has_table("alembic_version"):
        metadata.create_all(connection)
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
    elif connection.execute(text("SELECT version_num FROM alembic_version")).scalar() != HEAD:
        upgrade(connection)


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Runs the migrations that are missing."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", os.path.join(os.path.dirname(__file__), "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
