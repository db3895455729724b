"""The picture of a measure as tables grow: a line a series, every point labelled, both scales logarithmic."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from gatebook.drawing import sheet
from gatebook.drawing.sheet import LIMIT, MARKERS, PAPER, SERIES, WIDTH_IN, Chart, Label, number, plain

Series = Mapping[str, Sequence[tuple[float, float]]]

BARE = ", bare aggregation"  # a series of this ending is what another one is compared with
LINES_IN = 3.6


def draw(
    series: Series, *, measure: str, unit: str, limit: float | None, title: str
) -> Chart:
    points = [point for each in series.values() for point in each]
    if not points:
        return sheet.empty(title, "nothing was measured")
    heading = sheet.heading(title)
    top = 0.35 + len(heading) * sheet.line_in(12)
    columns, names = _key_lines(list(series))
    key_in = math.ceil(len(names) / columns) * max(len(lines) for lines in names) * sheet.line_in(8.5) + 0.15
    with sheet.style():
        figure = sheet.new(top + LINES_IN + 0.55 + key_in)
        sheet.put_heading(figure, heading)
        axis = sheet.axes(figure, left_in=1.1, top_in=top, width_in=WIDTH_IN - 1.55, height_in=LINES_IN)
        least = min((y for _, y in points if y > 0), default=1.0)  # a log scale has no 0
        sheet.logarithmic(axis, x=[x for x, _ in points], y=[max(y, least) for _, y in points] + [limit or least])
        axis.set_xlabel("source rows, log scale")
        axis.set_ylabel("\n".join(sheet.wrapped(f"{measure} ({unit}), log scale", within_in=LINES_IN - 0.2, size=9)))
        labels = _lines(axis, series, least)
        taken = [_limit_across(axis, limit, unit)] if limit is not None else []
        sheet.put_labels(axis, labels, taken=taken)
        handles = [_handle(name, lines, place) for place, (name, lines) in enumerate(zip(series, names, strict=True))]
        figure.legend(handles=handles, loc="lower left", ncols=columns, frameon=False, fontsize=8.5)
        return sheet.finished(figure, _growth_words(title, series, unit, limit))


def _key_lines(names: Sequence[str]) -> tuple[int, list[list[str]]]:
    """How many columns the key has, and each name in lines that fit into one."""
    columns = 2 if len(names) > 1 and all(sheet.width_in(plain(name), size=8.5) < 3.5 for name in names) else 1
    return columns, [sheet.wrapped(name, within_in=3.6 if columns == 2 else 7.8, size=8.5) for name in names]


def _look(name: str, place: int) -> dict[str, Any]:
    colour = SERIES[place % len(SERIES)]
    is_bare = name.endswith(BARE)
    return {
        "color": colour,
        "marker": MARKERS[place % len(MARKERS)],
        "markerfacecolor": PAPER if is_bare else colour,
        "linestyle": "--" if is_bare else "-",
        "linewidth": 1.4,
        "markersize": 5.5,
    }


def _handle(name: str, lines: Sequence[str], place: int) -> Line2D:
    return Line2D([], [], label="\n".join(lines), **_look(name, place))


def _lines(axis: Axes, series: Series, least: float) -> list[Label]:
    labels = []
    for place, (name, points) in enumerate(series.items()):
        ordered = sorted(points)
        look = _look(name, place)
        axis.plot([x for x, _ in ordered], [max(y, least) for _, y in ordered], **look)
        labels += [Label(x, max(y, least), number(y), look["color"]) for x, y in ordered]
    return labels


def _limit_across(axis: Axes, limit: float, unit: str) -> Bbox:
    """The line and its label; the place of the label in inches from the lower left corner."""
    axis.axhline(limit, color=LIMIT, linestyle="--", linewidth=1)
    figure = sheet.figure_of(axis)
    text = plain(f"limit: {limit:,g} {unit}")
    room = axis.get_window_extent()
    x, y = room.x0 / figure.dpi + 0.08, axis.transData.transform((axis.get_xlim()[0], limit))[1] / figure.dpi
    width, height = sheet.width_in(text, size=8), sheet.line_in(8)
    below = y + height + 0.05 > room.y1 / figure.dpi
    bottom = y - height - 0.03 if below else y + 0.03
    sheet.put(figure, x, figure.get_size_inches()[1] - bottom - height, [text], size=8, color=LIMIT)
    return Bbox.from_extents(x, bottom, x + width, bottom + height)


def _growth_words(title: str, series: Series, unit: str, limit: float | None) -> str:
    texts = [
        f"{name}: " + ", ".join(f"{number(y)} {unit} at {x:,g} rows" for x, y in each) for name, each in series.items()
    ]
    limited = f" The limit is {limit:,g} {unit}." if limit is not None else ""
    return f"{title}. {'; '.join(texts)}.{limited}"
