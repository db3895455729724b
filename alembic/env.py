"""Binds Alembic to a database: the caller's connection, else DATABASE_URL, else the embedded server.

Limits on locks and statements hold for every migration. On the command line they are set with
`alembic -x lock_timeout_ms=5000 -x statement_timeout_ms=600000 upgrade head`.
"""

import os
from pathlib import Path

import sqlalchemy as sa
from alembic import context
from alembic.util import CommandError

from gatebook import migrations
from gatebook.database import EMBEDDED, open_database
from gatebook.declarations import near_miss
from gatebook.errors import GatebookError
from gatebook.project import Project

PROJECT = Project.find(Path(context.config.config_file_name or ".").parent)


def run_offline() -> None:
    """Render SQL without a database."""
    context.configure(dialect_name="postgresql", as_sql=True, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def run_in(connection: sa.Connection) -> None:
    """The caller owns the transaction and has set its limits."""
    context.configure(connection=connection)
    context.run_migrations()


def limits_given() -> dict[str, int]:
    """Milliseconds by name; what is misspelt or no number is refused, not ignored."""
    limits = {"lock_timeout_ms": migrations.LOCK_TIMEOUT_MS, "statement_timeout_ms": migrations.STATEMENT_TIMEOUT_MS}
    for name, value in context.get_x_argument(as_dictionary=True).items():
        if name not in limits:
            raise CommandError(f"-x {name} is not known{near_miss(name, list(limits))}: use {' or '.join(limits)}")
        if not (value.isascii() and value.isdigit() and int(value)):
            raise CommandError(f"-x {name}={value} is not a number of milliseconds above 0")
        limits[name] = int(value)
    return limits


def run_online() -> None:
    """From Alembic's command line: each revision in a transaction of its own."""
    limits = limits_given()
    # Set but empty is a mistake (a secret that did not arrive), not a wish for the embedded server.
    named = "DATABASE_URL" if "DATABASE_URL" in os.environ else EMBEDDED
    try:
        database = open_database(named, project=PROJECT)
    except GatebookError as error:
        raise CommandError(str(error)) from error
    try:
        with database.connect() as connection:
            context.configure(
                connection=connection,
                transaction_per_migration=True,
            )
            connection.exec_driver_sql(f"SET lock_timeout = {limits['lock_timeout_ms']}")
            connection.exec_driver_sql(f"SET statement_timeout = {limits['statement_timeout_ms']}")
            connection.commit()
            with context.begin_transaction():
                context.run_migrations()
    except sa.exc.DBAPIError as error:
        raise CommandError(str(migrations.translate(error, doing="migration"))) from error
    except GatebookError as error:
        raise CommandError(str(error)) from error
    finally:
        database.close()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    run_offline()
elif given is not None:
    run_in(given)
else:
    run_online()
