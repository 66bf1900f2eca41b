"""One screen for whoever decides whether to ship a model: what its gain in AUC is worth in the simulated market."""

from collections.abc import Mapping, Sequence

from benchmark.abtest.experiment import CONTROL, label_of
from benchmark.abtest.gains import Gain, percent
from benchmark.abtest.sensitivity import Cell, break_even
from benchmark.abtest.study import AbTest
from benchmark.records import paper
from benchmark.report.render import Section, Table

CSV = "model,auc_gain,candidates,ctr_gain,ppc_gain,ecpm_gain,ecpm_gain_low,ecpm_gain_high"
NOTES = (
    "Simulated. Gains over BaseModel in per cent, replayed: all users served by both arms, with expected clicks; 95 % "
    "intervals over {over}. Earns more, earns less: the interval of the eCPM gain is above or below 0.",
    "Of 0.01 AUC: the CTR gain over the AUC gain, as if it were in proportion; the interval is that of the CTR gain.",
)


def decision(test: AbTest, auc: Mapping[str, float]) -> Table:
    """What to make of every trained arm, by the number of candidates.

    auc    an arm -> its AUC on the logged test day, averaged over seeds
    """
    arms = [arm.name for arm in test.arms if arm.name in auc and arm.name != CONTROL]
    cells = {(c.arm, c.candidates): c for c in test.cells if c.spread == test.spread}
    numbers = sorted({number for _, number in cells})
    worth = [(label_of(arm), f"{auc[arm] - auc[CONTROL]:+.4f}", *_earned(cells, arm, numbers)) for arm in arms]
    worth = [(*line, break_even(test.cells, arm, test.spread)) for line, arm in zip(worth, arms, strict=True)]
    counts = [f"{number} candidates" for number in numbers]
    sections = [
        Section(
            "Is the model with the higher AUC worth shipping?",
            ("model", "AUC gain", *(f"eCPM gain, {count}" for count in counts), "break-even"),
            tuple(worth),
        ),
        Section(
            "What was 0.01 of AUC worth in clicks, here and in the paper?",
            ("model", *counts, "paper: AUC gain", "paper: CTR gain", "paper: of 0.01 AUC", "the paper's is"),
            tuple(_rates(cells, arm, auc[arm] - auc[CONTROL], numbers) for arm in arms),
        ),
    ]
    lines: list[tuple[str, ...]] = [tuple(CSV.split(","))]
    for arm in arms:
        for number in numbers:
            gains = cells[arm, number].gains
            values = (*(gains[name].value for name in ("ctr", "ppc", "ecpm")), *gains["ecpm"].interval)
            lines.append((arm, f"{auc[arm] - auc[CONTROL]:.6f}", str(number), *(f"{value:.6f}" for value in values)))
    title = f"Whether to ship a model: a simulated market, bid spread {test.spread}, {test.seeds} training seed(s)"
    notes = tuple(note.format(over=test.over) for note in NOTES)
    return Table(title, tuple(sections), notes, tuple(lines))


def _earned(cells: Mapping[tuple[str, int], Cell], arm: str, numbers: Sequence[int]) -> list[str]:
    """The eCPM gain of an arm at each number of candidates, and what to make of it."""
    gains = [cells[arm, number].gains["ecpm"] for number in numbers]
    return [f"{percent(gain)} {_verdict(gain)}" for gain in gains]


def _verdict(gain: Gain) -> str:
    low, high = gain.interval
    return "earns more" if low > 0 else "earns less" if high < 0 else "inconclusive"


def _rates(cells: Mapping[tuple[str, int], Cell], arm: str, gain: float, numbers: Sequence[int]) -> tuple[str, ...]:
    """CTR gains of 0.01 AUC at each number of candidates, the printed one, and whether it is outside of all of ours."""
    printed = paper.ONLINE_GAINS.get(arm)
    theirs = paper.INDUSTRIAL_AUC[arm].mean - paper.INDUSTRIAL_AUC[CONTROL].mean if printed else 0.0
    rate = 100 * printed["ctr"] / (100 * theirs) if printed else None
    there = (f"{theirs:+.4f}", f"{100 * printed['ctr']:+.1f}", f"{rate:+.1f}") if printed else ("", "", "")
    if gain <= 0:
        return (label_of(arm), *("no AUC gain" for _ in numbers), *there, "")
    # A gain as a fraction over a gain in AUC is also per cent over hundredths of AUC.
    ctr = [cells[arm, number].gains["ctr"] for number in numbers]
    ours = [[end / gain for end in (of.value, *of.interval)] for of in ctr]
    shown = [f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" for value, low, high in ours]
    if rate is None:
        return (label_of(arm), *shown, *there, "")
    above = [number for number, (_, _, high) in zip(numbers, ours, strict=True) if rate > high]
    below = [number for number, (_, low, _) in zip(numbers, ours, strict=True) if rate < low]
    if len(above) == len(numbers):
        said = "more than here with any of these numbers"
    else:
        parts = [f"more than here with {_list(above)}"] * bool(above) + [f"less with {_list(below)}"] * bool(below)
        said = "; ".join(parts) or "not different"
    return (label_of(arm), *shown, *there, said)


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
