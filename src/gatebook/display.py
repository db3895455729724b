"""Verdicts, gates and tables as text and as HTML. All text from a database is escaped; nothing is fetched.

Each object has a plain form for terminals and logs and an HTML form for JupyterLab and the archived pages. The
colours follow JupyterLab's theme where there is one, and a verdict is always a word, not a colour alone.
"""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from gatebook.verdicts import VERDICTS, Rows, Verdict

if TYPE_CHECKING:
    import pandas as pd

# .gb.gb.gb outweighs JupyterLab's own rules for tables.
STYLE = """<style>
.gb { font-family: var(--jp-ui-font-family, system-ui, sans-serif); font-size: 13px; line-height: 1.5; margin: .3em 0 }
.gb b.pass { color: #1a7f37 } .gb b.fail { color: #cf222e } .gb b.unknown { color: #9a6700 }
@media (prefers-color-scheme: dark) {
 .gb b.pass { color: #3fb950 } .gb b.fail { color: #ff7b72 } .gb b.unknown { color: #d29922 } }
body[data-jp-theme-light=true] .gb b.pass { color: #1a7f37 }
body[data-jp-theme-light=true] .gb b.fail { color: #cf222e }
body[data-jp-theme-light=true] .gb b.unknown { color: #9a6700 }
body[data-jp-theme-light=false] .gb b.pass { color: #3fb950 }
body[data-jp-theme-light=false] .gb b.fail { color: #ff7b72 }
body[data-jp-theme-light=false] .gb b.unknown { color: #d29922 }
.gb .scroll { overflow-x: auto; max-width: 100% }
.gb table { border-collapse: collapse; margin: .2em 0 .4em; font-size: 12px; font-variant-numeric: tabular-nums }
.gb.gb.gb th, .gb.gb.gb td { border-bottom: 1px solid rgba(128,128,128,.35); padding: .15em .7em .15em 0;
 text-align: left; vertical-align: top; max-width: 46em; overflow-wrap: break-word;
 white-space: pre-wrap; background: none }
.gb th { font-weight: 600; white-space: nowrap } .gb.gb.gb td.num { text-align: right }
.gb summary { cursor: pointer; opacity: .75 } .gb pre { white-space: pre-wrap; font-size: 12px; margin: .2em 0 .4em }
.gb b.pass, .gb b.fail, .gb b.unknown { white-space: nowrap } .gb .label { opacity: .75 }
.gb .gate { border-left: 3px solid rgba(128,128,128,.5); padding-left: .7em }
</style>"""

SHOWN_ROWS = 50
FOLDED_FROM = 600  # characters in a cell, from which on it shows its beginning and unfolds
HEAD = 80


def frame(rows: Rows) -> "pd.DataFrame":
    """Rows as a DataFrame; NULL stays visible as NULL."""
    import pandas as pd

    return pd.DataFrame([{key: _text(row.get(key, "")) for key in _names(rows)} for row in rows])


def table_html(rows: Rows | Sequence[Mapping[str, Any]], *, limit: int = SHOWN_ROWS, of_rows: int | None = None) -> str:
    """Rows as an HTML table, escaped, numbers to the right, bounded with the true count below.

    of_rows  how many there were, where the rows are bounded already
    """
    if not rows:
        return "<div class='label'>no rows</div>"
    names = _names(rows)
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in names)
    body = "".join(f"<tr>{''.join(_cell(row.get(name, '')) for name in names)}</tr>" for row in rows[:limit])
    shown, there_were = min(limit, len(rows)), of_rows or len(rows)
    more = f"<div class='label'>{shown} of {there_were:,} rows</div>" if there_were > shown else ""
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{more}"


