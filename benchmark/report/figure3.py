"""Figure 3 of the paper: states of the evolving layer joined in order, beside the attention over the history.

Drawn as PNG and SVG, and written as the JSON that the leaderboard's page draws from. States h'_t of all targets are
projected together on their first two principal components.
"""

import json
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from benchmark.analysis.emphasis import Emphasis
from benchmark.analysis.evolution import NONE, Floats, History, Trajectory
from benchmark.records import paper
from benchmark.records.record import Record
from benchmark.report.learning_curves import SETTINGS, plain, save_figure
from datamodules.files.atomic import write_atomically

COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#7f7f7f")  # of the targets, in their order
NONE_COLOUR = "#E69F00"  # yellow, as in the paper
SHADES = LinearSegmentedColormap.from_list("attention", ["#D55E00", "#ffffff", "#0072B2"])
DIGITS = 5


class Projection(NamedTuple):
    """States on their first two principal components."""

    points: Floats  # (C, T, 2)
    shares: tuple[float, float]  # of the variance, 0..1


def project(states: Floats) -> Projection:
    """Principal component analysis of states (C, T, H), all together; where there is one component, the other is 0.

    The sign of a component is free: the coordinate that is largest without its sign is made positive.
    """
    rows = states.reshape(-1, states.shape[-1])
    _, sizes, components = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    found = (rows - rows.mean(axis=0)) @ components[:2].T
    found = np.pad(found, ((0, 0), (0, 2 - found.shape[1])))
    found *= np.where(found[np.abs(found).argmax(axis=0), [0, 1]] < 0, -1.0, 1.0)
    shares = np.pad(sizes**2, (0, 2))[:2] / max(float((sizes**2).sum()), np.finfo(float).tiny)
    return Projection(found.reshape(*states.shape[:-1], 2), (float(shares[0]), float(shares[1])))


class Seeds(NamedTuple):
    """What runs that differ in their seed make of one history."""

    seeds: Sequence[int]
    runs: Sequence[Sequence[Trajectory]]  # a trajectory a target, for each seed

    @property
    def first(self) -> Sequence[Trajectory]:
        """Those of the first seed, whose states are drawn: states of different seeds have no axis in common."""
        return self.runs[0]

    @property
    def attention(self) -> Floats:
        """(C, T) mean over seeds."""
        mean: Floats = np.mean([[one.attention for one in run] for run in self.runs], axis=0)
        return mean

    @property
    def spread(self) -> Floats | None:
        """(C, T) unbiased standard deviation over seeds; None for one."""
        every = [[one.attention for one in run] for run in self.runs]
        deviation: Floats | None = np.std(every, axis=0, ddof=1) if len(every) > 1 else None
        return deviation


def figure3(
    record: Record, history: History, found: Seeds, out_stem: Path, *, emphasis: Emphasis, command: str
) -> tuple[Path, Path, Path]:
    """Draw trajectories of one history and their attention; return the paths of PNG, SVG and JSON.

    record      of one of the seeds
    out_stem    the files are out_stem + ".png", ".svg" and ".json"
    emphasis    of the same models, said in the caption: one history is an example and no measurement
    command     that makes the figure again, kept in the JSON
    """
    projection = project(np.stack([one.states for one in found.first]))
    said = caption(history, found, emphasis)
    length = len(history.items)
    with style.context(["default", SETTINGS]):
        heat_width = max(3.6, 1.2 + 0.42 * length)
        figure = Figure(figsize=(4.6 + heat_width, 4.6), layout="constrained")
        paths, heat = figure.subplots(1, 2, width_ratios=(4.6, heat_width))
        _draw_paths(paths, found, projection)
        _draw_attention(heat, history, found)
        legend = figure.legend(*paths.get_legend_handles_labels(), loc="outside lower left", ncols=5, fontsize="small")
        legend.set_title("target of category")
        figure.suptitle(plain(_title(record, found.seeds)))
        png, svg = save_figure(figure, out_stem)
    document = _document(record, history, found, projection, said, command)
    path = out_stem.with_name(f"{out_stem.name}.json")
    write_atomically(path, (json.dumps(document, indent=1) + "\n").encode())
    return png, svg, path


def caption(history: History, found: Seeds, emphasis: Emphasis) -> list[str]:
    """What the figure shows, in sentences made from its numbers; attention is the mean over seeds."""
    sentences = []
    if len(found.seeds) > 1:
        sentences.append(
            f"States are those of seed {found.seeds[0]}, attention and distances are means over {len(found.seeds)}."
        )
    for one, attention in zip(found.first, found.attention, strict=True):
        if one.target.name == NONE:
            continue
        top = int(attention.argmax())
        same = [place for place, name in enumerate(history.names) if name == one.target.name]
        share = f" and {attention[same].sum():.3f} on the target's own category" if same else ""
        sentences.append(
            f"Target {one.target.name}: most attention ({attention[top]:.3f}) on behaviour {top + 1} "
            f"({history.names[top]}){share}; equal attention is {1 / len(history.items):.3f}."
        )
    if NONE in (one.target.name for one in found.first) and len(found.first) > 1:
        ends = np.mean([_ends(run) for run in found.runs], axis=0)
        shown = [f"{one.target.name} {end:.3f}" for one, end in zip(found.first, ends, strict=True)]
        sentences.append(
            "Distance of the last state from that without target, in lengths of the latter's whole path: "
            f"{', '.join(text for text, one in zip(shown, found.first, strict=True) if one.target.name != NONE)}."
        )
    return [*sentences, _emphasised(emphasis)]


