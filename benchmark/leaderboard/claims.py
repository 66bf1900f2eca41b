"""The claims page: every figure that the paper prints, what was measured beside it, and a verdict by one rule."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmark.analysis.comparison import Interval, compare, estimate
from benchmark.analysis.summary import Row, summarise
from benchmark.records import paper
from benchmark.records.paper import Statistics
from benchmark.records.record import Record
from benchmark.report.render import escape_markdown
from datamodules.errors import UserError

REPRODUCED = "reproduced"
ON_SUBSETS = "reproduced on other subsets"
NOT_REPRODUCED = "not reproduced"
NOT_RUN = "not run: data not reachable here"
VERDICTS = (REPRODUCED, ON_SUBSETS, NOT_REPRODUCED, NOT_RUN)
SUBSETS = ("sports", "beauty")  # of the same release as Electronics and Books
VARIANT = "official"  # the paper's figures came out of the released code
NARROW = 0.02  # width of an interval that says something by holding the printed gain
WIDENING = 2**0.5  # the paper's AUC is measured on a draw of users of its own, as large as ours

INTRODUCTION = f"""\
# Claims: the paper's figures one by one

Made by `make leaderboard` from the records; not to be edited. v1 is arXiv:1809.03672v1 (protocol `arxiv-v1`), AAAI
the proceedings of 2019 (protocol `aaai-2019`). Ours: variant `{VARIANT}`, mean test AUC of the seeds, checkpoint best
on test as in the released code. The files of Electronics and Books are not reachable where these records were made;
Sports and Beauty, two other subsets of the same release, stand in for them.

**Rule of the verdicts.** On the paper's own data set a printed AUC is *{REPRODUCED}* if it lies inside our 95 %
interval over seeds and test users, {WIDENING:.2f} times as wide since the paper's users are another draw. On other
subsets the level of an AUC says nothing, so the gain over BaseModel in the same column is what is claimed. It is
*{ON_SUBSETS}* if on each subset with at least two seeds either the printed gain lies inside our
95 % interval (the paired test of the tables, not corrected; at most {NARROW} wide), or our gain has the printed sign,
its interval leaves out zero, and it is at least half as large. Otherwise it is *{NOT_REPRODUCED}*; without such runs,
*{NOT_RUN}*. A count is *{REPRODUCED}* if it is met exactly.