def _names(rows: Rows | Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows, in the order in which they first appear; a row may lack some."""
    return list(dict.fromkeys(name for row in rows for name in row))


def table_text(rows: Rows | Sequence[Mapping[str, Any]]) -> str:
    return frame(tuple(rows)).to_string(index=False) if rows else "no rows"


def badge(verdict: str) -> str:
    kind = VERDICTS.get(verdict)
    symbol = kind.symbol if kind else "·"
    return f"<b class='{html.escape(verdict.lower())}'>{symbol} {html.escape(verdict)}</b>"


class Shown:
    """Something with both forms: `_repr_html_` for notebooks, `str` for terminals."""

    def _html(self) -> str:
        raise NotImplementedError

    def _repr_html_(self) -> str:
        return f"<div class='gb'>{self._html()}</div>"

    def __repr__(self) -> str:
        return str(self)


@dataclass(frozen=True, repr=False)
class Table(Shown):
    """A titled table."""

    title: str
    rows: Rows
    note: str = ""

    def _html(self) -> str:
        note = f"<div class='label'>{html.escape(self.note)}</div>" if self.note else ""
        return f"<b>{html.escape(self.title)}</b>{table_html(self.rows)}{note}"

    def __str__(self) -> str:
        return f"{self.title}\n{table_text(self.rows)}{chr(10) + self.note if self.note else ''}"

    @property
    def frame(self) -> "pd.DataFrame":
        return frame(self.rows)


@dataclass(frozen=True, repr=False)
class TestResult(Shown):
    """One test: its verdict, the SQL as it ran, and have and want side by side."""

    __test__ = False  # the name is ours, not pytest's

    test: str
    says: str
    verdict: Verdict
    sql: str = ""

    @property
    def have(self) -> "pd.DataFrame":
        return frame(self.verdict.have)

    @property
    def want(self) -> "pd.DataFrame":
        return frame(self.verdict.want)

    def _html(self) -> str:
        verdict = self.verdict
        reason = f"<div>{html.escape(verdict.reason)}</div>" if verdict.reason else ""
        sql = f"<details><summary>SQL as run</summary><pre>{html.escape(self.sql)}</pre></details>" if self.sql else ""
        same = verdict.have == verdict.want and verdict.have != ()
        wanted = "" if same or not verdict.want else f"<div class='label'>want</div>{table_html(verdict.want)}"
        label = "have = want" if same else "have"
        return (
            f"{badge(verdict.name)} <b>{html.escape(self.test)}</b> {html.escape(self.says)}{reason}"
            f"<div class='label'>{label}</div>{table_html(verdict.have)}{wanted}{sql}"
        )

    def __str__(self) -> str:
        reason = f" – {self.verdict.reason}" if self.verdict.reason else ""
        return f"{self.verdict.symbol} {self.verdict.name} {self.test} {self.says}{reason}"


@dataclass(frozen=True, repr=False)
class GateResult(Shown):
    """A gate in one line."""

    gate: str
    title: str
    verdict: str
    green: int
    declared: int

    def _html(self) -> str:
        return (
            f"<div class='gate'>{badge(self.verdict)} <b>Gate {html.escape(self.gate)}</b> {html.escape(self.title)} "
            f"<span class='label'>{self.green} of {self.declared} tests green</span></div>"
        )

    def __str__(self) -> str:
        symbol = VERDICTS[self.verdict].symbol
        return f"{symbol} {self.verdict} gate {self.gate} {self.title} ({self.green} of {self.declared} tests green)"


@dataclass(frozen=True)
class Outcome:
    """A statement and what it returned, or the error that answered it."""

    sql: str
    rows: Rows
    error: str = ""

    def record(self) -> dict[str, Any]:
        return {"sql": self.sql, "rows": self.rows[:SHOWN_ROWS], "rows_seen": len(self.rows), "error": self.error}


@dataclass(frozen=True, repr=False)
class Finding(Shown):
    """What an obvious query gives, and what the corrected one gives."""

    title: str
    naive: Outcome
    corrected: Outcome

    def _html(self) -> str:
        parts = "".join(
            f"<div class='label'>{label}</div><pre>{html.escape(outcome.sql.strip())}</pre>"
            + (f"<div>✗ {html.escape(outcome.error)}</div>" if outcome.error else table_html(outcome.rows))
            for label, outcome in (("as documented", self.naive), ("corrected", self.corrected))
        )
        return f"<div class='gate'><b>Finding: {html.escape(self.title)}</b>{parts}</div>"

    def __str__(self) -> str:
        said = [outcome.error or table_text(outcome.rows) for outcome in (self.naive, self.corrected)]
        return f"Finding: {self.title}\nas documented:\n{said[0]}\ncorrected:\n{said[1]}"


@dataclass(frozen=True, repr=False)
class Note(Shown):
    """One paragraph."""

    text: str

    def _html(self) -> str:
        return html.escape(self.text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, repr=False)
class Header(Shown):
    """Where a notebook stands: phase, database, server, role, revision. Brings the style for what follows."""

    title: str
    rows: Rows

    def _html(self) -> str:
        return f"{STYLE}<b>{html.escape(self.title)}</b>{table_html(self.rows)}"

    def __str__(self) -> str:
        return f"{self.title}\n{table_text(self.rows)}"


@dataclass(frozen=True, repr=False)
class PhaseResult(Shown):
    """The verdict table of a phase."""

    title: str
    verdict: str
    rows: Rows
    unblocks: Sequence[str] = ()

    def _html(self) -> str:
        names = [name for name in self.rows[0] if name != "verdict"] if self.rows else []
        head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in ("verdict", *names))
        lines = "".join(
            f"<tr><td>{badge(str(row['verdict']))}</td>{''.join(_cell(row[name]) for name in names)}</tr>"
            for row in self.rows
        )
        table = f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"
        return f"{badge(self.verdict)} <b>{html.escape(self.title)}</b>{table}{self._unblocks_html()}"

    def _unblocks_html(self) -> str:
        if not self.unblocks:
            return ""
        state = "unblocked" if self.verdict == "PASS" else "still blocked"
        return f"<div>{state}: {html.escape(', '.join(self.unblocks))}</div>"

    def __str__(self) -> str:
        return f"{VERDICTS[self.verdict].symbol} {self.verdict} {self.title}\n{table_text(self.rows)}"


def show(*things: Shown) -> None:
    """Into the notebook's output where there is one, else nothing: libraries do not print."""
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is not None:
        display(*things)


def _cell(value: Any) -> str:
    css = " class='num'" if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else ""
    text = _text(value)
    if len(text) > FOLDED_FROM:
        head = text.strip().partition("\n")[0][:HEAD]
        return f"<td><details><summary>{html.escape(head)} …</summary>{html.escape(text)}</details></td>"
    return f"<td{css}>{html.escape(text)}</td>"


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "–"
    return str(value)
