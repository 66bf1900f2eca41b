"""The study's figure: AUC of the models from the paper's first protocol to the clean one, a panel a data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.figure import Figure
from numpy.typing import NDArray

from benchmark.records.paper import short_label
from benchmark.report.learning_curves import ROW_STYLES, SETTINGS, save_figure

Levels = Sequence[tuple[float, float | None]]  # the place of a protocol and the AUC there; a line ends at None


def figure_ladder(
    levels: Mapping[str, Mapping[str, Levels]], rules: Mapping[str, Levels], protocols: Sequence[str], stem: Path
) -> tuple[Path, ...]:
    """Draw data set -> model -> AUC over the protocols, and the rule's, as SVG; return its path."""
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(8.6, 3.9), layout="constrained")
        axes = figure.subplots(1, len(levels), sharey=True, squeeze=False).ravel()
        for ax, (dataset, rows) in zip(axes, levels.items(), strict=True):
            for model, aucs in rows.items():
                colour, dashes = ROW_STYLES[model]
                ax.plot(*_points(aucs), color=colour, ls=dashes, marker="o", markersize=4, label=short_label(model))
            ax.plot(*_points(rules[dataset]), color="black", ls=":", linewidth=2, label="rule: catalogue order")
            ax.axhline(0.5, color="#9a9a9a", linewidth=0.8)
            ax.set_xticks(range(len(protocols)), [protocol.replace("-ties", "-\nties") for protocol in protocols])
            ax.set_title(dataset)
            ax.margins(x=0.06)
        axes[0].set_ylabel("test AUC, best on test (0.5: chance)")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
        return save_figure(figure, stem, ("svg",))


def _points(levels: Levels) -> NDArray[np.float64]:
    """The places and the AUCs, NaN for None: no line is drawn across it."""
    return np.array(levels, np.float64).T
