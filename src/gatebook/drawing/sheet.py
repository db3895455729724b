"""What all pictures share: one style, texts that fit and are never taken for mathematics, axes and labels.

Places are counted in inches from the figure's upper left corner, so that what is written can be measured
before the figure is made as high as it must be.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.lines import Line2D

WIDTH_IN = 9.0
INK, FAINT, GRID, LIMIT, PAPER = "#24292f", "#57606a", "#d8dee4", "#cf222e", "#ffffff"
SERIES = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#9a6700", "#bf3989", "#0a7b83", "#57606a")
MARKERS = "osD^vPX*"
FONT = "DejaVu Sans"  # comes with matplotlib
UNKNOWN_LETTER = "▯"
HINTING = 1.08  # letters are set to whole pixels, which makes a line wider at low resolution
LINE_SPACING = 1.35
KEY_SIZE = 8.5
STEPS = (1, 2, 5)
MARGIN = 1.35  # of a log scale: how many times more room there is than between the outermost ticks


class Chart(Figure):
    """A figure with words for those who do not see it. They are its text form, which pages show in its stead."""

    alt = ""

    def __repr__(self) -> str:
        return self.alt or super().__repr__()


@contextmanager
def style() -> Iterator[None]:
    """The look of all pictures; a name such as a_$x_1$ stays as it is."""
    settings: dict[str, Any] = {
        "font.family": FONT,
        "font.size": 9,
        "text.parse_math": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "axes.axisbelow": True,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    with plt.style.context(["default", settings]):
        yield


def new(height_in: float) -> Chart:
    figure = plt.figure(figsize=(WIDTH_IN, height_in), FigureClass=Chart)
    if not isinstance(figure, Chart):
        raise TypeError("matplotlib made another kind of figure")
    return figure


def finished(figure: Chart, alt: str) -> Chart:
    """Closed, so that only the cell's value displays it, and drawn once, so that ticks are made in our style."""
    figure.alt = plain(alt)
    figure.draw_without_rendering()
    plt.close(figure)
    return figure


# -- text


def plain(text: object) -> str:
    """One line of letters that the font has; others would be drawn as nothing."""
    return "".join(each if ord(each) in _letters() else UNKNOWN_LETTER for each in " ".join(str(text).split()))


def width_in(text: str, *, size: float, weight: str = "normal") -> float:
    return sum(_advance_in(letter, weight) for letter in text) * size * HINTING


def line_in(size: float) -> float:
    return size / 72 * LINE_SPACING


def wrapped(text: object, *, within_in: float, size: float, weight: str = "normal") -> list[str]:
    """Lines that fit, broken after a space or an underscore where there is one, else anywhere."""
    lines, rest = [], plain(text)
    while rest:
        fitting = next(
            (end for end in range(len(rest), 1, -1) if width_in(rest[:end], size=size, weight=weight) <= within_in), 1
        )
        if fitting < len(rest):
            break_at = max(rest.rfind(mark, 0, fitting) for mark in " _.,/-") + 1
            fitting = break_at if break_at > fitting / 3 else fitting
        lines.append(rest[:fitting].rstrip())
        rest = rest[fitting:].lstrip()
    return lines or [""]


def number(value: float) -> str:
    """Three significant digits, and all of those before the point."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(2 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def put(figure: Figure, x_in: float, y_in: float, lines: Sequence[str], *, size: float = 9, **options: Any) -> float:
    """Lines of text from an upper corner downwards; the height that they take."""
    width, height = figure.get_size_inches()
    for place, line in enumerate(lines):
        y = 1 - (y_in + (place + 0.5) * line_in(size)) / height
        figure.text(x_in / width, y, line, fontsize=size, va="center_baseline", **options)
    return len(lines) * line_in(size)


def empty(title: str, says: str) -> Chart:
    """A chart of nothing, which says so."""
    lines = heading(title)
    with style():
        figure = new(0.5 + len(lines) * line_in(12) + line_in(9))
        put(figure, 0.2, put_heading(figure, lines) + 0.05, [says], color=FAINT)
        return finished(figure, f"{title}: {says}")


def heading(title: str) -> list[str]:
    return wrapped(title, within_in=WIDTH_IN - 0.4, size=12, weight="bold")


def put_heading(figure: Figure, lines: Sequence[str]) -> float:
    return put(figure, 0.2, 0.12, lines, size=12, fontweight="bold") + 0.12


# -- axes


def axes(figure: Figure, *, left_in: float, top_in: float, width_in: float, height_in: float) -> Axes:
    width, height = figure.get_size_inches()
    place = (left_in / width, 1 - (top_in + height_in) / height, width_in / width, height_in / height)
    axis = figure.add_axes(place)
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(color=GRID, linewidth=0.6)
    return axis


def figure_of(axis: Axes) -> Chart:
    figure = axis.get_figure(root=True)
    if not isinstance(figure, Chart):
        raise TypeError("the axes belong to no chart")
    return figure


def top_of(axis: Axes) -> float:
    """The upper edge in inches from the figure's."""
    return float((1 - axis.get_position().y1) * figure_of(axis).get_size_inches()[1])


