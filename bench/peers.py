"""One comparison of mv_channel_performance in a process of its own: peers.py NAME [LIMIT_BYTES], result as JSON.

gatebook          compares inside the database
pandas            fetches the source rows with read_sql, groups them, fetches the view, and pairs the two with merge
datacompy         the same, and pairs the two with datacompy.PandasCompare
pandas_text       as pandas, but ids are read as text, which psycopg and pandas do much faster than uuid

Floats may differ by 1e-9, since read_sql makes floats of numeric. All but gatebook run in bench/.venv, which has no
gatebook. BENCH_DATABASE holds how to connect.
"""

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

VIEW = "mv_channel_performance"
KEY = ["tenant_id", "channel_code", "allocation_date"]
MEASURES = ["total_conversions", "total_revenue_cents", "avg_confidence_score", "total_allocations"]
TOLERANCE = 1e-9

RAW = """
SELECT tenant_id, channel_code, created_at, event_id, allocated_revenue_cents, confidence_score
  FROM attribution_allocations
 WHERE created_at >= (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '90 days') AT TIME ZONE 'UTC'
"""
SEEN = f"SELECT {', '.join([*KEY, *MEASURES])} FROM {VIEW}"


def gatebook() -> int:
    """Rows that differ, by gatebook's own comparison."""
    from gatebook.contract import load_contract
    from gatebook.database import Database
    from gatebook.pairing import compare
    from gatebook.project import Project

    comparison = load_contract(Project.find()).comparison(VIEW)
    with Database("bench", os.environ["BENCH_DATABASE"]).connect() as connection:
        difference = compare(connection, comparison)
    if difference.problem or not difference.rows_raw:
        raise RuntimeError(difference.problem or "there were no rows")
    return difference.rows


def pandas(*, as_text: bool = False) -> int:
    """Rows that differ, by pandas' merge."""
    raw, seen = _both(as_text=as_text)
    paired = raw.merge(seen, on=KEY, how="outer", suffixes=("_raw", "_view"), indicator=True)
    differs = paired["_merge"] != "both"
    for name in MEASURES:
        differs |= ~((paired[f"{name}_raw"] - paired[f"{name}_view"]).abs() <= TOLERANCE)
    return int(differs.sum())


def pandas_text() -> int:
    """Rows that differ, by pandas' merge, with ids as text."""
    return pandas(as_text=True)


def datacompy() -> int:
    """Rows that differ, by datacompy."""
    library = importlib.import_module("datacompy")
    raw, seen = _both(as_text=False)
    made = library.PandasCompare(raw, seen, join_columns=KEY, abs_tol=TOLERANCE)
    rows = len(made.df1_unq_rows) + len(made.df2_unq_rows) + len(made.all_mismatch())
    return rows if made.matches() == (rows == 0) else -1


PEERS: dict[str, Callable[[], int]] = {
    "gatebook": gatebook,
    "pandas": pandas,
    "datacompy": datacompy,
    "pandas_text": pandas_text,
}
# Imported before the clock starts.
LIBRARIES = {
    "gatebook": ("gatebook.contract", "gatebook.pairing"),
    "pandas": ("pandas", "psycopg", "sqlalchemy"),
    "datacompy": ("pandas", "psycopg", "sqlalchemy", "datacompy"),
    "pandas_text": ("pandas", "psycopg", "sqlalchemy"),
}


def _both(*, as_text: bool) -> tuple[Any, Any]:
    """The source rows, fetched and then grouped here, and the rows of the view."""
    sql = [RAW, SEEN]
    if as_text:
        sql = [
            each.replace("SELECT tenant_id", "SELECT tenant_id::text").replace(" event_id,", " event_id::text,")
            for each in sql
        ]
    raw, seen = map(_fetched, sql)
    raw["allocation_date"] = raw["created_at"].dt.tz_convert("UTC").dt.date
    grouped = raw.groupby(KEY).agg(
        total_conversions=("event_id", "nunique"),
        total_revenue_cents=("allocated_revenue_cents", "sum"),
        avg_confidence_score=("confidence_score", "mean"),
        total_allocations=("event_id", "size"),
    )
    return grouped.reset_index(), seen


def _fetched(sql: str) -> Any:
    import pandas as pd
    import psycopg
    import sqlalchemy as sa

    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(os.environ["BENCH_DATABASE"]))
    with engine.connect() as connection:
        return pd.read_sql(sa.text(sql), connection)


def peak_bytes() -> int:
    """The most memory that this process has held. Not ru_maxrss on Linux: a child starts with its parent's there."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def main(name: str, limit_bytes: int = 0) -> None:
    """Compare once; what keeps it from an answer is a problem, not a failure."""
    if limit_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    result: dict[str, Any]
    try:
        for library in LIBRARIES[name]:
            importlib.import_module(library)
        started = time.perf_counter()
        result = {"rows": PEERS[name](), "seconds": time.perf_counter() - started, "peak_bytes": peak_bytes()}
    except MemoryError:
        result = {"problem": f"needs more than {limit_bytes / 1024**3:.0f} GB of memory"}
    except ModuleNotFoundError as error:
        result = {"problem": f"{error.name} is not installed: `make bench` does it"}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
