"""The picture of a refresh log: the duration of each refresh over time, failures, and the age of the contents."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatebook.drawing import sheet
from gatebook.drawing.sheet import FAINT, INK, LIMIT, SERIES, WIDTH_IN, Chart, number
from gatebook.verdicts import Rows

PANEL_IN, GAP_IN, NAME_SIZE, STATUS_SIZE = 1.25, 0.2, 10, 8.5
OUTCOMES = {"succeeded": ("o", SERIES[0]), "failed": ("X", LIMIT), "not finished": ("^", SERIES[4])}
AGE, AGE_COLOUR = "age of the contents", "#ddf4ff"
SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True)
class _View:
    """One view's refreshes, oldest first."""

    name: str
    rows: Rows
    now: datetime
    max_age_s: float | None

    @cached_property
    def contents_of(self) -> datetime | None:
        """The contents are those of the moment at which the last refresh that succeeded began."""
        return max((row["started_at"] for row in self.rows if _outcome(row) == "succeeded"), default=None)

    @property
    def age(self) -> timedelta | None:
        return None if self.contents_of is None else self.now - self.contents_of

    @property
    def too_old_from(self) -> datetime | None:
        if self.contents_of is None or self.max_age_s is None:
            return None
        return self.contents_of + timedelta(seconds=self.max_age_s)

    @property
    def is_too_old(self) -> bool:
        return self.contents_of is None or (self.too_old_from is not None and self.now >= self.too_old_from)

    @property
    def status(self) -> str:
        counts = {name: sum(_outcome(row) == name for row in self.rows) for name in OUTCOMES}
        told = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        if self.contents_of is None or self.age is None:
            return f"{told}; never refreshed with success"
        limit = "" if self.max_age_s is None else f", limit {_span(timedelta(seconds=self.max_age_s))}"
        return f"{told}; contents of {self.contents_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {_span(self.age)} old{limit}"


def draw(log_rows: Rows, *, now: datetime, max_age_s: float | None, title: str) -> Chart:
    if not log_rows:
        return sheet.empty(title, "no refresh is on record")
    views = _views(log_rows, now, max_age_s)
    heading = sheet.heading(title)
    top = 0.3 + len(heading) * sheet.line_in(12)
    names = [sheet.wrapped(view.name, within_in=WIDTH_IN - 0.4, size=NAME_SIZE, weight="bold") for view in views]
    heads = [len(lines) * sheet.line_in(NAME_SIZE) + sheet.line_in(STATUS_SIZE) + 0.12 for lines in names]
    with sheet.style():
        figure = sheet.new(top + sum(heads) + len(views) * (PANEL_IN + GAP_IN) + 0.75)
        sheet.put_heading(figure, heading)
        span = _span_of(views)
        for view, lines, head in zip(views, names, heads, strict=True):
            below = top + sheet.put(figure, 0.2, top, lines, size=NAME_SIZE, fontweight="bold")
            sheet.put(figure, 0.2, below, [view.status], size=STATUS_SIZE, color=LIMIT if view.is_too_old else FAINT)
            axis = sheet.axes(figure, left_in=1.0, top_in=top + head, width_in=WIDTH_IN - 1.5, height_in=PANEL_IN)
            _panel(axis, view, span)
            axis.tick_params(labelbottom=view is views[-1])
            top += head + PANEL_IN + GAP_IN
        axis.set_xlabel("start of the refresh, UTC")
        _key(figure, views)
        words = "; ".join(f"{view.name}: {view.status}" for view in views)
        return sheet.finished(figure, f"{title}. {words}.")


def _views(log_rows: Rows, now: datetime, max_age_s: float | None) -> list[_View]:
    found = defaultdict(list)
    for row in sorted(log_rows, key=lambda row: (str(row["view"]), row["started_at"])):
        found[str(row["view"])].append(row)
    return [_View(name, tuple(rows), now, max_age_s) for name, rows in found.items()]


def _outcome(row: Rows[int]) -> str:
    if row["error"] is not None:
        return "failed"
    return "succeeded" if row["finished_at"] is not None else "not finished"
