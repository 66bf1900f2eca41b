"""Table 5, simulated: the gains of the arms, the paper's apart from them, and what the gains rest on."""

from collections.abc import Mapping, Sequence
from typing import Literal

from benchmark.abtest.budgets import BudgetRow, bias
from benchmark.abtest.experiment import CONTROL, Share, label_of
from benchmark.abtest.gains import METRICS, NAMES, Gain, identity_error, percent
from benchmark.abtest.offline import Agreement
from benchmark.abtest.sensitivity import break_even
from benchmark.abtest.study import AbTest, Arm
from benchmark.records import paper
from benchmark.report.render import Section, Table, fixed

ROUNDING = 1e-9
BREAK_EVEN = (
    "Break-even: the number of candidates from which on the arm earns more than BaseModel, at this bid spread; behind "
    "it the last significant loss and the first significant gain."
)
BIASED = (
    "Biased: the truth of these arms is outside of their intervals, widened to 1 - 5 % / (number of arms); "
    "inconclusive: only outside of their 95 % intervals; not shown to be biased: every 95 % interval holds it."
)
CSV = "model,ctr,ppc,ecpm,ctr_gain,ppc_gain,ecpm_gain"
NOTES = (
    "Simulated: users, ads, bids and clicks are made by a program. The paper's gains were measured in Alibaba's "
    "display advertising, 2018-06-07 to 2018-07-12; they stand beside ours for comparison and are no aim.",
    "CTR: clicks / impressions. PPC: cost / clicks, in median bids. eCPM: cost of 1,000 impressions. Gains are over "
    "BaseModel, in per cent, with 95 % intervals over {over} (delta method).",
    "Candidates are ranked by bid x predicted CTR; the winner pays the second score / own predicted CTR, at least the "
    "reserve, for a click. Clicks come from the true probability, which no arm but the oracle sees.",
)


def table5(
    main: AbTest,
    other: AbTest | None = None,
    offline: Sequence[tuple[Mapping[str, float], Agreement]] = (),
    budgets: Sequence[BudgetRow] = (),
) -> Table:
    """Return the table and its CSV, which has one line an arm.

    main       with predictions calibrated on the validation day
    other      the same with predictions as the models give them
    offline    of each offline metric: an arm -> its figure, and how its order agrees with that by eCPM
    budgets    the robustness row
    """
    sections = [_gains(main), _ways(main), *_markets(main), _checks(main)]
    sections += [_calibrations(main, other)] if other else []
    sections += [_offline(main, offline)] if offline else []
    sections += [_budgets(budgets)] if budgets else []
    title = (
        f"Table 5, simulated: an A/B test of {main.requests:,} requests with {main.candidates} candidates each, "
        f"bid spread {main.spread}, reserve {main.reserve}, {main.seeds} training seed(s)"
    )
    lines = [_csv_header(), *(_csv_line(arm) for arm in main.arms)]
    notes = tuple(note.format(over=main.over) for note in NOTES)
    return Table(title, tuple(sections), notes, tuple(map(tuple, lines)))


def _gains(test: AbTest) -> Section:
    rows = []
    for arm in test.arms:
        printed = paper.ONLINE_GAINS.get(arm.name)
        values = (f"{100 * arm.values['ctr']:.2f} %", f"{arm.values['ppc']:.4f}", f"{arm.values['ecpm']:.2f}")
        gains = [percent(arm.tested.get(name)) for name in METRICS]
        theirs = [f"{100 * printed[name]:+.1f}" if printed else "" for name in METRICS]
        even = break_even(test.cells, arm.name, test.spread)
        rows.append((label_of(arm.name), f"{arm.users:,}", *values, *gains, even, *theirs))
    header = ("Model", "users", *NAMES.values(), *(f"{name} gain" for name in NAMES.values()), "break-even")
    return Section(
        "Simulated A/B test", (*header, *(f"paper: {name}" for name in NAMES.values())), tuple(rows), note=BREAK_EVEN
    )