def _ends(run: Sequence[Trajectory]) -> list[float]:
    """How far each last state lies from that without target, in lengths of the latter's path."""
    none = next(one for one in run if one.target.name == NONE)
    length = max(float(np.linalg.norm(np.diff(none.states, axis=0), axis=1).sum()), np.finfo(float).tiny)
    return [float(np.linalg.norm(one.states[-1] - none.states[-1])) / length for one in run]


def _emphasised(found: Emphasis) -> str:
    """The number over all test users, and what it says of what the paper's figure shows."""
    if not found.users:
        return "No test user has behaviours both in and out of the category of the next item."
    seeds = f"{found.seeds} seeds" if found.seeds > 1 else "one seed"
    interval = (
        f" (95 % interval {found.interval.low:.3f} to {found.interval.high:.3f}, over users and seeds)"
        if found.interval
        else ""
    )
    return (
        f"All {found.users:,} test users some of whose behaviours have the category of their own next item, {seeds}: "
        f"such a behaviour gets {found.same:.3f} times equal attention{interval}, any other {found.other:.3f} times, "
        f"the last one {found.last:.3f} times. More attention to behaviours of the target's category, as in the "
        f"paper's figure: {found.verdict}."
    )


def figure3_command(run: Path | str, user: int | None, history: str | None, targets: str | None) -> str:
    """What to type to draw the figure again, once its runs are trained."""
    words = ["--run", str(run)]
    words += [] if user is None else ["--user", str(user)]
    words += [] if history is None else ["--history", history]
    words += [] if targets is None else ["--targets", targets]
    return f".venv/bin/dien-bench figure 3 {shlex.join(words)}"


def colours(found: Sequence[Trajectory]) -> list[str]:
    """A colour for each target; "none" is yellow as in the paper."""
    others = iter(COLOURS * (1 + len(found) // len(COLOURS)))
    return [NONE_COLOUR if one.target.name == NONE else next(others) for one in found]


def _title(record: Record, seeds: Sequence[int]) -> str:
    what = f"{paper.label_of(record.model)} on {record.dataset}"
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return f"{what}, protocol {record.protocol}, variant {record.variant}, {which}"


def _draw_paths(ax: Axes, found: Seeds, projection: Projection) -> None:
    for one, points, colour in zip(found.first, projection.points, colours(found.first), strict=True):
        ax.plot(*points.T, color=colour, linewidth=1.4, marker="o", markersize=3.5, label=plain(one.target.name))
        ax.plot(*points[-1], color=colour, marker="o", markersize=8)
        for before, after in pairwise(points):
            middle = (before + after) / 2
            if np.hypot(*(after - before)) > 0:
                ax.annotate(
                    "", middle + (after - before) * 1e-3, middle, arrowprops={"arrowstyle": "->", "color": colour}
                )
    for number, place in enumerate(projection.points[-1], start=1):
        ax.annotate(str(number), place, (5, 5), textcoords="offset points", fontsize=7, color="#555555")
    first, second = projection.shares
    ax.set_xlabel(f"component 1 ({first:.0%} of the variance)")
    ax.set_ylabel(f"component 2 ({second:.0%})")
    of = f" (seed {found.seeds[0]})" if len(found.seeds) > 1 else ""
    ax.set_title(f"(a) states $h'_t$, projected{of}", fontsize=10)


def _draw_attention(ax: Axes, history: History, found: Seeds) -> None:
    weights, spread = found.attention, found.spread
    equal = 1 / len(history.items)
    most = max(float(np.abs(weights - equal).max()), equal / 4)  # so that rounding gets no colour
    ax.imshow(weights, cmap=SHADES, vmin=equal - 1.6 * most, vmax=equal + 1.6 * most, aspect="auto")
    ax.grid(visible=False)
    size = 7.5 if len(history.items) <= 16 else 4
    for row, column in np.ndindex(weights.shape):
        text = f"{weights[row, column]:.3f}".removeprefix("0")
        text += "" if spread is None else f"\n±{f'{spread[row, column]:.3f}'.removeprefix('0')}"
        ax.text(column, row, text, ha="center", va="center", fontsize=size)
    names = [f"{place}  {plain(name)}" for place, name in enumerate(history.names, start=1)]
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    ax.set_yticks(range(len(weights)), [plain(one.target.name) for one in found.first], fontsize=8)
    ax.set_ylabel("target of category")
    of = f", mean ± std over {len(found.seeds)} seeds" if spread is not None else ", oldest behaviour first"
    ax.set_title(f"(b) attention $a_t${of}", fontsize=10)
    ax.set_xlabel(f"blue: more than equal attention, {equal:.3f}; orange: less", fontsize=8)


def _document(
    record: Record, history: History, found: Seeds, projection: Projection, said: list[str], command: str
) -> dict[str, Any]:
    """What the page draws from; points and attention rounded to what a screen can show."""
    return {
        "title": _title(record, found.seeds),
        "dataset": record.dataset,
        "protocol": record.protocol,
        "model": record.model,
        "variant": record.variant,
        "seeds": list(found.seeds),  # points are of the first, attention is the mean
        "user": history.user,
        "history": history.names,
        "variance": [round(share, DIGITS) for share in projection.shares],
        "targets": [
            {
                "name": one.target.name,
                "points": np.round(points, DIGITS).tolist(),
                "attention": np.round(attention, DIGITS).tolist(),
            }
            for one, points, attention in zip(found.first, projection.points, found.attention, strict=True)
        ],
        "caption": said,
        "command": command,
    }
