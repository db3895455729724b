"""bench/: a small benchmark from end to end, its refusals, and the table that it prints."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import schema
import table
import views
import workplace
from conftest import Databases
from gatebook import catalog, migrations
from gatebook.database import Database
from gatebook.errors import ConfigurationError
from gatebook.project import OUTPUTS_VARIABLE, Project
from loading import TABLES, load, open_session, share
from measuring import conninfo, refresh
from table import LINES, Figure, Limit

ROOT = Path(__file__).resolve().parent.parent
BENCH = [sys.executable, str(ROOT / "bench" / "views.py")]
ROWS = 20_000


# One row more of one day, and another amount on a day of another channel.
CHANGE = """
WITH chosen AS (SELECT id FROM attribution_allocations WHERE channel_code = 'direct' ORDER BY id LIMIT 1), copied AS (
    INSERT INTO attribution_allocations (tenant_id, event_id, created_at, channel_code, model_version, model_type,
                                         confidence_score)
    SELECT tenant_id, event_id, created_at, 'email', 'another', 'rule', 0.5 FROM attribution_allocations, chosen
     WHERE attribution_allocations.id = chosen.id)
UPDATE attribution_allocations SET allocated_revenue_cents = allocated_revenue_cents + 1
 WHERE id = (SELECT id FROM chosen)
"""


@pytest.fixture(scope="module")
def loaded(databases: Databases, project: Project) -> Iterator[Database]:
    """A small benchmark's database with its views filled. Copy it, never change it."""
    database = databases.empty()
    load(database, project, ROWS)
    with closing(open_session(database)) as session:
        refresh(session, table.CHANNEL)
    yield database
    databases.drop(database)


def bench_databases(databases: Databases) -> list[str]:
    with databases.maintenance() as connection:
        rows = connection.execute("SELECT datname FROM pg_catalog.pg_database WHERE datname LIKE 'bench%'")
        return [str(row[0]) for row in rows]


# -- from end to end


@pytest.mark.server
def test_a_small_run_prints_every_line_and_leaves_no_database(databases: Databases, outputs: Path) -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    environment = os.environ | {OUTPUTS_VARIABLE: str(outputs)}

    done = subprocess.run([*BENCH, "--rows", str(ROWS)], env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines() if "|" in line]
    assert cells[0] == ["measured", "against", "20,000", "target", "met"]
    assert [(row[0], row[1]) for row in cells[2:]] == [(line.what, line.against) for line in LINES.values()]
    unmeasured = [row[0] for row in cells[2:] if not re.fullmatch(r"[\d.,]+ ?(s|ms|MB|/s), [\d.,]+ ×", row[2])]
    assert all("datacompy" in what for what in unmeasured), done.stdout  # it is installed by `make bench` alone
    assert (outputs / "bench-views.png").read_bytes().startswith(b"\x89PNG")
    assert bench_databases(databases) == []
    assert (ROOT / "docs" / "benchmarks.md").read_text("utf-8") == page


