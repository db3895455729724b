"""A database before and after a phase: its catalog, and a checksum over the rows of every table.

States are kept under .gatebook/state/, one folder for each database (known by the server's identifier and the
database's oid, so that a new database of the same name inherits nothing), beside the proofs of phases.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from psycopg import sql
from tqdm import tqdm

from gatebook import catalog
from gatebook.catalog import Query, Rows, Snapshot
from gatebook.database import Server
from gatebook.project import Project
from gatebook.runs import write_whole

PATIENCE_S = 2  # what takes longer shows a progress bar

TABLE_COLUMNS = (
    catalog.RELATIONS
    + """
SELECT o.name AS table, a.attname::text AS column
  FROM ours o JOIN pg_catalog.pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE o.relkind IN ('r', 'p') ORDER BY o.name, a.attnum
"""
)


@dataclass(frozen=True)
class TableSum:
    """Rows of a table, the checksum of whole rows, and one for each column; all independent of their order.

    Units  sums of 64-bit hashes (hashtextextended over each value's text), as decimal text
    """

    rows: int
    checksum: str
    columns: dict[str, str]


@dataclass(frozen=True)
class State:
    """A database at one moment.

    data       the sums over all columns, as found
    filled     before a phase: for tables of which it fills NULLs, the sums as they must be afterwards
    preserved  after a phase: the sums over the columns that were there before it
    marks      after a phase: what tells this very application of it from a later one (see history)
    backfilled after a phase: for each column it backfills, how many rows there were and how many of them wrong
    """

    revision: str | None
    catalog: Snapshot
    data: dict[str, TableSum]
    filled: dict[str, TableSum] = field(default_factory=dict)
    preserved: dict[str, TableSum] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    backfilled: Rows = ()

    @property
    def wanted(self) -> dict[str, TableSum]:
        """The sums that the phase must leave over the columns that were there before it."""
        return {**self.data, **self.filled}

    def to_json(self) -> str:
        content = {
            "revision": self.revision,
            "catalog": [[kind, name, attributes] for (kind, name), attributes in self.catalog.items()],
            "data": {table: asdict(each) for table, each in self.data.items()},
            "filled": {table: asdict(each) for table, each in self.filled.items()},
            "preserved": {table: asdict(each) for table, each in self.preserved.items()},
            "marks": self.marks,
            "backfilled": [dict(row) for row in self.backfilled],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, default=str)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "State":
        return cls(
            content["revision"],
            {(kind, name): attributes for kind, name, attributes in content["catalog"]},
            {table: TableSum(**each) for table, each in content["data"].items()},
            {table: TableSum(**each) for table, each in content["filled"].items()},
            {table: TableSum(**each) for table, each in content["preserved"].items()},
            content["marks"],
            tuple(content.get("backfilled", ())),
        )


Columns = Mapping[str, list[str]]
Fills = Mapping[tuple[str, str], str]


def table_columns(connection: sa.Connection) -> dict[str, list[str]]:
    """Every table of the database with its columns."""
    found: dict[str, list[str]] = {}
    for row in Query(TABLE_COLUMNS).run(connection):
        found.setdefault(row["table"], []).append(row["column"])
    return found


def table_sums(connection: sa.Connection, columns: Columns, *, fills: Fills | None = None) -> dict[str, TableSum]:
    """Count and checksums of the named columns of each table; a table that is gone is left out.

    columns  table -> column names; columns that are gone count as NULL
    fills    (table, column) -> expression that stands for the column's NULLs
    Source   one scan a table; the caller sees to it that row security hides nothing
    """
    live = table_columns(connection)
    wanted = [table for table, names in columns.items() if table in live and names]
    bar = tqdm(wanted, desc="checksums", unit=" tables", delay=PATIENCE_S, leave=False)
    return {table: _sum_of(connection, table, columns[table], live[table], fills or {}) for table in bar}


def data_differences(before: Mapping[str, TableSum], after: Mapping[str, TableSum]) -> Rows:
    """Tables whose rows are not the same: table, rows before and after, columns whose values differ."""
    rows = []
    for table, old in before.items():
        new = after.get(table)
        if new == old:
            continue
        differing = [name for name in old.columns if new is None or new.columns.get(name) != old.columns[name]]
        rows.append(
            {
                "table": table,
                "rows_before": old.rows,
                "rows_after": new.rows if new else None,
                "columns_differing": ", ".join(differing) or "values moved between rows",
            }
        )
    return tuple(rows)


def _sum_of(connection: sa.Connection, table: str, names: list[str], live: list[str], fills: Fills) -> TableSum:
    hashes = [
        sql.SQL("coalesce(pg_catalog.hashtextextended(({})::text, 0), 0) AS {}").format(
            _value(table, name, live, fills), sql.Identifier(f"h{place}")
        )
        for place, name in enumerate(names)
    ]
    labels = [sql.Identifier(f"h{place}") for place in range(len(names))]
    whole = sql.SQL("pg_catalog.hashtextextended(pg_catalog.concat_ws(' ', {}), 0)").format(sql.SQL(", ").join(labels))
    statement = sql.SQL(
        "SELECT count(*), coalesce(sum({whole}::numeric), 0)::text, {sums} FROM (SELECT {hashes} FROM {table}) s"
    ).format(
        whole=whole,
        sums=sql.SQL(", ").join(sql.SQL("coalesce(sum({}::numeric), 0)::text").format(label) for label in labels),
        hashes=sql.SQL(", ").join(hashes),
        table=sql.SQL(table),  # regclass text: quoted where it must be
    )
    rows, checksum, *sums = tuple(catalog.execute(connection, statement.as_string()).one())
    return TableSum(rows, checksum, dict(zip(names, sums, strict=True)))


def _value(table: str, name: str, live: list[str], fills: Fills) -> sql.Composable:
    if name not in live:
        return sql.SQL("NULL")
    fill = fills.get((table, name))
    if fill is None:
        return sql.Identifier(name)
    return sql.SQL("coalesce({}, {})").format(sql.Identifier(name), sql.SQL(fill))


class Store:
    """What is known of one database between runs."""

    def __init__(self, project: Project, server: Server) -> None:
        self.folder = project.home / "state" / server.key

    def save_state(self, phase: str, moment: str, state: State) -> None:
        self._write(f"phase-{phase}-{moment}.json", state.to_json())

    def state(self, phase: str, moment: str) -> State | None:
        content = self._read(f"phase-{phase}-{moment}.json")
        return State.from_json(content) if content else None

    def save_scenario(self, parameters: Mapping[str, Any]) -> None:
        """The database was filled by the scenario, and with what."""
        self._write("scenario.json", json.dumps(parameters, indent=1, default=str))

    def scenario(self) -> Mapping[str, Any] | None:
        """What the database was filled with, where the scenario did it."""
        parameters: Mapping[str, Any] | None = self._read("scenario.json")
        return parameters

    def save_proof(self, phase: str, proof: Mapping[str, Any]) -> None:
        self._write(f"proof-{phase}.json", json.dumps(proof, indent=1, default=str))

    def proof(self, phase: str) -> Mapping[str, Any] | None:
        """When and by which run the phase was proven in this database, or None."""
        proof: Mapping[str, Any] | None = self._read(f"proof-{phase}.json")
        return proof

    def forget(self, phase: str) -> None:
        """What was known of the phase is no longer true."""
        for name in (f"phase-{phase}-before.json", f"phase-{phase}-after.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.forget_proof(phase)

    def forget_proof(self, phase: str) -> None:
        (self.folder / f"proof-{phase}.json").unlink(missing_ok=True)

    def _write(self, name: str, text: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / name, text)

    def _read(self, name: str) -> Any:
        """What a file holds; one that is gone or was damaged tells nothing, so it proves nothing."""
        path: Path = self.folder / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
