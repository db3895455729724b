"""Gates over views: compared refreshed or as they are, and answered; each test by the method for its kind."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Databases
from gatebook import contract, refreshing
from gatebook.database import Database
from gatebook.errors import ConfigurationError
from gatebook.gate import Gate
from gatebook.phase import Phase

pytestmark = pytest.mark.server

CHANNELS, DAILY = "mv_channel_performance", "mv_daily_revenue_summary"
TENANT = "00000000-0000-0000-0000-000000000001"
MORE = "UPDATE revenue_ledger SET amount_cents = amount_cents + 1 WHERE state = 'refunded'"


@pytest.fixture
def phase(migrated_copy: Database, outputs: Path) -> Iterator[Phase]:  # noqa: ARG001 - its session folder lies there
    made = Phase("MV-4", database=migrated_copy.name)
    yield made
    made.database.close()


def change(databases: Databases, phase: Phase, statements: str) -> None:
    with databases.maintenance(phase.database.name.removeprefix("embedded/")) as superuser:
        superuser.execute(statements)


# -- the views as they are


@pytest.mark.parametrize(
    ("statements", "verdict", "reason"),
    [
        pytest.param("SELECT 1", "PASS", "", id="as refreshed"),
        pytest.param(MORE, "PASS", "stale by ", id="stale"),
        pytest.param(
            f"{MORE}; REFRESH MATERIALIZED VIEW {DAILY}; {MORE}",
            "FAIL",
            "wrong: the contents are not what the last refresh on record left",
            id="refreshed behind the back of the log",
        ),
        pytest.param(
            f"UPDATE mv_refresh_log SET contents_checksum = '1'; {MORE}",
            "FAIL",
            "wrong: the contents are not what the last refresh on record left",
            id="a log that was changed",
        ),
        pytest.param(
            f"DELETE FROM mv_refresh_log; {MORE}", "UNKNOWN", "no refresh of this view is on record", id="no log"
        ),
        pytest.param(
            f"REFRESH MATERIALIZED VIEW {DAILY} WITH NO DATA",
            "UNKNOWN",
            "has not been populated",
            id="without contents",
        ),
    ],
)
def test_views_hold_what_their_last_refresh_left(
    databases: Databases, phase: Phase, statements: str, verdict: str, reason: str
) -> None:
    change(databases, phase, statements)
    with phase.gate("MV-4.3") as gate:
        found = gate.holds_refresh("MV-4.3.3", CHANNELS, DAILY).verdict

    assert found.name == verdict
    assert reason in found.reason


@pytest.mark.parametrize(("refresh", "verdict"), [(False, "FAIL"), (True, "PASS")], ids=["as it is", "refreshed"])
def test_a_stale_view_is_compared_as_it_is_or_refreshed(
    databases: Databases, phase: Phase, verdict: str, *, refresh: bool
) -> None:
    change(databases, phase, MORE)
    before = phase.value(f"SELECT sum(total_amount_cents) FROM {DAILY}")
    with phase.gate("MV-4.3") as gate:
        found = gate.compares("MV-4.3.2", phase.contract.comparison(DAILY), refresh=refresh).verdict

    assert found.name == verdict
    assert phase.value(f"SELECT sum(total_amount_cents) FROM {DAILY}") == before  # a comparison keeps no refresh


def test_one_view_of_several_that_differs_is_the_verdict(databases: Databases, phase: Phase) -> None:
    change(databases, phase, MORE)
    both = [phase.contract.comparison(view) for view in (CHANNELS, DAILY)]
    with phase.gate("MV-4.3") as gate:
        found = gate.compares("MV-4.3.2", *both).verdict
        nothing = gate.compares("MV-4.3.1").verdict

    assert (found.name, nothing.name, nothing.reason) == ("FAIL", "UNKNOWN", "nothing was tried")
    assert "different" in found.reason


# -- answers


@pytest.mark.parametrize(
    ("requests", "verdict", "reason"),
    [
        pytest.param([30, 90], "PASS", "", id="both ranges"),
        pytest.param([], "UNKNOWN", "no items in the response of any endpoint", id="no request"),
    ],
)
def test_responses_are_those_of_the_application(phase: Phase, requests: list[int], verdict: str, reason: str) -> None:
    asked = [{"tenant": TENANT, **contract.last_days(days)} for days in requests]
    with phase.gate("MV-4.1") as gate:
        found = gate.responds("MV-4.1.2", "daily-revenue", *asked, role="app_ro")

    assert (found.verdict.name, found.verdict.reason) == (verdict, reason)
    assert "SET LOCAL ROLE" in found.sql


@pytest.mark.parametrize(
    ("request_", "role", "reason"),
    [
        pytest.param({"tenant": TENANT}, "app_ro", "daily-revenue needs start, end", id="half a request"),
        pytest.param(
            {"tenant": TENANT, **contract.last_days(30)}, "nobody", 'role "nobody" does not exist', id="no such role"
        ),
        pytest.param(
            {"tenant": "nobody", **contract.last_days(30)}, "app_ro", "invalid input syntax", id="nobody asks"
        ),
    ],
)  # fmt: skip
def test_a_response_that_cannot_be_had_is_unknown(
    phase: Phase, request_: dict[str, object], role: str, reason: str
) -> None:
    with phase.gate("MV-4.1") as gate:
        found = gate.responds("MV-4.1.2", "daily-revenue", request_, role=role).verdict

    assert found.name == "UNKNOWN"
    assert reason in found.reason


# -- each by the method for its kind


@pytest.mark.parametrize(
    ("gate_id", "misuse", "problem"),
    [
        pytest.param(
            "MV-4.5",
            lambda gate: gate.compares("MV-4.5.1"),
            "test MV-4.5.1 is declared as 'accepted', and this proves data",
            id="a comparison for a trial",
        ),
        pytest.param(
            "MV-4.3",
            lambda gate: gate.tries("MV-4.3.1", refreshing.on_demand(DAILY)),
            "test MV-4.3.1 is declared as 'data', and this proves accepted",
            id="a trial for a comparison",
        ),
        pytest.param(
            "MV-4.1",
            lambda gate: gate.responds("MV-4.1.3", "daily-revenue", role="app_ro"),
            "test MV-4.1.3 is declared as 'catalog', and this proves data",
            id="a response for a look at the catalog",
        ),
        pytest.param(
            "MV-4.3",
            lambda gate: gate.holds_refresh("MV-4.3.9", DAILY),
            "gate MV-4.3 declares no test MV-4.3.9",
            id="a test that nobody declared",
        ),
    ],
)
def test_another_method_than_that_for_the_kind_is_refused(
    phase: Phase, gate_id: str, misuse: Callable[[Gate], object], problem: str
) -> None:
    with phase.gate(gate_id) as gate, pytest.raises(ConfigurationError) as caught:
        misuse(gate)

    assert caught.value.what.startswith(problem)
    assert phase.results == {}
