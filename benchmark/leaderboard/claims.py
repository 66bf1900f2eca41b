"""The claims page: every measured gain beside what the paper prints of it, and one verdict each, by one rule."""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmark.analysis.comparison import Interval, compare, estimate
from benchmark.analysis.summary import Row, summarise
from benchmark.analysis.training import unlike
from benchmark.records import paper
from benchmark.records.paper import Statistics
from benchmark.records.record import Record
from benchmark.report.render import escape_markdown
from datamodules.errors import UserError

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"  # on the paper's own data
CONSISTENT, INCONSISTENT = "consistent", "inconsistent"  # on other subsets
INCONCLUSIVE = "inconclusive"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, CONSISTENT, INCONSISTENT, INCONCLUSIVE)
SUBSETS = ("sports", "beauty")  # of the same release as Electronics and Books
VERSIONS = {"arxiv-v1": "v1", "aaai-2019": "AAAI"}
VARIANT = "official"  # the paper's figures came out of the released code
NARROW = 0.02  # width of an interval that is narrow enough to confirm a printed AUC
MARGIN = 0.01  # on either side of the printed gains
WIDENING = 2**0.5  # the paper's AUC is measured on a draw of users of its own, as large as ours

INTRODUCTION = f"""\
# Claims: the paper's figures one by one

Made by `make leaderboard` from the records; not to be edited. v1 is arXiv:1809.03672v1 (protocol `arxiv-v1`), AAAI
the proceedings of 2019 (protocol `aaai-2019`). Ours: variant `{VARIANT}`, mean test AUC of the seeds, checkpoint best
on test as in the released code. A 95 % interval is over test users and seeds, as everywhere; those of this page are
not corrected for their number.

**On the paper's own data**, Electronics and Books, an AUC has one verdict. Its interval is taken {WIDENING:.2f} times
as wide, since the paper's users are another draw. *{NOT_REPRODUCED}*: the interval excludes the printed AUC.
*{REPRODUCED}*: it includes it, and is at most {NARROW} wide, narrow enough to tell. Otherwise *{INCONCLUSIVE}*.
A count is *{REPRODUCED}* if it is met exactly.

**On other subsets** of the same release, Sports and Beauty, the level of an AUC says nothing, and the gain over
BaseModel has one verdict, against the gains that the paper prints for Electronics and Books in the same version: the
range between the two, and an equivalence margin of {MARGIN} on either side (between the paper's own two data sets the
gain of a model differs by {{spread:.3f}}, median). *{CONSISTENT}*: the interval lies inside, and has the printed sign
throughout. *{INCONSISTENT}*: it lies outside throughout, or has the opposite sign throughout. Otherwise, and where the
two printed gains have opposite signs, fewer than two seeds were run or the two rows were trained with other settings
(docs/variants.md 19, 21 and 22), *{INCONCLUSIVE}*.

A verdict says whether the printed figure comes out again, not whether it shows what the paper concludes from it: see
the probes below the tables of the [leaderboard](README.md).
"""
LEVELS = ("model", "printed", "ours")
GAINS = ("model", "printed, Electronics", "printed, Books", "on", "our AUC", "our gain (95 % interval)")
Rows = Mapping[tuple[str, str], Row]  # (data set, model)


class Verdict(NamedTuple):
    """A word of `VERDICTS`, and the reason."""

    word: str
    why: str


class Claim(NamedTuple):
    """A line of the page; the cells are Markdown."""

    cells: tuple[str, ...]
    verdict: Verdict


Groups = dict[tuple[str, tuple[str, ...]], list[Claim]]  # (heading, header)


