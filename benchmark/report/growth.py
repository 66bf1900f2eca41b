"""One market with more and more impressions to train: AUC of each model, and what kinds of auxiliary negatives give."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmark.analysis.comparison import Comparison, compare, contrast, holm
from benchmark.analysis.summary import SIGNIFICANT, Row, summarise
from benchmark.analysis.training import unlike
from benchmark.records import paper
from benchmark.records.predictions import Scores
from benchmark.records.record import Record, uncommitted
from benchmark.report.learning_curves import FORMATS, ROW_STYLES, SETTINGS, save_figure
from benchmark.report.render import Section, Table
from benchmark.report.table_sections import NOT_COMMITTED
from datamodules.errors import UserError

GROWTH = (
    "market-6k",
    "market-24k",
    "market-97k",
    "market-390k",
    "market-1550k",
)  # one world, more and more of its pages logged
AUGRU = "augru"  # DIEN without the auxiliary loss
NEGATIVES = {  # what auxiliary negatives are drawn from -> the row
    "unclicked ads": "dien",
    "any item": "dien+auxiliary_negatives=uniform",
    "items by popularity": "dien+auxiliary_negatives=popularity",
    "the user's own behaviours": "dien+auxiliary_negatives=own",
}
LEADS = {"DIN − BaseModel": ("din", "base-model"), "DIEN − DIN": ("dien", "din"), "DIEN − PNN": ("dien", "pnn")}
AUXILIARY = {f"auxiliary loss, negatives: {kind}": (model, AUGRU) for kind, model in NEGATIVES.items()}
NOTES = (
    "Simulated: users, ads and clicks are made by a program. All sizes have the same users, goods and test day; the "
    "impressions of a smaller one are part of those of a larger one.",
    "Mean test AUC, best on the validation day, ± unbiased standard deviation (seeds). Differences: with the half "
    "width of their 95 % interval over test users and seeds; higher, lower: significantly different (p < 0.05, "
    "Holm-corrected over all differences of this table), else inconclusive.",
    "Growth: the difference with most impressions minus that with fewest, tested in the same way.",
)


class Size(NamedTuple):
    """One size of the market: its data set, how many impressions train, and its rows by model."""

    dataset: str
    impressions: int
    rows: Mapping[str, Row]
    uncommitted: bool = False  # whether a run of it was trained by code that was not committed


class Tested(NamedTuple):
    """A difference, and its p corrected over all of the table."""

    comparison: Comparison
    p: float

    def text(self, up: str = "higher", down: str = "lower") -> str:
        """The difference with the half width of its interval, and what the test says."""
        gain, (low, high) = self.comparison.difference, self.comparison.interval
        verdict = "inconclusive" if self.p >= SIGNIFICANT else up if gain > 0 else down
        return f"{gain:+.4f} ± {(high - low) / 2:.4f} {verdict}"


def sizes_of(records: Sequence[Record], datasets: Sequence[str]) -> list[Size]:
    """The sizes that have finished runs, by the impressions that train; of variant official, protocol next-day."""
    found = []
    for dataset in datasets:
        mine = [
            record
            for record in records
            if (record.dataset, record.protocol, record.variant, record.status)
            == (dataset, "next-day", "official", "finished")
        ]
        if mine:
            rows = {model: summarise(mine, model, model) for model in dict.fromkeys(record.model for record in mine)}
            found.append(Size(dataset, _impressions(mine[0]), rows, uncommitted(mine)))
    return sorted(found, key=lambda size: size.impressions)


def _impressions(record: Record) -> int:
    """How many samples train, up to one batch."""
    size = record.settings["batch_size"]
    assert isinstance(size, int)
    return round(record.steps * size / record.epochs)


def differences_by_size(sizes: Sequence[Size]) -> dict[tuple[str, str], Tested]:
    """(difference, data set or "growth") -> its test, where both rows have at least two seeds with predictions."""
    found: dict[tuple[str, str], Comparison] = {}
    for name, (model, other) in (LEADS | AUXILIARY).items():
        there = [size for size in sizes if _testable(size, model, other)]
        for size in there:
            found[name, size.dataset] = compare(_scores(size, other), _scores(size, model))
        if len(there) > 1:
            most, least = there[-1], there[0]
            alike = not unlike(most.rows[model].training, least.rows[model].training)
            if alike and most is sizes[-1] and least is sizes[0] and _same_users(most, least, model):
                found[name, "growth"] = contrast(
                    [_scores(most, model), _scores(least, other)], [_scores(most, other), _scores(least, model)]
                )
    corrected = holm([test.p for test in found.values()])
    return {name: Tested(test, p) for (name, test), p in zip(found.items(), corrected, strict=True)}


def _testable(size: Size, model: str, other: str) -> bool:
    """Whether two rows of a size have two seeds with predictions each, and the same training."""
    if min(len(_scores(size, model)), len(_scores(size, other))) < 2:
        return False
    return not unlike(size.rows[model].training, size.rows[other].training)


def _scores(size: Size, model: str) -> Sequence[Scores]:
    return size.rows[model].scores if model in size.rows else ()


def _same_users(one: Size, other: Size, model: str) -> bool:
    return one.rows[model].scores[0].users == other.rows[model].scores[0].users


def growth_table(sizes: Sequence[Size], oracle: float | None) -> Table:
    """The AUC of every row at every size, differences of interest, and whether they grow.

    oracle  the AUC of the probabilities by which clicks were drawn, on the test day that all sizes share
    """
    if len(sizes) < 2:
        raise UserError(
            "growth needs finished runs of at least two sizes of the market, found "
            f"{', '.join(size.dataset for size in sizes) or 'none'}: train them with make reproduce-table3 "
            'DATASETS="market-24k market-97k"'
        )
    tests = differences_by_size(sizes)
    heads = tuple(f"{size.impressions:,}" for size in sizes)
    models = sorted({model for size in sizes for model in size.rows}, key=lambda model: (paper.order(model), model))
    levels = [(_label(model), *(_level(size.rows.get(model)) for size in sizes)) for model in models]
    if oracle is not None:
        levels.append(("oracle", *(f"{oracle:.4f}" for _ in sizes)))
    sections = [Section("AUC by the number of impressions that train", ("model", *heads), tuple(levels))]
    for title, pairs, up, down in (
        ("Which lead grows with the data?", LEADS, "grows", "shrinks"),
        ("What does the auxiliary loss give, over AUGRU?", AUXILIARY, "grows", "shrinks"),
    ):
        lines = []
        for name in pairs:
            cells = [tests[name, size.dataset].text() if (name, size.dataset) in tests else "" for size in sizes]
            growth = tests[name, "growth"].text(up, down) if (name, "growth") in tests else ""
            if any(cells):
                lines.append((name, *cells, growth))
        sections += [Section(title, ("difference", *heads, "growth"), tuple(lines))] if lines else []
    csv: list[tuple[str, ...]] = [
        ("dataset", "model", "impressions", "seeds", "auc_mean", "auc_std", "auc_low", "auc_high", "oracle_auc")
    ]
    for size in sizes:
        for model in models:
            row = size.rows.get(model)
            if row and row.mean is not None:
                low, high = row.interval or (None, None)
                values = (row.mean, row.std, low, high, oracle)
                numbers = ("" if value is None else f"{value:.6f}" for value in values)
                csv.append((size.dataset, model, str(size.impressions), str(row.seeds), *numbers))
    notes = list(NOTES)
    if changed := [head for head, size in zip(heads, sizes, strict=True) if size.uncommitted]:
        notes.append(f"{'; '.join(changed)} impressions: there are runs that were {NOT_COMMITTED}")
    return Table("One simulated market, more and more impressions to train", tuple(sections), tuple(notes), tuple(csv))


def _label(model: str) -> str:
    kinds = {row: kind for kind, row in NEGATIVES.items() if row != "dien"}
    return f"DIEN, negatives: {kinds[model]}" if model in kinds else paper.LABELS.get(model, model)


def _level(row: Row | None) -> str:
    if row is None or row.mean is None:
        return ""
    return f"{row.mean:.4f}" + ("" if row.std is None else f" ± {row.std:.4f}") + f" ({row.seeds})"


def figure_growth(
    sizes: Sequence[Size], oracle: float | None, stem: Path, formats: Sequence[str] = FORMATS
) -> tuple[Path, ...]:
    """Draw the AUC of the paper's rows, and the gain of each kind of negative, over the impressions that train."""
    with style.context(["default", SETTINGS]):
        figure = Figure(figsize=(9.2, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_levels(left, sizes, oracle)
        _draw_auxiliary(right, sizes)
        for ax in (left, right):
            ax.set_xscale("log")
            ax.set_xticks([size.impressions for size in sizes], [f"{size.impressions:,}" for size in sizes])
            ax.minorticks_off()
            ax.set_xlabel("impressions that train")
        left.legend(fontsize="small", loc="upper left", bbox_to_anchor=(0, 0.95))  # between the oracle and the curves
        right.legend(fontsize="small")
        figure.suptitle("One simulated market with more and more data")
        return save_figure(figure, stem, formats)


def _draw_levels(ax: Axes, sizes: Sequence[Size], oracle: float | None) -> None:
    for model in ROW_STYLES:
        points = [(size.impressions, row.mean) for size in sizes if (row := size.rows.get(model)) and row.mean]
        if points:
            colour, dashes = ROW_STYLES[model]
            ax.plot(*zip(*points, strict=True), color=colour, linestyle=dashes, marker="o", ms=4, label=_label(model))
    if oracle is not None:
        ax.axhline(oracle, color="black", linestyle=":", label="oracle: true probabilities")
    ax.set_ylabel("test AUC, best on validation users")


def _draw_auxiliary(ax: Axes, sizes: Sequence[Size]) -> None:
    tests = differences_by_size(sizes)
    colours = ("#D55E00", "#0072B2", "#009E73", "#000000")
    for place, (kind, name) in enumerate(zip(NEGATIVES, AUXILIARY, strict=True)):
        there = [(size, tests[name, size.dataset].comparison) for size in sizes if (name, size.dataset) in tests]
        shift = 1.06 ** (place - 1.5)
        at = [size.impressions * shift for size, _ in there]
        for x, (_, test) in zip(at, there, strict=True):
            ax.vlines(x, *test.interval, color=colours[place], linewidth=1.6)
        if there:
            ax.plot(at, [test.difference for _, test in there], color=colours[place], marker="o", ms=4, label=kind)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel("AUC over AUGRU, with its 95 % interval")
    ax.set_title("auxiliary loss, by its negatives", fontsize="medium")