@pytest.mark.server
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "term"])
def test_an_interrupt_leaves_no_database(databases: Databases, number: int, code: int) -> None:
    process = subprocess.Popen([*BENCH, "--rows", "1000000"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(200):
        if "bench" in bench_databases(databases):
            break
        time.sleep(0.1)
    time.sleep(1)  # somewhere in the load
    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert process.returncode == code, err
    assert not out
    assert "interrupted" in err
    assert "Traceback" not in err
    assert bench_databases(databases) == []


@pytest.mark.server
def test_a_database_is_kept_only_where_asked_for_and_after_a_whole_run(databases: Databases, project: Project) -> None:
    with workplace.scratch("embedded/bench_kept", project, keep=True):
        pass
    assert bench_databases(databases) == ["bench_kept"]
    with pytest.raises(KeyboardInterrupt), workplace.scratch("embedded/bench_kept", project, keep=True):
        raise KeyboardInterrupt
    assert bench_databases(databases) == []
    with workplace.scratch("embedded/bench_kept", project):
        pass
    assert bench_databases(databases) == []


@pytest.mark.server
def test_a_second_benchmark_is_refused(project: Project) -> None:
    with (
        workplace.only_one(project),
        pytest.raises(ConfigurationError, match="another benchmark"),
        workplace.only_one(project),
    ):
        pass


@pytest.mark.parametrize("rows", ["10", "20005", "-1", "1000000000"])
def test_a_number_of_rows_that_cannot_be_loaded_is_refused(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert views.main(["--rows", rows]) == 2
    said = capsys.readouterr()
    assert "rows cannot be measured" in said.err
    assert not said.out


@pytest.mark.parametrize(
    ("what", "have"),
    [
        ("disk", {"disk_bytes": 10**9, "memory_bytes": 10**12}),
        ("memory", {"disk_bytes": 10**12, "memory_bytes": 10**9}),
    ],
    ids=["disk", "memory"],
)
def test_too_little_room_is_refused(what: str, have: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=f"10 M rows need .* GB of {what}, and 0.9 GB are free"):
        workplace.refuse_without_room(10_000_000, **have)


def test_steps_grow_by_ten() -> None:
    assert views.sizes(20_000) == [20_000]
    assert views.sizes(1_000_000) == [100_000, 1_000_000]
    assert views.sizes(10_000_000) == [100_000, 1_000_000, 10_000_000]


# -- the load


@pytest.mark.server
def test_the_load_leaves_the_schema_of_the_migrations_and_rows_that_fit(
    databases: Databases, project: Project, loaded: Database
) -> None:
    migrated = databases.empty()
    with migrated.connect() as connection:
        migrations.upgrade(connection, project, migrations.head(project))
        wanted = catalog.snapshot(connection)

    with loaded.connect() as connection:
        assert catalog.diff(wanted, catalog.snapshot(connection)) == ()
        counts = {name: catalog.execute(connection, f"SELECT count(*) FROM {name}").scalar_one() for name in TABLES}
        channels = catalog.execute(connection, "SELECT DISTINCT channel_code FROM attribution_allocations").all()
        states = catalog.execute(connection, "SELECT DISTINCT state FROM revenue_ledger ORDER BY 1").scalars().all()
        currencies = catalog.execute(connection, "SELECT DISTINCT currency FROM revenue_ledger").all()
    assert counts == {"attribution_allocations": ROWS, "revenue_ledger": ROWS // 5, "attribution_events": ROWS // 10}
    assert states == ["authorized", "captured", "chargeback", "refunded"]
    assert (len(channels), len(currencies)) == (9, 3)
    databases.drop(migrated)


@pytest.mark.server
@pytest.mark.parametrize("name", ["gatebook", "pandas", "pandas_text", "datacompy"])
def test_each_peer_sees_a_difference(databases: Databases, loaded: Database, name: str) -> None:
    python = ROOT / "bench" / ".venv" / "bin" / "python"
    if name == "datacompy" and not python.exists():
        assert "is not installed" in compared_by(name, loaded, sys.executable)["problem"]
        return
    interpreter = str(python) if name == "datacompy" else sys.executable
    assert compared_by(name, loaded, interpreter)["rows"] == 0

    copy = databases.copy(loaded)
    with copy.connect() as connection:
        connection.exec_driver_sql(CHANGE)
        connection.commit()

    assert compared_by(name, copy, interpreter)["rows"] == 2
    databases.drop(copy)


def compared_by(name: str, database: Database, python: str) -> dict[str, Any]:
    """What peers.py says of a database."""
    command = [python, str(ROOT / "bench" / "peers.py"), name]
    environment = os.environ | {"BENCH_DATABASE": conninfo(database)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout))


@pytest.mark.server
def test_every_index_and_key_is_taken_off_and_put_back(databases: Databases, project: Project) -> None:
    database = databases.empty()
    with database.connect() as connection:
        migrations.upgrade(connection, project, migrations.head(project))
        connection.commit()
        indexes = sum(len(catalog.indexes(name).run(connection)) for name in TABLES)
        keys = [row for name in TABLES for row in catalog.constraints(name).run(connection) if row["type"] != "check"]
    session = database.open_session()
    plan = schema.dismantling(session, TABLES)
    session.close()

    assert len(plan.indexes) == indexes
    assert len(plan.keys) == len(keys) + 1  # of revenue_state_transitions, which points at the ledger
    assert sum(len(each) for each in plan.validations) == len([row for row in keys if row["type"] == "foreign key"]) + 1
    databases.drop(database)


@pytest.mark.server
def test_a_failing_job_stops_the_others(databases: Databases) -> None:
    database = databases.empty()
    sessions = [database.open_session() for _ in range(2)]
    started = time.monotonic()

    with pytest.raises(Exception, match="division by zero"):
        share(sessions, lambda session, text: session.execute(text.encode()), ["SELECT pg_sleep(60)", "SELECT 1 / 0"])

    assert time.monotonic() - started < 30
    for session in sessions:
        session.close()
    databases.drop(database)


# -- the table


@pytest.mark.parametrize(
    ("limit", "figure", "met"),
    [
        (Limit(ratio_at_most=1.5), Figure(1, 1.5), True),
        (Limit(ratio_at_most=1.5), Figure(1, 1.51), False),
        (Limit(ratio_at_least=10), Figure(1, 9.9), False),
        (Limit(value_at_most=300, ratio_at_most=1.1), Figure(301, 1), False),
        (Limit(value_at_least=60_000), Figure(60_000, 3), True),
        (Limit(value_at_least=60_000), Figure(reason="not run"), None),
    ],
)
def test_a_limit_is_met_or_not_or_unknown(limit: Limit, figure: Figure, met: bool | None) -> None:
    assert limit.is_met(figure) is met


def test_the_table_judges_at_the_rows_of_the_limit_and_nowhere_else() -> None:
    good, bad = Figure(0.1234, 1.2), Figure(12.34, 1234.5)

    def verdict(**by_rows: Figure) -> str:
        return table.verdict(
            "refresh channel", {int(rows[1:]): {"refresh channel": each} for rows, each in by_rows.items()}
        )

    assert verdict(_10000000=good) == "yes"
    assert verdict(_100000=bad, _10000000=good) == "yes"
    assert verdict(_100000=good, _10000000=bad) == "no"
    assert verdict(_100000=good) == "not measured"
    assert table.verdict("settle", {10_000_000: {"settle": good}}) == ""
    lines = table.render({1_000_000: {"refresh channel": good}, 10_000_000: {"refresh channel": bad}}).splitlines()
    (line,) = (each for each in lines if each.startswith("| refresh, channels"))
    assert [cell.strip() for cell in line.split("|")[3:7]] == [
        "123 ms, 1.20 ×",
        "12.3 s, 1,230 ×",
        "≤ 1.5 × at 10 M",
        "no",
    ]
    assert len({len(each) for each in lines}) == 1


def test_the_page_holds_what_was_written_between_its_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    table.write(page, "new")
    table.write(page, "newer")

    assert page.read_text() == f"before\n{table.BEGIN}\n\nnewer\n\n{table.END}\nafter\n"
    page.write_text("no marks")
    with pytest.raises(ConfigurationError, match="lacks the marks"):
        table.write(page, "new")


def test_the_documented_table_is_of_these_lines() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    written = text.partition(table.BEGIN)[2].partition(table.END)[0]

    documented = [line.split("|")[1].strip() for line in written.splitlines() if line.startswith("|")][2:]
    assert documented == [line.what for line in LINES.values()]