def _ways(test: AbTest) -> Section:
    rows = []
    for arm in test.arms:
        if not arm.tested:
            continue
        low, high = arm.bootstrap["ecpm"]
        rows.append(
            (
                label_of(arm.name),
                percent(arm.replayed["ecpm"]),
                percent(arm.tested["ecpm"]),
                f"[{100 * low:+.1f}, {100 * high:+.1f}]",
                percent(arm.adjusted.get("ecpm")),
                f"{100 * arm.tested['ecpm'].smallest:+.1f}",
                fixed(arm.calibration, 3),
                fixed(arm.surplus, 2),
            )
        )
    header = (
        "Model", "replay: all users in both arms", "test", "bootstrap", "test with CUPED", "smallest gain seen",
        "predicted / clicked", "advertisers' surplus",
    )  # fmt: skip
    note = (
        "Replay, with expected clicks: the truth that the test estimates. Smallest gain seen: with a chance of "
        "80 %, in a test of this size. "
        "Surplus: bids of the clicks less their cost, of 1,000 impressions."
    )
    return Section("The simulated eCPM gain, measured in other ways", header, tuple(rows), note=note)


def _markets(test: AbTest) -> list[Section]:
    """The gains over candidates and spreads, and from how many candidates on an arm earns more."""
    if not test.cells:
        return []
    numbers = sorted({cell.candidates for cell in test.cells})
    rows = []
    for arm, spread in dict.fromkeys((cell.arm, cell.spread) for cell in test.cells):
        gains = {c.candidates: c.gains for c in test.cells if (c.arm, c.spread) == (arm, spread)}
        cells = [" / ".join(percent(gains[n][name], interval=False) for name in METRICS) for n in numbers]
        rows.append((label_of(arm), str(spread), *cells, break_even(test.cells, arm, spread)))
    header = ("Model", "bid spread", *(f"{number} candidates" for number in numbers), "break-even")
    asked = " ".join(f"With {number} candidates: {requests:,} requests." for number, requests in test.other_requests)
    note = f"Gains of CTR / PPC / eCPM in per cent, replayed with expected clicks. {asked}".rstrip()
    return [Section("Other simulated markets", header, tuple(rows), note=note)]


def _checks(test: AbTest) -> Section:
    rows = [
        (f"intervals of {label_of(arm)} that have the replay's gain", *_shares(shares))
        for arm, shares in test.coverage.items()
    ]
    rows.append(("splits of BaseModel alone with p < 0.05", *_shares(test.alarms)))
    ratio = "as planned" if test.ratio.as_planned else "not as planned: read no result before it is explained"
    worst = max((abs(_identity(arm.tested)) for arm in test.arms if arm.tested), default=0.0)
    note = (
        f"Users of the arms: {ratio} (chi-square, p = {test.ratio.p:.3f}). eCPM gain = (1 + CTR gain)(1 + PPC gain) "
        f"- 1 holds {'to rounding' if worst < ROUNDING else f'to {worst:.1e}'}. Here the replay's clicks are "
        "drawn, with common random numbers. An interval that has the gain more often than 95 % errs on the careful "
        "side: the usual variance is an upper bound, too high where users differ in what they gain (Neyman 1923)."
    )
    return Section("Is the test right?", ("check", "expected", *NAMES.values()), tuple(rows), note=note)


def _shares(shares: Mapping[str, Share]) -> list[str]:
    cells = []
    for name in METRICS:
        share = shares[name]
        low, high = share.interval
        side = (", more often" if low > share.expected else ", less often") if share.verdict == "no" else ""
        cells.append(f"{share.hits:,} of {share.trials:,} [{100 * low:.1f}, {100 * high:.1f}] %: {share.verdict}{side}")
    return [f"{100 * shares['ctr'].expected:.0f} %", *cells]


