"""The quickstart: three models on Ta Feng in catalogue order and by time, side by side, and what the order adds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from benchmark.analysis.comparison import compare, holm
from benchmark.analysis.probes import CATALOGUE_RULE, read_probes
from benchmark.analysis.summary import DIFFERENT, NOT_DIFFERENT, NOT_TESTED, Difference, relation_of
from benchmark.records import paper
from benchmark.records.predictions import Scores, read_scores
from benchmark.records.record import Record, read_records, run_folder
from benchmark.report.render import Section, Table, write_table

DATASET, VARIANT = "tafeng", "official"
MODELS = ("base-model", "din", "dien")
CATALOGUE, BY_TIME = "arxiv-v1", "clean"
PROTOCOLS = {CATALOGUE: "catalogue order", BY_TIME: "by time"}
STEPS = 500
MINUTES = 3  # on two cores, download and preparation included, make setup not
HEADER = ("model", *(f"{words} ({name})" for name, words in PROTOCOLS.items()), "catalogue order adds")
COLUMNS = ("dataset", "protocol", "variant", "model", "seeds", "auc_mean", "auc_std", "added", "p")
NOTES = (
    "Mean test AUC of the last step ± standard deviation over seeds; the same test users in both orders.",
    "adds: the difference ± half of its 95 % interval over test users and seeds. rule: the candidate stands just "
    "behind the user's last item in the catalogue.",
    "Ta Feng has no order inside a day: by time, a history ends before the day of its target.",
)
Gains = dict[str, tuple[float, Difference | None]]  # model -> mean AUC in catalogue order minus by time, and its test


def quickstart_table(out: Path, seeds: Sequence[int]) -> tuple[Table, list[str]]:
    """Return the table of the quickstart's runs in `out`, and in words what it says, a sentence a line."""
    records = {protocol: {model: _records(out, protocol, model, seeds) for model in MODELS} for protocol in PROTOCOLS}
    rules = {protocol: _rule(out, protocol) for protocol in PROTOCOLS}
    gains = _gains(records)
    lines = [(mean, cells) for model in MODELS for mean, cells in [_row(model, records, gains)]]
    lines.append((rules[CATALOGUE] or 0.0, ("rule, 0 parameters", *map(_fixed, rules.values()), _added(rules))))
    rows = tuple(cells for _, cells in sorted(lines, key=lambda line: -line[0]))
    means = {model: _mean(records[CATALOGUE][model]) for model in MODELS}
    csv = [
        _csv_line(protocol, model, records[protocol][model], gains.get(model))
        for protocol in PROTOCOLS
        for model in MODELS
    ]
    made = Table("Ta Feng in two orders", (Section("", HEADER, rows),), NOTES, (COLUMNS, *csv))
    return made, [sentence(gains), *_of_rule(rules, means)]


def sentence(gains: Gains) -> str:
    """Say how much catalogue order adds to each model, and where that cannot be told.

    >>> sentence({"din": (0.012, None)})
    'What catalogue order adds: inconclusive for DIN (+0.012, one seed is not tested).'
    """
    groups: dict[str, list[str]] = {"raises the AUC of": [], "lowers the AUC of": []}
    doubts = []
    for model, (gain, test) in gains.items():
        relation, shown = relation_of(test), f"{paper.LABELS[model]} ({gain:+.3f}"
        if relation == DIFFERENT:
            groups["raises the AUC of" if gain > 0 else "lowers the AUC of"].append(f"{shown})")
        else:
            why = {NOT_DIFFERENT: NOT_DIFFERENT, NOT_TESTED: "one seed is not tested"}[relation]
            doubts.append(f"{shown}, {why})")
    parts = [f"{words} {', '.join(names)}" for words, names in groups.items() if names]
    if not parts:
        return f"What catalogue order adds: inconclusive for {', '.join(doubts)}." if doubts else "No run has finished."
    said = f"Catalogue order {' and '.join(parts)}, significantly (p < 0.05, Holm-corrected)"
    return f"{said}; inconclusive for {', '.join(doubts)}." if doubts else f"{said}."


def write_quickstart(made: Table, out: Path) -> tuple[Path, Path]:
    """Write out/quickstart.md and .csv and return their paths."""
    return write_table(made, out, "quickstart")


