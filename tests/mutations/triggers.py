"""Triggers and rules that swallow writes, alter them, or refuse them for a reason of their own."""

from mutations.mutation import ALLOCATIONS, EVENTS, LEDGER, Mutation, trigger

TRIGGERS = [
    Mutation(
        "processed events swallowed",
        trigger(EVENTS, "IF NEW.processing_status = 'processed' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.3 8b.S.1 R.4.1",
        reason="swallowed in silence",
    ),
    Mutation(
        "pending events swallowed",
        trigger(EVENTS, "IF NEW.processing_status = 'pending' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.2 5.4.1 5.2.2 R.5.1",
        reason="swallowed in silence",
    ),
    Mutation(
        "failed events made pending",
        trigger(
            EVENTS, "IF NEW.processing_status = 'failed' THEN NEW.processing_status := 'pending'; END IF; RETURN NEW;"
        ),
        "5.4.4",
        reason="written with other values",
    ),
    Mutation(
        "processed events refused at commit",
        "CREATE FUNCTION mutant() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN IF NEW.processing_status = 'processed' "
        "THEN RAISE EXCEPTION 'not yet'; END IF; RETURN NULL; END$$; "
        f"CREATE CONSTRAINT TRIGGER mutant AFTER INSERT ON {EVENTS} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION mutant()",
        "5.4.3",
        reason="not yet",
    ),
    Mutation(
        "confidence rounded",
        trigger(ALLOCATIONS, "NEW.confidence_score := round(NEW.confidence_score); RETURN NEW;"),
        "6.2.3 6.2.2 R.5.1",
        reason="written with other values",
    ),
    Mutation(
        "every state made authorized",
        trigger(LEDGER, "NEW.state := 'authorized'; RETURN NEW;"),
        "7.3.2 7.3.1 7.4.2",
        reason="written with other values",
    ),
    Mutation(
        "ignored dead events swallowed",
        trigger("dead_events", "IF NEW.remediation_status = 'ignored' THEN RETURN NULL; END IF; RETURN NEW;"),
        "8a.2.2",
        reason="swallowed in silence",
    ),
    Mutation(
        "invalid events swallowed",
        trigger(EVENTS, "IF NEW.processing_status = 'invalid_status' THEN RETURN NULL; END IF; RETURN NEW;"),
        "5.4.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "negative counts refused by a trigger",
        trigger(EVENTS, "IF NEW.retry_count < 0 THEN RAISE EXCEPTION 'negative'; END IF; RETURN NEW;"),
        "5.4.5 R.2.1 R.6.1",
        reason="(SQLSTATE P0001)",
    ),
    Mutation(
        "invalid states refused by a trigger with the same SQLSTATE",
        trigger(
            LEDGER,
            "IF NEW.state = 'invalid_state' THEN RAISE EXCEPTION 'no' USING ERRCODE = '23514'; END IF; RETURN NEW;",
        ),
        "7.3.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "missing sessions refused for another column",
        trigger(
            EVENTS,
            "IF NEW.session_id IS NULL THEN RAISE EXCEPTION 'none' USING ERRCODE = '23502', COLUMN = 'id'; END IF; "
            "RETURN NEW;",
        ),
        "5.3.1",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "a second key hash refused by a trigger",
        trigger(
            "tenants",
            "IF EXISTS (SELECT FROM tenants WHERE api_key_hash = NEW.api_key_hash) THEN "
            "RAISE EXCEPTION 'taken' USING ERRCODE = '23505'; END IF; RETURN NEW;",
        ),
        "4.2.2",
        reason="rejected, but for another reason",
    ),
    Mutation(
        "missing sessions made up",
        trigger(EVENTS, "NEW.session_id := coalesce(NEW.session_id, NEW.id); RETURN NEW;"),
        "5.3.1",
        reason="the write was accepted",
    ),
    Mutation(
        "missing currencies made up",
        trigger(LEDGER, "NEW.currency := coalesce(NEW.currency, 'USD'); RETURN NEW;"),
        "7.4.4",
        reason="the write was accepted",
    ),
    Mutation(
        "every tenant refused",
        trigger("tenants", "RAISE EXCEPTION 'closed';"),
        "4.3.1 4.2.2 4.3.2",
        reason="the same row without the change was rejected too",
    ),
    Mutation(
        "transitions kept when their entry goes",
        trigger("revenue_state_transitions", "RETURN NULL;", when="BEFORE DELETE"),
        "8b.2.2",
        reason="other rows went, or stayed",
    ),
    Mutation(
        "all transitions go with one",
        trigger(
            "revenue_state_transitions", "DELETE FROM revenue_state_transitions; RETURN NULL;", when="AFTER DELETE"
        ),
        "8b.2.2",
        reason="other rows went, or stayed",
    ),
    Mutation(
        "updates of dead events swallowed",
        trigger("dead_events", "RETURN NULL;", when="BEFORE UPDATE"),
        "R.5.2",
        reason="swallowed in silence",
    ),
    Mutation(
        "deletes of dead events swallowed",
        trigger("dead_events", "RETURN NULL;", when="BEFORE DELETE"),
        "R.5.3",
        reason="swallowed in silence",
    ),
    Mutation(
        "updates of tenants swallowed by a rule",
        "CREATE RULE mutant AS ON UPDATE TO tenants DO INSTEAD NOTHING",
        "8b.S.1",
    ),
    Mutation(
        "a trigger more that does nothing",
        trigger("channel_taxonomy", "RETURN NEW;", when="BEFORE UPDATE"),
        "8b.S.1",
    ),
]
