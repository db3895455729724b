"""The function that refreshes, the log that remembers it, and the view that tells how old contents are."""

from collections.abc import Iterator

from mutations.mutation import Mutation, trigger
from mutations.view import LATEST, LOG, RECONCILED, RUNS, Change, also, definition, refreshing, remade, revision, status

FUNCTION = "refresh_materialized_view(regclass, interval)"
LOCK = "PERFORM pg_catalog.pg_advisory_xact_lock(20251115, pg_catalog.hashtext(entry.view_name));"
CONCURRENTLY = "EXECUTE pg_catalog.concat('REFRESH MATERIALIZED VIEW CONCURRENTLY ', entry.view_name);"
PLAINLY = "EXECUTE pg_catalog.concat('REFRESH MATERIALIZED VIEW ', entry.view_name);"
WHY = "entry.error := pg_catalog.concat(SQLSTATE, ': ', SQLERRM);"
BEGUN, ENDED = (f"entry.{moment}_at := pg_catalog.clock_timestamp();" for moment in ("started", "finished"))
RECORDED = "            INSERT INTO mv_refresh_log", "RETURNING * INTO entry;\n"
GRANTED = f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO app_rw"


def mutations() -> Iterator[Mutation]:
    for name, changes, red, reason in THE_FUNCTION:
        yield Mutation(name, refreshing(*changes), f"{red} R.3.1", reason=reason)
    for name, changes, red, reason in MIGRATION:
        yield Mutation(name, "", red, reason=reason, at="MV-3", edits=revision(LOG, *changes))
    for name, right in (("everybody", "PUBLIC"), ("app_ro", "app_ro")):
        edits = also(LOG, f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO {right}")
        yield Mutation(f"{name} may refresh", "", "H.9.1 H.S.1", reason="it was done", at="MV-3", edits=edits)
    yield from THE_LOG
    for name, change, reason in THE_STATUS:
        yield Mutation(name, status(change), "MV-4.5.4", reason=reason)
    yield from THE_LATEST_RUN


# What the function says instead, in a database that has had all.
THE_FUNCTION: list[tuple[str, list[Change], str, str]] = [
    ("a refresh without its lock", [(LOCK, "NULL;")], "MV-4.5.5", "the refresh did not fail"),
    (
        "two refreshes of a view at once",
        [(LOCK, f"{BEGUN} PERFORM pg_catalog.pg_sleep(0.1);"), (f"{BEGUN}\n\n", "\n")],
        "MV-4.5.3 MV-4.5.5",
        "overlap",
    ),
    (
        "a lock of the house instead of the view",
        [("hashtext(entry.view_name)", "hashtext('all')")],
        "MV-4.5.5",
        "the refresh did not fail",
    ),
    ("a lock by another key", [("20251115", "20251116")], "MV-4.5.5", "the refresh did not fail"),
    (
        "a failure that is not recorded",
        [("entry.requested_by, entry.error)\n", "entry.requested_by, NULL)\n")],
        "MV-4.5.5",
        "the refresh did not fail",
    ),
    (
        "a failure that ends the statement",
        [("WHEN query_canceled OR assert_failure OR others", "WHEN division_by_zero")],
        "MV-4.5.5",
        "the log does not say why",
    ),
    ("a failure recorded without its cause", [(WHY, "entry.error := 'XX000: no';")], "MV-4.5.5", "another reason"),
    (
        "a refresh that is not recorded",
        [(RECORDED[0], f"IF false THEN {RECORDED[0]}"), (RECORDED[1], f"{RECORDED[1]} END IF;")],
        "MV-4.5.2 MV-4.5.3 MV-4.5.5",
        "no row in the log",
    ),
    ("a refresh recorded without its end", [(ENDED, "NULL;")], "MV-4.5.4 MV-4.5.3", ""),
    (
        "a refresh recorded without its rows",
        [("INTO entry.rows, entry.contents_checksum", "INTO entry.definition_md5, entry.contents_checksum")],
        "MV-4.5.1",
        "",
    ),
    (
        "a refresh recorded with another checksum",
        [("hashtextextended((v.*)::text, 0)", "hashtextextended((v.*)::text, 1)")],
        "MV-4.5.1",
        "the log says other than the view holds",
    ),
    ("a refresh that stops readers", [(CONCURRENTLY, PLAINLY)], "MV-4.5.1", "readers had to wait"),
    (
        "a refresh that does nothing",
        [(CONCURRENTLY, "NULL;"), (PLAINLY, "NULL;")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh of another view",
        [(CONCURRENTLY, "REFRESH MATERIALIZED VIEW CONCURRENTLY mv_realtime_revenue;")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh that waits for as long as it takes",
        [("PERFORM pg_catalog.set_config(\n", "PERFORM pg_catalog.concat(\n")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh with the rights of its caller",
        [("SECURITY DEFINER", "SECURITY INVOKER")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh that tells everybody everything",
        [("NOT pg_catalog.pg_has_role(asker, owner, 'MEMBER')", "false")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh in the zone of its caller",
        [("        SET TimeZone = 'UTC'\n", "")],
        "R.4.1",
        "refresh_materialized_view",
    ),
    (
        "a refresh that looks for names where its caller does",
        [("        SET search_path = pg_catalog, public, pg_temp\n", "")],
        "R.4.1",
        "refresh_materialized_view",
    ),
]

# What the migration says instead.
MIGRATION: list[tuple[str, list[Change], str, str]] = [
    ("app_rw may not refresh", [(GRANTED, "SELECT 1")], "H.9.2 H.S.1", "permission denied for function"),
    (
        "a function that tells everybody everything",
        [("NOT pg_catalog.pg_has_role(asker, owner, 'MEMBER')", "false")],
        "H.9.2 H.S.1",
        "the query answers otherwise",
    ),
    (
        "a function with the rights of its caller",
        [("SECURITY DEFINER", "SECURITY INVOKER")],
        "H.9.2 H.S.1",
        "not to app_rw",
    ),
    ("a function without its lock", [(LOCK, "NULL;")], "H.S.1", "body_md5 is"),
    (
        "a function without its path",
        [("        SET search_path = pg_catalog, public, pg_temp\n", "")],
        "H.S.1",
        "config is",
    ),
    (
        "a log that is not kept over a crash",
        [("CREATE TABLE mv_refresh_log", "CREATE UNLOGGED TABLE mv_refresh_log")],
        "H.S.1",
        "persistence is 'u'",
    ),
    (
        "a log whose numbers anybody may give",
        [("GENERATED ALWAYS AS", "GENERATED BY DEFAULT AS")],
        "H.S.1",
        "identity is 'd'",
    ),
    (
        "a log with a column more",
        [("            error text,\n", "            error text,\n            detail text,\n")],
        "H.S.1",
        "column mv_refresh_log.detail added, not declared",
    ),
    (
        "a log without its key",
        [
            (
                "            error text,\n            CONSTRAINT mv_refresh_log_pkey PRIMARY KEY (id)\n",
                "            error text,\n            CONSTRAINT mv_refresh_log_pkey UNIQUE (id)\n",
            )
        ],
        "H.S.1",
        "mv_refresh_log_pkey: definition is",
    ),
    (
        "a log that app_ro may read",
        [("REVOKE ALL ON mv_refresh_log FROM PUBLIC, app_rw, app_ro", "GRANT SELECT ON mv_refresh_log TO app_ro")],
        "H.1.1 H.2.1 H.S.1",
        "whose the rows of mv_refresh_log are is not declared",
    ),
    (
        "a status that names no view",
        [("GRANT SELECT ON mv_refresh_status TO app_rw, app_ro", "GRANT SELECT ON mv_refresh_status TO app_rw")],
        "H.S.1",
        "grant mv_refresh_status to app_ro is missing",
    ),
]

THE_LOG = [
    Mutation(
        "everybody may refresh from now on", f"GRANT EXECUTE ON FUNCTION {FUNCTION} TO PUBLIC", "H.S.1 R.3.1 R.4.1"
    ),
    Mutation(
        "the function of refreshes dropped",
        f"DROP FUNCTION {FUNCTION}",
        "R.4.1 R.8.1 R.3.1",
        reason="refresh_materialized_view",
    ),
    Mutation(
        "the function without its comment",
        f"COMMENT ON FUNCTION {FUNCTION} IS NULL",
        "R.4.1 R.8.1",
        reason="refresh_materialized_view",
    ),
    Mutation(
        "a log that swallows rows",
        trigger("mv_refresh_log", "RETURN NULL;"),
        "MV-4.5.2 MV-4.5.1 MV-4.5.3 MV-4.5.5",
        reason="no row in the log",
    ),
    Mutation(
        "a log that swallows failures",
        trigger("mv_refresh_log", "IF NEW.error IS NOT NULL THEN RETURN NULL; END IF; RETURN NEW;"),
        "MV-4.5.5",
        reason="the refresh did not fail",
    ),
    Mutation(
        "a log that forgets what went wrong",
        trigger("mv_refresh_log", "NEW.error := NULL; RETURN NEW;"),
        "MV-4.5.5",
        reason="the refresh did not fail",
    ),
    Mutation(
        "a log that nothing can be written to",
        trigger("mv_refresh_log", "RAISE EXCEPTION 'closed';"),
        "MV-4.5.1 MV-4.5.2 MV-4.5.3 MV-4.5.5",
        reason="closed",
    ),
    Mutation(
        "a log with another view's name",
        trigger("mv_refresh_log", "NEW.view_name := 'mv_realtime_revenue'; RETURN NEW;"),
        "MV-4.5.2 MV-4.5.1 MV-4.5.3 MV-4.5.5",
        reason="mv_channel_performance: no row in the log",
    ),
    Mutation(
        "a log with another checksum",
        trigger("mv_refresh_log", "NEW.contents_checksum := '0'; RETURN NEW;"),
        "MV-4.5.1",
        reason="the log says other than the view holds",
    ),
    Mutation(
        "a log that was emptied",
        "TRUNCATE mv_refresh_log; ALTER TABLE mv_refresh_log DISABLE TRIGGER ALL; "
        + trigger("mv_refresh_log", "IF NEW.view_name LIKE 'mv_re%' THEN RETURN NULL; END IF; RETURN NEW;"),
        "MV-4.5.4 MV-4.5.2",
        reason="mv_realtime_revenue",
    ),
]

THE_STATUS: list[tuple[str, Change, str]] = [
    (
        "a status that leaves a view out",
        ("WHERE c.relkind = 'm'", "WHERE c.relname <> 'mv_realtime_revenue' AND c.relkind = 'm'"),
        "mv_realtime_revenue",
    ),
    (
        "a status without ages",
        ("pg_catalog.statement_timestamp() - success.started_at AS age", "NULL::interval AS age"),
        "mv_channel_performance, mv_daily_revenue_summary",
    ),
    (
        "a status without durations",
        ("(extract(epoch FROM success.finished_at - success.started_at) * 1000)::bigint", "NULL::bigint"),
        "mv_channel_performance, mv_daily_revenue_summary",
    ),
    (
        "a status of refreshes that failed",
        ("AND entry.error IS NULL", "AND entry.error IS NOT NULL"),
        "mv_channel_performance",
    ),
    (
        "a status of the first refresh",
        ("ORDER BY entry.started_at DESC, entry.id DESC", "ORDER BY entry.started_at, entry.id"),
        "mv_channel_performance",
    ),
    ("a status of any view", ("entry.view_name = mv.view_name AND", ""), "mv_channel_performance"),
]

JOINED = f"""
        SELECT run.tenant_id, run.state, run.last_run_at, run.id AS reconciliation_run_id
          FROM {RUNS} AS run
          JOIN (SELECT tenant_id, max(last_run_at) AS last_run_at FROM {RUNS} GROUP BY tenant_id) AS latest
               ON latest.tenant_id = run.tenant_id AND latest.last_run_at = run.last_run_at"""
UNTIED = f"""DELETE FROM {RUNS} AS run WHERE EXISTS (SELECT FROM {RUNS} AS other
    WHERE other.tenant_id = run.tenant_id AND other.last_run_at = run.last_run_at AND other.id > run.id)"""
AS_IT_WAS = remade(RECONCILED, (definition(RECONCILED), f"CREATE MATERIALIZED VIEW {RECONCILED} AS {JOINED}"))
THE_LATEST_RUN = [
    Mutation("the latest runs as they were", f"{UNTIED}; {AS_IT_WAS}", "H.6.1", reason="duplicate"),
    Mutation(
        "the latest runs of all that tie",
        AS_IT_WAS.replace(" UNIQUE INDEX", " INDEX"),
        "H.6.1 H.6.3 MV-4.3.3",
        reason="cannot refresh materialized view",
    ),
    Mutation(
        "the latest runs not filled",
        "",
        "H.S.1",
        at="MV-3",
        edits=revision(
            LATEST,
            (
                "ORDER BY tenant_id, last_run_at DESC, updated_at DESC, id DESC",
                "ORDER BY tenant_id, last_run_at DESC, updated_at DESC, id DESC WITH NO DATA",
            ),
        ),
        reason="populated is False",
    ),
    Mutation(
        "the latest runs without a unique index",
        "",
        "H.6.1 H.S.1",
        at="MV-3",
        edits=revision(LATEST, ("CREATE UNIQUE INDEX", "CREATE INDEX")),
        reason="cannot refresh materialized view",
    ),
    Mutation(
        "the latest runs by the time they were changed",
        "",
        "H.6.3",
        at="MV-3",
        edits=revision(LATEST, ("last_run_at DESC, updated_at DESC", "updated_at, last_run_at DESC")),
        reason="different",
    ),
    Mutation(
        "a downgrade that makes the latest runs anew",
        "",
        "H.7.1",
        at="MV-3",
        edits=revision(LATEST, ("max(last_run_at) AS last_run_at", "min(last_run_at) AS last_run_at")),
        reason="other than it was before the phase",
    ),
]
