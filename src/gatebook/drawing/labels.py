"""Labels beside the points of a chart, each in a place of its own."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox

from gatebook.drawing import sheet
from gatebook.drawing.sheet import INK, PAPER

NEAR_IN = 0.33  # a label that is farther away is tied to its point by a line


@dataclass(frozen=True)
class Label:
    """What is written beside a point, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str = INK


def put_labels(axis: Axes, labels: Sequence[Label], *, taken: Sequence[Bbox] = (), size: float = 8) -> None:
    """Each label near its point, never on another label or point or outside the axes, seldom on a line.

    taken  places that are taken already, in inches from the figure's lower left corner
    """
    scale = 1 / sheet.figure_of(axis).dpi
    room = _inches(axis.get_window_extent(), scale)
    ways = np.concatenate([_way(line) * scale for line in axis.lines])
    points = [axis.transData.transform((label.x, label.y)) * scale for label in labels]
    used = [*taken, *(_around(x, y, 0.1, 0.1) for x, y in points)]
    for place in _outer_first(points):
        (x, y), label = points[place], labels[place]
        width, height = sheet.width_in(label.text, size=size) + 0.04, sheet.line_in(size)
        boxes = [_around(x + dx, y + dy, width, height) for dx, dy in _offsets(width, height)]
        free = [each for each in boxes if _is_inside(each, room) and not any(each.overlaps(other) for other in used)]
        box = min(free, key=lambda each: _cost(each, points[place], ways, used), default=boxes[0])
        used.append(box)
        _annotate(axis, label, ((box.x0 + box.x1) / 2 - x) * 72, ((box.y0 + box.y1) / 2 - y) * 72, size)


def _outer_first(points: Sequence[Any]) -> list[int]:
    """The highest and the lowest of points above each other have the most room, and leave the sides to the others."""
    above_each_other: dict[float, list[float]] = defaultdict(list)
    for x, y in points:
        above_each_other[round(x, 1)].append(y)
    middles = {x: (min(ys) + max(ys)) / 2 for x, ys in above_each_other.items()}
    return sorted(range(len(points)), key=lambda place: -abs(points[place][1] - middles[round(points[place][0], 1)]))


def _annotate(axis: Axes, label: Label, dx_pt: float, dy_pt: float, size: float) -> None:
    is_far = math.hypot(dx_pt, dy_pt) > NEAR_IN * 72
    axis.annotate(
        label.text, (label.x, label.y), (dx_pt, dy_pt), textcoords="offset points", ha="center", va="center_baseline",
        fontsize=size, color=label.colour, zorder=5,
        bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.3},
        arrowprops={"arrowstyle": "-", "color": label.colour, "linewidth": 0.6} if is_far else None,
    )  # fmt: skip


def _way(line: Line2D) -> Any:
    """Many places along a line, in pixels."""
    corners = line.get_transform().transform(line.get_xydata())
    steps = np.linspace(0, 1, 100)[:, None]
    parts = [start + (end - start) * steps for start, end in itertools.pairwise(corners)]
    return np.concatenate([corners, *parts])


def _cost(box: Bbox, point: Any, ways: Any, used: Sequence[Bbox]) -> float:
    """How far away a place is, in inches, and more where it lies on a line or behind what is there already."""
    middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
    away = float(np.hypot(*(middle - point)))
    between = point + (middle - point) * np.linspace(0.2, 1, 8)[:, None]
    hiding = [each for each in used if away > NEAR_IN and not _holds(each, point[None, :]).any()]
    behind = any(_holds(each, between).any() for each in hiding)
    return away + 0.25 * bool(_holds(box, ways).any()) + 0.5 * behind


def _holds(box: Bbox, places: Any) -> Any:
    x, y = places[:, 0], places[:, 1]
    return (x > box.x0) & (x < box.x1) & (y > box.y0) & (y < box.y1)


def _offsets(width: float, height: float) -> Iterator[tuple[float, float]]:
    """Ever farther away: above, below, right, left, and the corners."""
    for ring in range(14):
        dy, dx = 0.13 + ring * height * 0.5, width / 2 + 0.09 + ring * 0.1
        yield from ((0, dy), (0, -dy), (dx, 0), (-dx, 0), (dx, dy), (-dx, dy), (dx, -dy), (-dx, -dy))


def _around(x: float, y: float, width: float, height: float) -> Bbox:
    return Bbox.from_extents(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _inches(box: Bbox, scale: float) -> Bbox:
    return Bbox.from_extents(box.x0 * scale, box.y0 * scale, box.x1 * scale, box.y1 * scale)


def _is_inside(box: Bbox, room: Bbox) -> bool:
    return bool(box.x0 >= room.x0 and box.x1 <= room.x1 and box.y0 >= room.y0 and box.y1 <= room.y1)
