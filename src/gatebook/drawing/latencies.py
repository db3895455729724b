"""The picture of latencies: every execution as a point, percentiles as marks and as numbers, limits as lines."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gatebook.drawing import sheet
from gatebook.drawing.sheet import FAINT, INK, LIMIT, MARKERS, PAPER, SERIES, WIDTH_IN, Chart, number
from gatebook.timings import Latencies, percentiles

STATES = {"warm": SERIES[0], "cold": SERIES[1]}
STATE_IN, QUERY_GAP_IN = 0.36, 0.16
NUMBER_SIZE, NARROWEST_IN = 8.5, 0.62
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class _Columns:
    """The percentiles beside the picture: one column each, as wide as the widest number."""

    limits: Mapping[int, float]
    width_in: float

    def right_in(self, column: int) -> float:
        return WIDTH_IN - 0.2 - (len(self.limits) - 1 - column) * self.width_in

    @property
    def left_in(self) -> float:
        return self.right_in(-1)


def draw(latencies: Sequence[Latencies], *, limits: Mapping[int, float], title: str) -> Chart:
    samples = [ms for each in latencies for state in each.states.values() for ms in state]
    if not samples:
        return sheet.empty(title, "nothing was measured")
    columns = _columns(latencies, dict(sorted(limits.items())))
    names = [sheet.wrapped(each.name, within_in=1.9, size=9, weight="bold") for each in latencies]
    heights = [_block_in(each, lines) for each, lines in zip(latencies, names, strict=True)]
    heading = sheet.heading(title)
    top = 0.35 + len(heading) * sheet.line_in(12) + (len(limits) + 1) * sheet.line_in(8)
    left = 0.75 + max(sheet.width_in(line, size=9, weight="bold") for lines in names for line in lines)
    width = columns.left_in - left - 0.15
    with sheet.style():
        figure = sheet.new(top + sum(heights) + 0.85)
        sheet.put_heading(figure, heading)
        axis = sheet.axes(figure, left_in=left, top_in=top, width_in=width, height_in=sum(heights))
        sheet.logarithmic(axis, x=sheet.log_ticks([*samples, *limits.values()], room_in=width, across=True))
        axis.set_xlabel("milliseconds from sending the query to the last row, log scale")
        axis.set_ylim(sum(heights), 0)
        axis.set_yticks([])
        y = 0.0
        for each, lines, height in zip(latencies, names, heights, strict=True):
            sheet.put(figure, 0.2, top + y + QUERY_GAP_IN / 2, lines, fontweight="bold")
            _states(axis, each, columns, y + QUERY_GAP_IN / 2)
            axis.axhline(y + height, color=sheet.GRID, linewidth=0.8)
            y += height
        _limit_lines(axis, columns)
        _key(figure, columns.limits)
        return sheet.finished(figure, _words(title, latencies, columns.limits))


def _columns(latencies: Sequence[Latencies], limits: Mapping[int, float]) -> _Columns:
    found = [percentiles(ms, levels=limits) for each in latencies for ms in each.states.values()]
    texts = [number(value) for values in found for value in values.values()]
    return _Columns(limits, max([NARROWEST_IN, *(sheet.width_in(text, size=NUMBER_SIZE) + 0.14 for text in texts)]))


def _block_in(each: Latencies, lines: Sequence[str]) -> float:
    return max(len(each.states) * STATE_IN, len(lines) * sheet.line_in(9)) + QUERY_GAP_IN


def _states(axis: Axes, each: Latencies, columns: _Columns, y: float) -> None:
    """Points and percentiles of one query, and the percentiles as numbers to the right."""
    figure = sheet.figure_of(axis)
    left = axis.get_position().x0 * WIDTH_IN - 0.12
    for place, (state, samples) in enumerate(each.states.items()):
        middle = y + (place + 0.5) * STATE_IN
        spread = [((turn * GOLDEN) % 1 - 0.5) * STATE_IN * 0.6 + middle for turn in range(len(samples))]
        axis.plot(samples, spread, ".", color=STATES[state], alpha=0.35, markersize=3.5, markeredgewidth=0)
        at: dict[str, Any] = {
            "y_in": sheet.top_of(axis) + middle - sheet.line_in(NUMBER_SIZE) / 2,
            "size": NUMBER_SIZE,
            "ha": "right",
        }
        sheet.put(figure, left, lines=[state], color=STATES[state], **at)
        found = percentiles(samples, levels=columns.limits)
        for column, (level, limit) in enumerate(columns.limits.items()):
            marker, value = MARKERS[column % len(MARKERS)], found[level]
            axis.plot([value], [middle], marker, color=STATES[state], markeredgecolor=PAPER, markersize=7)
            colour = LIMIT if value >= limit else INK
            sheet.put(figure, columns.right_in(column), lines=[number(value)], color=colour, **at)


def _limit_lines(axis: Axes, columns: _Columns) -> None:
    """Labels stand above the axes, that of the lowest limit on top, so that no line crosses one."""
    figure, top, limits = sheet.figure_of(axis), sheet.top_of(axis), columns.limits
    for place, (level, limit) in enumerate(sorted(limits.items(), key=lambda item: item[1])):
        rise = (len(limits) - place + 1) * sheet.line_in(8) + 0.02
        axis.plot([limit, limit], [-rise, axis.get_ylim()[0]], color=LIMIT, linestyle="--", linewidth=1, clip_on=False)
        text = f"limit of p{level:g}: {number(limit)} ms"
        x = axis.transData.transform((limit, 0))[0] / figure.dpi + 0.06
        sheet.put(
            figure, min(x, WIDTH_IN - 0.2 - sheet.width_in(text, size=8)), top - rise, [text], size=8, color=LIMIT
        )
    for column, level in enumerate(limits):
        at = columns.right_in(column), top - sheet.line_in(8)
        sheet.put(figure, *at, [f"p{level:g} ms"], size=8, color=FAINT, ha="right")


def _key(figure: Chart, limits: Mapping[int, float]) -> None:
    handles = [Line2D([], [], marker=".", linestyle="", color=each, label=state) for state, each in STATES.items()]
    handles += [
        Line2D([], [], marker=MARKERS[place % len(MARKERS)], linestyle="", color=FAINT, label=f"p{level:g}")
        for place, level in enumerate(limits)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8.5)


def _words(title: str, latencies: Sequence[Latencies], limits: Mapping[int, float]) -> str:
    texts = [
        f"{each.name} {state}: "
        + ", ".join(f"p{level:g} {number(ms)} ms" for level, ms in percentiles(samples, levels=limits).items())
        for each in latencies
        for state, samples in each.states.items()
    ]
    return f"{title}. {'; '.join(texts)}."
