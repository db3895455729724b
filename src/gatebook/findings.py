"""What a statement gives here, rows or error: for findings that set an obvious query beside the corrected one."""

from collections.abc import Mapping
from typing import Any, cast

import psycopg
import sqlalchemy as sa

from gatebook.display import Outcome


def outcome(connection: sa.Connection, sql: str, settings: Mapping[str, str]) -> Outcome:
    """What the last of the statements returns, or the server's answer to the first that fails.

    settings  of the transaction they run in, for example role or TimeZone; it is rolled back
    """
    driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
    session = driver.cursor()
    try:
        for name, value in settings.items():
            session.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))
        session.execute(sql)
        while session.nextset():
            pass
        if session.description is None:
            return Outcome(sql, ({"outcome": session.statusmessage},))
        names = [column.name for column in session.description]
        return Outcome(sql, tuple(dict(zip(names, row, strict=True)) for row in session.fetchall()))
    except psycopg.Error as error:
        return Outcome(sql, (), f"{str(error).splitlines()[0]} (SQLSTATE {error.sqlstate})")
    finally:
        session.close()
        driver.rollback()