def log_ticks(values: Sequence[float], *, room_in: float, across: bool) -> list[float]:
    """1, 2, 5, 10, … around all values, or powers of ten where the numbers would lie on each other.

    room_in  the length of the axis
    across   numbers stand side by side, else above each other
    """
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    fine = [step * 10.0**power for power in range(first, last + 1) for step in STEPS]
    after_low = [tick for tick, following in itertools.pairwise(fine) if following > low]
    kept = [tick for place, tick in enumerate(after_low) if place == 0 or after_low[place - 1] < high]
    if _have_room(kept, room_in, across=across):
        return kept
    coarser = ([10.0**power for power in range(first, last + stride, stride)] for stride in range(1, last - first + 2))
    return next((ticks for ticks in coarser if _have_room(ticks, room_in, across=across)), [10.0**first, 10.0**last])


def _have_room(ticks: Sequence[float], room_in: float, *, across: bool) -> bool:
    """The room of two neighbours' halves is less than what lies between them."""
    sizes = [width_in(number(tick), size=9) + 0.12 if across else line_in(9) for tick in ticks]
    whole = math.log10(ticks[-1] / ticks[0]) + 2 * math.log10(MARGIN)
    gaps = [math.log10(high / low) / whole * room_in for low, high in itertools.pairwise(ticks)]
    return all(gap > (one + other) / 2 for gap, (one, other) in zip(gaps, itertools.pairwise(sizes), strict=True))


def logarithmic(axis: Axes, *, x: Sequence[float] = (), y: Sequence[float] = ()) -> None:
    """Log scales with plain numbers at these ticks, and a little room at their ends."""
    if x:
        axis.set_xscale("log")
        axis.set_xlim(x[0] / MARGIN, x[-1] * MARGIN)
    if y:
        axis.set_yscale("log")
        axis.set_ylim(y[0] / MARGIN, y[-1] * MARGIN)
    for ticks, one in ((x, axis.xaxis), (y, axis.yaxis)):
        if ticks:
            one.set_ticks(ticks, [number(tick) for tick in ticks])
            one.set_ticks([], minor=True)


def key_in(names: Sequence[Sequence[str]], *, columns: int) -> float:
    """The height of a key whose entries have these lines."""
    return math.ceil(len(names) / columns) * (max(len(lines) for lines in names) * line_in(KEY_SIZE) + 0.04)


def put_key(figure: Figure, y_in: float, entries: Sequence[tuple[Line2D, Sequence[str]]], *, columns: int) -> None:
    """A line with its mark and what it stands for, in rows from an upper edge downwards."""
    width, height = figure.get_size_inches()
    row_in = key_in([lines for _, lines in entries], columns=len(entries))
    for place, (handle, lines) in enumerate(entries):
        row, column = divmod(place, columns)
        x, y = 0.2 + column * (WIDTH_IN - 0.4) / columns, y_in + row * row_in
        middle = 1 - (y + line_in(KEY_SIZE) / 2) / height
        handle.set_data([x / width, (x + 0.15) / width, (x + 0.3) / width], [middle] * 3)
        handle.set_markevery([1])
        figure.add_artist(handle)
        put(figure, x + 0.4, y, lines, size=KEY_SIZE)


@cache
def _letters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


@cache
def _advance_in(letter: str, weight: str) -> float:
    """How far a letter of one point moves the pen."""
    font = get_font(findfont(FontProperties(family=FONT, weight=weight)))
    font.set_size(100, 72)
    return float(font.load_char(ord(letter), flags=LoadFlags.NO_HINTING).linearHoriAdvance) / 65536 / 100 / 72
