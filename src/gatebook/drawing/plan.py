"""The picture of a plan: a box for each node below the one that it serves, rows flowing upwards.

Boxes are indented by depth and as wide as the page, so that a plan of any shape stays readable: a deep one is
no wider, a wide one only longer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import FancyBboxPatch, Rectangle

from gatebook.drawing import sheet
from gatebook.drawing.sheet import FAINT, INK, WIDTH_IN, Chart
from gatebook.plans import Node, Plan

LEFT_IN, RIGHT_IN, GAP_IN, PAD_IN = 0.2, 8.8, 0.25, 0.07
COLUMN_GAP_IN = 0.3
STEP_IN, NAMES_IN = 0.34, 2.2  # what a level is indented by, at most; what is left for names, at least
TITLE_SIZE, SIZE, FLOW_SIZE = 9.5, 8.0, 7.5
HEAT = LinearSegmentedColormap.from_list("share of time", ["#ffffff", "#ffe3c2", "#ffb56b"])
EDGE, UNUSED = "#8c959f", "#f6f8fa"
NOTE = "Buffers (blocks of 8 kB, as a rule) and the time in all count a node with everything below it."


@dataclass(frozen=True)
class _Box:
    """A node with what is written into it, and where it stands."""

    node: Node
    share: float
    title: list[str]
    names: list[str]
    columns: tuple[list[str], ...]
    columns_in: tuple[float, ...]
    left_in: float
    top_in: float = 0.0

    @property
    def height_in(self) -> float:
        names = len(self.title) * sheet.line_in(TITLE_SIZE) + len(self.names) * sheet.line_in(SIZE)
        return max(names, *(len(lines) * sheet.line_in(SIZE) for lines in self.columns)) + 2 * PAD_IN

    @property
    def middle_in(self) -> float:
        return self.top_in + self.height_in / 2


def draw(plan: Plan, *, title: str) -> Chart:
    heading = sheet.heading(title)
    says = _says(plan)
    top = 0.12 + len(heading) * sheet.line_in(12) + sheet.line_in(9) + 0.1
    boxes = _placed(plan, top)
    bottom = boxes[-1].top_in + boxes[-1].height_in
    with sheet.style():
        figure = sheet.new(bottom + 0.62)
        below = sheet.put_heading(figure, heading)
        sheet.put(figure, LEFT_IN, below, [says], color=FAINT)
        axis = _canvas(figure)
        for box in boxes:
            if box.node.parent is not None:
                _arrow(axis, box, boxes[box.node.parent])
            _box(axis, box)
        _key(axis, bottom + 0.2)
        return sheet.finished(figure, _alt(plan, title, boxes))


def _says(plan: Plan) -> str:
    ms = sheet.number
    return (
        f"{_counted(plan.rows)} returned in {ms(plan.execution_ms)} ms, planned in {ms(plan.planning_ms)} ms; "
        f"cost {plan.total_cost:,.2f}"
    )


def _alt(plan: Plan, title: str, boxes: Sequence[_Box]) -> str:
    slowest = max(boxes, key=lambda box: box.share)
    names = ", ".join(" ".join([box.node.label, *box.names]) for box in boxes)
    slow = f" Most of the time, {slowest.share:.0%}, is spent in {slowest.node.title}." if slowest.share else ""
    return f"{title}. {_says(plan)}. From the top: {names}.{slow}"


# -- what is written


def _placed(plan: Plan, top_in: float) -> list[_Box]:
    total = sum(node.self_ms or 0 for node in plan.nodes)
    shares = [(node.self_ms or 0) / total if total else 0.0 for node in plan.nodes]
    columns = [
        (_rows(node), _time(node, share), _buffers(node)) for node, share in zip(plan.nodes, shares, strict=True)
    ]
    right_in, names_end = _columns_in(columns)
    deepest = max(node.depth for node in plan.nodes)
    step = min(STEP_IN, max(names_end - LEFT_IN - NAMES_IN, 0.8) / max(deepest, 1))
    boxes: list[_Box] = []
    for node, share, texts in zip(plan.nodes, shares, columns, strict=True):
        left = LEFT_IN + node.depth * step
        title, names = _names(node, names_end - left - 0.1)
        boxes.append(_Box(node, share, title, names, texts, right_in, left, top_in))
        top_in += boxes[-1].height_in + GAP_IN
    return boxes


def _columns(node: Node, share: float) -> tuple[list[str], ...]:
    return _rows(node), _time(node, share), _buffers(node)


def _columns_in(columns: Sequence[tuple[list[str], ...]]) -> tuple[tuple[float, ...], float]:
    """The right edges of the columns, as wide as their longest lines, and where the names before them end."""
    right = RIGHT_IN - 0.1
    edges: list[float] = []
    for texts in reversed(list(zip(*columns, strict=True))):
        edges.insert(0, right)
        right -= COLUMN_GAP_IN + max(sheet.width_in(line, size=SIZE) for lines in texts for line in [*lines, ""])
    return tuple(edges), right + 0.1


def _names(node: Node, room_in: float) -> tuple[list[str], list[str]]:
    names = [f"on {node.relation}"] if node.relation else []
    names += [f"using {node.index}"] if node.index else []
    title = sheet.wrapped(node.label, within_in=room_in, size=TITLE_SIZE, weight="bold")
    return title, [line for name in names for line in sheet.wrapped(name, within_in=room_in, size=SIZE)]


def _rows(node: Node) -> list[str]:
    found = [_flow(node)] if node.is_executed else []
    loops = [f"in {node.loops:,} loops"] if node.loops > 1 else []
    return [*found, f"expected {round(node.rows_estimated):,}", *loops]


def _flow(node: Node) -> str:
    """What goes up to the parent."""
    if node.rows is None:
        return "never executed"
    return f"{'≈ ' if node.is_rounded else ''}{_counted(round(node.rows))}"


def _counted(rows: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'}"


def _time(node: Node, share: float) -> list[str]:
    if node.self_ms is None or node.total_ms is None:
        return ["never executed"]
    return [f"{share:.0%} · {sheet.number(node.self_ms)} ms itself", f"{sheet.number(node.total_ms)} ms in all"]


def _buffers(node: Node) -> list[str]:
    hit, read = node.buffers
    return [f"{hit:,} hit", f"{read:,} read"] if node.is_executed else []


# -- what is drawn


def _canvas(figure: Chart) -> Axes:
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    axis.set_xlim(0, WIDTH_IN)
    axis.set_ylim(figure.get_size_inches()[1], 0)
    return axis


def _box(axis: Axes, box: _Box) -> None:
    executed = box.node.is_executed
    size = (RIGHT_IN - box.left_in, box.height_in)
    axis.add_patch(
        FancyBboxPatch(
            (box.left_in, box.top_in), *size, boxstyle="round,pad=0,rounding_size=0.06", edgecolor=EDGE, linewidth=0.9,
            facecolor=HEAT(box.share) if executed else UNUSED, linestyle="-" if executed else "--",
        )
    )  # fmt: skip
    ink = INK if executed else FAINT
    y = _lines(axis, box.left_in + 0.1, box.top_in + PAD_IN, box.title, TITLE_SIZE, ink, fontweight="bold")
    _lines(axis, box.left_in + 0.1, y, box.names, SIZE, ink)
    for right, lines in zip(box.columns_in, box.columns, strict=True):
        _lines(axis, right, box.top_in + PAD_IN, lines, SIZE, ink, ha="right")


def _lines(
    axis: Axes, x: float, y: float, lines: Sequence[str], size: float, colour: str, *, ha: str = "left",
    fontweight: str = "normal",
) -> float:  # fmt: skip
    for line in lines:
        middle = y + sheet.line_in(size) / 2
        axis.text(x, middle, line, fontsize=size, color=colour, ha=ha, va="center_baseline", fontweight=fontweight)
        y += sheet.line_in(size)
    return y


def _arrow(axis: Axes, box: _Box, parent: _Box) -> None:
    """From the child's side up to the parent, the wider the more rows; dashed for a subplan."""
    trunk = parent.left_in + (box.left_in - parent.left_in) * 0.45
    foot = parent.top_in + parent.height_in
    width = 0.8 + min(math.log10((box.node.rows or 0) + 1), 8) * 0.5
    dashed = box.node.subplan is not None or not box.node.is_executed
    axis.plot(
        [box.left_in, trunk, trunk], [box.middle_in, box.middle_in, foot + 0.06], color=EDGE, linewidth=width,
        linestyle=(0, (2, 1.2)) if dashed else "-", zorder=0, solid_joinstyle="round",
    )  # fmt: skip
    axis.plot([trunk], [foot + 0.06], marker="^", markersize=4 + width, color=EDGE, zorder=0)
    label = (trunk + 0.1, box.top_in - GAP_IN / 2)
    axis.text(*label, _flow(box.node), fontsize=FLOW_SIZE, color=FAINT, va="center_baseline")


def _key(axis: Axes, y: float) -> None:
    x = LEFT_IN
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        axis.add_patch(Rectangle((x, y), 0.18, 0.14, facecolor=HEAT(share), edgecolor=EDGE, linewidth=0.6))
        x += 0.18
    text = "shade: share of the time that is spent in the node itself, from none to all of it"
    _lines(axis, x + 0.1, y - 0.01, [text], SIZE, FAINT)
    _lines(axis, LEFT_IN, y + 0.18, [NOTE], SIZE, FAINT)
