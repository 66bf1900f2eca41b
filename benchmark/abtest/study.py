"""Everything that Table 5 says of one simulated day, computed from what trained runs predict for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import numpy as np

from benchmark.abtest.auction import COST, IMPRESSIONS, RESERVE, VALUE
from benchmark.abtest.budgets import BudgetRow, budget_rows
from benchmark.abtest.experiment import (
    CONTROL,
    Predictions,
    SampleRatio,
    Share,
    assign,
    coverage,
    false_alarms,
    replay,
    sample_ratio,
    split,
    with_checks,
)
from benchmark.abtest.gains import (
    METRICS,
    Gain,
    Totals,
    bootstrap_interval,
    calibration,
    gain,
    metric,
    paired_gain,
)
from benchmark.abtest.offline import Agreement, Logged, agreement, isotonic
from benchmark.abtest.sensitivity import CANDIDATES, SPREADS, Cell, grid
from benchmark.abtest.workload import Floats, Requests, Workload
from benchmark.analysis.comparison import Interval
from benchmark.analysis.metrics import METRICS as OFFLINE_METRICS
from benchmark.records.predictions import scores_of_samples
from datamodules.errors import UserError

SPREAD = 0.5  # of the logarithm of bids in the main table
SALT = "table 5"
OFFLINE = list(OFFLINE_METRICS.values())
Run = TypeVar("Run")
Gains = Mapping[str, Gain]  # a metric -> the gain of an arm over the control


@dataclass(frozen=True, eq=False)
class Arm:
    """One arm of the test; the gains of the control are empty."""

    name: str
    users: int  # assigned to it
    values: Mapping[str, float]  # ctr, ppc, ecpm in the test
    calibration: float  # predicted clicks over clicks of what was shown
    surplus: float  # what clicks of 1,000 impressions were worth to advertisers above what they paid
    tested: Gains  # what the test says
    adjusted: Gains  # the same with CUPED; empty without figures from before the test
    bootstrap: Mapping[str, Interval]  # of the gains, over users
    replayed: Gains  # of all users served by both arms, with expected clicks: the truth


@dataclass(frozen=True, eq=False)
class AbTest:
    """An A/B test, its truth, and its checks."""

    arms: tuple[Arm, ...]
    requests: int
    candidates: int
    spread: float
    reserve: float
    seeds: int
    ratio: SampleRatio
    coverage: Mapping[str, Mapping[str, Share]]  # an arm -> a metric -> intervals that have the replay's gain in them
    alarms: Mapping[str, Share]  # a metric -> splits of the control alone with p < 0.05
    cells: tuple[Cell, ...]  # other markets
    other_requests: tuple[
        tuple[int, int], ...
    ] = ()  # numbers of candidates that have requests of their own, and how many

    @property
    def over(self) -> str:
        """What the intervals of gains count."""
        return "users and training seeds" if self.seeds > 1 else "users, of one training seed alone"

    def arm(self, name: str) -> Arm:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)


def run_test(
    predictions: Predictions,
    workload: Workload,
    *,
    spread: float = SPREAD,
    reserve: float = RESERVE,
    covariates: Floats | None = None,
    salt: str = SALT,
    checks: bool = True,
    repetitions: int = 100,
    splits: int = 1000,
    candidates: Sequence[int] = CANDIDATES,
    spreads: Sequence[float] = SPREADS,
) -> AbTest:
    """Run the test and everything beside it.

    predictions    an arm -> a training seed -> click rates (R, K); the control is "base-model"
    covariates     (U, Q), of the users of the workload in the order of their numbers, from before the test
    checks         False: leave out what follows
    repetitions    of the test, for the coverage of its intervals; splits: of the control alone
    candidates, spreads    the other markets; the test's own spread is among them in any case

    Raises UserError without the control, and where an arm's predictions are not of these requests.
    """
    _check(predictions, workload)
    users = np.unique(workload.user)
    replayed = replay(predictions, workload, spread, reserve=reserve)
    expected = replay(predictions, workload, spread, reserve=reserve, expected=True)
    arm_of = assign(users, len(predictions), salt)
    tested = split(replayed, arm_of)
    before = {}
    if covariates is not None:
        before = {name: covariates[arm_of == place] for place, name in enumerate(predictions)}
    others = [name for name in predictions if name != CONTROL] if checks else []
    return AbTest(
        arms=tuple(_arm(name, tested, expected, before) for name in predictions),
        requests=len(workload.user),
        candidates=workload.candidates,
        spread=spread,
        reserve=reserve,
        seeds=len(predictions[CONTROL]),
        ratio=sample_ratio([totals.shape[1] for totals in tested.values()]),
        coverage={name: coverage(replayed, users, name, repetitions=repetitions) for name in others},
        alarms=false_alarms(replayed[CONTROL], users, splits=splits) if checks else {},
        cells=tuple(grid(predictions, workload, candidates, sorted({*spreads, spread}))) if checks else (),
    )


def with_more_candidates(test: AbTest, predictions: Predictions, workload: Workload) -> AbTest:
    """Add a market with more candidates than the test's, whose requests are others of the same day and users."""
    cells = grid(predictions, workload, (workload.candidates,), sorted({cell.spread for cell in test.cells}))
    other = (workload.candidates, len(workload.user))
    return replace(test, cells=(*test.cells, *cells), other_requests=(*test.other_requests, other))


