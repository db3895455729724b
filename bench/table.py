"""The table of the benchmark: one line for each thing that is measured, one column for each number of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gatebook.errors import ConfigurationError

MILLION = 1_000_000
BEGIN, END = "<!-- written by make bench ARGS=--write-docs -->", "<!-- until here -->"


@dataclass(frozen=True)
class Figure:
    """One thing at one number of rows.

    value   in the unit of its line
    ratio   to the peer or floor, as its line says
    reason  why it was not measured; value and ratio are None then
    """

    value: float | None = None
    ratio: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Limit:
    """What a figure must keep at a number of rows; at others it is not judged."""

    rows: int = 10 * MILLION
    value_at_most: float | None = None
    value_at_least: float | None = None
    ratio_at_most: float | None = None
    ratio_at_least: float | None = None

    def is_met(self, figure: Figure) -> bool | None:
        """None where nothing was measured."""
        if figure.value is None or figure.ratio is None:
            return None
        at_most = ((figure.value, self.value_at_most), (figure.ratio, self.ratio_at_most))
        at_least = ((figure.value, self.value_at_least), (figure.ratio, self.ratio_at_least))
        return all(limit is None or have <= limit for have, limit in at_most) and all(
            limit is None or have >= limit for have, limit in at_least
        )


@dataclass(frozen=True)
class Line:
    """What is measured, in which unit, and against what.

    unit     s, ms, MB or /s
    against  the peer or floor; the ratio is value / peer unless it says "times faster" or "times slower"
    """

    what: str
    unit: str
    against: str
    limit: Limit | None = None


Figures = Mapping[str, Figure]  # key of LINES -> figure

CHANNEL, REVENUE = "mv_channel_performance", "mv_daily_revenue_summary"
REQUESTS = ("channel", "revenue")


def _lines_of_request(key: str) -> Iterator[tuple[str, Line]]:
    what = f"{key} request"
    for level in ("p50", "p95", "p99"):
        limit = Limit(value_at_most=10, ratio_at_most=5) if level == "p95" else None
        yield f"{key} {level}", Line(f"{what}, {level}", "ms", "SELECT 1, less transfer", limit)
    yield f"{key} copy", Line(f"{what}, rows from a temporary table", "ms", "SELECT 1")
    yield f"{key} raw", Line(f"{what}, from source rows", "ms", f"{what}: times faster", Limit(ratio_at_least=50))


def _lines_of_peer(key: str, what: str, limit: Limit | None = None) -> Iterator[tuple[str, Line]]:
    yield key, Line(what, "s", "comparison, channels: times faster", limit)
    yield f"{key} memory", Line(f"{what}, peak memory", "MB", "comparison's client")


# docs/benchmarks.md says what each of them is.
LINES: Mapping[str, Line] = {
    "load": Line("load, allocations a second", "/s", "bare CREATE TABLE AS", Limit(value_at_least=60_000)),
    "copy": Line("psql \\copy, allocations a second", "/s", "load: times faster"),
    "settle": Line("VACUUM ANALYZE after the load", "s", "load"),
    "refresh channel": Line("refresh, channels", "s", "bare aggregation", Limit(ratio_at_most=1.5)),
    "refresh revenue": Line("refresh, revenue", "s", "bare aggregation", Limit(ratio_at_most=1.5)),
    "comparison channel": Line("comparison, channels", "s", "bare aggregation", Limit(ratio_at_most=1.25)),
    "comparison revenue": Line("comparison, revenue", "s", "bare aggregation", Limit(ratio_at_most=1.25)),
    "psql channel": Line("comparison, channels", "s", "psql, same statement"),
    "psql revenue": Line("comparison, revenue", "s", "psql, same statement"),
    "memory": Line(
        "comparison's client, peak memory", "MB", "at the fewest rows", Limit(value_at_most=300, ratio_at_most=1.1)
    ),
    **dict(_lines_of_peer("pandas", "pandas", Limit(MILLION, ratio_at_least=10))),
    **dict(_lines_of_peer("datacompy", "datacompy", Limit(MILLION, ratio_at_least=10))),
    **dict(_lines_of_peer("pandas_text", "pandas, ids as text")),
    **{key: line for name in REQUESTS for key, line in _lines_of_request(name)},
}


def render(measured: Mapping[int, Figures]) -> str:
    """The whole table as Markdown, padded to be read as it is.

    measured  rows -> figures; a figure that is missing was not measured
    """
    head = ["measured", "against", *map(count, measured), "target", "met"]
    return padded([head, *(_cells(key, line, measured) for key, line in LINES.items())])


def padded(rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown, its head first."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    ruler = ["-" * width for width in widths]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(f"| {line} |" for line in [lines[0], " | ".join(ruler), *lines[1:]])


def verdict(key: str, measured: Mapping[int, Figures]) -> str:
    """Whether a line keeps its limit: yes, no, not measured; or nothing where it has none."""
    limit = LINES[key].limit
    if limit is None:
        return ""
    figure = measured.get(limit.rows, {}).get(key, Figure())
    return {True: "yes", False: "no", None: "not measured"}[limit.is_met(figure)]


def count(rows: int) -> str:
    """A number of rows as a heading."""
    return f"{rows / MILLION:g} M" if rows % (MILLION / 10) == 0 else f"{rows:,}"


def write(page: Path, text: str, begin: str = BEGIN) -> None:
    """Put the text between the marks of a page, in place of what stands there."""
    before, after = around(page, begin)
    page.write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def around(page: Path, begin: str = BEGIN) -> tuple[str, str]:
    """What stands before and after the marks.

    Errors  ConfigurationError for a page without them
    """
    before, found, rest = page.read_text("utf-8").partition(begin)
    _, end, after = rest.partition(END)
    if not (found and end):
        raise ConfigurationError(
            "the page lacks the marks between which the table is written",
            where=str(page),
            next_step=f"put these two lines where it shall stand: {begin} and {END}",
        )
    return before, after


def _cells(key: str, line: Line, measured: Mapping[int, Figures]) -> list[str]:
    figures = [figures.get(key, Figure(reason="not measured")) for figures in measured.values()]
    return [
        line.what,
        line.against,
        *(_cell(each, line.unit) for each in figures),
        _target(line),
        verdict(key, measured),
    ]


def _cell(figure: Figure, unit: str) -> str:
    if figure.value is None or figure.ratio is None:
        return figure.reason
    return f"{value(figure.value, unit)}, {number(figure.ratio)} ×"


def value(amount: float, unit: str) -> str:
    """An amount with its unit; less than a second in milliseconds."""
    if unit == "s" and amount < 1:
        amount, unit = amount * 1000, "ms"
    return f"{number(amount)}{'' if unit == '/s' else ' '}{unit}"


def number(value: float) -> str:
    """Three figures that mean something."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _target(line: Line) -> str:
    limit = line.limit
    if limit is None:
        return ""
    unit = line.unit if line.unit == "/s" else f" {line.unit}"
    bounds = [
        *(f"{sign} {bound:,g}{unit}" for sign, bound in _bounds(limit.value_at_most, limit.value_at_least)),
        *(f"{sign} {bound:g} ×" for sign, bound in _bounds(limit.ratio_at_most, limit.ratio_at_least)),
    ]
    return f"{' and '.join(bounds)} at {count(limit.rows)}"


def _bounds(at_most: float | None, at_least: float | None) -> Sequence[tuple[str, float]]:
    return [(sign, bound) for sign, bound in (("≤", at_most), ("≥", at_least)) if bound is not None]
