"""The store's tables. A change here needs a migration in `migrations/versions/`; a test compares the two."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, Index, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy import UniqueConstraint as Unique

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row a resource. `last` is the last segment of the name and `key` its case-folded form; `server` is the name of the
#: file server that it is or is in; `operation` is the id of the operation that works on it, or empty.
resources = Table(
    "resources",
    metadata,
    Column("name", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("parent", String, nullable=False),
    Column("server", String, nullable=False),
    Column("last", String, nullable=False),
    # Compared by code point in every database, so that pages have one order everywhere.
    Column("key", String().with_variant(String(collation="C"), "postgresql"), nullable=False),
    Column("uid", String, nullable=False),
    Column("spec", JSON, nullable=False),
    Column("assigned", JSON, nullable=False),
    Column("conditions", JSON, nullable=False),
    Column("state", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("observed_generation", Integer, nullable=False),
    Column("operation", String, nullable=False),
    Column("create_time", Float, nullable=False),
    Column("update_time", Float, nullable=False),
    Unique("kind", "parent", "key"),
    Index(None, "server", "kind"),
    Index(None, "operation"),
)

#: One row an operation. `seq` is the order of acceptance. While one runs, `lease_owner` holds it until `lease_until`.
operations = Table(
    "operations",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String, nullable=False),
    Column("target", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("server", String, nullable=False),
    Column("verb", String, nullable=False),
    Column("state", String, nullable=False),
    Column("create_time", Float, nullable=False),
    Column("start_time", Float),
    Column("end_time", Float),
    Column("steps", JSON, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("request_id", String, nullable=False),
    Column("principal", String, nullable=False),
    Column("options", JSON, nullable=False),
    Column("previous", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("result", JSON(none_as_null=True)),
    Column("lease_owner", String, nullable=False),
    Column("lease_until", Float, nullable=False),
    Unique("id"),
    Index(None, "state", "seq"),
    Index(None, "server", "state"),
)

#: Requests by their `request_id`, for 24 hours. `fingerprint` tells whether a repetition is the same request.
requests = Table(
    "requests",
    metadata,
    Column("request_id", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("expires", Float, nullable=False),
)

#: What resources own outside, or are about to make.
claims = Table(
    "claims",
    metadata,
    Column("kind", String, primary_key=True),
    Column("value", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("facts", JSON, nullable=False),
    Index(None, "owner"),
)

#: Passwords that wait to be set, sealed; the row goes when its operation ends. `key` is the uid of the user.
secrets = Table(
    "secrets",
    metadata,
    Column("key", String, primary_key=True),
    Column("operation", String, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Index(None, "operation"),
)

#: Numbers that only ever grow, such as the next Unix id.
counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
