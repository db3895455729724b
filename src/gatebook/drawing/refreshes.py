"""The picture of a refresh log: the duration of each refresh over time, failures, and the age of the contents."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatebook.drawing import sheet
from gatebook.drawing.sheet import FAINT, LIMIT, SERIES, WIDTH_IN, Chart, number
from gatebook.verdicts import Rows

PANEL_IN, GAP_IN, NAME_SIZE, STATUS_SIZE = 1.25, 0.2, 10, 8.5
OUTCOMES = {"succeeded": ("o", SERIES[0]), "failed": ("X", LIMIT), "not finished": ("^", SERIES[4])}
AGE_COLOUR = "#cfe8fc"
SHORTEST = timedelta(minutes=1)
TICK_STEPS_S = (
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400, 172_800, 604_800, 1_209_600, 2_592_000),
)
MOST_TICKS = 7


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
        moment = f"{self.contents_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"{told}; contents of {moment}, {_span(self.age)} old{limit}"


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
        _key(figure, views, span)
        words = "; ".join(f"{view.name}: {view.status}" for view in views)
        return sheet.finished(figure, f"{title}. {words}.")


def _views(log_rows: Rows, now: datetime, max_age_s: float | None) -> list[_View]:
    found = defaultdict(list)
    for row in sorted(log_rows, key=lambda row: (str(row["view"]), row["started_at"])):
        found[str(row["view"])].append(row)
    return [_View(name, tuple(rows), now, max_age_s) for name, rows in found.items()]


def _outcome(row: Mapping[str, Any]) -> str:
    if row["error"] is not None:
        return "failed"
    return "succeeded" if row["finished_at"] is not None else "not finished"


def _seconds(row: Mapping[str, Any]) -> float:
    """One that never ended lies on the ground."""
    finished: datetime | None = row["finished_at"]
    return 0.0 if finished is None else (finished - row["started_at"]).total_seconds()


def _span_of(views: Sequence[_View]) -> tuple[datetime, datetime]:
    """From the first start to now; a limit that lies far ahead is told in words only."""
    first = min(row["started_at"] for view in views for row in view.rows)
    now = max(views[0].now, first + SHORTEST)
    limits = [view.too_old_from for view in views if view.too_old_from]
    last = max([now, *(each for each in limits if each <= now + (now - first) / 2)])
    margin = (last - first) * 0.03
    return first - margin, last + margin


def _panel(axis: Axes, view: _View, span: tuple[datetime, datetime]) -> None:
    if view.contents_of is not None:
        axis.axvspan(_place(view.contents_of), _place(view.now), color=AGE_COLOUR, zorder=0, linewidth=0)
    for outcome, (marker, colour) in OUTCOMES.items():
        rows = [row for row in view.rows if _outcome(row) == outcome]
        days, seconds = [_place(row["started_at"]) for row in rows], [_seconds(row) for row in rows]
        axis.plot(days, seconds, marker, color=colour, markersize=6, clip_on=False, zorder=3)
        if outcome == "succeeded":
            axis.vlines(days, 0, seconds, color=colour, linewidth=1.2)
    axis.set_xlim(_place(span[0]), _place(span[1]))
    axis.set_ylim(0, max(_seconds(row) for row in view.rows) * 1.15 or 1.0)
    _scales(axis, span)
    if view.too_old_from is not None and view.too_old_from <= span[1]:
        axis.axvline(_place(view.too_old_from), color=LIMIT, linestyle="--", linewidth=1)


def _scales(axis: Axes, span: tuple[datetime, datetime]) -> None:
    axis.yaxis.set_major_locator(MaxNLocator(3))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    axis.set_ylabel("seconds")
    ticks, labels = _time_ticks(span)
    axis.set_xticks([_place(tick) for tick in ticks], labels)


def _time_ticks(span: tuple[datetime, datetime]) -> tuple[list[datetime], list[str]]:
    """Round moments in UTC; the day is told with the first one and whenever it is another."""
    whole = (span[1] - span[0]).total_seconds()
    step = next((each for each in TICK_STEPS_S if whole / each <= MOST_TICKS), TICK_STEPS_S[-1])
    step *= math.ceil(whole / step / MOST_TICKS)
    first = math.ceil(_place(span[0]) / step)
    moments = [
        datetime.fromtimestamp(each * step, UTC) for each in range(first, math.floor(_place(span[1]) / step) + 1)
    ]
    days = [f"{moment:%Y-%m-%d}" for moment in moments]
    if step >= 86_400:
        return moments, days
    times = [f"{moment:%H:%M:%S}" if step < 60 else f"{moment:%H:%M}" for moment in moments]
    is_new = [place == 0 or days[place - 1] != day for place, day in enumerate(days)]
    return moments, [f"{time}\n{day}" if new else time for time, day, new in zip(times, days, is_new, strict=True)]


def _key(figure: Chart, views: Sequence[_View], span: tuple[datetime, datetime]) -> None:
    seen = {_outcome(row) for view in views for row in view.rows}
    handles: list[Line2D | Patch] = [
        Line2D([], [], marker=marker, linestyle="", color=colour, label=outcome)
        for outcome, (marker, colour) in OUTCOMES.items()
        if outcome in seen
    ]
    handles.append(Patch(facecolor=AGE_COLOUR, edgecolor=FAINT, linewidth=0.5, label="age of the contents"))
    if any(view.too_old_from and view.too_old_from <= span[1] for view in views):
        handles.append(Line2D([], [], color=LIMIT, linestyle="--", linewidth=1, label="too old from here on"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8.5)


def _place(moment: datetime) -> float:
    """Where a moment lies on the axis: seconds since 1970."""
    return moment.timestamp()


def _span(span: timedelta) -> str:
    """The two largest units: 2 d 3 h, 5 min 2 s."""
    left = round(span.total_seconds())
    parts: list[str] = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        parts += [f"{count} {unit}"] if count or (unit == "s" and not parts) else []
    return " ".join(parts[:2])
