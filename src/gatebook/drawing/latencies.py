"""The picture of latencies: every execution as a point, percentiles as marks and as numbers, limits as lines."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gatebook.drawing import sheet
from gatebook.drawing.sheet import FAINT, INK, LIMIT, MARKERS, PAPER, SERIES, WIDTH_IN, Chart, number
from gatebook.timings import Latencies, percentiles

STATES = {"warm": SERIES[0], "cold": SERIES[1]}
STATE_IN, QUERY_GAP_IN, NUMBER_IN = 0.36, 0.16, 0.62
GOLDEN = (math.sqrt(5) - 1) / 2


def draw(latencies: Sequence[Latencies], *, limits: Mapping[int, float], title: str) -> Chart:
    if not latencies:
        return sheet.empty(title, "nothing was measured")
    limits = dict(sorted(limits.items()))
    names = [sheet.wrapped(each.name, within_in=1.9, size=9, weight="bold") for each in latencies]
    heights = [_block_in(each, lines) for each, lines in zip(latencies, names, strict=True)]
    heading = sheet.heading(title)
    top = 0.35 + len(heading) * sheet.line_in(12) + (len(limits) + 1) * sheet.line_in(8)
    left = 0.75 + max(sheet.width_in(line, size=9, weight="bold") for lines in names for line in lines)
    with sheet.style():
        figure = sheet.new(top + sum(heights) + 0.85)
        sheet.put_heading(figure, heading)
        width = WIDTH_IN - left - len(limits) * NUMBER_IN - 0.35
        axis = sheet.axes(figure, left_in=left, top_in=top, width_in=width, height_in=sum(heights))
        samples = [ms for each in latencies for state in each.states.values() for ms in state]
        sheet.logarithmic(axis, x=[*samples, *limits.values()])
        axis.set_xlabel("milliseconds from sending the query to the last row, log scale")
        axis.set_ylim(sum(heights), 0)
        axis.set_yticks([])
        y = 0.0
        for each, lines, height in zip(latencies, names, heights, strict=True):
            sheet.put(figure, 0.2, top + y + QUERY_GAP_IN / 2, lines, fontweight="bold")
            _states(axis, each, limits, top + y + QUERY_GAP_IN / 2, left)
            axis.axhline(y + height, color=sheet.GRID, linewidth=0.8)
            y += height
        _limit_lines(axis, limits, top)
        _latency_key(figure, limits)
        return sheet.finished(figure, _latency_words(title, latencies, limits))


def _block_in(each: Latencies, lines: Sequence[str]) -> float:
    return max(len(each.states) * STATE_IN, len(lines) * sheet.line_in(9)) + QUERY_GAP_IN


def _states(axis: Axes, each: Latencies, limits: Mapping[int, float], top_in: float, left_in: float) -> None:
    """Points and percentiles of one query, and the percentiles as numbers to the right."""
    figure = sheet.figure_of(axis)
    origin = sheet.top_of(axis)
    for place, (state, samples) in enumerate(each.states.items()):
        middle = top_in - origin + (place + 0.5) * STATE_IN
        spread = [((number_ * GOLDEN) % 1 - 0.5) * STATE_IN * 0.6 + middle for number_ in range(len(samples))]
        axis.plot(samples, spread, ".", color=STATES[state], alpha=0.35, markersize=3.5, markeredgewidth=0)
        at = {"y_in": origin + middle - sheet.line_in(8.5) / 2, "size": 8.5}
        sheet.put(figure, left_in - 0.12, lines=[state], color=STATES[state], ha="right", **at)
        found = percentiles(samples, levels=limits)
        for column, (level, limit) in enumerate(limits.items()):
            value = found[level]
            axis.plot([value], [middle], MARKERS[column % 8], color=STATES[state], markeredgecolor=PAPER, markersize=7)
            right = WIDTH_IN - 0.2 - (len(found) - 1 - column) * NUMBER_IN
            colour = LIMIT if value >= limit else INK
            sheet.put(figure, right, lines=[number(value)], color=colour, ha="right", **at)


def _limit_lines(axis: Axes, limits: Mapping[int, float], top_in: float) -> None:
    """Labels stand above the axes, that of the lowest limit on top, so that no line crosses one."""
    figure = sheet.figure_of(axis)
    for place, (level, limit) in enumerate(sorted(limits.items(), key=lambda item: item[1])):
        rise = (len(limits) - place + 1) * sheet.line_in(8) + 0.02
        axis.plot([limit, limit], [-rise, axis.get_ylim()[0]], color=LIMIT, linestyle="--", linewidth=1, clip_on=False)
        text = f"limit of p{level:g}: {limit:,g} ms"
        x_in = axis.transData.transform((limit, 0))[0] / figure.dpi + 0.06
        x_in = min(x_in, WIDTH_IN - 0.2 - sheet.width_in(text, size=8))
        sheet.put(figure, x_in, top_in - rise, [text], size=8, color=LIMIT)
    for place, level in enumerate(limits):
        right = WIDTH_IN - 0.2 - (len(limits) - 1 - place) * NUMBER_IN
        sheet.put(figure, right, top_in - sheet.line_in(8), [f"p{level:g} ms"], size=8, color=FAINT, ha="right")


def _latency_key(figure: Chart, limits: Mapping[int, float]) -> None:
    handles = [Line2D([], [], marker=".", linestyle="", color=each, label=state) for state, each in STATES.items()]
    handles += [
        Line2D([], [], marker=MARKERS[place % 8], linestyle="", color=FAINT, label=f"p{level:g}")
        for place, level in enumerate(limits)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), frameon=False, fontsize=8.5)


def _latency_words(title: str, latencies: Sequence[Latencies], limits: Mapping[int, float]) -> str:
    texts = [
        f"{each.name} {state}: "
        + ", ".join(f"p{level:g} {number(ms)} ms" for level, ms in percentiles(samples, levels=limits).items())
        for each in latencies
        for state, samples in each.states.items()
    ]
    return f"{title}. {'; '.join(texts)}."
