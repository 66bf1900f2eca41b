"""What decides the result: the gains of an arm over the number of candidates and the spread of bids.

A model that knows better who clicks what leaves the second candidate further behind. With few candidates that lowers
prices by more than clicks rise; from some number of candidates on, revenue rises.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmark.abtest.experiment import AGAIN, CONTROL, Predictions, replay
from benchmark.abtest.gains import METRICS, Gain, paired_gain
from benchmark.abtest.workload import Workload

CANDIDATES = (2, 5, 20, 100)
SPREADS = (0.3, 0.5, 0.8)


class Cell(NamedTuple):
    """The gains of an arm in one market."""

    arm: str
    candidates: int
    spread: float  # of the logarithm of bids
    gains: Mapping[str, Gain]  # of each metric, over the same users and with expected clicks


def grid(
    predictions: Predictions,
    workload: Workload,
    candidates: Sequence[int] = CANDIDATES,
    spreads: Sequence[float] = SPREADS,
) -> list[Cell]:
    """Replay all arms with fewer candidates, the first ones of each request, and with other bids.

    Numbers of candidates beyond those of the workload are left out.
    """
    cells = []
    for number in (number for number in candidates if number <= workload.candidates):
        fewer = {arm: [scores[:, :number] for scores in seeds] for arm, seeds in predictions.items()}
        for spread in spreads:
            totals = replay(fewer, workload.first(number), spread, expected=True)
            for arm in totals:
                if arm not in (CONTROL, AGAIN):
                    gains = {name: paired_gain(totals[arm], totals[CONTROL], name) for name in METRICS}
                    cells.append(Cell(arm, number, spread, gains))
    return cells


def break_even(cells: Sequence[Cell], arm: str, spread: float) -> str:
    """Say from how many candidates on an arm earns more than the control, by the sign of its eCPM gain.

    The number is interpolated linearly in its logarithm; behind it stand the last significant loss and the first
    significant gain.
    """
    tried = {c.candidates: c.gains["ecpm"] for c in cells if (c.arm, c.spread) == (arm, spread)}
    numbers = sorted(tried)
    profits = [number for number in numbers if tried[number].value > 0]
    if profits != numbers[len(numbers) - len(profits) :]:
        return "no single break-even"
    if not profits:
        return f"loses with {numbers[0]} to {numbers[-1]}" if numbers else ""
    losses = numbers[: len(numbers) - len(profits)]
    if not losses:
        return f"gains with {numbers[0]} to {numbers[-1]}"
    loss, profit = tried[losses[-1]].value, tried[profits[0]].value
    share = -loss / (profit - loss)
    found = math.exp(math.log(losses[-1]) + share * (math.log(profits[0]) - math.log(losses[-1])))
    sure_losses = [number for number in losses if tried[number].interval.high < 0]
    sure_profits = [number for number in profits if tried[number].interval.low > 0]
    ends = [f"a loss with {sure_losses[-1]}"] if sure_losses else []
    ends += [f"a gain with {sure_profits[0]}"] if sure_profits else []
    return f"about {found:.0f}" + (f" ({', '.join(ends)})" if ends else "")
