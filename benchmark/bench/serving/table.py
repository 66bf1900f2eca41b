"""The ladder as a table: figures with their spread over rounds, each step beside the one before, and what that says."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal, NamedTuple

from benchmark.bench.serving.steps import BEFORE, STEPS
from benchmark.records import paper
from benchmark.report.render import Section, Table, fixed

ROUNDS = 3  # fewer say nothing of a spread
KEPT_UP = 0.9  # of the offered rate: a server that achieves less is overloaded
LABELS = {step.name: step.label for step in STEPS}
Cell = Mapping[str, Any]
Verdict = Literal["higher", "lower", "inconclusive"]
FIGURES: dict[str, Callable[[Cell], float | None]] = {
    "closed_ms": lambda cell: cell["closed"]["median_ms"],
    "p50_ms": lambda cell: cell["fixed"]["p50_ms"],
    "p99_ms": lambda cell: cell["fixed"]["p99_ms"],
    "largest_rate": lambda cell: cell["largest_rate"],
}
CSV = (
    "step,candidates,rounds,"
    + ",".join(f"{name},{name}_low,{name}_high" for name in FIGURES)
    + ",fixed_rate,limited_by,auc,before,time_ratio,time_verdict,rate_ratio,rate_verdict"
)
NOTES = (
    "A cell is the median of the rounds, with the lowest and the highest of them. ms a request: median of one client "
    "who asks again once it has the answer. p50, p99: Poisson arrivals at the rate that is named, latency from the "
    "scheduled time, of answered requests.",
    "Largest rate: requests a second at which p99 stays within the bound and nothing is refused or fails, by "
    "bisection; 0: no rate was found. (generator): the load generator was late itself, the server may take more.",
    f"higher, lower: every round of a step lies above, or below, every round of the other. Else, and with fewer than "
    f"{ROUNDS} rounds, inconclusive. Ratios are of the same round, median with lowest and highest.",
    "All steps answer over the same HTTP server, with the attention's MLP compiled, and a model whose Dice is frozen. "
    "AUC: of the model as it is served. Exported files take one request at a time, for their graph has one history.",
)
UNKNOWN = (
    "The paper does not say: the hardware, how many candidates a request has, how long histories are, whether its ms "
    "are a mean or which percentile, at what rate, and the AUC of the light net. Its figures are no aim for ours."
)


class Change(NamedTuple):
    """A figure of a step over that of another: ratios of rounds, and what they say."""

    ratios: tuple[float, ...]
    verdict: Verdict

    @property
    def shown(self) -> str:
        """As a cell shows it."""
        if not self.ratios:
            return self.verdict
        spread = f" [{min(self.ratios):.2f}, {max(self.ratios):.2f}]" if len(self.ratios) > 1 else ""
        return f"x {median(self.ratios):.2f}{spread} {self.verdict}"


@dataclass(frozen=True)
class Line:
    """A step with N candidates, over all rounds."""

    step: str
    candidates: int
    cells: tuple[Cell, ...]  # by round

    def values(self, figure: str) -> list[float]:
        """A figure in each round; nothing of a round without an answer."""
        return [value for cell in self.cells if (value := FIGURES[figure](cell)) is not None]

    def shown(self, figure: str, digits: int) -> str:
        """Median, lowest and highest."""
        values = self.values(figure)
        if not values:
            return ""
        spread = f" [{min(values):.{digits}f}, {max(values):.{digits}f}]" if len(values) > 1 else ""
        return f"{median(values):.{digits}f}{spread}"

    @property
    def overloaded(self) -> bool:
        """Whether the server did not keep up with the fixed rate in some round."""
        return any(cell["fixed"]["achieved"] < KEPT_UP * cell["fixed"]["offered"] for cell in self.cells)

    @property
    def by_generator(self) -> bool:
        """Whether the generator limits the largest rate in some round."""
        return any(cell["limited_by"] == "generator" for cell in self.cells)


def change(new: Sequence[float], old: Sequence[float]) -> Change:
    """Compare rounds.

    >>> change([4.0, 4.0, 5.0], [2.0, 1.0, 2.5])
    Change(ratios=(2.0, 4.0, 2.0), verdict='higher')
    >>> change([4.0, 2.0, 5.0], [2.0, 1.0, 2.5]).verdict
    'inconclusive'
    """
    ratios = tuple(a / b for a, b in zip(new, old, strict=False)) if all(old) else ()
    verdict: Verdict = "inconclusive"
    if min(len(new), len(old)) >= ROUNDS:
        verdict = "higher" if min(new) > max(old) else "lower" if max(new) < min(old) else verdict
    return Change(ratios, verdict)


def lines_of(cells: Sequence[Cell]) -> dict[tuple[str, int], Line]:
    """Return the lines by step and candidates, in the order of the ladder."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: (cell["candidates"], list(LABELS).index(cell["step"]), cell["repeat"])):
        found.setdefault((cell["step"], cell["candidates"]), []).append(cell)
    return {key: Line(*key, tuple(mine)) for key, mine in found.items()}


