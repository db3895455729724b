"""Pictures for notebooks: titled, with units, the limit drawn in, nothing clipped."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MEASURED, STATED = "#24292f", "#0969da", "#8c959f"


def before_and_after(
    measured: Mapping[str, Mapping[str, int]], *, stated: Mapping[str, Mapping[str, int]], title: str
) -> Figure:
    """Counts at two moments as paired bars, measured beside stated.

    Shape  moment -> category -> count, for both
    """
    moments = list(measured)
    categories = list(next(iter(measured.values())))
    with plt.style.context("default"):
        figure, axes = plt.subplots(1, len(moments), figsize=(9, 3.4), sharey=True, layout="constrained")
        for axis, moment in zip(axes, moments, strict=True):
            _bars(axis, categories, measured[moment], -0.2, MEASURED, "measured")
            _bars(axis, categories, stated.get(moment, {}), 0.2, STATED, "stated in the source document")
            axis.set_title(moment, fontsize=11, color=INK)
            axis.set_xticks(range(len(categories)), categories)
            axis.axhline(0, color=INK, linewidth=0.8)
            axis.spines[["top", "right", "left"]].set_visible(False)
            axis.set_xlim(-0.6, len(categories) - 0.4)
            axis.margins(y=0.15)
        axes[0].set_ylabel("divergences (count)")
        figure.suptitle(title, fontsize=12, fontweight="bold")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    plt.close(figure)
    return figure


def _bars(axis: Axes, categories: list[str], counts: Mapping[str, int], offset: float, colour: str, label: str) -> None:
    places = [categories.index(name) + offset for name in counts]
    bars = axis.bar(places, list(counts.values()), width=0.38, color=colour, label=label)
    axis.bar_label(bars, padding=2, fontsize=9)
