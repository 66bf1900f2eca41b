"""What the study compares: its models, the seeds of a model, and how much two differ on the same test users."""

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from benchmark.analysis.comparison import Comparison, compare, holm
from benchmark.analysis.probes import CATALOGUE_RULE, Probes
from benchmark.analysis.summary import DIFFERENT, NOT_DIFFERENT, NOT_TESTED, Difference, relation_of
from benchmark.analysis.training import training_of, unlike
from benchmark.records.predictions import Scores
from benchmark.records.record import Record
from benchmark.records.results import curves_of, scores_of
from benchmark.report.results import OTHER_TRAINING

DATASETS = ("sports", "beauty")
MODELS = ("base-model", "din", "gru-attention", "augru", "dien")
SHORT = ("base-model", "din", "dien")  # what is run under the protocols of one change
PROTOCOLS = {  # in the order of the ladder, then the two beside it
    "arxiv-v1": "catalogue order",
    "aaai-2019": "by time, a day in catalogue order",
    "random-ties": "by time, a day in random order",
    "clean": "the same, and no negative that the user knows",
    "uniform-negatives": "`aaai-2019`, negatives uniform",
    "din-2018": "every position trains, negatives uniform",
}
LADDER = ("arxiv-v1", "aaai-2019", "random-ties", "clean")
BY_VARIANT = {"adam_epsilon", "unknown_user"}  # what variants have otherwise by what they are: docs/variants.md 22, 19
Measured = Mapping[tuple[str, str], Probes]  # (data set, protocol)


class Runs(NamedTuple):
    """Finished records of one model by seed; AUC is that of the checkpoint best on test unless said otherwise."""

    records: dict[int, Record]

    def mean(self, selection: str = "test") -> float | None:
        """Mean test AUC over the seeds of the checkpoint that a selection takes; None without one."""
        aucs = [getattr(record.auc, selection) for record in self.records.values()]
        return None if not aucs or None in aucs else fmean(aucs)

    def text(self) -> str:
        """Mean ± standard deviation (seeds); empty without a run."""
        mean = self.mean()
        if mean is None:
            return ""
        aucs = [record.auc.test for record in self.records.values() if record.auc.test is not None]
        return f"{mean:.3f}" + (f" ± {stdev(aucs):.3f}" if len(aucs) > 1 else "") + f" ({len(aucs)})"

    def text_at(self, step: int) -> str:
        """Mean test AUC over the seeds at an evaluated step (seeds); empty without a run."""
        curves = [curves_of(record).curve("test_auc") for record in self.records.values()]
        aucs = [value for curve in curves for at, value in zip(curve.steps, curve.values, strict=True) if at == step]
        return f"{fmean(aucs):.3f} ({len(aucs)})" if aucs else ""

    def only(self, seeds: Sequence[int]) -> "Runs":
        """The runs of some seeds."""
        return Runs({seed: self.records[seed] for seed in seeds})

    def scores(self) -> list[Scores]:
        """The scores of each seed that has any."""
        found = [scores_of(record) for record in self.records.values()]
        return [run.test or run.reported for run in found if run is not None]


Find = Callable[[str, str, str, str], Runs]  # data set, protocol, variant, model
Pair = tuple[Runs, Runs]  # runs and those that they are compared with


def finder(records: Sequence[Record]) -> Find:
    """Return what looks runs up; they are empty where there are none."""
    by_row: dict[tuple[str, ...], dict[int, Record]] = {}
    for record in records:
        if record.status == "finished":
            key = (record.dataset, record.protocol, record.variant, record.model)
            by_row.setdefault(key, {})[record.seed] = record
    return lambda *key: Runs(dict(sorted(by_row.get(key, {}).items())))


def trained_otherwise(pair: Pair) -> bool:
    """Whether runs differ in settings that no comparison here is about (docs/variants.md 19, 21, 22).

    Of two variants these are the settings that both have alike.
    """
    first, second = (next(iter(side.records.values()), None) for side in pair)
    if first is None or second is None:
        return False
    own = BY_VARIANT if first.variant != second.variant else set()
    return bool(set(unlike(training_of(first), training_of(second))) - own)


def gain_of(pair: Pair) -> tuple[float | None, int, Comparison | None]:
    """How much higher the AUC of the first runs is, over the seeds that both have; that number; and the test.

    The gain is None without a common seed. The test is None below two, where the numbers of test users differ, and
    where the runs were trained otherwise, so that a difference may be of that.
    """
    seeds = sorted(pair[0].records.keys() & pair[1].records.keys())
    runs, reference = (side.only(seeds) for side in pair)
    ours, theirs = runs.mean(), reference.mean()
    if ours is None or theirs is None:
        return None, len(seeds), None
    first, second = reference.scores(), runs.scores()
    same = len(first) == len(second) == len(seeds) and first[0].users == second[0].users
    same = same and not trained_otherwise(pair)
    return ours - theirs, len(seeds), compare(first, second) if same and len(seeds) > 1 else None


def difference(runs: Runs, reference: Runs) -> str:
    """The gain as a cell: with the half width of its 95 % interval where it is tested, and its seeds."""
    gain, seeds, test = gain_of((runs, reference))
    if gain is None:
        return ""
    if test is None:
        return f"{gain:+.3f}" + f" {OTHER_TRAINING}" * trained_otherwise((runs, reference)) + f" ({seeds})"
    return f"{gain:+.3f} ± {(test.interval.high - test.interval.low) / 2:.3f} ({seeds})"


def last_difference(runs: Runs, reference: Runs) -> str:
    """The gain of the last step as a cell, over the seeds that both have; it is not tested."""
    seeds = sorted(runs.records.keys() & reference.records.keys())
    ours, theirs = (side.only(seeds).mean("last") for side in (runs, reference))
    return "" if ours is None or theirs is None else f"{ours - theirs:+.3f} ({len(seeds)})"


def verdicts(pairs: Mapping[str, Pair]) -> list[str]:
    """Return as a list what the tests of some named pairs say, all together corrected by Holm."""
    gains = {name: gain_of(pair) for name, pair in pairs.items()}
    tests = {name: test for name, (_, _, test) in gains.items() if test is not None}
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    found = {name: Difference(test, corrected[name]) for name, test in tests.items()}
    return said({name: (gain, found.get(name)) for name, (gain, _, _) in gains.items() if gain is not None})


def said(gains: Mapping[str, tuple[float, Difference | None]]) -> list[str]:
    """Return as a list which gains are significant, which are not, and which were not tested."""
    groups: dict[str, list[str]] = {"higher": [], "lower": [], NOT_DIFFERENT: [], NOT_TESTED: []}
    for name, (gain, test) in gains.items():
        relation = relation_of(test)
        word = relation if relation != DIFFERENT else "higher" if gain > 0 else "lower"
        groups[word].append(f"{name} ({gain:+.3f})")
    return [f"- {word}: {', '.join(names)}" for word, names in groups.items() if names] or ["- no run yet"]


def picked(runs: Runs, honest: str) -> str:
    """What the checkpoint best on test has over the one that an honest selection takes."""
    best, other = runs.mean(), runs.mean(honest)
    return "" if best is None or other is None else f"{best - other:+.3f} ({len(runs.records)})"


def rule_auc(probes: Measured, dataset: str, protocol: str) -> float | None:
    """AUC of the catalogue rule on the test samples; None where it was not measured."""
    found = probes.get((dataset, protocol))
    rule = found and found.named(CATALOGUE_RULE)
    return rule.auc if rule else None


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]