def changes(lines: Mapping[tuple[str, int], Line], step: str, other: str, candidates: int) -> dict[str, Change]:
    """Return how ms a request and the largest rate of a step differ from another's; nothing where one is missing."""
    new, old = lines.get((step, candidates)), lines.get((other, candidates))
    if new is None or old is None:
        return {}
    return {name: change(new.values(name), old.values(name)) for name in ("closed_ms", "largest_rate")}


def ladder_table(cells: Sequence[Cell]) -> Table:
    """Return the table of the records of one plan."""
    lines = lines_of(cells)
    numbers = sorted({n for _, n in lines})
    first = cells[0]
    plan, model = first["plan"], first["model"]
    sections = [_of_candidates(lines, n, plan) for n in numbers]
    sections += [_said(lines, numbers), _export(lines, numbers), _paper(lines, numbers)]
    title = (
        f"Serving: the ladder on {model['dataset']}, {model['protocol']}, seed {model['seed']}, histories of "
        f"{plan['history']}, largest rate at p99 <= {plan['bound_ms']:g} ms"
    )
    rows = [tuple(CSV.split(",")), *(_csv(lines, line) for line in lines.values())]
    return Table(title, tuple(s for s in sections if s.rows), (*_machine(cells), *NOTES, _counted(cells)), tuple(rows))


def _of_candidates(lines: Mapping[tuple[str, int], Line], n: int, plan: Mapping[str, Any]) -> Section:
    rate = dict(map(tuple, plan["rates"]))[n]
    rows = []
    for line in (line for line in lines.values() if line.candidates == n):
        over = " (overloaded)" if line.overloaded else ""
        rows.append(
            (
                LABELS[line.step],
                line.shown("closed_ms", 2),
                line.shown("p50_ms", 1) + over,
                line.shown("p99_ms", 1) + over,
                line.shown("largest_rate", 1) + (" (generator)" if line.by_generator else ""),
                _auc(line),
            )
        )
    header = ("step", "ms a request", f"p50, ms, at {rate:g}/s", f"p99, ms, at {rate:g}/s", "largest rate, 1/s", "AUC")
    return Section(f"{n} candidate{'s' if n > 1 else ''}", header, tuple(rows))


def _said(lines: Mapping[tuple[str, int], Line], numbers: Sequence[int]) -> Section:
    """Each step over the one before."""
    rows = []
    for step, other in BEFORE.items():
        for n in numbers:
            if found := changes(lines, step, other, n):
                time, rate = found["closed_ms"], found["largest_rate"]
                rows.append((LABELS[step], LABELS[other], str(n), time.shown, rate.shown))
    header = ("step", "over", "candidates", "ms a request", "largest rate")
    return Section("What each step changes", header, tuple(rows))


def _export(lines: Mapping[tuple[str, int], Line], numbers: Sequence[int]) -> Section:
    rows = []
    for n in numbers:
        if found := changes(lines, "buckets", "scan", n):
            time, rate = found["closed_ms"], found["largest_rate"]
            rows.append((str(n), time.shown, rate.shown, better_export(found)))
    header = ("candidates", "ms a request, buckets over Scan", "largest rate, buckets over Scan", "better")
    return Section("Export: Scan or length buckets?", header, tuple(rows))


