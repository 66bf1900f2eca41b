"""Figure 2 of the paper (learning curves) and test AUC over steps, drawn from the curves of runs.

A figure is written as PNG and as SVG, or as SVG alone. The same curves under the same matplotlib give the same bytes:
its settings are its defaults whatever the user's own are, and nothing in the files carries a date.
"""

import io
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from benchmark.analysis.probes import Probe, Probes
from benchmark.records import paper
from benchmark.records.curves import Curve, Curves
from benchmark.report.render import one_line
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

Floats = NDArray[np.float64]
Dashes = str | tuple[float, tuple[float, ...]]  # as matplotlib's linestyle

SETTINGS: dict[str, Any] = {
    "svg.hashsalt": "dien-bench",
    "font.size": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.title_fontsize": "small",
    "figure.constrained_layout.w_pad": 0.1,
}
FORMATS = ("png", "svg")
PNG_DPI = 160
CLIP = re.compile(r"\bp[0-9a-f]{10}\b")  # the name of a clip path
BAND_ALPHA = 0.22
LINE, BAND = "line: mean of the seeds", "band: lowest to highest"

# Okabe and Ito's colours, told apart by people of every colour vision; the dashes tell them apart in print.
LOSS_STYLES: dict[str, tuple[str, str, Dashes]] = {
    "loss": ("whole loss $L$", "#0072B2", "-"),
    "auxiliary_loss": ("auxiliary loss $L_{aux}$", "#D55E00", (0, (7, 1.5))),
    "target_loss": ("target loss $L_{target}$", "#9a9a9a", "-"),
}
# A row has its colour in every figure, whichever rows stand beside it.
ROW_STYLES = {
    "base-model": ("#7f7f7f", "-"),
    "wide-deep": ("#7f7f7f", "--"),
    "pnn": ("#CC79A7", "-"),
    "din": ("#E69F00", "-"),
    "gru-attention": ("#009E73", "--"),
    "aigru": ("#56B4E9", "-."),
    "agru": ("#0072B2", "--"),
    "augru": ("#0072B2", "-"),
    "dien": ("#D55E00", "-"),
}
OTHER_STYLES = (("#000000", "-"), ("#000000", "--"), ("#000000", "-."), ("#000000", ":"))


class Band(NamedTuple):
    """Seeds together, at the steps (S,) that all of them have: mean, lowest and highest value, each (S,)."""

    steps: Floats
    mean: Floats
    lowest: Floats
    highest: Floats


def figure2(
    runs: Mapping[str, Sequence[Curves]],
    out_stem: Path,
    *,
    model: str = "dien",
    smoothing: int = 1,
    formats: Sequence[str] = FORMATS,
) -> tuple[Path, ...]:
    """Draw the losses of a model over steps, a panel a data set; return the paths, one a format.

    These are the whole loss, the auxiliary and the target loss, and those of a model's own; a model without further
    losses has one curve.

    runs        data set -> curves of each seed; the line is their mean, the band lowest to highest
    out_stem    the files are out_stem + ".png" and so on, one a format
    model       named in the titles
    smoothing   each point of a seed becomes the mean of this many logged points, it and those before; 1: none

    Raises UserError for a run without a loss, and for seeds without a common step. Source: Figure 2.
    """
    if not runs or not all(runs.values()):
        lacking = shlex.quote(" ".join(name for name, seeds in runs.items() if not seeds) or "tafeng")
        raise UserError(
            f"no learning curves to draw: no run of {model} is given for a data set. Train it first: "
            f"dien-bench run --datasets {lacking} --model {shlex.quote(model)}"
        )
    curves = {dataset: _losses_over_seeds(seeds, smoothing) for dataset, seeds in runs.items()}
    columns = 2 if len(runs) == 4 else min(len(runs), 3)
    rows = math.ceil(len(runs) / columns)
    title = paper.label_of(model)
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(max(4.3 * columns, 5.8), 3.1 * rows + 0.6), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        handles: dict[str, Any] = {}
        for ax, (dataset, bands) in zip(axes, curves.items(), strict=False):
            _draw_losses(ax, bands)
            lines, labels = ax.get_legend_handles_labels()
            handles |= dict(zip(labels, lines, strict=True))
            ax.set_title(f"{plain(title)} on {plain(dataset)} ({_seeds(len(runs[dataset]))})")
            _name_axes(ax, "training loss" if smoothing == 1 else f"training loss, mean of {smoothing} points")
            ax.set_ylim(bottom=0)
        for ax in axes[len(runs) :]:
            ax.remove()
        shown = [*handles.values()][::-1], [*handles][::-1]
        legend = figure.legend(*shown, loc="outside lower center", ncols=len(handles))
        if any(len(seeds) > 1 for seeds in runs.values()):
            legend.set_title(f"{LINE}, {BAND}")
        return save_figure(figure, out_stem, formats)


