"""Faults that no gate sees yet. When one does, its test fails: then the mutation belongs with the others."""

from mutations.mutation import Mutation
from mutations.view import CHANNELS, LOG, OWN_ROWS, revision

WINDOW = "WHERE created_at >="

UNSEEN = [
    Mutation(
        "a downgrade that empties a table",
        "",
        "MV-2.5.1",
        at="MV-1",
        edits=revision(
            CHANNELS,
            ("DROP MATERIALIZED VIEW mv_channel", "DELETE FROM dead_events; DROP MATERIALIZED VIEW mv_channel"),
        ),
    ),
    Mutation(
        "a refresh for the tenant that is set",
        "",
        "H.5.1",
        at="MV-1",
        edits=revision(CHANNELS, (WINDOW, f"{OWN_ROWS.replace('WHERE ', 'WHERE (')} IS NOT FALSE) AND created_at >=")),
    ),
    Mutation(
        "a status that tells messages",
        "",
        "H.1.1 H.9.2",
        at="MV-3",
        edits=revision(LOG, ("pg_catalog.left(attempt.error, 5) AS last_error", "attempt.error AS last_error")),
    ),
]