def better_export(found: Mapping[str, Change]) -> str:
    """Return which export measures better: in one of the two figures, and worse in none."""
    time, rate = found["closed_ms"].verdict, found["largest_rate"].verdict
    buckets = (time == "lower") + (rate == "higher")
    scan = (time == "higher") + (rate == "lower")
    if bool(buckets) == bool(scan):
        return "inconclusive"
    return "length buckets" if buckets else "Scan"


def _paper(lines: Mapping[tuple[str, int], Line], numbers: Sequence[int]) -> Section:
    """The printed figures, and ours from the first step to the last that is not exported, apart from them."""
    (slow, fast), (large, small) = paper.SERVING.latency_ms, paper.SERVING.hidden_size
    printed = ("the paper", "", f"{slow:g} to {fast:g}", f"x {fast / slow:.2f}", str(paper.SERVING.requests_a_second))
    rows = [(*printed, f"{large} to {small}")]
    for n in numbers:
        first, last = lines.get(("eager", n)), lines.get(("light", n))
        if first and last:
            times = [median(line.values("closed_ms")) for line in (first, last)]
            found = change(last.values("closed_ms"), first.values("closed_ms"))
            rate = last.shown("largest_rate", 0)
            rows.append(("here", str(n), f"{times[0]:.1f} to {times[1]:.1f}", found.shown, rate, f"{large} to {small}"))
    header = ("", "candidates", "ms", "change", "requests a second, after", "units")
    return Section("The paper's figures, apart from ours", header, tuple(rows), note=UNKNOWN)


def _counted(cells: Sequence[Cell]) -> str:
    """How many requests stand behind a p99."""

    def due(test: Mapping[str, Any]) -> int:
        return sum(test[kind] for kind in ("answered", "refused", "failed"))

    fixed = {
        n: [due(cell["fixed"]) for cell in cells if cell["candidates"] == n] for n in {c["candidates"] for c in cells}
    }
    largest = [due(test) for cell in cells for test in cell["tests"] if test["rate"] == cell["largest_rate"]]
    said = [f"{_range(counts)} with {n} candidate{'s' if n > 1 else ''}" for n, counts in sorted(fixed.items())]
    found = f"; a test at the largest rate {_range(largest)}" if largest else ""
    return (
        f"Requests that count in a test at the fixed rate: {', '.join(said)}, which come at the same times in every "
        f"round{found}. The p99 of less than 100 requests lies between the two slowest."
    )


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _machine(cells: Sequence[Cell]) -> list[str]:
    """What was measured on."""
    first = cells[0]
    machine, pinned = first["machine"], first["pinned"]
    packages = [f"{name} {number}" for name, number in sorted(machine["packages"].items()) if number]
    where = (
        f"server on core {pinned['server']}, load generator on core {pinned['generator']}"
        if pinned
        else "server and load generator not pinned to cores: they may have disturbed each other"
    )
    busiest = max(cell["load_average"][0] for cell in cells)
    others = {json.dumps([cell["machine"], cell.get("commit")], sort_keys=True) for cell in cells}
    mixed = ["Records of different machines, versions or commits stand in this table."] if len(others) > 1 else []
    return [
        f"{machine['processor']}, {machine['cores']} cores; {where}; Python {machine['python']}, torch "
        f"{machine['torch']}, {', '.join(packages)}. Highest load average of a minute: {busiest}, where server and "
        "generator are 2 at most.",
        *mixed,
    ]


def _auc(line: Line) -> str:
    return str(line.cells[0]["model"]["auc_served"])


def _csv(lines: Mapping[tuple[str, int], Line], line: Line) -> tuple[str, ...]:
    before = BEFORE.get(line.step, "")
    found = changes(lines, line.step, before, line.candidates)
    figures: list[str] = []
    for name in FIGURES:
        values = line.values(name)
        figures += [fixed(of(values), 3) for of in (median, min, max)] if values else ["", "", ""]
    said: list[str] = []
    for name in ("closed_ms", "largest_rate"):
        one = found.get(name)
        said += [fixed(median(one.ratios), 3) if one and one.ratios else "", one.verdict if one else ""]
    rate = dict(map(tuple, line.cells[0]["plan"]["rates"]))[line.candidates]
    limited = "generator" if line.by_generator else "server"
    head = (line.step, str(line.candidates), str(len(line.cells)))
    return (*head, *figures, f"{rate:g}", limited, _auc(line), before, *said)
