"""The picture of a chain's rehearsal: how long locks were held, and how much was rewritten, revision by revision."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gatebook.drawing import sheet
from gatebook.drawing.sheet import LIMIT, SERIES, WIDTH_IN, Chart, number, plain
from gatebook.verdicts import Rows

ROW_IN = 0.26
TICKS = 4  # as many as have room for seven digits
PANELS = (("held_ms", "longest lock (ms)", 1.0), ("rewritten_bytes", "rewritten (kB)", 1024.0))


def draw(rows: Rows, *, limit_ms: float | None, title: str) -> Chart:
    if not rows:
        return sheet.empty(title, "nothing was rehearsed")
    names = [str(row["revision"]) for row in rows]
    heading = sheet.heading(title)
    top = 0.35 + len(heading) * sheet.line_in(12)
    height = len(rows) * ROW_IN
    left = 0.35 + max(sheet.width_in(name, size=9) for name in names)
    width = (WIDTH_IN - left - 0.9) / 2
    with sheet.style():
        figure = sheet.new(top + height + 0.75)
        sheet.put_heading(figure, heading)
        for place, (measure, says, unit) in enumerate(PANELS):
            axis = sheet.axes(
                figure, left_in=left + place * (width + 0.5), top_in=top, width_in=width, height_in=height
            )
            _bars(axis, rows, measure, unit, SERIES[place])
            axis.set_xlabel(says)
            axis.set_yticks(range(len(names)), names if place == 0 else [])
            if place == 0 and limit_ms is not None:
                _limit(axis, limit_ms)
        return sheet.finished(figure, _words(title, rows, limit_ms))


def _bars(axis: Axes, rows: Rows, measure: str, unit: float, colour: str) -> None:
    values = [float(row[measure]) / unit for row in rows]
    bars = axis.barh(range(len(values)), values, height=0.62, color=colour)
    axis.bar_label(bars, labels=[number(value) if value else "" for value in values], padding=3, fontsize=8)
    axis.invert_yaxis()
    axis.set_ylim(len(values) - 0.4, -0.6)
    axis.set_xlim(0, max(*values, 1.0) * 1.22)
    axis.xaxis.set_major_locator(MaxNLocator(TICKS))
    axis.xaxis.set_major_formatter(lambda value, _place: number(value))
    axis.spines[["top", "right"]].set_visible(False)


def _limit(axis: Axes, limit_ms: float) -> None:
    """Drawn where it fits; a limit far beyond every bar is said in the label of the axis instead."""
    if limit_ms <= axis.get_xlim()[1]:
        axis.axvline(limit_ms, color=LIMIT, linestyle="--", linewidth=1)
    axis.set_xlabel(plain(f"longest lock (ms); who waits gives up after {number(limit_ms)}"))


def _words(title: str, rows: Rows, limit_ms: float | None) -> str:
    said: list[str] = []
    for row in rows:
        held: Any = row["held_ms"]
        said.append(f"{row['revision']}: {number(held)} ms, {number(row['rewritten_bytes'] / 1024)} kB rewritten")
    limited = f" Who waits for a lock gives up after {number(limit_ms)} ms." if limit_ms is not None else ""
    return f"{title}. {'; '.join(said)}.{limited}"
