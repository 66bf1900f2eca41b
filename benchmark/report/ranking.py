"""One ranking: all models of a data set, protocol and variant, by one metric at one selection, ties together.

The leaderboard's page, its CSV and its JSON are made of rankings and of nothing else.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, groupby
from statistics import fmean, stdev
from typing import Literal, NamedTuple

import numpy as np

from benchmark.analysis.comparison import compare, estimate, holm
from benchmark.analysis.summary import SIGNIFICANT
from benchmark.records import paper
from benchmark.records.predictions import RunScores, Scores
from benchmark.records.record import Record
from benchmark.records.results import scores_of

Selection = Literal["last", "validation", "test"]
SELECTIONS: dict[Selection, str] = {
    "test": "best on test",
    "validation": "best on validation",
    "last": "last step",
}
RULE = (
    f"Rows that share a rank are not significantly different from the first of them: paired test over test users and "
    f"seeds, p ≥ {SIGNIFICANT} after Holm's correction for all pairs of the ranking. Rows of one seed, or of a metric "
    "that is kept without its users, are not tested and have no rank."
)


class Metric(NamedTuple):
    """A metric to rank by: its name on the page, whether more is better, and its value of a run's checkpoint."""

    label: str
    higher: bool
    value: Callable[[Record, Scores | None, Selection], float | None]
    tested: bool = False  # whether `compare` and `estimate` are about it


def _auc(record: Record, scores: Scores | None, selection: Selection) -> float | None:
    value: float | None = getattr(record.auc, selection)
    return value


def _gauc(record: Record, scores: Scores | None, selection: Selection) -> float | None:
    """Mean of the users' AUC; with one positive and one negative each, the share of users whose positive is above."""
    if scores is None:
        return _recorded(record, "gauc", selection)
    return float(np.mean((scores.positive > scores.negative) + 0.5 * (scores.positive == scores.negative)))


def _log_loss(record: Record, scores: Scores | None, selection: Selection) -> float | None:
    return _recorded(record, "logloss", selection)


def _recorded(record: Record, field: str, selection: Selection) -> float | None:
    """A field of the record, which is of the reported checkpoint; None where the record has none."""
    value: float | None = getattr(record, field, None)
    return value if selection == record.selection else None


METRICS = {
    "auc": Metric("AUC", True, _auc, tested=True),
    "gauc": Metric("GAUC", True, _gauc),
    "logloss": Metric("log loss", False, _log_loss),
}


class Line(NamedTuple):
    """One model in a ranking. Without a finished run the figures are None."""

    model: str
    label: str
    rank: int | None  # shared by ties; None where it was not tested
    mean: float | None
    std: float | None  # unbiased, over seeds; None below two
    low: float | None  # ends of the 95 % interval of the mean, over test users and seeds
    high: float | None
    seeds: tuple[int, ...]  # finished
    values: tuple[float, ...]  # one a seed
    failed: int


class Pair(NamedTuple):
    """A test of two lines, by their places in the ranking, the first of which is the better."""

    first: int
    second: int
    difference: float  # mean of the first minus that of the second
    low: float  # ends of its 95 % interval
    high: float
    p: float  # two-sided, of this pair alone
    corrected: float  # by Holm for all pairs of the ranking


class Ranking(NamedTuple):
    """Models from the best to the worst, and all their pairs that can be tested."""

    dataset: str
    protocol: str
    variant: str
    selection: Selection
    metric: str
    reported: bool  # whether the protocol reports this selection
    lines: tuple[Line, ...]
    pairs: tuple[Pair, ...]


def place_of(record: Record) -> tuple[str, str, str]:
    """What a ranking has in common: data set, protocol, variant."""
    return record.dataset, record.protocol, record.variant


def rankings(records: Iterable[Record]) -> list[Ranking]:
    """Return a ranking for every place, selection and metric that a finished run has, the reported selection first.

    Places come in the order of their first records.
    """
    places: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        places.setdefault(place_of(record), []).append(record)
    found = []
    for mine in places.values():
        mine.sort(key=lambda record: (paper.order(record.model), record.model, record.seed))
        runs = [(record, scores_of(record) if record.status == "finished" else None) for record in mine]
        reported = mine[0].selection
        for selection in sorted(SELECTIONS, key=lambda name: name != reported):
            made = [_ranking(runs, selection, name) for name in METRICS]
            found += [ranking for ranking in made if ranking.lines[0].mean is not None]
    return found


