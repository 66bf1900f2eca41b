"""The simulated market's last day as requests, and what a trained run predicts for their candidates.

Each history is encoded once, each candidate scored.
"""

from collections.abc import Callable

import numpy as np

from benchmark.abtest.offline import Logged
from benchmark.abtest.workload import Floats, Ints, Requests, Workload, draw_workload
from benchmark.runs.trained import Run
from benchmark.serving.runs import as_served
from datamodules.batches import EvaluationBatches
from datamodules.errors import UserError
from datamodules.impressions import DAY, Impressions, Int32
from datamodules.protocol import DayProtocol
from datamodules.samples import Samples, Split, by_user_and_time
from datamodules.samples.impressions import spans
from datamodules.sources.market import Draws, World

PURPOSE = 19  # of the candidates' random numbers; the market's own are 1 to 6


def from_market(
    world: World, log: Impressions, *, candidates: int, seed: int = 0, repeats: int = 1, every: int = 1
) -> Workload:
    """Take the pages of the log's last day as requests; the candidates are ads that the policy of the log would show.

    log        of this world
    repeats    how often each page asks, every time with new candidates; the history of its user is the same
    every      only each page of so many asks

    Requests are for the first position of a page. Raises UserError where the log has none on its last day.
    """
    shown = log.shown
    day = log.day(shown.time)
    rows = np.flatnonzero((day == day.max()) & (shown.context["position"] == 1)) if len(shown) else np.arange(0)
    if not len(rows):
        raise UserError("the log shows no ad on its last day, expected requests for an A/B test. Make a larger market.")
    rows = np.repeat(rows[::every], repeats)
    draws = Draws(PURPOSE, seed)
    context = {name: column[rows] for name, column in shown.context.items()}
    return draw_workload(
        world,
        shown.user[rows].astype(np.int64),
        shown.time[rows],
        context,
        lambda user, time: world.advertise(user, time, draws),
        candidates=candidates,
        seed=seed,
    )


def logged_day(log: Impressions, back: int) -> Logged:
    """The impressions of one of the log's last days: 0 the last, the test day; 1 the one before, the validation day."""
    shown = log.shown
    day = log.day(shown.time)
    rows = np.flatnonzero(day == day.max() - back)
    context = {name: column[rows] for name, column in shown.context.items()}
    item = shown.item[rows, None].astype(np.int64)
    return Logged(Requests(shown.user[rows].astype(np.int64), shown.time[rows], context, item), shown.label[rows])


def before_the_test(log: Impressions, users: Ints) -> Floats:
    """What is known of users (U,) before the last day, for CUPED: (U, 3) impressions, clicks, behaviours."""
    shown, behaviours = log.shown, log.behaviours
    day = log.day(shown.time)
    earlier, last = day < day.max(), log.first_midnight + int(day.max()) * DAY
    clicked = earlier & (shown.label == 1)
    counted = (shown.user[earlier], shown.user[clicked], behaviours.user[behaviours.time < last])
    return np.column_stack([np.bincount(who, minlength=log.users)[users] for who in counted]).astype(np.float64)


def scorer_of_candidates(fields: dict[str, Int32]) -> Callable[[Run, Requests], Floats]:
    """Return what gives a run's click rates (R, K) for requests.

    `fields` (I + 1,) are those that an item has as a target alone, as its campaign. The run is frozen as a server has
    it, so that a candidate's rate does not depend on which others are scored with it. Histories are those that the
    run's protocol gives at the time of the request.
    """
    frozen: dict[int, Run] = {}  # of the runs seen, by identity: a run is asked several times

    def score(run: Run, requests: Requests) -> Floats:
        if id(run) not in frozen:
            frozen[id(run)] = as_served(run)
        served = frozen[id(run)]
        count, candidates = requests.item.shape
        split = _split(served.samples, requests, fields)
        batches = EvaluationBatches(served.samples, split, served.config.batch_size, served.vocabulary)
        found = np.empty(count * candidates)
        found[batches.order] = np.concatenate([served.predict(batches[at]) for at in range(len(batches))])
        return found.reshape(count, candidates)

    return score


def _split(samples: Samples, requests: Requests, fields: dict[str, Int32]) -> Split:
    """The candidates of requests as samples, a request's side by side."""
    protocol = samples.protocol
    assert isinstance(protocol, DayProtocol)
    candidates = requests.item.shape[1]
    owners = np.repeat(np.arange(samples.users), np.diff(samples.offsets))
    begin, end = spans(by_user_and_time(owners, samples.times), requests.user, requests.time, protocol)
    item = requests.item.reshape(-1).astype(np.int32)
    return Split(
        user=np.repeat(requests.user, candidates).astype(np.int32),
        begin=np.repeat(begin, candidates),
        end=np.repeat(end, candidates),
        item=item,
        label=np.zeros(len(item), np.int8),
        time=np.repeat(requests.time, candidates),
        target={name: codes[item] for name, codes in fields.items()},
        context={name: np.repeat(codes, candidates).astype(np.int32) for name, codes in requests.context.items()},
    )
