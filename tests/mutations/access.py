"""Policies, grants, owners, and objects that are there without being asked for."""

from mutations.mutation import EVENTS, LEDGER, Mutation

ACCESS = [
    Mutation(
        "a policy more for anybody",
        f"CREATE POLICY more ON {EVENTS} USING (true)",
        "8b.S.1 R.5.4",
        reason="policy attribution_events.more",
    ),
    Mutation(
        "a policy that hides rows from the owner",
        "CREATE POLICY more ON tenants AS RESTRICTIVE TO gatebook_owner USING (name <> 'Acme')",
        "4.B.1 8b.D.1 8b.S.1",
        reason="row security may hide rows",
    ),
    Mutation(
        "a restrictive policy in place of a permissive one",
        f"DROP POLICY maintenance_policy ON {LEDGER}; CREATE POLICY maintenance_policy ON {LEDGER} AS RESTRICTIVE "
        "TO gatebook_owner USING (true) WITH CHECK (true); COMMENT ON POLICY maintenance_policy ON revenue_ledger IS "
        "'The role that runs migrations and refreshes sees and writes the rows of every tenant.'",
        "8b.S.1 8b.D.1 7.B.1",
    ),
    Mutation(
        "isolation by another setting",
        f"ALTER POLICY tenant_isolation_policy ON {EVENTS} "
        "USING (tenant_id = current_setting('app.tenant', true)::uuid) "
        "WITH CHECK (tenant_id = current_setting('app.tenant', true)::uuid)",
        "8b.S.1 R.5.1",
    ),
    Mutation(
        "isolation of reads only",
        f"ALTER POLICY tenant_isolation_policy ON {EVENTS} WITH CHECK (true)",
        "8b.S.1",
        reason="tenant_isolation_policy changed check",
    ),
    Mutation(
        "isolation of one role only",
        "ALTER POLICY tenant_isolation_policy ON tenants TO app_rw",
        "8b.S.1",
        reason="tenant_isolation_policy changed roles",
    ),
    Mutation("channels under row security", "ALTER TABLE channel_taxonomy ENABLE ROW LEVEL SECURITY", "8b.S.1"),
    Mutation("app_ro may write the ledger", f"GRANT INSERT ON {LEDGER} TO app_ro", "8b.S.1"),
    Mutation("app_rw may empty the ledger", f"GRANT TRUNCATE ON {LEDGER} TO app_rw", "8b.S.1"),
    Mutation("app_rw may grant on", f"GRANT SELECT ON {LEDGER} TO app_rw WITH GRANT OPTION", "8b.S.1"),
    Mutation("PUBLIC may read one column", "GRANT SELECT (api_key_hash) ON tenants TO PUBLIC", "8b.S.1"),
    Mutation("app_rw may not update dead events", "REVOKE UPDATE ON dead_events FROM app_rw", "R.5.2 R.4.1"),
    Mutation("app_rw may not delete dead events", "REVOKE DELETE ON dead_events FROM app_rw", "R.5.3 R.4.1"),
    Mutation("app_rw may not look up transitions", "REVOKE SELECT ON revenue_ledger FROM app_rw", "R.5.1 8b.S.1"),
    Mutation("PUBLIC may create in the schema", "GRANT CREATE ON SCHEMA public TO PUBLIC", "8b.S.1"),
    Mutation("app_rw has no way into the schema", "REVOKE USAGE ON SCHEMA public FROM PUBLIC, app_rw", "R.5.1 8b.S.1"),
    Mutation(
        "tables to come open to PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO PUBLIC",
        "8b.S.1",
    ),
    Mutation("channels owned by another role", "ALTER TABLE channel_taxonomy OWNER TO postgres", "P.1.3"),
]

OTHER_OBJECTS = [
    Mutation("transitions dropped", "DROP TABLE revenue_state_transitions", "8b.1.1 8b.1.2 8b.2.1 8b.3.1 R.5.1"),
    Mutation("tenants dropped", "DROP TABLE tenants CASCADE", "4.1.1 4.2.1 4.B.1 8b.D.1 C.1.2"),
    Mutation("dead events not logged", "ALTER TABLE dead_events SET UNLOGGED", "8b.S.1"),
    Mutation(
        "transitions not logged",
        "ALTER TABLE revenue_state_transitions SET UNLOGGED",
        "8b.S.1",
        reason="revenue_state_transitions changed persistence",
    ),
    Mutation("a table never vacuumed", f"ALTER TABLE {EVENTS} SET (autovacuum_enabled = off)", "8b.S.1"),
    Mutation("a table replicated in full", f"ALTER TABLE {EVENTS} REPLICA IDENTITY FULL", "8b.S.1"),
    Mutation("a table more", "CREATE TABLE more (id uuid)", "C.2.1 8b.S.1 R.4.1", reason="more"),
    Mutation("a heir of tenants", "CREATE TABLE more () INHERITS (tenants)", "C.2.1 8b.S.1", reason="more"),
    Mutation("a view more", "CREATE VIEW more AS SELECT api_key_hash FROM tenants", "8b.S.1"),
    Mutation("a sequence more", "CREATE SEQUENCE more", "8b.S.1"),
    Mutation("a type more", "CREATE TYPE more AS ENUM ('one', 'two')", "8b.S.1"),
    Mutation("a function more", "CREATE FUNCTION more() RETURNS integer LANGUAGE sql AS 'SELECT 1'", "8b.S.1"),
    Mutation("a schema more", "CREATE SCHEMA more", "8b.S.1"),
    Mutation("an extension less", "DROP EXTENSION plpgsql", "8b.S.1", at="8b"),
    Mutation(
        "a materialized view that cannot be read",
        "REFRESH MATERIALIZED VIEW mv_realtime_revenue WITH NO DATA",
        "8b.S.1",
    ),
    Mutation("a revision too early", "UPDATE alembic_version SET version_num = '202511151440'", "R.1.1"),
]