class Result(NamedTuple):
    """The arguments of `table5`."""

    calibrated: AbTest
    as_predicted: AbTest
    offline: list[tuple[Mapping[str, float], Agreement]]
    budgets: list[BudgetRow]


def abtest_of_runs(
    runs: Mapping[str, Sequence[Run]],
    score_candidates: Callable[[Run, Requests], Floats],
    workload: Workload,
    validation: Logged,
    tested: Logged,
    *,
    spread: float = SPREAD,
    covariates: Floats | None = None,
    wide: Workload | None = None,
    seed: int = 0,
) -> Result:
    """Put trained runs into the test.

    runs                a model -> its runs, one a training seed; "base-model" is the control
    score_candidates    what a run predicts for every candidate: click rates (R, K) above 0
    validation          on which predictions are calibrated
    tested              on which the metrics of records are measured, of predictions as they are, averaged over seeds
    covariates, spread  as of `run_test`
    wide                requests with more candidates, for the gains over their number
    """
    raw: dict[str, list[Floats]] = {}
    calibrated: dict[str, list[Floats]] = {}
    many: dict[str, list[Floats]] = {}
    figures: dict[str, dict[str, float]] = {one.name: {} for one in OFFLINE}
    for model, of_seeds in runs.items():
        raw[model] = [score_candidates(run, workload.seen) for run in of_seeds]
        fitted = [isotonic(score_candidates(run, validation.requests)[:, 0], validation.label) for run in of_seeds]
        calibrated[model] = [mend(scores) for mend, scores in zip(fitted, raw[model], strict=True)]
        if wide is not None:
            scored = [score_candidates(run, wide.seen) for run in of_seeds]
            many[model] = [mend(scores) for mend, scores in zip(fitted, scored, strict=True)]
        scores = [
            scores_of_samples(tested.requests.user, tested.label, score_candidates(run, tested.requests)[:, 0])
            for run in of_seeds
        ]
        for one in OFFLINE:
            figures[one.name][model] = float(np.mean([one.of(of_seed) for of_seed in scores]))
    mended, as_predicted = (with_checks(arms, workload.truth, seed) for arms in (calibrated, raw))
    expected = replay(calibrated, workload, spread, expected=True)
    main = run_test(mended, workload, spread=spread, covariates=covariates)
    if wide is not None:
        main = with_more_candidates(main, with_checks(many, wide.truth, seed), wide)
    return Result(
        main,
        run_test(as_predicted, workload, spread=spread, checks=False),
        [(figures[one.name], agreement(expected, figures[one.name], one.name, one.better)) for one in OFFLINE],
        budget_rows(mended, workload, spread),
    )


def _arm(name: str, tested: Mapping[str, Totals], expected: Mapping[str, Totals], before: Mapping[str, Floats]) -> Arm:
    own, control = tested[name], tested[CONTROL]
    sums = own.sum(axis=(0, 1))
    over = [] if name == CONTROL else list(METRICS)
    rng = np.random.default_rng(29)  # the same table whenever it is made
    return Arm(
        name=name,
        users=own.shape[1],
        values={of: metric(own, of) for of in METRICS},
        calibration=calibration(own),
        surplus=float(1000 * (sums[VALUE] - sums[COST]) / sums[IMPRESSIONS]),
        tested={of: gain(own, control, of) for of in over},
        adjusted={of: gain(own, control, of, (before[name], before[CONTROL])) for of in over} if before else {},
        bootstrap={of: bootstrap_interval(own, control, of, rng) for of in over},
        replayed={of: paired_gain(expected[name], expected[CONTROL], of) for of in over},
    )


def _check(predictions: Predictions, workload: Workload) -> None:
    if CONTROL not in predictions:
        raise UserError(f"an A/B test needs the control {CONTROL}, got {', '.join(predictions) or 'no arm'}.")
    seeds = len(predictions[CONTROL])
    for name, arm in predictions.items():
        if len(arm) != seeds:
            raise UserError(f"{name} has {len(arm)} training seeds and {CONTROL} {seeds}, expected as many of each.")
        for scores in arm:
            if scores.shape != workload.truth.shape:
                raise UserError(f"{name} predicts {scores.shape} click rates, expected {workload.truth.shape}.")
