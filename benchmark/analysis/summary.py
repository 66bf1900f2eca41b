"""What the runs of a row come to, and how rows differ: the numbers of a table before they are written out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from benchmark.analysis.comparison import Comparison, Interval, compare, estimate, holm
from benchmark.analysis.metrics import METRICS
from benchmark.analysis.training import training_of, unlike
from benchmark.records.predictions import Scores
from benchmark.records.record import Record
from benchmark.records.results import scores_of
from benchmark.records.tuning import with_budget
from datamodules.errors import UserError

Relation = Literal["different", "not significantly different", "not tested"]
REFERENCES = ("base-model", "din")  # every row is compared with these and with the row above it
SIGNIFICANT = 0.05
DIFFERENT: Relation = "different"
NOT_DIFFERENT: Relation = "not significantly different"
NOT_TESTED: Relation = "not tested"


@dataclass(frozen=True, eq=False)
class Row:
    """The runs of one model on one data set; figures are None without a finished run."""

    model: str
    label: str
    seeds: int
    failed: int
    mean: float | None  # test AUC of the reported selection
    std: float | None  # unbiased, over seeds; None below two
    last: float | None  # mean test AUC at the last step
    inflation: float | None  # mean of the best test AUC minus the last: what choosing on test adds
    metrics: dict[str, float]  # but AUC: name -> mean at the reported checkpoint, where all seeds have it
    interval: Interval | None  # of the mean, 95 %, over test users and seeds; None below two seeds with predictions
    scores: tuple[Scores, ...]  # a seed each; empty where a seed has no predictions
    training: Mapping[str, object] = field(default_factory=dict)  # of its runs; empty without one


class Difference(NamedTuple):
    """One row against another, with the p of its table's tests together."""

    comparison: Comparison
    p: float  # corrected by Holm

    @property
    def relation(self) -> Relation:
        """What the test says of the two rows."""
        return DIFFERENT if self.p < SIGNIFICANT else NOT_DIFFERENT


def summarise(records: Sequence[Record], model: str, label: str) -> Row:
    """Return the row of `model` from the records of one data set, protocol and variant.

    Raises UserError where the predictions of two seeds are not of the same test samples.
    """
    mine = [record for record in records if record.model == model]
    finished = [record for record in mine if record.status == "finished"]
    aucs = [record.reported_auc for record in finished]
    lasts = [record.auc.last for record in finished if record.auc.last is not None]
    picked = [r.auc.test - r.auc.last for r in finished if r.auc.test is not None and r.auc.last is not None]
    scores = _reported_scores(finished)
    return Row(
        model=model,
        label=with_budget(label, mine),
        seeds=len(finished),
        failed=len(mine) - len(finished),
        mean=fmean(aucs) if aucs else None,
        std=stdev(aucs) if len(aucs) > 1 else None,
        last=fmean(lasts) if lasts else None,
        inflation=fmean(picked) if picked else None,
        metrics=_means(finished),
        interval=estimate(scores).auc_interval if len(scores) > 1 else None,
        scores=scores,
        training=training_of(finished[0]) if finished else {},
    )


def differences(rows: Sequence[Row], references: Sequence[Row]) -> dict[tuple[str, str], Difference]:
    """Test each row against each reference and against the nearest filled row above it.

    Returns (model, other) -> mean AUC of the model minus the other's, in both directions; pairs that cannot be tested,
    for want of a second seed, of predictions or of the same training, are not in it. A pair is tested once, and all
    together are corrected by Holm.
    """
    pairs = [*zip(rows, rows_above(rows), strict=True), *((row, other) for other in references for row in rows)]
    tested = differences_of_pairs([(row, other) for row, other in pairs if other is not None])
    for (model, other), (comparison, p) in list(tested.items()):
        tested[other, model] = Difference(comparison._replace(difference=-comparison.difference), p)
    return tested


def differences_of_pairs(pairs: Sequence[tuple[Row, Row]]) -> dict[tuple[str, str], Difference]:
    """Test the first row of each pair against the second, all together corrected by Holm.

    Returns (model, other) -> mean AUC of the model minus the other's; each pair once, and those that cannot be tested
    left out.
    """
    found: dict[tuple[str, str], Comparison] = {}
    for row, other in pairs:
        if row.model == other.model or (other.model, row.model) in found:
            continue
        if min(len(row.scores), len(other.scores)) > 1 and not unlike(row.training, other.training):
            found[row.model, other.model] = compare(other.scores, row.scores)
    corrected = holm([comparison.p for comparison in found.values()])
    return {pair: Difference(comparison, p) for (pair, comparison), p in zip(found.items(), corrected, strict=True)}


def standing(rows: Sequence[Row]) -> dict[str, Relation | Literal["best"]]:
    """Return how each filled row compares with the one of the highest mean, corrected by Holm.

    That one itself is "best" where every other is significantly different; else it has what it has in common with
    them: it is not significantly different from one of them, or not tested.
    """
    filled = sorted((row for row in rows if row.mean is not None), key=lambda row: -(row.mean or 0.0))
    if len(filled) < 2:
        return {}
    first, *others = filled
    tested = differences_of_pairs([(row, first) for row in others])
    found = {row.model: relation_of(tested.get((row.model, first.model))) for row in others}
    ties = [relation for relation in (NOT_DIFFERENT, NOT_TESTED) if relation in found.values()]
    return {first.model: ties[0] if ties else "best", **found}


def relation_of(test: Difference | None) -> Relation:
    """Return what is known of two rows from their test, None where they were not tested."""
    return NOT_TESTED if test is None else test.relation


def rows_above(rows: Sequence[Row]) -> list[Row | None]:
    """Return for each row the nearest one above it that has a finished run."""
    above: list[Row | None] = []
    filled = None
    for row in rows:
        above.append(filled)
        filled = row if row.mean is not None else filled
    return above


def _means(finished: Sequence[Record]) -> dict[str, float]:
    found = {name: [getattr(record, name) for record in finished] for name in METRICS if name != "auc"}
    return {name: fmean(values) for name, values in found.items() if values and None not in values}


def _reported_scores(finished: Sequence[Record]) -> tuple[Scores, ...]:
    scores: list[Scores] = []
    for record in finished:
        run = scores_of(record)
        if run is None:
            return ()
        if scores and not run.reported.same_samples(scores[0]):
            raise UserError(
                f"{record.place} has predictions for {run.reported.counts}, {finished[0].place} for "
                f"{scores[0].counts}, expected the same samples. Train one of them again."
            )
        scores.append(run.reported)
    return tuple(scores)
