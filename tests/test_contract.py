"""The contract of the API: what it says, what is asked of a view, and responses that are exact and nobody else's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from gatebook import contract
from gatebook.catalog import execute
from gatebook.contract import Contract, Response, load_contract
from gatebook.errors import ConfigurationError
from gatebook.project import Project
from gatebook.subject import Examination, Subject, examine
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

DOCUMENTED = "00000000-0000-0000-0000-000000000001"
NOBODY = "00000000-0000-4000-8000-000000000000"
ALWAYS = {"start": "2000-01-01", "end": "2999-12-31"}
INJECTED = "x' OR '1'='1"

Path_ = tuple[str, ...]


@pytest.fixture(scope="module")
def own(project: Project) -> Contract:
    return load_contract(project)


@pytest.fixture(scope="module")
def written(project: Project) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((project.params / "api_contract.yaml").read_text("utf-8"))
    return content


def changed(written: Mapping[str, Any], *changes: tuple[Path_, Any]) -> dict[str, Any]:
    """The contract with other values at these places; None takes the key away."""
    content = deepcopy(dict(written))
    for (*path, last), value in changes:
        inner = content
        for step in path:
            inner = inner[step]
        if value is None:
            del inner[last]
        else:
            inner[last] = value
    return content


@contextmanager
def said_otherwise(subject: Subject, folder: Path, content: dict[str, Any]) -> Iterator[Subject]:
    """The same database, and a project with another contract."""
    (folder / "params").mkdir()
    (folder / "params" / "api_contract.yaml").write_text(yaml.safe_dump(content, sort_keys=False), "utf-8")
    yield replace(subject, project=Project.at(folder))


# -- what the contract says

CHANNELS = ("endpoints", "channel-performance")
ITEM = (*CHANNELS, "response_schema", "properties", "channels", "items", "properties")

FIELDS = [
    pytest.param(
        [((*CHANNELS, "fields", "conversions", "column"), "conversions")],
        Fail,
        "channel-performance: channel_performance has no column conversions",
        id="column that the view does not have",
    ),
    pytest.param(
        [((*CHANNELS, "view"), "channels")],
        Fail,
        "; ".join(
            f"channel-performance: channels has no column {column}"
            for column in (
                *("channel_code", "allocation_date", "total_revenue_cents", "total_conversions"),
                *("avg_confidence_score", "total_allocations"),
            )
        ),
        id="view that nobody declared",
    ),
    pytest.param(
        [((*CHANNELS, "fields", "confidence"), None)],
        Fail,
        "channel-performance: no source is stated for confidence",
        id="promised field without a source",
    ),
    pytest.param(
        [((*ITEM, "confidence"), None)],
        Fail,
        "channel-performance: confidence is not in the schema of the response",
        id="field that is not promised",
    ),
    pytest.param([(("endpoints",), {})], Unknown, "the contract has no responses", id="no responses"),
]


def test_every_field_of_the_project_is_mapped(subject: Subject, own: Contract) -> None:
    assert contract.fields_are_mapped(subject) == Pass(
        "every field of each response comes from a column of its view", own.mapping()
    )


@pytest.mark.parametrize(("changes", "verdict", "reason"), FIELDS)
def test_fields_that_are_not_mapped(
    subject: Subject,
    tmp_path: Path,
    written: dict[str, Any],
    changes: list[tuple[Path_, Any]],
    verdict: type[Verdict],
    reason: str,
) -> None:
    with said_otherwise(subject, tmp_path, changed(written, *changes)) as other:
        found = contract.fields_are_mapped(other)

    assert (type(found), found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        pytest.param(
            ("channel-performance", "channel"),
            {"view": "channel_performance", "column": "channel_code", "type": "text", "transformation": "as it is"},
            id="as it is",
        ),
        pytest.param(
            ("daily-revenue", "transaction_count"),
            {
                "view": "daily_revenue_summary",
                "column": "transaction_count",
                "type": "bigint",
                "transformation": "sum(transaction_count)",
            },
            id="by an expression",
        ),
    ],
)
def test_the_mapping_names_each_field_with_its_source(
    own: Contract, name: tuple[str, str], row: dict[str, str]
) -> None:
    endpoint, field = name
    (found,) = [each for each in own.mapping() if (each["endpoint"], each["field"]) == name]

    assert found == {"endpoint": endpoint, "field": field, **row}


def test_sources_and_measures_follow_from_the_columns(own: Contract) -> None:
    view = own.view("mv_realtime_revenue")

    assert [row["column"] for row in view.sources] == ["tenant_id", "revenue_cents", "is_verified", "updated_at"]
    assert view.measures == ["total_revenue", "verified"]  # the age is true at the refresh alone
    assert own.comparison("mv_realtime_revenue").measures == ("total_revenue", "verified")
    assert own.comparison("mv_daily_revenue_summary").key == ("tenant_id", "revenue_date", "state", "currency")


@pytest.mark.parametrize(
    ("ask", "message", "known"),
    [
        pytest.param(
            lambda own: own.view("mv_daily_revenue"),
            "the contract has no view mv_daily_revenue (did you mean 'mv_daily_revenue_summary'?)",
            "mv_channel_performance",
            id="view",
        ),
        pytest.param(
            lambda own: own.endpoint("daily_revenue"),
            "the contract has no endpoint daily_revenue (did you mean 'daily-revenue'?)",
            "channel-performance, daily-revenue",
            id="endpoint",
        ),
    ],
)
def test_what_the_contract_does_not_have_is_named(own: Contract, ask: Any, message: str, known: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ask(own)

    assert (caught.value.what, caught.value.where) == (message, "params/api_contract.yaml")
    assert known in caught.value.next_step


# -- the contract and the live catalog


def test_every_field_resolves_to_a_live_column(subject: Subject, own: Contract) -> None:
    found = contract.fields_resolve(subject)

    assert isinstance(found, Pass)
    assert found.have == found.want == own.mapping()


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        pytest.param(
            "ALTER VIEW channel_performance RENAME COLUMN total_conversions TO conversions",
            "channel-performance.conversions: channel_performance.total_conversions is not there",
            id="renamed",
        ),
        pytest.param(
            "DROP VIEW channel_performance; CREATE VIEW channel_performance AS SELECT tenant_id, channel_code, "
            "allocation_date, total_conversions::int, total_revenue_cents, avg_confidence_score, total_allocations "
            "FROM mv_channel_performance",
            "channel-performance.conversions: channel_performance.total_conversions is integer",
            id="of another type",
        ),
    ],
)
def test_a_live_column_that_is_not_as_promised_is_red(subject: Subject, statement: str, reason: str) -> None:
    execute(subject.connection, statement)
    found = contract.fields_resolve(subject)

    assert isinstance(found, Fail)
    assert found.reason == reason


def test_a_view_that_is_not_there_is_red_field_by_field(subject: Subject) -> None:
    execute(subject.connection, "DROP VIEW daily_revenue_summary")
    found = contract.fields_resolve(subject)

    assert isinstance(found, Fail)
    assert found.reason.count("is not there") == 6


def test_without_responses_nothing_resolves(subject: Subject, tmp_path: Path, written: dict[str, Any]) -> None:
    with said_otherwise(subject, tmp_path, changed(written, (("endpoints",), {}))) as other:
        found = contract.fields_resolve(other)

    assert (type(found), found.reason) == (Unknown, "the contract has no responses")


LEVELS = {"p50_ms": 50, "p95_ms": 500, "p99_ms": 1000, "plan_cost": 1000, "execution_ms": 100}


@pytest.mark.parametrize(
    ("wanted", "verdict"),
    [
        pytest.param(LEVELS, Pass, id="those of the document"),
        pytest.param(LEVELS | {"p50_ms": 51}, Fail, id="one is another"),
        pytest.param({name: LEVELS[name] for name in list(LEVELS)[:-1]}, Fail, id="one was not asked for"),
        pytest.param({}, Fail, id="none was asked for"),
    ],
)
def test_service_levels_are_those_agreed(subject: Subject, wanted: dict[str, float], verdict: type[Verdict]) -> None:
    found = contract.levels_are(**wanted)(subject)

    assert type(found) is verdict
    assert found.reason == ("the contract states other limits" if verdict is Fail else "")


ALL_VIEWS = ("mv_realtime_revenue", "mv_reconciliation_status", "mv_channel_performance", "mv_daily_revenue_summary")


def test_every_raw_aggregation_runs_and_finds_rows(subject: Subject) -> None:
    found = examine(subject, contract.sources_have_rows(*ALL_VIEWS), all_rows=True)

    assert isinstance(found, Pass)
    assert [row["view"] for row in found.have] == list(ALL_VIEWS)
    assert all(row["rows"] for row in found.have)


@pytest.mark.parametrize(
    ("statement", "examination", "reason"),
    [
        pytest.param(
            "DELETE FROM reconciliation_runs",
            contract.sources_have_rows("mv_reconciliation_status", "mv_daily_revenue_summary"),
            "no rows for mv_reconciliation_status: nothing could be compared",
            id="a source without rows",
        ),
        pytest.param(
            "SELECT 1", contract.sources_have_rows(), "no rows for any view: nothing could be compared", id="no view"
        ),
    ],
)
def test_without_rows_there_is_nothing_to_compare(
    subject: Subject, statement: str, examination: Examination, reason: str
) -> None:
    execute(subject.connection, statement)
    found = examination(subject)

    assert (type(found), found.reason) == (Unknown, reason)


# -- the query of a response


@pytest.mark.parametrize(
    ("endpoint", "given", "message", "next_step"),
    [
        pytest.param(
            "channel-performance",
            {"tenant": DOCUMENTED, **ALWAYS, "chanel": "email"},
            "channel-performance takes no parameter chanel (did you mean 'channel'?)",
            "use tenant, start, end, channel",
            id="unknown",
        ),
        pytest.param(
            "channel-performance",
            {"tenant": DOCUMENTED, **ALWAYS, "currency": "USD"},
            "channel-performance takes no parameter currency",
            "use tenant, start, end, channel",
            id="of another endpoint",
        ),
        pytest.param(
            "daily-revenue",
            {"end": "2026-01-01"},
            "daily-revenue needs tenant, start",
            "give a value for each",
            id="missing",
        ),
        pytest.param(
            "daily-revenue",
            {"tenant": None, **ALWAYS},
            "daily-revenue needs tenant",
            "give a value for each",
            id="None",
        ),
    ],
)
def test_parameters_are_checked_by_name(
    own: Contract, endpoint: str, given: dict[str, Any], message: str, next_step: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        contract.query(own, endpoint, given)

    assert (caught.value.what, caught.value.next_step) == (message, next_step)
    assert caught.value.where.startswith("GET /api/analytics/")


def test_filters_are_those_that_are_given_and_values_stay_out_of_the_text(own: Contract) -> None:
    given = {"tenant": DOCUMENTED, "start": date(2026, 1, 2), "end": "2026-01-31", "currency": None, "state": INJECTED}
    query = contract.query(own, "daily-revenue", given)

    assert (
        "\n WHERE revenue_date >= %(start)s::date AND revenue_date <= %(end)s::date AND state = %(state)s::text\n"
        in (query.sql)
    )
    assert query.parameters == {"start": "2026-01-02", "end": "2026-01-31", "state": INJECTED}
    assert INJECTED not in query.sql
    assert DOCUMENTED not in query.sql
    assert query.sql.endswith("\n GROUP BY revenue_date, currency\n ORDER BY revenue_date DESC, currency")


def test_without_a_filter_every_row_of_the_view_is_asked_for(written: dict[str, Any]) -> None:
    given = changed(written, ((*CHANNELS, "required"), []))
    query = contract.query(Contract.model_validate(given), "channel-performance", {})

    assert "\n WHERE true\n" in query.sql
    assert query.parameters == {}


@pytest.mark.parametrize("given", [{}, {"channel": "email"}], ids=["no parameters", "a parameter"])
def test_a_percent_sign_of_an_expression_is_one(
    subject: Subject, written: dict[str, Any], given: dict[str, str]
) -> None:
    """Where there are parameters, the driver reads %s and %(name)s; a contract may hold them as text."""
    expression = "replace(channel_code || '%s %(x)s 100%', 'email', 'mail')"
    content = changed(
        written,
        ((*CHANNELS, "required"), ["tenant"]),
        ((*CHANNELS, "fields", "channel", "expression"), expression),
        ((*CHANNELS, "filters", "channel"), "channel_code = {value}::text AND '%' <> channel_code"),
    )
    response = contract.respond(
        subject.connection, Contract.model_validate(content), "channel-performance", tenant=DOCUMENTED, **given
    )
    channels = {item["channel"] for item in response.items}

    assert "mail%s %(x)s 100%" in channels
    assert len(channels) == (1 if given else 3)


# -- responses


def as_app(subject: Subject, role: str = "app_ro") -> sa.Connection:
    execute(subject.connection, f"SET LOCAL ROLE {role}")
    return subject.connection


def respond(subject: Subject, own: Contract, endpoint: str = "channel-performance", **given: Any) -> Response:
    return contract.respond(as_app(subject), own, endpoint, **({"tenant": DOCUMENTED, **ALWAYS} | given))


@pytest.mark.parametrize("endpoint", ["channel-performance", "daily-revenue"])
def test_a_response_keeps_its_schema_and_holds_what_the_view_holds(
    subject: Subject, own: Contract, endpoint: str
) -> None:
    view = own.endpoint(endpoint).view
    groups = own.endpoint(endpoint).group_by
    counted = f"(SELECT {groups} FROM mv_{view} WHERE tenant_id = '{DOCUMENTED}' GROUP BY {groups})" if groups else ""
    rows = counted or f"(SELECT FROM mv_{view} WHERE tenant_id = '{DOCUMENTED}')"
    wanted = execute(subject.connection, f"SELECT count(*) FROM {rows} AS one").scalar_one()
    response = respond(subject, own, endpoint)

    assert response.problems == ()
    assert len(response.items) == wanted > 0
    assert set(response.items[0]) == set(own.endpoint(endpoint).fields)
    assert json.loads(response.text).keys() == {own.endpoint(endpoint).items}


def test_money_of_a_response_is_the_money_of_the_ledger(subject: Subject, own: Contract) -> None:
    totals = f"""SELECT state, sum(amount_cents) FROM revenue_ledger
                  WHERE tenant_id = '{DOCUMENTED}' AND state <> 'authorized' GROUP BY state"""
    wanted = {str(state): Decimal(cents) / 100 for state, cents in execute(subject.connection, totals)}
    items = respond(subject, own, "daily-revenue").items
    fields = {"captured": "captured", "refunded": "refunded", "chargeback": "chargebacks"}

    assert {state: sum(item[field] for item in items) for state, field in fields.items()} == wanted
    assert {type(item[field]) for item in items for field in fields.values()} == {Decimal}


@pytest.mark.parametrize(
    ("endpoint", "given", "shown"),
    [
        pytest.param("channel-performance", {"channel": "email"}, {"channel": {"email"}}, id="channel"),
        pytest.param("daily-revenue", {"currency": "USD"}, {"currency": {"USD"}}, id="currency"),
        pytest.param("daily-revenue", {"state": "refunded"}, {"captured": {Decimal("0.00")}}, id="state"),
    ],
)
def test_filters_leave_what_they_say(
    subject: Subject, own: Contract, endpoint: str, given: dict[str, str], shown: dict[str, set[Any]]
) -> None:
    items = respond(subject, own, endpoint, **given).items

    assert items
    assert {name: {item[name] for item in items} for name in shown} == shown


def test_a_range_of_days_includes_both_its_ends(subject: Subject, own: Contract) -> None:
    days = sorted({item["date"] for item in respond(subject, own).items})
    first, last = days[3], days[7]
    dates = respond(subject, own, start=date.fromisoformat(first), end=date.fromisoformat(last))
    texts = respond(subject, own, start=first, end=last)

    assert sorted({item["date"] for item in dates.items}) == days[3:8]
    assert dates.text == texts.text
    assert respond(subject, own, start=last, end=first).items == ()


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [("channel-performance", "channel"), ("daily-revenue", "state"), ("daily-revenue", "currency")],
)
@pytest.mark.parametrize(
    "value",
    [
        INJECTED,
        "'; DROP VIEW channel_performance; --",
        "%(start)s",
        "{value}",
        "\\",
        "captured' UNION SELECT * FROM tenants --",
    ],
)
def test_a_value_is_never_more_than_a_value(
    subject: Subject, own: Contract, endpoint: str, name: str, value: str
) -> None:
    response = respond(subject, own, endpoint, **{name: value})

    assert (response.items, response.problems) == ((), ())
    assert respond(subject, own).items


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param({"start": "yesteryear"}, 'invalid input syntax for type date: "yesteryear"', id="no date"),
        pytest.param({"end": "2026-02-30"}, 'date/time field value out of range: "2026-02-30"', id="no such day"),
        pytest.param(
            {"start": "2000-01-01'::date OR true --"},
            'invalid input syntax for type date: "2000-01-01\'::date OR true --"',
            id="SQL for a date",
        ),
        pytest.param({"tenant": "nobody"}, 'invalid input syntax for type uuid: "nobody"', id="no uuid"),
        pytest.param({"tenant": INJECTED}, f'invalid input syntax for type uuid: "{INJECTED}"', id="SQL for a uuid"),
    ],
)
def test_a_value_of_another_type_is_a_clear_error(
    subject: Subject, own: Contract, given: dict[str, str], problem: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        respond(subject, own, **given)

    assert caught.value.what.startswith("channel-performance cannot be asked for {")
    assert caught.value.what.endswith(f": {problem}")
    assert caught.value.where == "GET /api/analytics/channel-performance"
    assert caught.value.next_step == "give dates as YYYY-MM-DD and ids as UUIDs"


@pytest.mark.parametrize("role", ["app_ro", "app_rw"])
def test_each_tenant_is_answered_with_its_own_rows(subject: Subject, own: Contract, role: str) -> None:
    sums = "SELECT tenant_id::text, sum(total_allocations)::int FROM mv_channel_performance GROUP BY 1 ORDER BY 1"
    wanted = {str(tenant): int(number) for tenant, number in execute(subject.connection, sums)}
    found = {}
    for tenant in wanted:
        response = contract.respond(as_app(subject, role), own, "channel-performance", tenant=tenant, **ALWAYS)
        found[tenant] = sum(item["allocations_count"] for item in response.items)

    assert len(wanted) > 2
    assert found == wanted


@pytest.mark.parametrize("endpoint", ["channel-performance", "daily-revenue"])
def test_an_unknown_tenant_is_answered_with_nothing_and_that_proves_nothing(
    subject: Subject, own: Contract, endpoint: str
) -> None:
    response = respond(subject, own, endpoint, tenant=NOBODY)
    found = contract.judge("it keeps its schema", [response])

    assert (response.items, response.problems) == ((), ())
    assert (type(found), found.reason) == (Unknown, f"no items in the response of {endpoint}")


# -- exact numbers, and responses that break their promise

CHANNEL_ROW = {
    "tenant_id": f"'{DOCUMENTED}'::uuid",
    "channel_code": "'email'::text",
    "allocation_date": "date '2026-01-31'",
    "total_conversions": "1::bigint",
    "total_revenue_cents": "7::bigint",
    "avg_confidence_score": "0.5::numeric",
    "total_allocations": "1::bigint",
}
REVENUE_ROW = {
    "tenant_id": f"'{DOCUMENTED}'::uuid",
    "revenue_date": "date '2026-01-31'",
    "state": "'captured'::varchar(50)",
    "currency": "'USD'::varchar(3)",
    "total_amount_cents": "7::bigint",
    "transaction_count": "1::bigint",
}


def show_row(subject: Subject, view: str, row: dict[str, str], **values: str) -> None:
    """Let the view show this one row, until the transaction ends."""
    columns = ", ".join(f"{expression} AS {name}" for name, expression in (row | values).items())
    execute(subject.connection, f"CREATE OR REPLACE VIEW {view} AS SELECT {columns}")


@pytest.mark.parametrize(
    ("cents", "text"),
    [
        pytest.param("7", "0.07", id="a few cents"),
        pytest.param("10", "0.10", id="both decimals"),
        pytest.param("100", "1.00", id="whole units"),
        pytest.param("1234567890123456", "12345678901234.56", id="more than a float holds"),
        pytest.param("9007199254740993", "90071992547409.93", id="just past what floats can count"),
        pytest.param("9223372036854775807", "92233720368547758.07", id="as much as the column holds"),
    ],
)
@pytest.mark.parametrize(
    ("endpoint", "view", "row", "column", "field"),
    [
        (*("channel-performance", "channel_performance", CHANNEL_ROW), "total_revenue_cents", "total_revenue"),
        (*("daily-revenue", "daily_revenue_summary", REVENUE_ROW), "total_amount_cents", "captured"),
    ],
    ids=["channels", "revenue"],
)
def test_money_is_exact_to_the_cent(
    subject: Subject,
    own: Contract,
    endpoint: str,
    view: str,
    row: dict[str, str],
    column: str,
    field: str,
    cents: str,
    text: str,
) -> None:
    show_row(subject, view, row, **{column: f"{cents}::bigint"})
    response = respond(subject, own, endpoint)
    (item,) = response.items

    assert (type(item[field]), str(item[field])) == (Decimal, text)
    assert f'"{field}":{text}' in response.text.replace(" ", "")
    assert response.problems == ()


def test_a_response_is_built_in_the_order_of_the_contract(subject: Subject, own: Contract) -> None:
    items = respond(subject, own).items
    order = [(-item["total_revenue"], item["channel"]) for item in items]

    assert order == sorted(order)


BROKEN = [
    pytest.param(
        {"avg_confidence_score": "NULL::numeric"},
        ("$.channels[0].confidence: None is not of type 'number'",),
        id="NULL",
    ),
    pytest.param(
        {"avg_confidence_score": "'NaN'::numeric"},
        ("$.channels[0].confidence: 'NaN' is not of type 'number'",),
        id="not a number",
    ),
    pytest.param(
        {"avg_confidence_score": "1.0001"},
        ("$.channels[0].confidence: Decimal('1.0001') is greater than the maximum of 1",),
        id="too much",
    ),
    pytest.param(
        {"total_revenue_cents": "-1::bigint"},
        ("$.channels[0].total_revenue: Decimal('-0.01') is less than the minimum of 0",),
        id="negative by one cent",
    ),
    pytest.param(
        {"channel_code": "''::text"}, ("$.channels[0].channel: '' should be non-empty",), id="empty text"
    ),
    pytest.param(
        {"channel_code": "NULL::text", "total_conversions": "0::bigint"},
        (
            "$.channels[0].channel: None is not of type 'string'",
            "$.channels[0].conversions: 0 is less than the minimum of 1",
        ),
        id="two at once",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("values", "problems"), BROKEN)
def test_what_breaks_the_schema_is_named_with_its_place(
    subject: Subject, own: Contract, values: dict[str, str], problems: tuple[str, ...]
) -> None:
    show_row(subject, "channel_performance", CHANNEL_ROW, **values)
    response = respond(subject, own)
    found = contract.judge("it keeps its schema", [response])

    assert tuple(sorted(response.problems)) == problems
    assert isinstance(found, Fail)
    assert found.reason == "; ".join(f"channel-performance: {each}" for each in response.problems)
    assert found.have == ({"endpoint": "channel-performance", "items": 1, "valid": False, "bytes": len(response.text)},)


def made(*problems: str, items: int = 1) -> Response:
    return Response("daily-revenue", "{}", {"daily_summary": [{}] * items}, problems)


@pytest.mark.parametrize(
    ("responses", "verdict", "reason"),
    [
        pytest.param([made(), made()], Pass, "", id="both valid"),
        pytest.param(
            [made(), made("$.a: b")], Fail, "daily-revenue: $.a: b", id="one of them invalid"
        ),
        pytest.param(
            [made(*"abcdefg")],
            Fail,
            "; ".join(f"daily-revenue: {each}" for each in "abcde"),
            id="no more than five problems are said",
        ),
        pytest.param(
            [made(), made(items=0)], Unknown, "no items in the response of daily-revenue", id="one of them empty"
        ),
        pytest.param([made("x", items=0)], Fail, "daily-revenue: x", id="invalid outweighs empty"),
        pytest.param([], Unknown, "no items in the response of any endpoint", id="nothing was asked"),
    ],
)  # fmt: skip
def test_responses_are_judged(responses: list[Response], verdict: type[Verdict], reason: str) -> None:
    found = contract.judge("they keep their schema", responses)

    assert (type(found), found.reason) == (verdict, reason)
    assert [row["items"] for row in found.have] == [len(each.items) for each in responses]


# -- items and the raw query


@pytest.mark.parametrize("endpoint", ["channel-performance", "daily-revenue"])
def test_items_are_those_of_the_raw_query(subject: Subject, own: Contract, endpoint: str) -> None:
    response = respond(subject, own, endpoint)
    execute(subject.connection, "RESET ROLE")

    assert contract.is_raw(subject.connection, own, response) == ""


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        pytest.param(
            {"total_revenue_cents": "(SELECT sum(total_revenue_cents)::bigint FROM mv_channel_performance)"},
            "1 items, 270 by the raw query; first difference: allocations_count 1, channel email, ",
            id="rows left out",
        ),
        pytest.param({"tenant_id": "NULL::uuid"}, "1 items, 270 by the raw query; ", id="another row"),
    ],
)
def test_other_items_than_those_of_the_raw_query_are_told(
    subject: Subject, own: Contract, values: dict[str, str], difference: str
) -> None:
    show_row(subject, "channel_performance", CHANNEL_ROW, **values)
    response = respond(subject, own)
    execute(subject.connection, "RESET ROLE")
    found = contract.is_raw(subject.connection, own, response)
    judged = contract.judge("they are those", [response], wrong=[found])

    assert found.startswith(difference)
    assert isinstance(judged, Fail)
    assert judged.reason == f"other than the raw query: {found}"


def test_a_cent_too_much_in_one_item_is_told(subject: Subject, own: Contract) -> None:
    view = "SELECT tenant_id, channel_code, allocation_date, total_conversions, total_revenue_cents + (row_number() " \
           "OVER (ORDER BY tenant_id, channel_code, allocation_date) = 1)::int AS total_revenue_cents, " \
           "avg_confidence_score, total_allocations FROM mv_channel_performance"  # fmt: skip
    execute(subject.connection, f"CREATE OR REPLACE VIEW channel_performance AS SELECT * FROM ({view}) AS v "
                                f"WHERE tenant_id = '{DOCUMENTED}'")  # fmt: skip
    response = respond(subject, own)
    execute(subject.connection, "RESET ROLE")

    assert "270 items, 270 by the raw query; first difference: " in contract.is_raw(subject.connection, own, response)


def test_the_last_days_end_today_in_utc() -> None:
    found = contract.last_days(30)

    assert found["end"] - found["start"] == timedelta(days=30)
    assert abs(found["end"] - datetime.now(UTC).date()) <= timedelta(days=1)
