"""The views of the audited database, refreshed and compared while an application writes: exact every time.

Four writers insert, update and delete for a minute. A view with one cent planted in it is found every time.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import cycle

import pytest

from gatebook.compare import refresh_and_compare
from gatebook.contract import load_contract
from gatebook.database import Database
from gatebook.project import Project
from gatebook.verdicts import Fail, Pass

SECONDS = 60
ROUNDS = 20
VIEWS = ("mv_channel_performance", "mv_daily_revenue_summary")

INSERT = """
WITH event AS (
    INSERT INTO attribution_events (tenant_id, occurred_at, event_timestamp, session_id, revenue_cents, raw_payload,
                                    idempotency_key, event_type, channel)
    SELECT id, now(), now(), gen_random_uuid(), 700, '{}', gen_random_uuid()::text, 'purchase', 'direct'
      FROM tenants ORDER BY random() LIMIT 1
    RETURNING id, tenant_id
), allocation AS (
    INSERT INTO attribution_allocations (tenant_id, event_id, channel_code, allocated_revenue_cents, created_at,
                                         model_type, confidence_score)
    SELECT tenant_id, id, 'direct', 700, now() - random() * interval '80 days', 'linear', 0.625 FROM event
    RETURNING id, tenant_id
)
INSERT INTO revenue_ledger (tenant_id, allocation_id, revenue_cents, amount_cents, transaction_id, state,
                            verification_source, verification_timestamp)
SELECT tenant_id, id, 700, 700, gen_random_uuid()::text, 'captured', 'webhook', now() - random() * interval '80 days'
  FROM allocation
"""
UPDATE_ALLOCATION = """
UPDATE attribution_allocations SET allocated_revenue_cents = allocated_revenue_cents + 1
 WHERE id = (SELECT id FROM attribution_allocations WHERE allocated_revenue_cents < 1000000
              ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
UPDATE_ENTRY = """
UPDATE revenue_ledger SET state = 'refunded', amount_cents = amount_cents + 1
 WHERE id = (SELECT id FROM revenue_ledger WHERE amount_cents < 1000000
              ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)
"""
DELETE = """
DELETE FROM attribution_allocations
 WHERE id = (SELECT id FROM attribution_allocations ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)
"""


class Writers:
    """Sessions that write as fast as they can, and how often they did."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.stopped = threading.Event()
        self.written = 0
        self.errors: list[str] = []

    def write(self, statements: list[str]) -> None:
        with self.database.open_session() as session:
            session.autocommit = True
            for statement in cycle(statements):
                if self.stopped.is_set():
                    return
                try:
                    self.written += session.execute(statement.encode()).rowcount
                except Exception as error:  # told at the end
                    self.errors.append(str(error))
                    return


@contextmanager
def four_writers(database: Database) -> Iterator[Writers]:
    writers = Writers(database)
    work = [[INSERT], [UPDATE_ALLOCATION, INSERT], [UPDATE_ENTRY, INSERT], [DELETE, INSERT]]
    threads = [threading.Thread(target=writers.write, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    try:
        yield writers
    finally:
        writers.stopped.set()
        for thread in threads:
            thread.join()


def every_few_seconds(act: Callable[[], None]) -> None:
    started = time.monotonic()
    for number in range(ROUNDS):
        act()
        time.sleep(max(0.0, started + (number + 1) * SECONDS / ROUNDS - time.monotonic()))


@pytest.mark.server
@pytest.mark.timeout(300)
def test_refreshed_views_equal_their_rows_while_four_writers_write(migrated_copy: Database, project: Project) -> None:
    contract = load_contract(project)
    equal, found = [], []

    def compare_once() -> None:
        for view in VIEWS:
            comparison = contract.comparison(view)
            with migrated_copy.connect() as connection:
                equal.append(refresh_and_compare(connection, comparison))
            cents = next(name for name in comparison.measures if name.endswith("_cents"))
            planted = comparison.seen.replace(f'"{cents}"', f'"{cents}" + (row_number() OVER () = 1)::int AS "{cents}"')
            with migrated_copy.connect() as connection:
                found.append(refresh_and_compare(connection, replace(comparison, seen=planted)))

    with four_writers(migrated_copy) as writers:
        every_few_seconds(compare_once)

    assert writers.errors == []
    assert writers.written > 1000
    assert [verdict.reason for verdict in equal if not isinstance(verdict, Pass)] == []
    assert len(equal) == len(found) == ROUNDS * len(VIEWS)
    assert {type(verdict) for verdict in found} == {Fail}
    assert all(" 0 missing, 0 extra, 1 different" in f" {verdict.reason}" for verdict in found)
