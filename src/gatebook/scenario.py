"""Legacy rows for a database at the baseline revision, made inside the server from the SQL in params/scenario/.

The files run in the order of their names, in one transaction: all rows are there, or none. A file that starts
with "-- per: days" runs once for each chunk of days, so that memory stays bounded and progress can be shown.
Parameters are settings of that transaction (scenario.tenants, scenario.days, …), which the SQL reads.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gatebook import catalog, migrations, preflight, row_security
from gatebook.baseline import Store
from gatebook.canonical import load_canonical
from gatebook.database import Database, recreate
from gatebook.declarations import ScenarioParameters, load_gates
from gatebook.errors import ScenarioRefused
from gatebook.project import Project
from gatebook.subject import Subject

PER_DAYS = "-- per: days"
EVENTS_A_CHUNK = 20_000

Progress = Callable[[int, int, str], None]  # done, total, what is next


@dataclass(frozen=True)
class Loaded:
    """What was loaded: rows of each table, the revision they stand at, seconds."""

    rows: dict[str, int]
    revision: str
    seconds: float


def load(
    database: Database, project: Project, parameters: ScenarioParameters, *, progress: Progress | None = None
) -> Loaded:
    """Bring an empty database to the baseline revision and fill it.

    Errors  ScenarioRefused when the database holds tables and may not be made anew; PhaseRefused for a server or
            role that no audit could use; MigrationFailed
    """
    started = time.perf_counter()
    as_of = _as_of(parameters.as_of)
    _refuse_server(database, project)
    if parameters.reset:
        recreate(database)
    revision = load_canonical(project).baseline_revision
    with database.connect() as connection:
        _refuse_unless_empty(connection, database)
        try:
            migrations.upgrade(connection, project, revision)
            _fill(connection, project, parameters, as_of, progress or _silent)
            rows = _count(connection)
            connection.commit()
            _analyze(connection)
            Store(project, database.server).save_scenario(_settings(parameters, as_of))
        except sa.exc.DBAPIError as error:
            raise migrations.translate(error, doing="loading the scenario", connection=connection) from error
    return Loaded(rows, revision, time.perf_counter() - started)


def _silent(_done: int, _total: int, _name: str) -> None:
    """Nobody watches."""


def _as_of(text: str) -> date:
    if text == "today":
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ScenarioRefused(
            f"as_of {text!r} is not a date", where="scenario parameters", next_step="use YYYY-MM-DD or today"
        ) from None


def _refuse_server(database: Database, project: Project) -> None:
    with database.connect() as connection:
        gates, canonical, store = load_gates(project), load_canonical(project), Store(project, database.server)
        subject = Subject(project, gates, canonical, database.server, store, connection)
        preflight.refuse_if_unfit(subject, preflight.SERVER)


def _refuse_unless_empty(connection: sa.Connection, database: Database) -> None:
    tables = [row["table"] for row in catalog.tables().run(connection)]
    if tables or migrations.current(connection) is not None:
        raise ScenarioRefused(
            f"the database is not empty ({len(tables)} tables), so no scenario is loaded into it",
            where=str(database),
            next_step="name an empty database; the embedded one can be made anew with --reset",
        )


def _fill(
    connection: sa.Connection, project: Project, parameters: ScenarioParameters, as_of: date, progress: Progress
) -> None:
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
    _apply(connection, _settings(parameters, as_of))
    days_a_chunk = max(1, EVENTS_A_CHUNK // (parameters.tenants * parameters.events_per_day))
    steps = list(_steps(project.params / "scenario", parameters.days, days_a_chunk))
    with row_security.all_rows(connection):
        for done, (path, first, last) in enumerate(steps):
            progress(done, len(steps), path.stem)
            _set(connection, "first_day", first)
            _set(connection, "last_day", last)
            catalog.execute(connection, path.read_text(encoding="utf-8"))
    progress(len(steps), len(steps), "done")


def play(connection: sa.Connection, folder: Path, settings: Mapping[str, Any]) -> None:
    """Run the SQL of a folder in the caller's transaction, with the settings that the scenario was made with."""
    _apply(connection, settings)
    for path in sorted(folder.glob("*.sql")):
        catalog.execute(connection, path.read_text(encoding="utf-8"))


def _settings(parameters: ScenarioParameters, as_of: date) -> dict[str, Any]:
    return parameters.model_dump(include={"tenants", "days", "events_per_day", "seed"}) | {"as_of": str(as_of)}


def _apply(connection: sa.Connection, settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        _set(connection, name, value)


def _steps(folder: Path, days: int, days_a_chunk: int) -> Iterator[tuple[Path, int, int]]:
    """(file, first day, last day): days count backwards from as_of, and the oldest chunk comes first."""
    for path in sorted(folder.glob("*.sql")):
        with path.open(encoding="utf-8") as file:
            per_days = file.readline().startswith(PER_DAYS)
        if not per_days:
            yield path, 0, days - 1
            continue
        for last in range(days - 1, -1, -days_a_chunk):
            yield path, max(0, last - days_a_chunk + 1), last


def _set(connection: sa.Connection, name: str, value: object) -> None:
    statement = "SELECT pg_catalog.set_config(%(name)s, %(value)s, true)"
    connection.exec_driver_sql(statement, {"name": f"scenario.{name}", "value": str(value)})


def _count(connection: sa.Connection) -> dict[str, int]:
    """Rows of each table, counted while every row is in sight."""
    with row_security.all_rows(connection):
        names = [row["table"] for row in catalog.tables().run(connection)]
        return {name: catalog.execute(connection, f"SELECT count(*) FROM {name}").scalar_one() for name in names}


def _analyze(connection: sa.Connection) -> None:
    """Statistics for the planner, of our tables only: not every role may analyse the whole database."""
    for row in catalog.tables().run(connection):
        catalog.execute(connection, f"ANALYZE {row['table']}")
    connection.commit()
