"""Words for mutations of views: migrations that say something else, views made anew with all that belongs to them."""

import re
from collections.abc import Sequence

from conftest import ROOT
from gatebook.embedded import OWNER
from mutations.mutation import CANONICAL, CONTRACT, Edit, literal

FIRST, CHANNELS, DAILY, LOG, LATEST, SCOPED = (
    "202511131119", "202511151500", "202511151510", "202511151520", "202511151530", "202511151540",
)  # fmt: skip
MADE_BY = {
    "mv_realtime_revenue": FIRST,
    "mv_channel_performance": CHANNELS,
    "mv_daily_revenue_summary": DAILY,
    "mv_reconciliation_status": LATEST,
}
READ_THROUGH = {name: view.read_through for name, view in CONTRACT.views.items()}
CONTRACT_FILE = "params/api_contract.yaml"
CHANNEL, DAY = "mv_channel_performance", "mv_daily_revenue_summary"
REALTIME, RECONCILED, RUNS = "mv_realtime_revenue", "mv_reconciliation_status", "reconciliation_runs"
OWN_ROWS = "WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"

Change = tuple[str, str]  # what stands there, and what stands there instead

_FILES = {path.name.partition("_")[0]: path for path in (ROOT / "alembic" / "versions").glob("*.py")}


def revision(number: str, *changes: Change) -> tuple[Edit, ...]:
    """The migration says something else."""
    return tuple(Edit(str(_FILES[number].relative_to(ROOT)), *change) for change in changes)


def also(number: str, statement: str) -> tuple[Edit, ...]:
    """The migration does something more."""
    return revision(number, ("\n\n\ndef downgrade", f'\n    op.execute("""{statement}""")\n\n\ndef downgrade'))


def contract(*changes: Change) -> tuple[Edit, ...]:
    """The contract says something else."""
    return tuple(Edit(CONTRACT_FILE, *change) for change in changes)


def remade(view: str, *changes: Change) -> str:
    """A materialized view in other words, made anew by its owner, and the view over it; all else is as it was."""
    indexes = CANONICAL.views[view].indexes
    return ";\n".join(
        [
            f"SET ROLE {OWNER}",
            f"DROP MATERIALIZED VIEW {view} CASCADE",
            _changed(definition(view), changes),
            *(each.definition for each in indexes.values()),
            *(f"COMMENT ON INDEX {name} IS {literal(each.comment)}" for name, each in indexes.items()),
            *_comments(view),
            _scoped(view),
            *_comments(READ_THROUGH[view]),
            f"GRANT SELECT ON {READ_THROUGH[view]} TO app_rw, app_ro",
            "RESET ROLE",
        ]
    )


def shown(view: str, *changes: Change) -> str:
    """The view over a materialized view in other words."""
    return _instead(SCOPED, f"CREATE VIEW {READ_THROUGH[view]} WITH", changes)


def refreshing(*changes: Change) -> str:
    """The function of refreshes in other words."""
    return _instead(LOG, "CREATE FUNCTION refresh_materialized_view(", changes)


def status(*changes: Change) -> str:
    """The view that tells how old contents are, in other words."""
    return _instead(LOG, "CREATE VIEW mv_refresh_status AS", changes)


def _instead(number: str, beginning: str, changes: Sequence[Change]) -> str:
    """Something made anew in place: its rights and comments stay."""
    return _changed(_statement(number, beginning).replace("CREATE", "CREATE OR REPLACE", 1), changes)


def _changed(text: str, changes: Sequence[Change]) -> str:
    for old, new in changes:
        assert old in text, f"nothing says {old!r}"
        text = text.replace(old, new)
    return text


def definition(view: str) -> str:
    """The statement that makes a materialized view."""
    return _statement(MADE_BY[view], f"CREATE MATERIALIZED VIEW {view} AS")


def _scoped(view: str) -> str:
    return _statement(SCOPED, f"CREATE VIEW {READ_THROUGH[view]} WITH")


def _statement(number: str, beginning: str) -> str:
    """The statement of a migration that begins like this, up to its closing quotes."""
    text = _FILES[number].read_text(encoding="utf-8")
    found = re.search(rf'"""\s*({re.escape(beginning)}.*?)"""', text[text.index("def upgrade") :], re.DOTALL)
    assert found, f"{number} has no statement {beginning!r}"
    return found[1].rstrip()


def _comments(view: str) -> list[str]:
    declared = CANONICAL.views[view]
    return [f"COMMENT ON {declared.kind.upper()} {view} IS {literal(declared.comment)}"] + [
        f"COMMENT ON COLUMN {view}.{name} IS {literal(column.comment)}" for name, column in declared.columns.items()
    ]