def claims_page(records: Sequence[Record], board: Path) -> str:
    """Return the page as Markdown, from the records of a board and its table1.csv where there is one."""
    groups: Groups = {("Table 1: counts", ("what", "printed", "counted")): list(_counts(board / "table1.csv"))}
    for protocol, version in VERSIONS.items():
        used = [record for record in records if (record.protocol, record.variant) == (protocol, VARIANT)]
        rows = _rows(used)
        for dataset in paper.AUC_OF_PROTOCOL[protocol]:
            groups[f"Tables 2 and 4, {version}: AUC on {dataset.capitalize()}", LEVELS] = [
                _level_claim(dataset, protocol, model, rows) for model in _measured(rows, dataset)
            ]
        groups[f"Tables 2 and 4, {version}: gains over BaseModel on other subsets", GAINS] = [
            _gain_claim(dataset, protocol, model, rows)
            for dataset in SUBSETS
            for model in _measured(rows, dataset)
            if model != "base-model" and (dataset, "base-model") in rows
        ]
    tally = Counter(claim.verdict.word for group in groups.values() for claim in group)
    counted = ", ".join(f"{tally[word]} {word}" for word in VERDICTS if tally[word]) or "none"
    spread = median(
        abs(one - other)
        for protocol in VERSIONS
        for model in paper.LABELS
        if model != "base-model"
        for one, other in [printed_gains(protocol, model)]
    )
    lines = [INTRODUCTION.format(spread=spread), f"Measured: {counted}.", "", _not_measured(groups), ""]
    for (heading, header), group in groups.items():
        if group:
            table = [[*header, "verdict", "why"], ["---"] * (len(header) + 2)]
            table += [[*claim.cells, *claim.verdict] for claim in group]
            lines += [f"## {heading}", "", *(f"| {' | '.join(cells)} |" for cells in table), ""]
    return "\n".join(lines)


def judge_level(printed: float, ours: float, interval: Interval) -> Verdict:
    """Judge a mean AUC on the paper's own data, with its 95 % interval, against the printed AUC.

    >>> judge_level(0.8538, 0.85, Interval(0.0, 1.0)).word
    'inconclusive'
    """
    half = WIDENING * (interval.high - interval.low) / 2
    text = f"{max(ours - half, 0.0):.4f} to {min(ours + half, 1.0):.4f}"
    if abs(ours - printed) > half:
        return Verdict(NOT_REPRODUCED, f"outside {text}")
    if 2 * half > NARROW:
        return Verdict(INCONCLUSIVE, f"inside {text}, which is too wide to tell")
    return Verdict(REPRODUCED, f"inside {text}")


def judge_gain(printed: Sequence[float], interval: Interval) -> Verdict:
    """Judge the 95 % interval of a measured gain on another subset against the gains that the paper prints.

    >>> judge_gain([0.05, 0.04], Interval(0.035, 0.055)).word
    'consistent'
    >>> judge_gain([0.05, 0.04], Interval(-0.01, 0.055)).word
    'inconclusive'
    """
    low, high = min(printed), max(printed)
    least, most = low - MARGIN, high + MARGIN
    if interval.high < least or interval.low > most:
        return Verdict(INCONSISTENT, f"outside {least:+.4f} to {most:+.4f}")
    if low <= 0 <= high:
        return Verdict(INCONCLUSIVE, "the printed gains have opposite signs, or are zero")
    if interval.high < 0 < low or high < 0 < interval.low:
        return Verdict(INCONSISTENT, "the opposite sign")
    doubts = ["not significantly different from zero"] if interval.low <= 0 <= interval.high else []
    if not least <= interval.low <= interval.high <= most:
        doubts.append(f"partly outside {least:+.4f} to {most:+.4f}")
    return (
        Verdict(INCONCLUSIVE, ", ".join(doubts))
        if doubts
        else Verdict(CONSISTENT, f"inside {least:+.4f} to {most:+.4f}")
    )


def printed_gains(protocol: str, model: str) -> list[float]:
    """Return the gains over BaseModel that the paper prints for Electronics and for Books."""
    columns = [paper.AUC_OF_PROTOCOL[protocol][name] for name in ("electronics", "books")]
    return [column[model].mean - column["base-model"].mean for column in columns]