def _records(out: Path, protocol: str, model: str, seeds: Sequence[int]) -> list[Record]:
    """The finished runs of a model by seed."""
    folders = {run_folder(out, DATASET, protocol, model, VARIANT, seed) for seed in seeds}
    found = read_records(out, dataset=DATASET, protocol=protocol, model=model, variant=VARIANT)
    return [one for one in found if one.status == "finished" and one.path.parent in folders]


def _gains(records: Mapping[str, Mapping[str, Sequence[Record]]]) -> Gains:
    """What catalogue order adds to each model, tested where both orders have two seeds; all tests Holm-corrected."""
    pairs = {model: (records[CATALOGUE][model], records[BY_TIME][model]) for model in MODELS}
    pairs = {model: pair for model, pair in pairs.items() if all(pair)}
    scores = {model: [_scores(side) for side in pair] for model, pair in pairs.items()}
    tests = {
        model: compare(by_time, catalogue)
        for model, (catalogue, by_time) in scores.items()
        if min(len(catalogue), len(by_time)) > 1 and catalogue[0].users == by_time[0].users
    }
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    found = {model: Difference(test, corrected[model]) for model, test in tests.items()}
    return {
        model: ((_mean(catalogue) or 0.0) - (_mean(by_time) or 0.0), found.get(model))
        for model, (catalogue, by_time) in pairs.items()
    }


def _scores(records: Sequence[Record]) -> list[Scores]:
    return [run.last for record in records if (run := read_scores(record.path.parent)) is not None]


def _aucs(records: Sequence[Record]) -> list[float]:
    return [record.auc.last for record in records if record.auc.last is not None]


def _mean(records: Sequence[Record]) -> float | None:
    aucs = _aucs(records)
    return fmean(aucs) if aucs else None


def _row(
    model: str, records: Mapping[str, Mapping[str, Sequence[Record]]], gains: Gains
) -> tuple[float, tuple[str, ...]]:
    cells = []
    for protocol in PROTOCOLS:
        aucs = _aucs(records[protocol][model])
        spread = f" ± {stdev(aucs):.4f}" if len(aucs) > 1 else " (one seed)"
        cells.append(f"{fmean(aucs):.4f}{spread}" if aucs else "")
    gain, test = gains.get(model, (None, None))
    half = f" ± {(test.comparison.interval.high - test.comparison.interval.low) / 2:.3f}" if test else ""
    return (
        _mean(records[CATALOGUE][model]) or 0.0,
        (paper.LABELS[model], *cells, "" if gain is None else f"{gain:+.3f}{half}"),
    )


def _rule(out: Path, protocol: str) -> float | None:
    """AUC of the catalogue rule, which the quickstart measures before it trains."""
    found = read_probes([out], DATASET, protocol)
    rule = found and found.named(CATALOGUE_RULE)
    return rule.auc if rule else None


def _added(rules: Mapping[str, float | None]) -> str:
    first, second = rules[CATALOGUE], rules[BY_TIME]
    return "" if first is None or second is None else f"{first - second:+.3f}"


def _of_rule(rules: Mapping[str, float | None], means: Mapping[str, float | None]) -> list[str]:
    """Say what the rule reaches in both orders, and which models it beats in catalogue order."""
    first, second = rules[CATALOGUE], rules[BY_TIME]
    if first is None or second is None:
        return []
    known = {model: mean for model, mean in means.items() if mean is not None}
    beaten = [paper.LABELS[model] for model, mean in known.items() if mean < first]
    than = f"more than {', '.join(beaten)}" if beaten else "less than every model"
    than = "more than every model" if beaten and len(beaten) == len(known) else than
    return [
        f"A rule without parameters, which looks at catalogue numbers alone, reaches {first:.3f} in catalogue order, "
        f"{than}, and {second:.3f} by time (0.5 is chance)."
    ]


def _csv_line(
    protocol: str, model: str, records: Sequence[Record], gain: tuple[float, Difference | None] | None
) -> tuple[str, ...]:
    aucs = _aucs(records)
    mean = f"{fmean(aucs):.6f}" if aucs else ""
    std = f"{stdev(aucs):.6f}" if len(aucs) > 1 else ""
    added, p = "", ""
    if gain is not None:
        added, p = f"{gain[0]:+.6f}", "" if gain[1] is None else f"{gain[1].p:.3g}"
    return (DATASET, protocol, VARIANT, model, str(len(aucs)), mean, std, added, p)


def _fixed(auc: float | None) -> str:
    return "" if auc is None else f"{auc:.4f}"