def _calibrations(main: AbTest, other: AbTest) -> Section:
    rows = []
    for arm in main.arms:
        raw = other.arm(arm.name)
        gains = [percent(of.replayed.get(name), interval=False) for of in (arm, raw) for name in METRICS]
        rows.append((label_of(arm.name), *gains, fixed(arm.calibration, 3), fixed(raw.calibration, 3)))
    header = [f"{name}, {how}" for how in ("calibrated", "as predicted") for name in NAMES.values()]
    more = ("predicted / clicked, calibrated", "as predicted")
    note = "Replayed gains in per cent. Calibrated: by isotonic regression on the validation day."
    return Section("With and without calibration, simulated", ("Model", *header, *more), tuple(rows), note=note)


def _offline(main: AbTest, offline: Sequence[tuple[Mapping[str, float], Agreement]]) -> Section:
    arms = [arm.name for arm in main.arms if any(arm.name in figures for figures, _ in offline)]
    rows = [
        (
            found.metric,
            *(fixed(figures.get(arm), 4) for arm in arms),
            fixed(found.tau, 2),
            f"{found.same} of {found.decided}",
            found.verdict,
        )
        for figures, found in offline
    ]
    revenue = [main.arm(arm).replayed.get("ecpm") for arm in arms]
    rows.append(("eCPM gain, replayed", *(percent(gain, interval=False) for gain in revenue), "", "", ""))
    header = ("metric", *map(label_of, arms), "Kendall's tau", "pairs in the same order", "predicts the order")
    note = "Pairs: arms whose eCPM is significantly different in the replay."
    return Section("Does an offline metric predict the order by simulated eCPM?", header, tuple(rows), note=note)


def _budgets(rows: Sequence[BudgetRow]) -> Section:
    cells = [(label_of(row.arm), f"{100 * row.alone:+.1f}", percent(row.split), percent(row.common)) for row in rows]
    header = ("Model", "alone, whole budgets", "tests, split budgets", "tests, common budgets")
    note = (
        "Revenue of 1,000 requests. Alone is the truth; intervals are over repeated tests, whose users are assigned "
        f"anew. Split budgets: {_bias(rows, 'split')}. Common budgets: {_bias(rows, 'common')}. {BIASED}"
    )
    return Section("Simulated eCPM gain in per cent where budgets bind", header, tuple(cells), note=note)


def _bias(rows: Sequence[BudgetRow], design: Literal["split", "common"]) -> str:
    found = bias(rows, design)
    return f"{found.verdict} ({', '.join(map(label_of, found.arms))})" if found.arms else found.verdict


def _identity(gains: Mapping[str, Gain]) -> float:
    return identity_error(*(gains[name].value for name in METRICS))


def _csv_header() -> list[str]:
    ends = [f"{name}_gain_{end}" for name in METRICS for end in ("low", "high")]
    ways = [
        f"{way}_{name}_gain{end}" for way in ("replay", "cuped") for name in METRICS for end in ("", "_low", "_high")
    ]
    return [
        *CSV.split(","),
        *ends,
        *ways,
        "users",
        "predicted_over_clicked",
        *(f"paper_{name}_gain" for name in METRICS),
    ]


def _csv_line(arm: Arm) -> list[str]:
    nothing = arm.name == CONTROL
    gains = ["0" if nothing else f"{arm.tested[name].value:.9f}" for name in METRICS]
    ends = [cell for name in METRICS for cell in _cells(arm.tested.get(name))[1:]]
    ways = [cell for way in (arm.replayed, arm.adjusted) for name in METRICS for cell in _cells(way.get(name))]
    printed = paper.ONLINE_GAINS.get(arm.name)
    theirs = [fixed(printed[name] if printed else None, 3) for name in METRICS]
    values = [f"{arm.values[name]:.6f}" for name in METRICS]
    return [arm.name, *values, *gains, *ends, *ways, str(arm.users), fixed(arm.calibration, 4), *theirs]


def _cells(gain: Gain | None) -> list[str]:
    return [fixed(value, 6) for value in (gain.value, *gain.interval)] if gain else ["", "", ""]
