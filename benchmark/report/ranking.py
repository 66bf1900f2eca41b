"""One ranking: all models of a data set, protocol and variant, by one metric at one selection, ties together.

The leaderboard's page, its CSV and its JSON are made of rankings and of nothing else.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations, groupby
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from benchmark.analysis.comparison import Comparison, Terms, compare, estimate, gauc_terms, holm, terms_of, user_terms
from benchmark.analysis.metrics import METRICS
from benchmark.analysis.summary import SIGNIFICANT
from benchmark.analysis.training import unlike_first
from benchmark.records import paper
from benchmark.records.predictions import RunScores, Scores
from benchmark.records.record import Record
from benchmark.records.results import scores_of
from benchmark.records.tuning import with_budget

Selection = Literal["last", "validation", "test"]
SELECTIONS: dict[Selection, str] = {
    "test": "best on test",
    "validation": "best on validation",
    "last": "last step",
}
RULE = (
    f"Rows that share a rank are not significantly different from the first of them: paired test over test users and "
    f"seeds, p ≥ {SIGNIFICANT} after Holm's correction for all pairs of the ranking. Rows of one seed, rows "
    "marked ‡, which were trained with other settings than the first in the paper's order, and log loss, which is kept "
    "without its users, are not tested and have no rank."
)


# What each user adds to a metric, for its intervals and tests; log loss is kept of the whole run alone.
TERMS: dict[str, Terms] = {"auc": user_terms, "gauc": gauc_terms}
RANKED = ("auc", "gauc", "logloss")  # of METRICS; calibration has a best value between its worst ones


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
            made = [_ranking(runs, selection, name) for name in RANKED]
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


def _ranking(runs: Sequence[tuple[Record, RunScores | None]], selection: Selection, metric: str) -> Ranking:
    drawn = []
    for model, group in groupby(runs, lambda run: run[0].model):
        mine = [(record, _checkpoint(record, scores, selection)) for record, scores in group]
        values = [(record.seed, _value(metric, record, scores, selection)) for record, scores in mine]
        known = [(seed, value) for seed, value in values if value is not None]
        scores = [found for _, found in mine if found is not None] if metric in TERMS else []
        scores = scores if len(scores) == len(known) > 1 and len(terms_of(scores[0], TERMS[metric])[1]) > 1 else []
        failed = sum(record.status == "failed" for record, _ in mine)
        label = with_budget(paper.label_of(model), [record for record, _ in mine])
        drawn.append((_line(model, label, known, failed, estimate(scores, TERMS[metric]) if scores else None), scores))
    others = unlike_first([record for record, _ in runs], list(dict.fromkeys(record.model for record, _ in runs)))
    sign = -1 if METRICS[metric].better == "higher" else 1
    drawn.sort(key=lambda one: (one[0].mean is None, sign * (one[0].mean or 0.0)))
    tested = [i for i, (line, scores) in enumerate(drawn) if scores and line.model not in others]
    pairs = _pairs({i: drawn[i][1] for i in tested}, TERMS[metric]) if tested else []
    ranks = shared_ranks(tested, pairs)
    lines = tuple(line._replace(rank=ranks.get(i)) for i, (line, _) in enumerate(drawn))
    first = runs[0][0]
    return Ranking(*place_of(first), selection, metric, selection == first.selection, lines, tuple(pairs))


def _value(metric: str, record: Record, scores: Scores | None, selection: Selection) -> float | None:
    """A metric of a run at the checkpoint of a selection: as recorded, else from its scores; None: not known."""
    value: float | None = None
    if metric == "auc":
        value = getattr(record.auc, selection)
    elif selection == record.selection:
        value = getattr(record, metric)
    if value is None and scores is not None and METRICS[metric].by_order and record.status == "finished":
        value = METRICS[metric].of(scores)
    return value


def _line(model: str, label: str, known: Sequence[tuple[int, float]], failed: int, found: Comparison | None) -> Line:
    seeds, values = tuple(seed for seed, _ in known), tuple(value for _, value in known)
    low, high = found.auc_interval if found else (None, None)
    return Line(
        model=model,
        label=label,
        rank=None,
        mean=fmean(values) if values else None,
        std=stdev(values) if len(values) > 1 else None,
        low=low,
        high=high,
        seeds=seeds,
        values=values,
        failed=failed,
    )


def _pairs(scores: dict[int, Sequence[Scores]], of: Terms) -> list[Pair]:
    """Test all pairs of lines, given by their places; those of other test samples cannot be tested."""
    places = [(a, b) for a, b in combinations(scores, 2) if scores[a][0].same_samples(scores[b][0])]
    tests = [compare(scores[second], scores[first], of) for first, second in places]
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
