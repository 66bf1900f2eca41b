"""The simulated market's last days: requests for the test, and what was logged, for calibration and offline metrics."""

import numpy as np

from benchmark.abtest.offline import Logged
from benchmark.abtest.workload import Floats, Ints, Requests, Workload, draw_workload
from datamodules.errors import UserError
from datamodules.impressions import DAY, Impressions
from datamodules.sources.market import Draws, World

PURPOSE = 19  # of the candidates' random numbers; the market's own are 1 to 6


def from_market(world: World, log: Impressions, *, candidates: int, seed: int = 0, repeats: int = 1) -> Workload:
    """Take the pages of the log's last day as requests; the candidates are ads that the policy of the log would show.

    log        of this world
    repeats    how often each page asks, every time with new candidates; the history of its user is the same

    Requests are for the first position of a page. Raises UserError where the log has none on its last day.
    """
    shown = log.shown
    day = log.day(shown.time)
    rows = np.flatnonzero((day == day.max()) & (shown.context["position"] == 1)) if len(shown) else np.arange(0)
    if not len(rows):
        raise UserError("the log shows no ad on its last day, expected requests for an A/B test. Make a larger market.")
    rows = np.repeat(rows, repeats)
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
