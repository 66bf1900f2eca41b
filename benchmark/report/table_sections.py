"""One data set's part of a table: its rows, its probes, how the rows differ, and what must be said about them."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.analysis.comparison import Interval
from benchmark.analysis.metrics import METRICS
from benchmark.analysis.printed import verdict
from benchmark.analysis.probes import ORACLE, UNKNOWN, Probe, Probes
from benchmark.analysis.summary import (
    DIFFERENT,
    NOT_DIFFERENT,
    NOT_TESTED,
    REFERENCES,
    Difference,
    Relation,
    Row,
    relation_of,
    rows_above,
    standing,
)
from benchmark.analysis.training import unlike_first
from benchmark.records import paper
from benchmark.records.paper import Auc
from benchmark.records.record import uncommitted
from benchmark.report.render import Section, fixed, signed
from benchmark.report.results import OTHER_TRAINING, Result
from datamodules.protocol import RELEASED

# The data set whose printed figures stand beside data sets that the paper does not have.
REFERENCE = "electronics"

FURTHER = {name: metric for name, metric in METRICS.items() if name != "auc"}  # behind the other columns

OPTIONS = "options"  # in place of a table's number: one row of the paper, and that row with options
SELECTION_WORDS = {
    "last": "at the last step",
    "validation": "best on validation users",
    "test": "best on test",
}
VERDICT = "verdict"
BARS_COLUMNS = {"BARS GAUC": "gauc", "BARS log loss": "logloss"}  # column -> metric
DIFFERENT_CODE = "†"
MARKS: dict[Relation, str] = {DIFFERENT: "≠", NOT_DIFFERENT: "≈", NOT_TESTED: "?"}

NOTE_MEAN = (
    "Mean test AUC ± unbiased standard deviation (seeds). In bold: the highest mean of a data set, where it is "
    "significantly different from every other (p < 0.05, Holm-corrected over these comparisons)."
)
NOTE_MARKS = (
    "Against the nearest filled row above: ≠ different, ≈ not significantly different, ? not tested, for want of a "
    "second seed or of predictions."
)
NOTE_INTERVAL = (
    "95 % interval: of the mean, over test users and seeds; blank with fewer than two seeds or without predictions. "
    "A rule has no seeds: its interval is over test users."
)
NOTE_INFLATION = (
    "best − last: what choosing the checkpoint on test users adds to the AUC of the last step, mean over seeds."
)
NOTE_METRICS = (
    "GAUC, log loss, calibration (dien-bench list metrics): means over seeds at the checkpoint whose AUC is reported; "
    "not shown where a record lacks them."
)
NOTE_TESTS = (
    "Differences: mean AUC of the row minus the other's (p of a two-sided paired test that counts both test users and "
    "seeds, Holm-corrected over the differences of a data set in this table). Rows with one seed or without "
    "predictions are not tested; a p above 0.05 is no proof that two rows are equal."
)
NOTE_PART = "(n of m): only n of the m seeds of this data set are finished in this row."
NOTE_REFERENCE = "paper, Electronics: printed for another data set, a point of comparison and nothing to be met."
NOTE_INDUSTRIAL = (
    "paper, industrial: printed for Alibaba's private log of 0.8 billion users, a point of comparison and nothing to "
    "be met."
)
NOTE_PEERS = "Printed by others for this log, and measured otherwise, so for comparison alone. " + " ".join(
    f"{peer.name}: {peer.how}." for peers in paper.PEERS.values() for peer in peers
)
NOTE_CODE = f"{DIFFERENT_CODE} The seeds of this row were trained by different code."
NOTE_TRAINING = (
    f"{OTHER_TRAINING} Trained with other settings than the first row, which are named (docs/variants.md). Rows of "
    "unlike training are not tested against each other: a difference may be of the settings."
)
UNCOMMITTED = "§"
NOT_COMMITTED = (
    "trained from a checkout with changes that were not committed (their commit ends in -dirty): not the commit but "
    "the hash of the code in their records (code_sha256) says what trained them."
)
NOTE_UNCOMMITTED = f"{UNCOMMITTED} This row has runs that were {NOT_COMMITTED}"
NOTE_VERDICT = (
    "Verdict: our mean against the printed one, on the same test rows: agrees, higher or lower (Welch's t test over "
    "seeds, 5 %; against a single printed run, where one more of ours would lie), not tested with fewer than two seeds."
)
NOTE_BARS = (
    "BARS: printed by reczoo/BARS for one seed, best on the test rows; its DNN stands beside BaseModel, its DIEN "
    "without auxiliary loss beside BaseModel + GRU + AUGRU. Its settings, as far as rows here have them: "
    "--config electronics-x1-bars."
)
NOTES = (
    *(
        NOTE_MEAN,
        NOTE_MARKS,
        NOTE_PART,
        NOTE_INTERVAL,
        NOTE_INFLATION,
        NOTE_REFERENCE,
        NOTE_INDUSTRIAL,
        NOTE_VERDICT,
        NOTE_BARS,
        NOTE_PEERS,
    ),  # in this order
    *(NOTE_METRICS, NOTE_TESTS, NOTE_CODE, NOTE_UNCOMMITTED, NOTE_TRAINING),
)


class Shown(NamedTuple):
    """One table of a board, a result a data set, with the notes that it needs."""

    number: str
    protocol: str
    variant: str
    results: Sequence[Result]
    notes: Sequence[str]
    references: Sequence[str] = REFERENCES  # rows that every row is compared with


def sections_of(result: Result, short: bool) -> tuple[list[Section], list[str]]:
    """Return the sections of one data set, and the notes that they need."""
    printed, compared, notes = comparison(result.dataset, result.protocol)
    full = ("last step", "best − last") if not short else ()
    peers = () if short else paper.PEERS.get(result.dataset.partition("@")[0], ())
    notes += [NOTE_PEERS] if peers else []
    columns = ["model", "AUC", *full, *(compared[:1] if short else compared), *(peer.name for peer in peers)]
    cells = []
    for row, above in zip(result.rows, rows_above(result.rows), strict=True):
        mark = MARKS[relation_of(result.tested.get((row.model, above.model)))] if above else ""
        auc = paper.printed_auc(result.dataset, row.model, result.protocol) or printed.get(row.model)
        values = {
            "model": row.label,
            "AUC": _mean_cell(row, result.seeds, mark),
            "95 % interval": _interval(row.interval),
            "last step": fixed(row.last, 4),
            "best − last": "" if row.inflation is None else f"{row.inflation:+.4f}",
            "difference": signed(row.mean, auc and auc.mean, 4),
            VERDICT: verdict(row.mean, row.std, row.seeds, auc),
        }
        values |= _of_bars(result.dataset, row.model)
        values |= {peer.name: fixed(peer.auc.get(row.model), 4) for peer in peers}
        values |= {METRICS[name].name: format(value, METRICS[name].shown) for name, value in row.metrics.items()}
        cells.append(values | dict.fromkeys(compared[:1], _printed(auc)))
    notes += _mark_code(result, cells)
    notes += _mark_settings(result, cells)
    if any(mark in line["AUC"] for line in cells for mark in MARKS.values()):
        notes.append(NOTE_MARKS)
    if any(" of " in line["AUC"] for line in cells):
        notes.append(NOTE_PART)
    if any(line["95 % interval"] for line in cells) and not short:
        columns.insert(2, "95 % interval")
        notes.append(NOTE_INTERVAL)
    if any(line["best − last"] for line in cells) and not short:
        notes.append(NOTE_INFLATION)
    if further := [metric.name for metric in FURTHER.values() if not short and any(metric.name in c for c in cells)]:
        columns += further
        notes.append(NOTE_METRICS)
    places = standing(result.rows)
    bold = frozenset((i, 1) for i, row in enumerate(result.rows) if places.get(row.model) == "best")
    if result.probes:
        cells += [_probe_line(probe) for probe in shown_probes(result.probes, short)]
    rows = tuple(tuple(line.get(column, "") for column in columns) for line in cells)
    sections = [
        Section(result.dataset, tuple(columns), rows, bold, " ".join(filter(None, [warning(result), failures(result)])))
    ]
    if result.tested and not short:
        sections.append(_differences(result))
        notes.append(NOTE_TESTS)
    return sections, notes


def _mark_code(result: Result, cells: list[dict[str, str]]) -> list[str]:
    """Mark the rows whose code differs between seeds or was not committed, and return the notes on code."""
    notes = []
    for row, line in zip(result.rows, cells, strict=True):
        mine = [record for record in result.records if record.model == row.model and record.status == "finished"]
        if len({record.code_sha256 for record in mine}) > 1:
            line["model"] += f" {DIFFERENT_CODE}"
            notes.append(NOTE_CODE)
        if uncommitted(mine):
            line["model"] += f" {UNCOMMITTED}"
            notes.append(NOTE_UNCOMMITTED)
    return notes


def _mark_settings(result: Result, cells: list[dict[str, str]]) -> list[str]:
    """Mark the rows that were trained otherwise than the first with runs, and return the note on it."""
    others = unlike_first(result.records, [row.model for row in result.rows])
    for row, line in zip(result.rows, cells, strict=True):
        if row.model in others:
            line["model"] += f" {OTHER_TRAINING} ({', '.join(others[row.model])})"
    return [NOTE_TRAINING] if others else []


def _differences(result: Result) -> Section:
    """Return the tests of one data set, a line a row that has any."""
    lines = []
    for row, above in zip(result.rows, rows_above(result.rows), strict=True):
        others = [*REFERENCES, above.model if above else ""]
        cells = [_difference_cell(result.tested.get((row.model, other))) for other in others]
        if any(cells):
            lines.append((row.label, *cells))
    header = ("model", *(f"minus {paper.LABELS[model]}" for model in REFERENCES), "minus the row above")
    used = [j for j in range(len(header)) if any(line[j] for line in lines)]
    rows = tuple(tuple(line[j] for j in used) for line in lines)
    return Section(f"{result.dataset}: differences", tuple(header[j] for j in used), rows)


def shown_probes(probes: Probes, short: bool) -> list[Probe]:
    """Return the best rule without parameters; in a full table also the best of all, and whether items are unknown.

    The last is the rule that the candidate is unknown, where its AUC is not that of chance.
    """
    shown = [probes.without_parameters]
    if not short:
        unknown = probes.named(UNKNOWN)
        oracle = probes.named(ORACLE)
        shown += [oracle] if oracle else []
        shown += [probes.best] + ([unknown] if unknown and not unknown.low <= 0.5 <= unknown.high else [])
    return list(dict.fromkeys(shown))


def _probe_line(probe: Probe) -> dict[str, str]:
    interval = _interval(Interval(probe.low, probe.high))
    name = f"probe: {probe.line}, {probe.parameters} parameters" if probe.name != ORACLE else f"oracle: {probe.label}"
    return {
        "model": name,
        "AUC": f"{probe.auc:.4f}",
        "95 % interval": interval,
    }


def rule_beats_base_model(result: Result) -> bool | None:
    """Whether the best rule scores above BaseModel; None where either is not known."""
    base = _base_model_auc(result)
    return None if result.probes is None or base is None else result.probes.best.auc > base


def warning(result: Result) -> str:
    """Return what to say where a rule beats BaseModel, else nothing."""
    base = _base_model_auc(result)
    if result.probes is None or base is None or not rule_beats_base_model(result):
        return ""
    free = result.probes.without_parameters
    rule = free if free.auc > base else result.probes.best
    kind = "without parameters" if rule.parameters == 0 else f"with {rule.parameters} parameters"
    what = rule.label if rule.parameters else f"that the candidate is {rule.label}"
    better = [row.label for row in result.rows if row.mean is not None and row.mean >= rule.auc]
    but = f" but {', '.join(better)}" if better else ""
    return (
        f"Warning: a rule {kind} ({what}) scores {rule.auc:.4f} on {result.dataset} under {result.protocol}, more than "
        f"every row{but}. A high AUC here is no evidence that a model has learned interests."
    )


def failures(result: Result) -> str:
    """Return which runs failed and why, else nothing."""
    labels = {row.model: row.label for row in result.rows}
    said = [f"{labels[r.model]}, seed {r.seed}: {r.reason}" for r in result.records if r.reason]
    return f"Failed: {'; '.join(said)}." if said else ""


def _base_model_auc(result: Result) -> float | None:
    return next((row.mean for row in result.rows if row.model == "base-model"), None)


def comparison(dataset: str, protocol: str) -> tuple[dict[str, Auc], tuple[str, ...], list[str]]:
    """Return the printed figures to show for a data set, the names of their columns and the notes to them."""
    of_protocol = paper.AUC_OF_PROTOCOL.get(protocol, {})
    if dataset == paper.BARS_DATASET and dataset in of_protocol:
        return of_protocol[dataset], ("BARS", "difference", VERDICT, *BARS_COLUMNS), [NOTE_VERDICT, NOTE_BARS]
    if dataset in of_protocol and protocol == RELEASED.name:
        return of_protocol[dataset], ("paper", "difference", VERDICT), [NOTE_VERDICT]
    if dataset in of_protocol:
        return of_protocol[dataset], ("paper", "difference"), []
    if paper.INDUSTRIAL in of_protocol:
        return of_protocol[paper.INDUSTRIAL], ("paper, industrial",), [NOTE_INDUSTRIAL]
    if of_protocol:
        return of_protocol[REFERENCE], ("paper, Electronics",), [NOTE_REFERENCE]
    return {}, (), []


def _of_bars(dataset: str, model: str) -> dict[str, str]:
    """The further figures that BARS prints for a row, by column."""
    printed = paper.BARS.get(model.partition("+")[0], {}) if dataset == paper.BARS_DATASET else {}
    return {column: f"{printed[name]:.4f}" for column, name in BARS_COLUMNS.items() if name in printed}


def _mean_cell(row: Row, seeds: int, mark: str) -> str:
    if row.seeds + row.failed == 0:
        return ""
    most = max(seeds, row.seeds + row.failed)
    counts = [f"{row.seeds}" if row.seeds == most else f"{row.seeds} of {most}"]
    counts += [f"{row.failed} failed"] if row.failed else []
    spread = f" ± {row.std:.4f}" if row.std is not None else ""
    return f"{fixed(row.mean, 4)}{spread} ({', '.join(counts)}){f' {mark}' if row.mean is not None else ''}".strip()


def csv_line(result: Result, variant: str, row: Row) -> tuple[str, ...]:
    """Return the line of one row for programs; what is not known is empty."""
    printed = paper.paper_auc(result.dataset, row.model, result.protocol)
    figures = (fixed(value, 6) for value in (row.mean, row.std, row.last, printed))
    difference = signed(row.mean, printed, 6).removeprefix("+")
    above = rows_above(result.rows)[result.rows.index(row)]
    tests = (result.tested.get((row.model, other)) for other in (*REFERENCES, above.model if above else ""))
    probes = (result.probes.without_parameters.auc, result.probes.fitted.auc) if result.probes else (None, None)
    interval = row.interval or (None, None)
    identity = (result.dataset, result.protocol, variant, row.model, str(row.seeds))
    before = (fixed(value, 6) for value in (*interval, row.inflation))
    p_values = ("" if test is None else f"{test.p:.3g}" for test in tests)
    flag = {True: "yes", False: "no", None: ""}[rule_beats_base_model(result)]
    further = (fixed(row.metrics.get(name), 6) for name in FURTHER)
    return *identity, *figures, difference, *before, *p_values, *(fixed(auc, 6) for auc in probes), flag, *further


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}"


def _difference_cell(difference: Difference | None) -> str:
    if difference is None:
        return ""
    p = "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.3f}"
    return f"{difference.comparison.difference:+.4f} ({p})"


def _printed(auc: Auc | None) -> str:
    if auc is None:
        return ""
    return f"{auc.mean:.4f}" if auc.std is None else f"{auc.mean:.4f} ± {auc.std:.5f}"
