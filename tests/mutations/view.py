"""Words for mutations of views: migrations that say something else, and views made anew with all that belongs to them."""

import re

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
Change = tuple[str, str]  # what stands there, and what stands there instead

CONTRACT_FILE = "params/api_contract.yaml"
REFRESH = "refresh_materialized_view(regclass, interval)"
OWN_ROWS = "WHERE tenant_id = nullif(current_setting('app.current_tenant_id', true), '')::uuid"

_FILES = {path.name.partition("_")[0]: path for path in (ROOT / "alembic" / "versions").glob("*.py")}


def revision(number: str, *changes: Change) -> tuple[Edit, ...]:
    """The migration says something else."""
    return tuple(Edit(str(_FILES[number].relative_to(ROOT)), *change) for change in changes)


def also(number: str, statement: str) -> tuple[Edit, ...]:
    """The migration does something more."""
    return revision(number, ("\n\n\ndef downgrade", f'\n    op.execute("""{statement}""")\n\n\ndef downgrade'))


def contract(old: str, new: str) -> tuple[Edit, ...]:
    return (Edit(CONTRACT_FILE, old, new),)


def remade(view: str, *changes: Change, index: str = "") -> str:
    """A materialized view made anew by its owner, and the view over it: its definition in other words, all else as it was.

    index  definition of its index, where that is another
    """
    made = definition(view)
    for old, new in changes:
        assert old in made, f"{view} does not say {old!r}"
        made = made.replace(old, new)
    indexes = CANONICAL.views[view].indexes
    return ";\n".join(
        [
            f"SET ROLE {OWNER}",
            f"DROP MATERIALIZED VIEW {view} CASCADE",
            made,
            *([index] if index else [each.definition for each in indexes.values()]),
            *(f"COMMENT ON INDEX {name} IS {literal(each.comment)}" for name, each in indexes.items()),
            *_comments(view),
            _scoped(view),
            *_comments(READ_THROUGH[view]),
            f"GRANT SELECT ON {READ_THROUGH[view]} TO app_rw, app_ro",
            "RESET ROLE",
        ]
    )


def shown(view: str, *changes: Change) -> str:
    """The view over a materialized view in other words; rights and comments stay."""
    statement = _scoped(view).replace("CREATE VIEW", "CREATE OR REPLACE VIEW")
    for old, new in changes:
        assert old in statement, f"{READ_THROUGH[view]} does not say {old!r}"
        statement = statement.replace(old, new)
    return statement


def refreshing(*changes: Change) -> str:
    """The function of refreshes in other words; rights and comment stay."""
    text = _statement(LOG, "CREATE FUNCTION refresh_materialized_view(").replace("CREATE", "CREATE OR REPLACE", 1)
    for old, new in changes:
        assert old in text, f"the function does not say {old!r}"
        text = text.replace(old, new)
    return text


def definition(view: str) -> str:
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