def figure_auc(
    runs: Mapping[str, Sequence[Curves]], out_stem: Path, *, dataset: str, formats: Sequence[str] = FORMATS
) -> tuple[Path, ...]:
    """Draw test AUC over steps for the rows of one data set; return the paths, one a format.

    runs        model -> curves of each seed; the line is their mean, the band lowest to highest
    out_stem    the files are out_stem + ".png" and so on, one a format
    dataset     named in the title

    The axis begins at the lowest AUC after the first tenth of the steps, since the rise from chance would
    press the rows together.
    Raises UserError for a run without test AUC, and for seeds without a common step.
    """
    if not runs or not all(runs.values()):
        raise UserError(f"no test AUC to draw for {dataset}: no run is given for a row. Train first.")
    known = [model for model in ROW_STYLES if model in runs]
    others = [model for model in runs if model not in ROW_STYLES]
    bands = {
        model: _over_seeds([seed.curve("test_auc") for seed in runs[model]], runs[model]) for model in known + others
    }
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(7.6, 4.2), layout="constrained")
        ax = figure.subplots()
        for model, band in bands.items():
            colour, dashes = ROW_STYLES.get(model) or OTHER_STYLES[others.index(model) % len(OTHER_STYLES)]
            label = f"{plain(paper.label_of(model))} ({len(runs[model])})"
            _draw(ax, band, label, colour, dashes, 2.2 if model == "dien" else 1.5)
        _name_axes(ax, "test AUC")
        late = [band.lowest[band.steps >= band.steps[-1] / 10] for band in bands.values()]
        if lowest := [value for values in late for value in values if not np.isnan(value)]:
            ax.set_ylim(bottom=min(lowest) - 0.005)
        ax.set_title(f"Test AUC on {plain(dataset)}")
        legend = figure.legend(*ax.get_legend_handles_labels(), loc="outside right center", alignment="left")
        legend.set_title(f"{LINE}\n{BAND}\n\nrow (seeds)")
        return save_figure(figure, out_stem, formats)


def figure_probes(measured: Probes, out_stem: Path) -> tuple[Path, ...]:
    """Draw the AUC of each rule with its 95 % interval, best on top; return the paths of PNG and SVG."""
    probes = sorted(measured.probes, key=lambda probe: probe.auc)
    with style.context(["default", SETTINGS, {"axes.grid.axis": "x"}]):
        figure = Figure(figsize=(8.2, 0.36 * len(probes) + 1.3), layout="constrained")
        ax = figure.subplots()
        for place, probe in enumerate(probes):
            colour = "#0072B2" if probe.parameters == 0 else "#D55E00"
            ax.barh(place, probe.auc - 0.5, left=0.5, height=0.62, color=colour)
            ax.plot([probe.low, probe.high], [place, place], color="black", linewidth=1.2)
            ax.annotate(
                f"{probe.auc:.3f}", (max(probe.high, 0.5), place), (4, 0), textcoords="offset points", va="center"
            )
        ax.axvline(0.5, color="black", linewidth=0.8)
        ax.set_yticks(range(len(probes)), [_rule_name(probe) for probe in probes])
        ax.set_ylabel("rule: the candidate is ...")
        ax.set_xlabel("test AUC, 95 % interval over test users (0.5: chance)")
        ax.margins(x=0.13)
        ax.set_title(f"Rules on {plain(measured.dataset)}, protocol {measured.protocol}")
        return save_figure(figure, out_stem)