A verdict says whether the printed figure comes out again, not whether it shows what the paper concludes from it: see
the probes below the tables of the [leaderboard](README.md).
"""


class Claim(NamedTuple):
    """A line of the page; the texts are Markdown."""

    table: str
    what: str
    printed: str
    ours: str
    gain: str
    verdict: str
    why: str


class Finding(NamedTuple):
    """How one subset bears on a printed gain."""

    agrees: bool
    why: str


def claims_page(records: Sequence[Record], board: Path) -> str:
    """Return the page as Markdown, from the records of a board and its table1.csv where there is one."""
    groups: dict[str, list[Claim]] = {"Table 1: counts": list(_counts(board / "table1.csv"))}
    for version, protocol in (("v1", "arxiv-v1"), ("AAAI", "aaai-2019")):
        used = [record for record in records if (record.protocol, record.variant) == (protocol, VARIANT)]
        rows = _rows(used)
        for dataset in paper.AUC_OF_PROTOCOL[protocol]:
            groups[f"Tables 2 and 4, {version}: AUC on {dataset.capitalize()}"] = [
                _auc_claim(dataset, protocol, model, rows) for model in sorted(paper.LABELS, key=paper.order)
            ]
    groups["Table 3: AUC on the industrial data set"] = [
        Claim("3", paper.LABELS[model], f"{auc.mean:.4f}", "", "", NOT_RUN, "the data set is not public")
        for model, auc in paper.INDUSTRIAL_AUC.items()
    ]
    groups["Table 5: online A/B test"] = list(_online())
    claims = [claim for group in groups.values() for claim in group]
    tally = Counter(claim.verdict for claim in claims)
    counted = ", ".join(f"{tally[name]} {name}" for name in VERDICTS)
    lines = [INTRODUCTION, f"{len(claims)} figures: {counted}.", ""]
    for heading, group in groups.items():
        lines += [f"## {heading}", "", *_markdown(group), ""]
    return "\n".join(lines)


def judge_gain(printed: float, ours: float, interval: Interval) -> Finding:
    """Judge a measured gain over BaseModel on another subset, with its 95 % interval, against the printed gain.

    >>> judge_gain(0.05, 0.03, Interval(0.02, 0.04))
    Finding(agrees=True, why='has the printed sign, is not zero and at least half as large')
    >>> judge_gain(0.05, 0.03, Interval(-0.01, 0.07)).why
    'is not told from zero'
    """
    if interval.low <= printed <= interval.high and interval.high - interval.low <= NARROW:
        return Finding(True, "has the printed one in its interval")
    if interval.low <= 0 <= interval.high:
        return Finding(False, "is not told from zero")
    if (ours > 0) != (printed > 0):
        return Finding(False, "has the opposite sign")
    if abs(ours) < abs(printed) / 2:
        return Finding(False, "is less than half as large as printed")
    return Finding(True, "has the printed sign, is not zero and at least half as large")


def _rows(records: Sequence[Record]) -> dict[tuple[str, str], Row]:
    """Return (data set, model) -> row for all data sets that bear on a claim."""
    rows = {}
    for dataset in (*paper.V1_AUC, *SUBSETS):
        mine = [record for record in records if record.dataset == dataset]
        for model in sorted({record.model for record in mine} & set(paper.LABELS)):
            rows[dataset, model] = summarise(mine, model, paper.LABELS[model])
    return rows


def _auc_claim(dataset: str, protocol: str, model: str, rows: dict[tuple[str, str], Row]) -> Claim:
    printed = paper.AUC_OF_PROTOCOL[protocol][dataset]
    auc, gain = printed[model], printed[model].mean - printed["base-model"].mean
    tables = ", ".join(number for number, models in paper.TABLES.items() if model in dict(models))
    spread = "" if auc.std is None else f" ± {auc.std:.5f}"
    text = f"{auc.mean:.4f}{spread}" + ("" if model == "base-model" else f" ({gain:+.4f})")
    used = [dataset] if (dataset, model) in rows else [name for name in SUBSETS if (name, model) in rows]
    gains = {
        name: compare(rows[name, "base-model"].scores, rows[name, model].scores)
        for name in used
        if _has_gain(name, model, rows)
    }
    ours = "<br>".join(f"{_link(name, protocol, model)}: {_level(rows[name, model])}" for name in used)
    ours_gain = "<br>".join(
        f"{name}: {found.difference:+.4f} ({found.interval.low:+.4f} to {found.interval.high:+.4f})"
        for name, found in gains.items()
    )
    if dataset in used:
        verdict, why = _judge_level(auc.mean, rows[dataset, model])
    elif model == "base-model":
        verdict, why = NOT_RUN, "a level belongs to its data set; BaseModel has no gain"
    elif not gains:
        verdict, why = NOT_RUN, _why_no_gain(protocol, used)
    else:
        findings = {name: judge_gain(gain, found.difference, found.interval) for name, found in gains.items()}
        verdict = ON_SUBSETS if all(finding.agrees for finding in findings.values()) else NOT_REPRODUCED
        why = "; ".join(f"gain on {name} {finding.why}" for name, finding in findings.items())
    return Claim(tables, escape_markdown(paper.LABELS[model]), text, ours, ours_gain, verdict, why)


def _has_gain(dataset: str, model: str, rows: dict[tuple[str, str], Row]) -> bool:
    """Tell whether the gain of a row over BaseModel can be tested: two seeds with predictions of both."""
    base = rows.get((dataset, "base-model"))
    return model != "base-model" and base is not None and min(len(base.scores), len(rows[dataset, model].scores)) > 1


def _judge_level(printed: float, row: Row) -> tuple[str, str]:
    if len(row.scores) < 2 or row.mean is None:
        return NOT_RUN, "fewer than two seeds with predictions so far"
    low, high = estimate(row.scores).interval
    half = WIDENING * (high - low) / 2
    inside = abs(row.mean - printed) <= half
    side = "inside" if inside else "outside"
    return REPRODUCED if inside else NOT_REPRODUCED, f"{side} {row.mean - half:.4f} to {row.mean + half:.4f}"


def _why_no_gain(protocol: str, used: Sequence[str]) -> str:
    if not used:
        return f"no runs under `{protocol}` yet"
    return f"fewer than two seeds with predictions on {' and '.join(used)} so far"


def _level(row: Row) -> str:
    spread = "" if row.std is None else f" ± {row.std:.4f}"
    interval = "" if row.interval is None else f", {row.interval.low:.4f} to {row.interval.high:.4f}"
    return f"{row.mean:.4f}{spread} ({row.seeds}){interval}" if row.mean is not None else "no finished run"


def _link(dataset: str, protocol: str, model: str) -> str:
    return f"[{dataset}](records/{dataset}/{protocol}/{model}-{VARIANT})"


def _counts(path: Path) -> Iterator[Claim]:
    """Compare the printed counts with those of table1.csv, which `dien-bench table 1` writes."""
    measured: dict[str, dict[str, int]] = {}
    if path.exists():
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file))
            measured = {line["dataset"]: {name: int(line[name] or 0) for name in Statistics._fields} for line in lines}
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise UserError(f"{path} cannot be read ({error}): write it again with dien-bench table 1") from error
    for dataset, printed in paper.STATISTICS.items():
        for name, count in printed._asdict().items():
            found = measured.get(dataset, {}).get(name)
            if not found:
                reason = (
                    "the data set is not public" if dataset == "industrial" else "to be counted by `dien-bench table 1`"
                )
                yield Claim("1", f"{dataset}, {name}", f"{count:,}", "", "", NOT_RUN, reason)
                continue
            verdict = REPRODUCED if found == count else NOT_REPRODUCED
            yield Claim("1", f"{dataset}, {name}", f"{count:,}", f"[{found:,}](table1.md)", "", verdict, "counted")


def _online() -> Iterator[Claim]:
    for row in paper.ONLINE_GAINS[1:]:  # BaseModel is the zero of the scale
        gains = {"CTR": row.click_through_rate, "PPC": row.pay_per_click, "eCPM": row.cost_per_mille}
        for name, gain in gains.items():
            yield Claim("5", f"{row.label}, {name}", f"{gain:+.1f} %", "", "", NOT_RUN, "needs the advertising system")


def _markdown(claims: Sequence[Claim]) -> list[str]:
    """Return a table without the columns that are empty throughout."""
    printed = "printed (gain over BaseModel)" if any("(" in claim.printed for claim in claims) else "printed"
    header = Claim("table", "what", printed, "ours (seeds), 95 % interval", "our gain (95 %)", "verdict", "why")
    used = [j for j in range(len(header)) if any(claim[j] for claim in claims)]
    rows = [header, ["---"] * len(header), *claims]
    return [f"| {' | '.join(row[j] for j in used)} |" for row in rows]
