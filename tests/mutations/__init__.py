"""Single mutations of a correctly migrated database; a mutation names the tests that must go red."""

from mutations import (
    access,
    canonical,
    definitions,
    isolation,
    phases,
    refreshes,
    responses,
    rows,
    triggers,
    unseen,
    views,
)
from mutations.mutation import CANONICAL, GATES, Mutation

__all__ = ["CANONICAL", "GATES", "MUTATIONS", "UNSEEN", "VIEW_MUTATIONS", "Mutation"]

MUTATIONS = [
    *canonical.mutations(),
    *definitions.INDEXES,
    *definitions.CONSTRAINTS,
    *definitions.COLUMNS,
    *definitions.COMMENTS,
    *triggers.TRIGGERS,
    *access.ACCESS,
    *access.OTHER_OBJECTS,
    *rows.mutations(),
    *phases.mutations(),
]
VIEW_MUTATIONS = [
    *canonical.view_mutations(),
    *phases.view_mutations(),
    *views.mutations(),
    *isolation.mutations(),
    *refreshes.mutations(),
    *responses.mutations(),
]
UNSEEN = unseen.UNSEEN
