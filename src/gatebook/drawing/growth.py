"""The picture of a measure as tables grow: a line a series, every point labelled, both scales logarithmic."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from gatebook.drawing import sheet
from gatebook.drawing.labels import Label, put_labels
from gatebook.drawing.sheet import LIMIT, MARKERS, PAPER, SERIES, WIDTH_IN, Chart, number, plain

Series = Mapping[str, Sequence[tuple[float, float]]]

BARE = ", bare aggregation"  # a series of this ending is what another one is compared with
LINES_IN = 3.6


def draw(series: Series, *, measure: str, unit: str, limit: float | None, title: str) -> Chart:
    points = [point for each in series.values() for point in each]
    if not points:
        return sheet.empty(title, "nothing was measured")
    heading = sheet.heading(title)
    top = 0.35 + len(heading) * sheet.line_in(12)
    least = min((y for _, y in points if y > 0), default=1.0)  # a log scale has no 0
    heights = sheet.log_ticks([*(max(y, least) for _, y in points), limit or least], room_in=LINES_IN, across=False)
    says = sheet.wrapped(f"{measure} ({unit}), log scale", within_in=LINES_IN - 0.2, size=9)
    left = 0.4 + len(says) * sheet.line_in(9) + max(sheet.width_in(number(each), size=9) for each in heights)
    room = WIDTH_IN - left - 0.45
    key = [(_handle(name, place), _key_lines(name)) for place, name in enumerate(series)]
    with sheet.style():
        figure = sheet.new(top + LINES_IN + 0.7 + sheet.key_in([lines for _, lines in key], columns=2))
        sheet.put_heading(figure, heading)
        axis = sheet.axes(figure, left_in=left, top_in=top, width_in=room, height_in=LINES_IN)
        sheet.logarithmic(axis, x=sheet.log_ticks([x for x, _ in points], room_in=room, across=True), y=heights)
        axis.set_xlabel("source rows, log scale")
        axis.set_ylabel("\n".join(says))
        labels = _lines(axis, series, least)
        taken = [_limit_across(axis, limit, unit)] if limit is not None else []
        put_labels(axis, labels, taken=taken)
        sheet.put_key(figure, top + LINES_IN + 0.6, key, columns=2)
        return sheet.finished(figure, _growth_words(title, series, unit, limit))


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


def _handle(name: str, place: int) -> Line2D:
    return Line2D([], [], **_look(name, place))


def _key_lines(name: str) -> list[str]:
    return sheet.wrapped(name, within_in=(WIDTH_IN - 0.4) / 2 - 0.6, size=sheet.KEY_SIZE)


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
    text = plain(f"limit: {number(limit)} {unit}")
    room = axis.get_window_extent()
    x, y = room.x0 / figure.dpi + 0.08, axis.transData.transform((axis.get_xlim()[0], limit))[1] / figure.dpi
    width, height = sheet.width_in(text, size=8), sheet.line_in(8)
    below = y + height + 0.05 > room.y1 / figure.dpi
    bottom = y - height - 0.03 if below else y + 0.03
    sheet.put(figure, x, figure.get_size_inches()[1] - bottom - height, [text], size=8, color=LIMIT)
    return Bbox.from_extents(x, bottom, x + width, bottom + height)


def _growth_words(title: str, series: Series, unit: str, limit: float | None) -> str:
    texts = [
        f"{name}: " + ", ".join(f"{number(y)} {unit} at {x:,.0f} rows" for x, y in each)
        for name, each in series.items()
    ]
    limited = f" The limit is {number(limit)} {unit}." if limit is not None else ""
    return f"{title}. {'; '.join(texts)}.{limited}"
