"""Refreshing materialized views: one function does it, one table remembers it, one view tells how old they are.

Contract  docs/refreshing.md

Why    A refresh that fails, or that nobody started, leaves old numbers that look like new ones, and the catalog
       keeps no time of a refresh. refresh_materialized_view() is the way for everyone: the application after bulk
       changes, a schedule, people. A transaction-level advisory lock keeps two refreshes of one view from
       overlapping; what the refresh did stands in mv_refresh_log; a refresh that fails in any way leaves the
       old contents and a row with the error. It runs as the owner of the tables, who sees every row under forced
       row security, so that app_rw may refresh views that it may not read; whoever is not the owner is told
       neither counts nor messages, since both tell of rows of all customers. The settings that dates and texts
       depend on are the function's own, not the caller's. statement_timeout stays the caller's: a statement
       cannot set the limit of its own time.

Locks  None that reads or writes of the tables and views wait for; only what is made here.

Undo   Drops the view, the function and the table: when which view was refreshed is forgotten, contents of the
       views stay. Jobs that call the function fail from then on; `gatebook refresh --unschedule` before that
       takes them away.
"""

from alembic import op

revision: str = "202511151520"
down_revision: str | None = "202511151510"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE mv_refresh_log (
            id bigint GENERATED ALWAYS AS IDENTITY,
            view_name text NOT NULL,
            started_at timestamptz NOT NULL,
            finished_at timestamptz,
            rows bigint,
            contents_checksum text,
            definition_md5 text,
            was_concurrent boolean NOT NULL,
            requested_by text NOT NULL,
            error text,
            CONSTRAINT mv_refresh_log_pkey PRIMARY KEY (id)
        )
    """)
    op.execute("""
        CREATE INDEX idx_mv_refresh_log_view_name
            ON mv_refresh_log (view_name, started_at DESC)
    """)
    op.execute("""REVOKE ALL ON mv_refresh_log FROM PUBLIC, app_rw, app_ro""")
    op.execute("""REVOKE ALL ON SEQUENCE mv_refresh_log_id_seq FROM PUBLIC, app_rw, app_ro""")
    op.execute("""
        CREATE FUNCTION refresh_materialized_view(view regclass, lock_timeout interval DEFAULT '5 seconds')
        RETURNS mv_refresh_log
        LANGUAGE plpgsql
        VOLATILE
        SECURITY DEFINER
        SET search_path = pg_catalog, public, pg_temp
        SET lock_timeout = '5s'
        SET TimeZone = 'UTC'
        SET DateStyle = 'ISO, YMD'
        SET IntervalStyle = 'postgres'
        SET extra_float_digits = 1
        SET bytea_output = 'hex'
        AS $function$
        DECLARE
            entry mv_refresh_log;
            kind "char";
            owner name;
            asker name := coalesce(nullif(pg_catalog.current_setting('role'), 'none'), session_user::text)::name;
        BEGIN
            SELECT c.relkind, pg_catalog.pg_get_userbyid(c.relowner) INTO kind, owner
                FROM pg_catalog.pg_class AS c
                WHERE c.oid = view::oid;
            IF kind IS DISTINCT FROM 'm' THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'wrong_object_type',
                    MESSAGE = pg_catalog.concat(coalesce(view::text, 'NULL'), ' is not a materialized view'),
                    HINT = 'Give the name of a materialized view.';
            END IF;
            IF owner <> current_user THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'insufficient_privilege',
                    MESSAGE = pg_catalog.concat(
                        'materialized view ', view, ' belongs to ', owner, ', not to ', current_user),
                    HINT = 'Let its owner refresh it.';
            END IF;
            IF lock_timeout IS NULL THEN
                RAISE EXCEPTION USING
                    ERRCODE = 'null_value_not_allowed',
                    MESSAGE = 'lock_timeout is NULL',
                    HINT = 'Give an interval; 0 waits for as long as it takes.';
            END IF;
            -- Rounded up: a fraction of a millisecond must not become 0, which is no limit.
            PERFORM pg_catalog.set_config(
                'lock_timeout', pg_catalog.ceil(extract(epoch FROM lock_timeout)::numeric * 1000::numeric)::text, true);

            entry.view_name := view::text;
            entry.requested_by := session_user::text;
            entry.was_concurrent := false;

            -- A block of its own: were it the one of the refresh, a failure would give the lock back before its row
            -- is committed, and the next refresh could begin before this one has ended. OTHERS alone would not
            -- catch the first two.
            BEGIN
                PERFORM pg_catalog.pg_advisory_xact_lock(20251115, pg_catalog.hashtext(entry.view_name));
            EXCEPTION
                WHEN query_canceled OR assert_failure OR others THEN
                    entry.error := pg_catalog.concat(SQLSTATE, ': ', SQLERRM);
            END;
            entry.started_at := pg_catalog.clock_timestamp();

            IF entry.error IS NULL THEN
                BEGIN
                    entry.definition_md5 := pg_catalog.md5(pg_catalog.pg_get_viewdef(view::oid));
                    SELECT c.relispopulated AND EXISTS (
                            SELECT FROM pg_catalog.pg_index AS i
                            WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid
                                AND i.indpred IS NULL AND i.indexprs IS NULL
                        ) INTO entry.was_concurrent
                        FROM pg_catalog.pg_class AS c
                        WHERE c.oid = view::oid;
                    entry.was_concurrent := coalesce(entry.was_concurrent, false);  -- dropped meanwhile
                    IF entry.was_concurrent THEN
                        EXECUTE pg_catalog.concat('REFRESH MATERIALIZED VIEW CONCURRENTLY ', entry.view_name);
                    ELSE
                        EXECUTE pg_catalog.concat('REFRESH MATERIALIZED VIEW ', entry.view_name);
                    END IF;
                    entry.finished_at := pg_catalog.clock_timestamp();
                    EXECUTE pg_catalog.concat(
                        'SELECT pg_catalog.count(*), '
                        'coalesce(pg_catalog.sum(pg_catalog.hashtextextended((v.*)::text, 0)::numeric), 0)::text FROM ',
                        entry.view_name, ' AS v') INTO entry.rows, entry.contents_checksum;
                EXCEPTION
                    WHEN query_canceled OR assert_failure OR others THEN
                        entry.error := pg_catalog.concat(SQLSTATE, ': ', SQLERRM);
                        entry.was_concurrent := coalesce(entry.was_concurrent, false);
                        entry.finished_at := pg_catalog.clock_timestamp();
                END;
            END IF;

            INSERT INTO mv_refresh_log (
                    view_name, started_at, finished_at, rows, contents_checksum, definition_md5, was_concurrent,
                    requested_by, error)
                VALUES (
                    entry.view_name, entry.started_at, entry.finished_at, entry.rows, entry.contents_checksum,
                    entry.definition_md5, entry.was_concurrent, entry.requested_by, entry.error)
                RETURNING * INTO entry;

            IF NOT pg_catalog.pg_has_role(asker, owner, 'MEMBER') THEN
                entry.rows := NULL;
                entry.contents_checksum := NULL;
                entry.error := pg_catalog.left(entry.error, 5);
            END IF;
            RETURN entry;
        END
        $function$
    """)
    op.execute("""REVOKE ALL ON FUNCTION refresh_materialized_view(regclass, interval) FROM PUBLIC, app_ro""")
    op.execute("""GRANT EXECUTE ON FUNCTION refresh_materialized_view(regclass, interval) TO app_rw""")
    op.execute("""
        CREATE VIEW mv_refresh_status AS
        SELECT
            mv.view_name,
            mv.is_populated,
            success.finished_at AS refreshed_at,
            pg_catalog.statement_timestamp() - success.started_at AS age,
            (extract(epoch FROM success.finished_at - success.started_at) * 1000)::bigint AS duration_ms,
            attempt.started_at AS last_attempt_at,
            pg_catalog.left(attempt.error, 5) AS last_error
        FROM (
            SELECT
                pg_catalog.quote_ident(c.relname) COLLATE "default" AS view_name,
                c.relispopulated AS is_populated
            FROM pg_catalog.pg_class AS c
            WHERE c.relkind = 'm'
                AND c.relnamespace = (
                    SELECT log.relnamespace FROM pg_catalog.pg_class AS log WHERE log.oid = 'mv_refresh_log'::regclass
                )
        ) AS mv
        LEFT JOIN LATERAL (
            SELECT entry.started_at, entry.finished_at
            FROM mv_refresh_log AS entry
            WHERE entry.view_name = mv.view_name AND entry.error IS NULL
            ORDER BY entry.started_at DESC, entry.id DESC
            LIMIT 1
        ) AS success ON true
        LEFT JOIN LATERAL (
            SELECT entry.started_at, entry.error
            FROM mv_refresh_log AS entry
            WHERE entry.view_name = mv.view_name
            ORDER BY coalesce(entry.finished_at, entry.started_at) DESC, entry.id DESC
            LIMIT 1
        ) AS attempt ON true
    """)
    op.execute("""REVOKE ALL ON mv_refresh_status FROM PUBLIC""")
    op.execute("""GRANT SELECT ON mv_refresh_status TO app_rw, app_ro""")
    op.execute("""
        COMMENT ON TABLE mv_refresh_log IS
            'Refreshes of materialized views, one row for each attempt, written by refresh_materialized_view() alone. '
            'It holds times, counts and errors and no row of any customer, so it has no row security; counts and '
            'messages are about all customers, so only the owner reads it.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.id IS
            'INVARIANT: none. Identity of the attempt.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.view_name IS
            'INVARIANT: analytics_important. Materialized view, quoted where SQL needs it, with its schema where that '
            'is not the one of this table.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.started_at IS
            'INVARIANT: analytics_important. When the refresh began, its turn having come; where that never came, '
            'when waiting for it ended.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.finished_at IS
            'INVARIANT: analytics_important. When the refresh ended, well or not, before its contents were counted; '
            'NULL when its turn never came.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.rows IS
            'INVARIANT: analytics_important. Rows of the view after the refresh; NULL when it failed.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.contents_checksum IS
            'INVARIANT: analytics_important. Sum of the 64-bit hashes of the texts of all rows after the refresh, '
            'whatever their order; NULL when it failed.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.definition_md5 IS
            'INVARIANT: analytics_important. MD5 of the definition of the view at that time; NULL when the turn of '
            'the refresh never came.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.was_concurrent IS
            'INVARIANT: none. Whether readers could go on reading meanwhile (REFRESH CONCURRENTLY).'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.requested_by IS
            'INVARIANT: none. Role that was logged in.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_log.error IS
            'INVARIANT: analytics_important. SQLSTATE and message of what made the refresh fail, without details that '
            'quote rows; NULL when it succeeded.'
    """)
    op.execute("""
        COMMENT ON CONSTRAINT mv_refresh_log_pkey ON mv_refresh_log IS
            'One row for each attempt.'
    """)
    op.execute("""
        COMMENT ON INDEX mv_refresh_log_pkey IS
            'Finds an attempt by its identity.'
    """)
    op.execute("""
        COMMENT ON SEQUENCE mv_refresh_log_id_seq IS
            'Identities of attempts, in the order in which they ended.'
    """)
    op.execute("""
        COMMENT ON INDEX idx_mv_refresh_log_view_name IS
            'Lists the refreshes of a view, newest first.'
    """)
    op.execute("""
        COMMENT ON FUNCTION refresh_materialized_view(regclass, interval) IS
            'Refreshes a materialized view of its owner, CONCURRENTLY where that can be, one refresh of a view at a '
            'time, waiting no longer than lock_timeout for each lock. Returns the row of mv_refresh_log. A failure '
            'leaves the old contents and is no error of the statement: look at error. Who is not the owner is told '
            'neither rows nor checksum, and of an error the SQLSTATE. Set statement_timeout before the call.'
    """)
    op.execute("""
        COMMENT ON VIEW mv_refresh_status IS
            'How old the contents of each materialized view are, and whether its last refresh failed. Harmless for '
            'every application: names that the catalog shows to all, times and SQLSTATEs; no counts and no messages, '
            'since both are about all customers.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.view_name IS
            'INVARIANT: none. Materialized view, quoted where SQL needs it.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.is_populated IS
            'INVARIANT: analytics_important. Whether it can be read at all.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.refreshed_at IS
            'INVARIANT: analytics_important. When the last refresh that succeeded ended; NULL when none is known.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.age IS
            'INVARIANT: analytics_important. Time since that refresh began: the contents are those of then.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.duration_ms IS
            'INVARIANT: none. Milliseconds that the last refresh that succeeded took.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.last_attempt_at IS
            'INVARIANT: analytics_important. When the attempt that ended last began.'
    """)
    op.execute("""
        COMMENT ON COLUMN mv_refresh_status.last_error IS
            'INVARIANT: analytics_important. SQLSTATE of the attempt that ended last, whose message stands in '
            'mv_refresh_log; NULL when it succeeded.'
    """)


def downgrade() -> None:
    op.execute("""DROP VIEW mv_refresh_status""")
    op.execute("""DROP FUNCTION refresh_materialized_view(regclass, interval)""")
    op.execute("""DROP TABLE mv_refresh_log""")