def shared_ranks(tested: Sequence[int], pairs: Iterable[Pair]) -> dict[int, int]:
    """Return the rank of each tested line, given best first: that of the first line it is not different from.

    A rank is 1 + the number of tested lines above its first one.

    >>> shared_ranks([0, 1, 2], [Pair(0, 1, 0.1, -0.1, 0.3, 0.3, 0.6), Pair(0, 2, 0.3, 0.1, 0.5, 0.001, 0.003)])
    {0: 1, 1: 1, 2: 3}
    """
    different = {(pair.first, pair.second) for pair in pairs if pair.corrected < SIGNIFICANT}
    ranks: dict[int, int] = {}
    first = tested[0] if tested else 0
    for number, line in enumerate(tested, start=1):
        if (first, line) in different:
            first = line
        ranks[line] = number if first == line else ranks[first]
    return ranks


def _ranking(runs: Sequence[tuple[Record, RunScores | None]], selection: Selection, name: str) -> Ranking:
    metric = METRICS[name]
    drawn = []
    for model, group in groupby(runs, lambda run: run[0].model):
        mine = [(record, _checkpoint(record, scores, selection)) for record, scores in group]
        values = [(record.seed, metric.value(record, scores, selection)) for record, scores in mine]
        known = [(seed, value) for seed, value in values if value is not None]
        scores = [scores for record, scores in mine if record.status == "finished" and scores is not None]
        whole = metric.tested and len(scores) == len(known) > 1 and len(set(map(len, scores))) == 1
        failed = sum(record.status == "failed" for record, _ in mine)
        drawn.append((_line(model, known, failed, scores if whole else []), scores if whole else []))
    sign = -1 if metric.higher else 1
    drawn.sort(key=lambda one: (one[0].mean is None, sign * (one[0].mean or 0.0)))
    tested = [i for i, (_, scores) in enumerate(drawn) if scores]
    pairs = _pairs({i: drawn[i][1] for i in tested})
    ranks = shared_ranks(tested, pairs)
    lines = tuple(line._replace(rank=ranks.get(i)) for i, (line, _) in enumerate(drawn))
    first = runs[0][0]
    return Ranking(*place_of(first), selection, name, selection == first.selection, lines, tuple(pairs))


def _line(model: str, known: Sequence[tuple[int, float]], failed: int, scores: Sequence[Scores]) -> Line:
    seeds, values = tuple(seed for seed, _ in known), tuple(value for _, value in known)
    low, high = estimate(scores).auc_interval if scores else (None, None)
    return Line(
        model=model,
        label=paper.LABELS.get(model, model),
        rank=None,
        mean=fmean(values) if values else None,
        std=stdev(values) if len(values) > 1 else None,
        low=low,
        high=high,
        seeds=seeds,
        values=values,
        failed=failed,
    )


def _pairs(scores: dict[int, Sequence[Scores]]) -> list[Pair]:
    """Test all pairs of lines, given by their places."""
    users = {place: len(seeds[0]) for place, seeds in scores.items()}
    places = [(first, second) for first, second in combinations(scores, 2) if users[first] == users[second]]
    tests = [compare(scores[second], scores[first]) for first, second in places]
    corrected = holm([test.p for test in tests])
    return [
        Pair(*place, test.difference, *test.interval, test.p, p)
        for place, test, p in zip(places, tests, corrected, strict=True)
    ]


def _checkpoint(record: Record, run: RunScores | None, selection: Selection) -> Scores | None:
    """The scores of the checkpoint of a selection; the best on test is left out of a run that reports the same."""
    if run is None or getattr(record.auc, selection) is None:
        return None
    if selection == record.selection:
        return run.reported
    if selection == "last":
        return run.last
    same = record.auc.test == record.reported_auc
    return (run.test or (run.reported if same else None)) if selection == "test" else None
