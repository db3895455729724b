"""Whose rows a role can read, tried on the real database: green as it is migrated, red for each hole in it."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from conftest import Databases, run_cells, subject_of
from gatebook import isolation, row_security
from gatebook.catalog import execute
from gatebook.database import Database
from gatebook.isolation import Scope
from gatebook.subject import Subject, examine
from gatebook.verdicts import Fail, Pass, Unknown, Verdict

pytestmark = pytest.mark.server

# As the notebook examines it.
SCOPE: Scope = run_cells("12h_view_isolation", "gate-h-1-scope", isolation=isolation).scope
FOUR = ("mv_realtime_revenue", "mv_reconciliation_status", "mv_channel_performance", "mv_daily_revenue_summary")

READABLE = [
    "attribution_allocations",
    "attribution_events",
    "channel_performance",
    "daily_revenue_summary",
    "dead_events",
    "realtime_revenue",
    "reconciliation_runs",
    "reconciliation_status",
    "revenue_ledger",
    "revenue_state_transitions",
    "tenants",
]

POLICY = "ALTER POLICY tenant_isolation_policy ON dead_events USING"
TENANT = "nullif(current_setting('app.current_tenant_id', true), '')::uuid"
UNSCOPED = """
CREATE OR REPLACE VIEW daily_revenue_summary WITH (security_barrier = true) AS
SELECT tenant_id, revenue_date, state, currency, total_amount_cents, transaction_count FROM mv_daily_revenue_summary
"""
A_TABLE = "CREATE TABLE notes (id int, {column} uuid, note text); INSERT INTO notes VALUES (1, gen_random_uuid(), 'x')"


def own_rows(subject: Subject, role: str = "app_ro") -> Verdict:
    return isolation.only_own_rows(role, SCOPE)(subject)


def leaks(subject: Subject) -> Verdict:
    return isolation.nothing_leaks(SCOPE, "app_ro")(subject)


# -- as it is migrated


@pytest.mark.parametrize("role", ["app_ro", "app_rw"])
def test_each_customer_reads_its_own_rows(subject: Subject, role: str) -> None:
    found = own_rows(subject, role)
    customers = list(dict.fromkeys(row["customer"] for row in found.have))

    assert isinstance(found, Pass)
    assert found.have == found.want
    assert [(row["customer"], row["relation"]) for row in found.have] == [
        (customer, relation) for customer in customers for relation in READABLE
    ]
    assert len(customers) == isolation.CUSTOMERS
    assert sum(row["rows"] for row in found.have if row["relation"] == "channel_performance") > 0


def test_a_function_of_the_reader_is_shown_own_rows(subject: Subject) -> None:
    found = isolation.nothing_leaks(SCOPE, "app_ro", "app_rw")(subject)
    customers = list(dict.fromkeys(row["customer"] for row in found.have))

    assert isinstance(found, Pass)
    assert len(customers) == isolation.CUSTOMERS
    assert [(row["role"], row["customer"], row["relation"]) for row in found.have] == [
        (role, customer, relation) for role in ("app_ro", "app_rw") for customer in customers for relation in READABLE
    ]
    assert sum(row["rows"] for row in found.have if row["relation"] == "daily_revenue_summary") > 0


def test_without_a_customer_nothing_is_read(subject: Subject) -> None:
    found = isolation.nothing_without(SCOPE, "app_ro", "app_rw")(subject)

    assert isinstance(found, Pass)
    assert {(row["role"], row["customer"]) for row in found.have} == {
        (role, state) for role in ("app_ro", "app_rw") for state in ("never set", "empty")
    }
    assert {row["rows"] for row in found.have} == {0}


@pytest.mark.parametrize("role", ["app_ro", "app_rw"])
def test_materialized_views_are_refused(subject: Subject, role: str) -> None:
    found = isolation.is_refused(role, *FOUR)(subject)

    assert isinstance(found, Pass)
    assert [(row["relation"], row["sqlstate"], row["message"]) for row in found.have] == [
        (view, "42501", f"permission denied for materialized view {view}") for view in FOUR
    ]


def test_examinations_leave_nothing_behind(databases: Databases, untouched: Database) -> None:
    with subject_of(untouched, databases.project) as subject:
        for examination in (
            isolation.only_own_rows("app_ro", SCOPE),
            isolation.nothing_leaks(SCOPE, "app_ro"),
            isolation.scoped_views_agree(SCOPE),
            isolation.has_no_other_way("app_ro", "app_rw"),
            isolation.is_denied("app_ro", "DELETE FROM tenants"),
            isolation.nothing_without(SCOPE, "app_ro"),
            isolation.is_refused("app_ro", *FOUR),
        ):
            assert examine(subject, examination).is_green
        said = execute(
            subject.connection,
            "SELECT current_user, to_regproc('pg_temp.gatebook_is_shown'), current_setting('enable_indexscan')",
        )
        assert tuple(said.one()) == (subject.server.role, None, "on")


# -- rows of others

OPEN = [
    pytest.param(
        "GRANT SELECT ON mv_daily_revenue_summary TO app_ro", "mv_daily_revenue_summary", id="a materialized view"
    ),
    pytest.param("GRANT SELECT ON mv_realtime_revenue TO PUBLIC", "mv_realtime_revenue", id="a right of everybody"),
    pytest.param(
        "GRANT SELECT (tenant_id, state) ON mv_daily_revenue_summary TO app_ro",
        "mv_daily_revenue_summary",
        id="rights in some columns, that of the customer among them",
    ),
    pytest.param(UNSCOPED, "daily_revenue_summary", id="a view without its filter"),
    pytest.param(
        f"{UNSCOPED} WHERE tenant_id = {TENANT} OR state = 'refunded'",
        "daily_revenue_summary",
        id="a filter with a hole",
    ),
    pytest.param(
        f"{A_TABLE.format(column='tenant_id')}; GRANT SELECT ON notes TO app_ro",
        "notes",
        id="a table without row security",
    ),
    pytest.param(
        f"{POLICY} (tenant_id = {TENANT} OR true)",
        "dead_events",
        id="a policy that is always true",
    ),
    pytest.param(
        "CREATE POLICY support ON reconciliation_runs FOR SELECT TO app_ro USING (state = 'completed')",
        "reconciliation_runs",
        id="one more policy",
    ),
    pytest.param("ALTER TABLE revenue_ledger DISABLE ROW LEVEL SECURITY", "revenue_ledger", id="row security off"),
    pytest.param(
        "ALTER POLICY tenant_isolation_policy ON tenants USING (true)", "tenants", id="a relation with another column"
    ),
    pytest.param(
        "CREATE SCHEMA more; CREATE VIEW more.events AS SELECT * FROM mv_realtime_revenue; "
        "GRANT USAGE ON SCHEMA more TO app_ro; GRANT SELECT ON more.events TO app_ro",
        "more.events",
        id="a view in another schema",
    ),
    pytest.param(
        'CREATE VIEW "Every one; %s" AS SELECT * FROM mv_realtime_revenue; GRANT SELECT ON "Every one; %s" TO app_ro',
        '"Every one; %s"',
        id="a name that must be quoted",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("statements", "relation"), OPEN)
def test_rows_of_others_are_named(subject: Subject, statements: str, relation: str) -> None:
    execute(subject.connection, statements)
    found = own_rows(subject)
    others = {row["relation"]: row["of_others"] for row in found.have}

    assert isinstance(found, Fail)
    assert found.reason.startswith("rows of others are shown by ")
    assert {row["relation"] for row in found.have if row["of_others"]} == {relation}
    assert f"{relation} ({others[relation]:,} rows)" in found.reason


@pytest.mark.parametrize("change", ["RESET (security_barrier)", "SET (security_barrier = false)"])
@pytest.mark.parametrize("view", ["channel_performance", "daily_revenue_summary", "realtime_revenue"])
def test_a_view_without_security_barrier_leaks_though_it_shows_own_rows_alone(
    subject: Subject, view: str, change: str
) -> None:
    execute(subject.connection, f"ALTER VIEW {view} {change}")
    shown, leaked = own_rows(subject), leaks(subject)
    rows = [each for each in leaked.have if each["relation"] == view]

    assert isinstance(shown, Pass)
    assert isinstance(leaked, Fail)
    assert {row["relation"] for row in leaked.have if row["of_others"]} == {view}
    assert leaked.reason.startswith(f"rows of others are shown by {view} ({rows[0]['of_others']:,} rows)")
    assert all(0 < row["of_others"] < row["rows"] for row in rows)


def test_rows_of_others_are_red_for_the_function_too(subject: Subject) -> None:
    execute(subject.connection, UNSCOPED)
    found = leaks(subject)

    assert isinstance(found, Fail)
    assert found.reason.startswith("rows of others are shown by daily_revenue_summary (")


# -- relations of which nothing is known

UNDECLARED = [
    pytest.param(A_TABLE.format(column="owner"), "notes", id="a table without the column"),
    pytest.param(
        "CREATE VIEW notes AS SELECT count(*) AS number FROM tenants", "notes", id="a view of everybody's sums"
    ),
    pytest.param("CREATE MATERIALIZED VIEW notes AS SELECT 1 AS one", "notes", id="a materialized view"),
    pytest.param("CREATE TABLE notes (at date) PARTITION BY RANGE (at)", "notes", id="a partitioned table"),
]


@pytest.mark.parametrize(("statements", "relation"), UNDECLARED)
def test_a_relation_whose_owner_nobody_declared_is_red(subject: Subject, statements: str, relation: str) -> None:
    execute(subject.connection, f"{statements}; GRANT SELECT ON {relation} TO app_ro")
    reason = f"whose the rows of {relation} are is not declared"

    assert [(type(each), each.reason) for each in (own_rows(subject), leaks(subject))] == [(Fail, reason)] * 2


def test_it_is_declared_by_column_expression_or_as_shared(subject: Subject) -> None:
    execute(subject.connection, f"{A_TABLE.format(column='owner')}; GRANT SELECT ON notes TO app_ro")
    owners = replace(SCOPE, owners={**SCOPE.owners, "notes": "owner"})
    shared = replace(SCOPE, shared=(*SCOPE.shared, "notes"))
    found = isolation.only_own_rows("app_ro", owners)(subject)

    assert found.reason == "rows of others are shown by notes (1 rows)"
    assert isolation.only_own_rows("app_ro", shared)(subject).is_green


def test_rows_of_nobody_are_rows_of_others(subject: Subject) -> None:
    execute(subject.connection, "CREATE TABLE notes (tenant_id uuid); INSERT INTO notes VALUES (NULL)")
    execute(subject.connection, "GRANT SELECT ON notes TO app_ro")

    assert own_rows(subject).reason == "rows of others are shown by notes (1 rows)"


# -- what cannot be told

UNREAD = [
    pytest.param(
        "GRANT SELECT (total_revenue) ON mv_realtime_revenue TO app_ro",
        "mv_realtime_revenue (permission denied for materialized view mv_realtime_revenue)",
        id="a right in one column",
    ),
    pytest.param(
        f"{POLICY} (1 / (length(tenant_id::text) - 36) = 1)",
        "dead_events (division by zero)",
        id="a policy that fails",
    ),
    pytest.param(
        "CREATE MATERIALIZED VIEW notes AS SELECT gen_random_uuid() AS tenant_id WITH NO DATA; "
        "GRANT SELECT ON notes TO app_ro",
        'notes (materialized view "notes" has not been populated)',
        id="a view without contents",
    ),
]


@pytest.mark.parametrize(("statements", "relation"), UNREAD)
def test_a_relation_that_could_not_be_read_is_unknown_and_named(
    subject: Subject, statements: str, relation: str
) -> None:
    execute(subject.connection, statements)

    assert [(type(each), each.reason) for each in (own_rows(subject), leaks(subject))] == [
        (Unknown, f"could not be read: {relation}")
    ] * 2


def test_what_could_not_be_read_hides_no_leak(subject: Subject) -> None:
    execute(subject.connection, f"GRANT SELECT (total_revenue) ON mv_realtime_revenue TO app_ro; {UNSCOPED}")
    found = own_rows(subject)

    assert isinstance(found, Fail)
    assert found.reason.startswith("rows of others are shown by daily_revenue_summary (")
    assert found.reason.endswith("; could not be read: mv_realtime_revenue (permission denied for materialized view "
                                 "mv_realtime_revenue)")  # fmt: skip


def test_a_schema_that_is_closed_to_the_role_is_not_readable(subject: Subject) -> None:
    execute(subject.connection, "CREATE SCHEMA closed; CREATE TABLE closed.notes (note text)")
    execute(subject.connection, "GRANT SELECT ON closed.notes TO app_ro")

    assert own_rows(subject).is_green


@pytest.mark.parametrize(
    ("among", "reason"),
    [
        pytest.param("SELECT 1 WHERE false", isolation.TOO_FEW, id="no customers"),
        pytest.param(f"{SCOPE.among} LIMIT 1", isolation.TOO_FEW, id="one, whose rows cannot be told from all"),
        pytest.param(
            "SELECT gen_random_uuid() FROM generate_series(1, 2)",
            "no customer saw any row, so nothing is proven",
            id="customers without rows",
        ),
    ],
)
def test_without_rows_of_several_customers_nothing_is_proven(subject: Subject, among: str, reason: str) -> None:
    scope = replace(SCOPE, among=among)
    examinations = (isolation.only_own_rows("app_ro", scope), isolation.nothing_leaks(scope, "app_ro"))
    found = [examination(subject) for examination in examinations]

    assert [(type(each), each.reason) for each in found] == [(Unknown, reason)] * 2


def test_a_role_that_may_read_nothing_proves_nothing(subject: Subject) -> None:
    execute(subject.connection, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM app_ro")
    found = own_rows(subject)

    assert (type(found), found.reason) == (Unknown, "no customer saw any row, so nothing is proven")


# -- ways around

WAYS = [
    pytest.param("GRANT keeper TO app_ro", "app_ro: member of keeper", id="another role"),
    pytest.param("GRANT pg_read_all_data TO app_rw", "app_rw: member of pg_read_all_data", id="a role that reads all"),
    pytest.param("ALTER ROLE app_ro BYPASSRLS", "app_ro: attribute bypasses row security", id="no row security"),
    pytest.param("ALTER ROLE app_rw SUPERUSER", "app_rw: attribute superuser", id="a superuser"),
]


@pytest.fixture
def roles_as_they_were(databases: Databases) -> Iterator[None]:
    with databases.maintenance() as superuser:
        superuser.execute("CREATE ROLE keeper NOLOGIN")
        yield
        for role in ("app_ro", "app_rw"):
            superuser.execute(f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS")
            superuser.execute(f"REVOKE keeper, pg_read_all_data FROM {role}")
        superuser.execute("DROP ROLE keeper")


@pytest.mark.parametrize(("statement", "reason"), WAYS)
def test_a_role_that_can_become_more_is_red(
    databases: Databases, subject: Subject, roles_as_they_were: None, statement: str, reason: str  # noqa: ARG001
) -> None:  # fmt: skip
    with databases.maintenance() as superuser:
        superuser.execute(statement)
    found = isolation.has_no_other_way("app_ro", "app_rw")(subject)

    assert isinstance(found, Fail)
    assert reason in found.reason.split("; ")


DEFINER = "CREATE FUNCTION peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM revenue_ledger'"


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        pytest.param(DEFINER, "app_ro: function peek(); app_rw: function peek()", id="everybody may call it"),
        pytest.param(
            f"{DEFINER}; REVOKE ALL ON FUNCTION peek() FROM PUBLIC; GRANT EXECUTE ON FUNCTION peek() TO app_rw",
            "app_rw: function peek()",
            id="one of them may",
        ),
        pytest.param(f"{DEFINER}; REVOKE ALL ON FUNCTION peek() FROM PUBLIC", "", id="none of them may"),
        pytest.param(DEFINER.replace("SECURITY DEFINER", ""), "", id="it runs with the caller's rights"),
        pytest.param(
            f"CREATE SCHEMA closed; {DEFINER.replace('peek()', 'closed.peek()')}", "", id="its schema is closed to them"
        ),
    ],
)
def test_a_function_with_its_owner_s_rights_must_be_declared(subject: Subject, statements: str, reason: str) -> None:
    execute(subject.connection, statements)
    found = isolation.has_no_other_way("app_ro", "app_rw")(subject)

    assert (type(found), found.reason) == (Fail if reason else Pass, reason)


def test_roles_that_are_not_there_prove_nothing(subject: Subject) -> None:
    found = isolation.has_no_other_way()(subject)

    assert (type(found), found.reason) == (Unknown, "none of the roles is there")


# -- what the views show


def test_scoped_views_show_what_the_materialized_views_hold(subject: Subject) -> None:
    found = isolation.scoped_views_agree(SCOPE)(subject)

    assert isinstance(found, Pass)
    assert {row["of"] for row in found.have} == set(FOUR)
    assert len({row["customer"] for row in found.have}) == isolation.CUSTOMERS


DAILY_VIEW = """CREATE OR REPLACE VIEW daily_revenue_summary WITH (security_barrier = true) AS
SELECT tenant_id, revenue_date, state, currency, {amount} AS total_amount_cents, transaction_count
  FROM mv_daily_revenue_summary WHERE tenant_id = {tenant} AND {more}"""


@pytest.mark.parametrize(
    ("amount", "more", "said"),
    [
        pytest.param("total_amount_cents + 1", "true", "different", id="a cent more"),
        pytest.param("total_amount_cents", "state <> 'refunded'", "missing", id="rows left out"),
        pytest.param("transaction_count", "true", "different", id="another column"),
    ],
)
def test_a_scoped_view_that_shows_something_else_is_red(subject: Subject, amount: str, more: str, said: str) -> None:
    execute(subject.connection, DAILY_VIEW.format(amount=amount, tenant=TENANT, more=more))
    found = isolation.scoped_views_agree(SCOPE)(subject)

    assert isinstance(found, Fail)
    assert found.reason.startswith("daily_revenue_summary: ")
    assert said in found.reason


@pytest.mark.parametrize(
    ("scope", "reason"),
    [
        pytest.param(replace(SCOPE, among=f"{SCOPE.among} LIMIT 1"), None, id="one customer"),
        pytest.param(
            replace(SCOPE, among="SELECT gen_random_uuid() FROM generate_series(1, 2)"),
            "no rows in channel_performance, daily_revenue_summary, realtime_revenue, reconciliation_status",
            id="customers without rows",
        ),
        pytest.param(replace(SCOPE, among="SELECT 1 WHERE false"), isolation.TOO_FEW, id="no customers"),
    ],
)
def test_views_without_rows_prove_nothing(subject: Subject, scope: Scope, reason: str | None) -> None:
    found = isolation.scoped_views_agree(scope)(subject)

    assert isinstance(found, Unknown)
    assert reason is None or found.reason == reason


# -- refused


@pytest.mark.parametrize(
    ("role", "statements", "verdict", "reason"),
    [
        pytest.param("app_ro", ["DELETE FROM tenants", "TRUNCATE mv_refresh_log"], Pass, "", id="denied"),
        pytest.param("app_rw", ["SELECT 1"], Fail, "SELECT 1: it was done", id="done"),
        pytest.param("app_ro", ["SELECT nothing"], Fail, "SELECT nothing: 42703", id="for another reason"),
        pytest.param("nobody", ["SELECT 1"], Fail, "SELECT 1: 22023", id="no such role"),
        pytest.param("app_ro", [], Fail, "nothing was tried", id="nothing was tried"),
    ],
)
def test_statements_are_denied(
    subject: Subject, role: str, statements: list[str], verdict: type[Verdict], reason: str
) -> None:
    found = isolation.is_denied(role, *statements)(subject)

    assert (type(found), found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("statements", "relations", "reason"),
    [
        pytest.param(
            "GRANT SELECT ON mv_realtime_revenue TO app_ro", FOUR, "mv_realtime_revenue: it was read", id="granted"
        ),
        pytest.param(
            "GRANT SELECT (state) ON mv_daily_revenue_summary TO app_ro",
            FOUR,
            "mv_daily_revenue_summary: it was read",
            id="granted in a column",
        ),
        pytest.param("SELECT 1", ("tenants",), "tenants: it was read", id="a table that it reads"),
        pytest.param("SELECT 1", ("mv_nothing", FOUR[0]), "mv_nothing: 42P01", id="a relation that is not there"),
        pytest.param("SELECT 1", (), "nothing was tried", id="no relation"),
    ],
)
def test_what_is_not_refused_is_red(subject: Subject, statements: str, relations: tuple[str, ...], reason: str) -> None:
    execute(subject.connection, statements)
    found = isolation.is_refused("app_ro", *relations)(subject)

    assert (type(found), found.reason) == (Fail, reason)


# -- without a customer


@pytest.fixture
def changed(databases: Databases, migrated_copy: Database, request: pytest.FixtureRequest) -> Iterator[Subject]:
    """A database in which something was changed and committed: the examination opens a session of its own."""
    with migrated_copy.connect() as connection:
        execute(connection, request.param)
        connection.commit()
    with subject_of(migrated_copy, databases.project) as found:
        yield found


EVERY = f"{TENANT} IS NULL OR tenant_id = {TENANT}"
NEVER = "current_setting('app.current_tenant_id', true) IS NULL"
EMPTY = "current_setting('app.current_tenant_id', true) = ''"


@pytest.mark.parametrize(
    ("changed", "states"),
    [
        pytest.param(f"{POLICY} ({EVERY})", {"never set", "empty"}, id="both"),
        pytest.param(f"{POLICY} ({NEVER})", {"never set"}, id="never set"),
        pytest.param(f"{POLICY} ({EMPTY})", {"empty"}, id="empty"),
    ],
    indirect=["changed"],
)
def test_rows_without_a_customer_are_red_in_each_state(changed: Subject, states: set[str]) -> None:
    """The session is a new one each time: once a setting was made, and reset, it is empty and never unset again."""
    for _ in range(4):
        found = isolation.nothing_without(SCOPE, "app_ro")(changed)
        assert isinstance(found, Fail)
        assert {row["customer"] for row in found.have if row["rows"]} == states
        assert {row["relation"] for row in found.have if row["rows"]} == {"dead_events"}
        assert found.reason.startswith("rows of others are shown by dead_events (")
        assert isolation.only_own_rows("app_ro", replace(SCOPE, shared=(*SCOPE.shared, "dead_events")))(
            changed
        ).is_green


@pytest.mark.parametrize(
    ("changed", "verdict", "reason"),
    [
        pytest.param(
            f"{POLICY} (tenant_id = current_setting('app.current_tenant_id')::uuid)",
            Unknown,
            'could not be read: dead_events (unrecognized configuration parameter "app.current_tenant_id"), '
            'dead_events (invalid input syntax for type uuid: "")',
            id="the documented policy fails",
        ),
        pytest.param(
            f"{A_TABLE.format(column='owner')}; GRANT SELECT ON notes TO app_ro",
            Fail,
            "whose the rows of notes are is not declared",
            id="nobody has said whose",
        ),
    ],
    indirect=["changed"],
)
def test_what_cannot_be_told_without_a_customer_is_red(changed: Subject, verdict: type[Verdict], reason: str) -> None:
    found = isolation.nothing_without(SCOPE, "app_ro")(changed)

    assert (type(found), found.reason) == (verdict, reason)


def test_without_relations_nothing_is_proven(subject: Subject) -> None:
    found = isolation.nothing_without(replace(SCOPE, shared=tuple(READABLE) + SCOPE.shared), "app_ro")(subject)

    assert (type(found), found.reason) == (Unknown, "there is nothing that could be read")


def test_seeing_every_row_as_the_owner_does_not_help_the_role(subject: Subject) -> None:
    """Policies that live as long as the examination are for the owner, and not for whom it becomes."""
    with row_security.all_rows(subject.connection):
        assert own_rows(subject).is_green