def _rows(records: Sequence[Record]) -> Rows:
    """Return the rows of all data sets that bear on a claim and have a finished run."""
    rows = {}
    for dataset in (*paper.V1_AUC, *SUBSETS):
        mine = [record for record in records if record.dataset == dataset and record.status == "finished"]
        for model in {record.model for record in mine} & set(paper.LABELS):
            rows[dataset, model] = summarise(mine, model, paper.LABELS[model])
    return rows


def _measured(rows: Rows, dataset: str) -> list[str]:
    """Return the paper's models that were run on a data set, in its order."""
    return [model for model in sorted(paper.LABELS, key=paper.order) if (dataset, model) in rows]


def _level_claim(dataset: str, protocol: str, model: str, rows: Rows) -> Claim:
    printed, row = paper.AUC_OF_PROTOCOL[protocol][dataset][model], rows[dataset, model]
    text = f"{printed.mean:.4f}" + ("" if printed.std is None else f" ± {printed.std:.5f}")
    verdict = Verdict(INCONCLUSIVE, "fewer than two seeds with predictions")
    if len(row.scores) > 1:
        found = estimate(row.scores)
        verdict = judge_level(printed.mean, found.difference, found.interval)
    return Claim((escape_markdown(row.label), text, _level(row, dataset, protocol)), verdict)


def _gain_claim(dataset: str, protocol: str, model: str, rows: Rows) -> Claim:
    printed = printed_gains(protocol, model)
    row, base = rows[dataset, model], rows[dataset, "base-model"]
    gain, verdict = "", Verdict(INCONCLUSIVE, "fewer than two seeds with predictions")
    if differ := unlike(row.training, base.training):
        verdict = Verdict(INCONCLUSIVE, f"trained with other settings than BaseModel ({', '.join(differ)})")
    elif min(len(row.scores), len(base.scores)) > 1:
        found = compare(base.scores, row.scores)
        gain = f"{found.difference:+.4f} ({found.interval.low:+.4f} to {found.interval.high:+.4f})"
        verdict = judge_gain(printed, found.interval)
    cells = (escape_markdown(row.label), *(f"{one:+.4f}" for one in printed), dataset)
    return Claim((*cells, _level(row, dataset, protocol), gain), verdict)


def _level(row: Row, dataset: str, protocol: str) -> str:
    spread = "" if row.std is None else f" ± {row.std:.4f}"
    return f"[{row.mean:.4f}](results/{dataset}/{protocol}/runs.jsonl){spread} ({row.seeds})"


def _counts(path: Path) -> Iterator[Claim]:
    """Compare the printed counts with those of table1.csv, which `dien-bench table 1` writes, where it has them."""
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        measured = {line["dataset"]: {name: int(line[name] or 0) for name in Statistics._fields} for line in lines}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error}): write it again with dien-bench table 1") from error
    for dataset, printed in paper.STATISTICS.items():
        for name, count in printed._asdict().items():
            if found := measured.get(dataset, {}).get(name):
                verdict = Verdict(REPRODUCED if found == count else NOT_REPRODUCED, "counted")
                yield Claim((f"{dataset}, {name}", f"{count:,}", f"[{found:,}](table1.md)"), verdict)


def _not_measured(groups: Groups) -> str:
    """Return in one line what the paper prints and no record here bears on."""
    counted = sum(len(group) for (heading, _), group in groups.items() if heading.startswith("Table 1"))
    levels = sum(len(group) for (_, header), group in groups.items() if header == LEVELS)
    counts = sum(map(len, paper.STATISTICS.values())) - counted
    aucs = sum(len(column) for protocol in VERSIONS for column in paper.AUC_OF_PROTOCOL[protocol].values()) - levels
    without = [
        f"{counts} counts of Table 1 (`dien-bench table 1`; the industrial data set is not public)" if counts else "",
        f"{aucs} AUC of Tables 2 and 4 on Electronics and Books (no records of them here)" if aucs else "",
        f"{len(paper.INDUSTRIAL_AUC)} AUC of Table 3 (not public)",
        f"{sum(map(len, paper.ONLINE_GAINS.values()))} gains of Table 5 (the advertising system)",
    ]
    return f"Printed and not measured here: {'; '.join(filter(None, without))}."
