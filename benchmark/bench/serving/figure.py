"""Latency against rate: p99 of every test of the ladder, a panel for each number of candidates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from benchmark.bench.serving.table import LABELS
from benchmark.records import paper
from benchmark.report.learning_curves import SETTINGS, save_figure

COLOURS = dict(zip(LABELS, ("#7f7f7f", "#CC79A7", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#0072B2"), strict=True))
LIMITS = (1.0, 2_000.0)  # ms; what lies above is drawn at the edge


def figure_ladder(cells: Sequence[Mapping[str, Any]], stem: Path) -> tuple[Path, ...]:
    """Draw the tests of the records of one plan; return the paths of the files."""
    numbers = sorted({cell["candidates"] for cell in cells})
    bound = cells[0]["plan"]["bound_ms"]
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(3.6 * len(numbers) + 0.6, 4.2), layout="constrained")
        axes = figure.subplots(1, len(numbers), sharex=True, sharey=True, squeeze=False)[0]
        for ax, n in zip(axes, numbers, strict=True):
            _draw(ax, [cell for cell in cells if cell["candidates"] == n])
            ax.axhline(bound, color="black", linewidth=0.8, linestyle="--", label=f"bound, {bound:g} ms")
            rate = paper.SERVING.requests_a_second
            ax.axvline(rate, color="black", linewidth=0.8, linestyle=":", label=f"the paper: {rate} a worker")
            ax.set_title(f"{n} candidate{'s' if n > 1 else ''}", fontsize="medium")
            ax.set_xlabel("requests a second, offered")
        axes[0].set_ylabel("p99 from the scheduled time, ms")
        axes[0].set_ylim(*LIMITS)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
        return save_figure(figure, stem)


def _draw(ax: Axes, cells: Sequence[Mapping[str, Any]]) -> None:
    for name, label in LABELS.items():
        tests = [test for cell in cells if cell["step"] == name for test in (cell["fixed"], *cell["tests"])]
        points = sorted((test["offered"], test["p99_ms"]) for test in tests if test["p99_ms"] and test["offered"])
        if points:
            rates, latencies = zip(*points, strict=True)
            shown = [min(latency, LIMITS[1]) for latency in latencies]
            ax.plot(rates, shown, "o", markersize=3.5, color=COLOURS[name], alpha=0.8, label=label, clip_on=False)
    ax.set_xscale("log")
    ax.set_yscale("log")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
