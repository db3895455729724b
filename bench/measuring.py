"""What reads all rows of a view's source: bare aggregation, refresh, comparison, and psql with the same statement."""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from gatebook.contract import load_contract
from gatebook.database import Database
from gatebook.embedded import SUPERUSER
from gatebook.errors import GatebookError
from gatebook.pairing import SAMPLE_ROWS, columns, compare, statement
from gatebook.project import Project
from loading import Session, open_session, run, timed

DEFINITION = "SELECT pg_catalog.pg_get_viewdef(%s::pg_catalog.regclass)"
REFRESH = "SELECT error FROM refresh_materialized_view(%s::pg_catalog.regclass)"
BINARIES = "SELECT setting FROM pg_catalog.pg_config WHERE name = 'BINDIR'"

Step = Callable[[str], object]


def in_turns(acts: Mapping[str, Callable[[], float]], *, rounds: int, step: Step) -> dict[str, float]:
    """Median seconds of each act. Another one begins each round, so that none always comes after the same other.

    acts  each tells its own seconds
    step  told of each act before it starts
    """
    taken: dict[str, list[float]] = {name: [] for name in acts}
    names = list(acts)
    for number in range(rounds):
        for place in range(len(names)):
            name = names[(number + place) % len(names)]
            step(name)
            taken[name].append(acts[name]())
    return {name: median(each) for name, each in taken.items()}


def whole(database: Database, project: Project, view: str, *, rounds: int, step: Step) -> dict[str, float]:
    """Median seconds of aggregation, refresh, comparison and psql for one view.

    Errors  GatebookError when the view differs from its source, or a refresh fails
    """
    comparison = load_contract(project).comparison(view)
    program = psql_program(database)
    with closing(open_session(database)) as session, database.connect() as connection:
        definition = session.execute(DEFINITION, [view]).fetchone()
        text = statement(comparison, columns(connection, comparison.raw), sample_rows=SAMPLE_ROWS)
        connection.rollback()

        def aggregate() -> float:
            run(session, "DROP TABLE IF EXISTS pg_temp.bare")
            return timed(lambda: run(session, f"CREATE TEMP TABLE bare AS {definition[0] if definition else ''}"))

        def compare_all() -> None:
            difference = compare(connection, comparison)
            connection.rollback()
            if difference.problem or difference.rows or not difference.rows_raw:
                raise GatebookError(f"{view} should be equal to its source: {difference}", where=str(database))

        acts = {
            "aggregation": aggregate,
            "refresh": lambda: timed(lambda: refresh(session, view)),
            "comparison": lambda: timed(compare_all),
            "psql": lambda: timed(lambda: psql(program, database, text)),
        }
        return in_turns(acts, rounds=rounds, step=step)


def refresh(session: Session, view: str) -> None:
    """By the database's own function, as everybody refreshes."""
    row = session.execute(REFRESH, [view]).fetchone()
    if row is None or row[0] is not None:
        raise GatebookError(f"the refresh of {view} failed: {row and row[0]}")


def psql_program(database: Database) -> Path:
    """The psql that came with the server; who asks must be superuser."""
    with psycopg.connect(conninfo(database, user=SUPERUSER)) as session:
        row: Any = session.execute(BINARIES).fetchone()
    return Path(row[0]) / "psql"


def psql(program: Path, database: Database, text: str, *, user: str | None = None) -> None:
    """Run statements by the psql that comes with the server; what they return is thrown away."""
    options = ["--no-psqlrc", "--quiet", "--no-align", "--output=/dev/null", "--set=ON_ERROR_STOP=1"]
    command = [str(program), *options, f"--dbname={conninfo(database, user=user)}"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise GatebookError(f"psql failed: {done.stderr.strip()}", where=str(database))


def conninfo(database: Database, *, user: str | None = None) -> str:
    """Where libpq finds the database; the embedded server asks for no password."""
    return psycopg.conninfo.make_conninfo(database.conninfo, **({"user": user} if user else {}))


def checkpoint(database: Database) -> None:
    """Write out what the load has changed, so that it does not disturb what is measured next."""
    with psycopg.connect(conninfo(database, user=SUPERUSER), autocommit=True) as session:
        session.execute("CHECKPOINT")


def copied(database: Database, empty: Database, folder: Path) -> float:
    """Seconds of psql's \\copy of all rows of one database into another that has the schema and all of its indexes.

    As superuser, since COPY FROM refuses tables with row security.
    """
    tables = ("tenants", "attribution_events", "attribution_allocations", "revenue_ledger")  # parents first
    files = {table: folder / f"{table}.copy" for table in tables}
    out = "".join(f"\\copy {table} TO {_quoted(file)}\n" for table, file in files.items())
    back = "".join(f"\\copy {table} FROM {_quoted(file)}\n" for table, file in files.items())
    program = psql_program(database)
    psql(program, database, out, user=SUPERUSER)
    return timed(lambda: psql(program, empty, back, user=SUPERUSER))


def _quoted(file: Path) -> str:
    return sql.Literal(str(file)).as_string()