def smooth(curve: Curve, window: int) -> Curve:
    """Return means of each point and the window - 1 points before it; the first window - 1 points fall away.

    >>> smooth(Curve(np.array([20.0, 40.0, 60.0]), np.array([1.0, 2.0, 6.0])), 2).values.tolist()
    [1.5, 4.0]
    """
    if not 1 <= window <= len(curve.steps):
        raise UserError(f"smoothing must be from 1 to the {len(curve.steps)} logged points, got {window}")
    if window == 1:
        return curve
    means = np.lib.stride_tricks.sliding_window_view(curve.values, window).mean(axis=1)
    return Curve(curve.steps[window - 1 :], means)


def _losses_over_seeds(runs: Sequence[Curves], smoothing: int) -> dict[str, Band]:
    """Return the losses that all seeds of a model have."""
    seeds = [run.losses() for run in runs]
    return {
        column: _over_seeds([smooth(losses[column], smoothing) for losses in seeds], runs)
        for column in seeds[0]
        if all(column in losses for losses in seeds)
    }


def _draw_losses(ax: Axes, bands: Mapping[str, Band]) -> None:
    own = [column for column in bands if column not in LOSS_STYLES]
    for column in [*own, *(name for name in reversed(LOSS_STYLES) if name in bands)]:
        if column in LOSS_STYLES:
            label, colour, dashes = LOSS_STYLES[column]
        else:
            colour, dashes = OTHER_STYLES[own.index(column) % len(OTHER_STYLES)]
            label = plain(column.replace("_", " "))
        _draw(ax, bands[column], label, colour, dashes, 0.8 if column == "target_loss" else 1.6)


def _over_seeds(curves: Sequence[Curve], runs: Sequence[Curves]) -> Band:
    steps = curves[0].steps
    for curve, run in zip(curves, runs, strict=True):
        steps = np.intersect1d(steps, curve.steps)
        if len(steps) == 0:
            raise UserError(f"{run.place} has no step in common with {runs[0].place}. Draw runs of the same settings.")
    values = np.stack([curve.values[np.isin(curve.steps, steps)] for curve in curves])  # (seeds, S)
    return Band(steps, values.mean(axis=0), values.min(axis=0), values.max(axis=0))


def _draw(ax: Axes, band: Band, label: str, colour: str, dashes: Dashes, width: float) -> None:
    ax.fill_between(band.steps, band.lowest, band.highest, color=colour, alpha=BAND_ALPHA, linewidth=0)
    marker = "o" if len(band.steps) == 1 else ""
    ax.plot(band.steps, band.mean, color=colour, linestyle=dashes, linewidth=width, marker=marker, label=label)


def _name_axes(ax: Axes, quantity: str) -> None:
    ax.set_xlabel("optimiser step")
    ax.set_ylabel(quantity)
    ax.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    ax.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 2.5, 5, 10]))
    ax.margins(x=0.02)


def _rule_name(probe: Probe) -> str:
    return probe.label if probe.parameters == 0 else f"{probe.title} on these ({probe.parameters} parameters)"


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"


def plain(name: str) -> str:
    """Return a name that matplotlib shows as it is: "$" starts a formula, a leading "_" hides a label."""
    shown = one_line(name).replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = FORMATS) -> tuple[Path, ...]:
    """Write the formats, each in one step; the name is extended, as `with_suffix` would cut it at a dot."""
    options: dict[str, dict[str, Any]] = {
        "png": {"dpi": PNG_DPI, "metadata": {"Software": None}},
        "svg": {"metadata": {"Date": None, "Creator": None}},
    }
    paths = []
    for name in formats:
        drawn = io.BytesIO()
        figure.savefig(drawn, format=name, **options[name])
        content = _number_clips(drawn.getvalue().decode()).encode() if name == "svg" else drawn.getvalue()
        paths.append(stem.with_name(f"{stem.name}.{name}"))
        write_atomically(paths[-1], content)
    return tuple(paths)


def _number_clips(svg: str) -> str:
    """Name an SVG's clip paths by their order: matplotlib hashes positions, whose last bits differ by processor."""
    numbers: dict[str, str] = {}
    return CLIP.sub(lambda found: numbers.setdefault(found[0], f"clip{len(numbers) + 1}"), svg)
