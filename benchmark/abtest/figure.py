"""Table 5 as a figure: simulated gains with their intervals beside the printed ones, and over candidates."""

from pathlib import Path

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmark.abtest.experiment import AGAIN, CONTROL, ORACLE, RANDOM, label_of
from benchmark.abtest.gains import METRICS, NAMES
from benchmark.abtest.study import AbTest
from benchmark.records import paper
from benchmark.report.learning_curves import OTHER_STYLES, ROW_STYLES, SETTINGS, save_figure

DASHES = ("-", "--", ":", "-.")  # of the spreads of bids


def figure_table5(test: AbTest, stem: Path) -> tuple[Path, ...]:
    """Draw the gains of the trained models and of the A/A arm; return the paths of PNG and SVG.

    The oracle and random scores are left out: their gains are far larger.
    """
    trained = [arm.name for arm in test.arms if arm.name not in (CONTROL, AGAIN, ORACLE, RANDOM)]
    colours = {name: ROW_STYLES.get(name, OTHER_STYLES[0])[0] for name in trained} | {AGAIN: "#7f7f7f"}
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(9.2, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_gains(left, test, colours)
        _draw_markets(right, test, {name: colours[name] for name in trained})
        for ax in (left, right):
            ax.axhline(0, color="black", linewidth=0.8)
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize="small")
        figure.suptitle("Simulated A/B test: gains over BaseModel")
        return save_figure(figure, stem)


def _draw_gains(ax: Axes, test: AbTest, colours: dict[str, str]) -> None:
    arms = [arm for arm in test.arms if arm.name in colours]
    offsets = np.linspace(-0.27, 0.27, len(arms)) if len(arms) > 1 else [0.0]
    for arm, offset in zip(arms, offsets, strict=True):
        printed = paper.ONLINE_GAINS.get(arm.name)
        for place, name in enumerate(METRICS):
            tested, colour = arm.tested[name], colours[arm.name]
            ax.vlines(place + offset, *tested.interval, color=colour, linewidth=2)
            label = label_of(arm.name) if not place else "_"  # once in the legend
            ax.plot(place + offset, tested.value, "o", color=colour, markersize=6, label=label)
            ax.plot(place + offset + 0.05, arm.replayed[name].value, "_", color="black", markersize=9)
            if printed:
                ax.plot(place + offset + 0.05, printed[name], "D", markeredgecolor=colour, markerfacecolor="none")
    ax.plot([], [], "_", color="black", markersize=9, label="replay of all users")
    ax.plot([], [], "D", markeredgecolor="black", markerfacecolor="none", label="the paper, not simulated")
    ax.set_xticks(range(len(METRICS)), list(NAMES.values()))
    ax.set_title(f"test with {test.candidates} candidates, bid spread {test.spread}", fontsize="medium")


def _draw_markets(ax: Axes, test: AbTest, colours: dict[str, str]) -> None:
    spreads = sorted({cell.spread for cell in test.cells})
    for name, colour in colours.items():
        for place, spread in enumerate(spreads):
            cells = [cell for cell in test.cells if (cell.arm, cell.spread) == (name, spread)]
            ax.plot(
                [cell.candidates for cell in cells],
                [cell.gains["ecpm"].value for cell in cells],
                color=colour,
                linestyle=DASHES[place % len(DASHES)],
                marker="o",
                markersize=4,
                label=f"{label_of(name)}, bid spread {spread}",
            )
    ax.set_xscale("log")
    numbers = sorted({cell.candidates for cell in test.cells})
    ax.set_xticks(numbers, list(map(str, numbers)))
    ax.minorticks_off()
    ax.set_xlabel("candidates of a request")
    ax.set_title("eCPM gain, replayed", fontsize="medium")
    if colours and spreads:
        ax.legend(fontsize="small")
