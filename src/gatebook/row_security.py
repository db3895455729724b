"""Seeing all rows under FORCE ROW LEVEL SECURITY, or knowing that we do not.

A reader whom a policy filters gets fewer rows and no error. So before rows are counted, the catalog is asked
which tables are filtered for this role; those are opened by a policy that lives for one transaction, or the
count is refused. Row security itself is never switched off.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from psycopg import sql

from gatebook.catalog import RELATIONS, Query, execute
from gatebook.errors import PhaseRefused

POLICY = "gatebook_sees_all_rows"

# A permissive policy USING (true) for a role we have lifts the filter, unless a restrictive one stands beside it.
FILTERED = (
    RELATIONS
    + """
SELECT o.name AS table
  FROM ours o
 WHERE o.relkind IN ('r', 'p') AND pg_catalog.row_security_active(o.oid)
   AND (NOT EXISTS (SELECT FROM pg_catalog.pg_policy p
                     WHERE p.polrelid = o.oid AND p.polpermissive AND p.polcmd IN ('*', 'r')
                       AND pg_catalog.pg_get_expr(p.polqual, p.polrelid) = 'true'
                       AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r
                                    WHERE r = 0 OR pg_catalog.pg_has_role(r, 'USAGE')))
        OR EXISTS (SELECT FROM pg_catalog.pg_policy p
                    WHERE p.polrelid = o.oid AND NOT p.polpermissive AND p.polcmd IN ('*', 'r')
                      AND EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) r
                                   WHERE r = 0 OR pg_catalog.pg_has_role(r, 'USAGE'))))
 ORDER BY o.name
"""
)


def filtered_tables(connection: sa.Connection) -> list[str]:
    """Tables of which this role cannot be sure to see every row, sorted."""
    return [str(row["table"]) for row in Query(FILTERED).run(connection)]


@contextmanager
def all_rows(connection: sa.Connection) -> Iterator[None]:
    """Within the caller's transaction: this role sees and may write every row of every table.

    Errors  sqlalchemy's InsufficientPrivilege where the role does not own a filtered table; PhaseRefused where a
            restrictive policy hides rows all the same
    """
    tables = [sql.SQL(name) for name in filtered_tables(connection)]  # regclass text: quoted where it must be
    policy = sql.Identifier(POLICY)
    for table in tables:
        statement = sql.SQL("CREATE POLICY {} ON {} TO CURRENT_USER USING (true) WITH CHECK (true)")
        execute(connection, statement.format(policy, table).as_string())
    hidden = filtered_tables(connection)
    if hidden:
        raise PhaseRefused(
            f"a restrictive policy may hide rows of {', '.join(hidden)} from this role",
            where="row security",
            next_step="let the restrictive policy be for the roles that it is meant to restrict, and not for this one",
        )
    yield
    for table in tables:
        execute(connection, sql.SQL("DROP POLICY {} ON {}").format(policy, table).as_string())
