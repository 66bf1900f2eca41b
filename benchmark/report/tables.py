"""Tables 1, 2 and 4 of the paper, made of run records, beside the figures that the paper prints.

The same records give the same bytes. A table shows one selection of one protocol and variant; runs that were
trained for other numbers of steps, on other data or under a changed protocol are refused instead of averaged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from baselines import model_label
from benchmark.analysis.probes import read_probes
from benchmark.records import paper
from benchmark.records.paper import Statistics
from benchmark.records.record import read_records
from benchmark.report.render import Section, Table, write_table
from benchmark.report.results import Result, results_of
from benchmark.report.table_sections import FURTHER, NOTE_MEAN, NOTES, SELECTION_WORDS, csv_line, sections_of
from benchmark.runs.identity import check_files
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

CSV_HEADER = "dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference"
MORE_COLUMNS = "auc_low,auc_high,best_minus_last,p_base_model,p_din,p_row_above,probe_auc,fitted_probe_auc"
MORE_COLUMNS += ",rule_beats_base_model"  # yes, no, or empty where one of the two has not been measured
MORE_COLUMNS += "".join(f",{name}_mean" for name in FURTHER)
# Of this checkout's board, where there is one: used for samples whose probes the output folder does not have.
BOARD_PROBES = Path(__file__).resolve().parents[2] / "leaderboards" / "probes"


class Place(NamedTuple):
    """What a table is of, besides its data sets and rows."""

    protocol: str
    variant: str


class RunTable(NamedTuple):
    """A table of an output folder: as asked for, and with every data set and row that is there."""

    place: Place
    shown: Table
    whole: Table


def table_of(results: Sequence[Result], number: str, protocol: str, variant: str, *, short: bool = False) -> Table:
    """Write the figures of Table 2, 3 or 4 out; `short`: only the AUC, the paper's and one probe."""
    sections: list[Section] = []
    notes = [NOTE_MEAN]
    lines = [tuple(f"{CSV_HEADER},{MORE_COLUMNS}".split(","))]
    for result in results:
        new_sections, new_notes = sections_of(result, short)
        sections += new_sections
        notes += new_notes
        lines += [csv_line(result, variant, row) for row in result.rows]
    title = _title(number, protocol, variant, results)
    notes = sorted(set(notes), key=NOTES.index)
    return Table(title, tuple(sections), tuple(notes), tuple(lines))


def table1(measured: Mapping[str, Statistics]) -> Table:
    """Return Table 1: a line with the measured counts of each data set, and under it what the paper prints.

    A measured count that differs from the printed one is marked.
    """
    names = Statistics._fields
    rows: list[tuple[str, ...]] = []
    lines = [("dataset", *names, *(f"paper_{name}" for name in names))]
    for dataset, counts in measured.items():
        printed = paper.STATISTICS.get(dataset)
        shown = _counts(counts, ",")
        if printed:
            pairs = zip(shown, _counts(printed, ","), strict=True)
            shown = [f"{a} ≠" if a and a != b else a for a, b in pairs]
        rows.append((dataset, *shown))
        if printed:
            rows.append((f"{dataset}, paper", *_counts(printed, ",")))
        lines.append((dataset, *_counts(counts, ""), *_counts(printed or (None,) * len(names), "")))
    notes = ("≠ differs from the paper's count.",) if any("≠" in cell for row in rows for cell in row) else ()
    section = Section("", ("data set", *names), tuple(rows))
    return Table(f"Table 1: {paper.TITLES['1']}", (section,), notes, tuple(lines))


def places_of(
    out: Path, datasets: Sequence[str] | None, protocol: str | None, variant: str | None
) -> dict[Place, list[str]]:
    """Return the protocols and variants that `out` has runs of, with the data sets asked for; None: all there are.

    Raises `UserError` where there is no run of what is asked for.
    """
    records = read_records(out)
    found: dict[Place, list[str]] = {}
    for record in records:
        fits = datasets is None or record.dataset in datasets
        if fits and protocol in (None, record.protocol) and variant in (None, record.variant):
            names = found.setdefault(Place(record.protocol, record.variant), list(datasets or []))
            names += [] if record.dataset in names else [record.dataset]
    if not found:
        there = sorted({f"{record.dataset} under {record.protocol}, variant {record.variant}" for record in records})
        asked = ", ".join(filter(None, [*(datasets or []), protocol, variant])) or "anything"
        raise UserError(
            f"{out} has no run of {asked}, expected one; it has {'; '.join(there) or 'no record'}. Train first: "
            "dien-bench run --help"
        )
    return dict(sorted(found.items()))


def table_of_runs(
    number: str,
    place: Place,
    datasets: Sequence[str],
    rows: Sequence[str] | None,
    out: Path,
    say: Callable[[str], None],
) -> RunTable:
    """Return Table 2 or 4 from the records in `out`, with the probes found there or on the board.

    `rows` are names or file:Class; None: those of the paper and all others in `out`. Raises `UserError` where a row of
    that label is of another file. `say` is told which runs the whole table leaves out, since they cannot stand in it.
    """
    records = [record for record in read_records(out) if (record.protocol, record.variant) == place]
    check_files(records, rows or [])
    names = list(dict.fromkeys([*datasets, *(record.dataset for record in records)]))
    probes = {name: found for name in names if (found := read_probes([out, BOARD_PROBES], name, place.protocol))}
    of_paper = [row.model for row in paper.TABLES[number]]
    there = sorted({record.model for record in records if record.model in of_paper or record.model not in paper.LABELS})
    asked = [*of_paper, *there] if rows is None else list(map(model_label, rows))

    def result(dataset: str, models: Sequence[str]) -> Result:
        (found,) = results_of(records, number, [dataset], *place, list(dict.fromkeys(models)), probes)
        return found

    shown = {name: result(name, asked) for name in dict.fromkeys(datasets)}
    whole = dict(shown)
    for name in names:
        if name not in shown or not set(there) <= set(asked):
            try:
                whole[name] = result(name, [*asked, *there])
            except UserError as error:
                say(f"not all of {name} is in the files: {error}")
    tables = (table_of([*results.values()], number, *place) for results in (shown, whole))
    return RunTable(place, *tables)


def write_tables(number: str, tables: Sequence[RunTable], out: Path) -> list[Path]:
    """Write OUT/table<number>-<protocol>.md and .csv, each table's own, and table<number>.md and .csv of all together.

    A variant other than official stands in the name too. Raises `UserError` where a file cannot be written.
    """
    together = out / f"table{number}.md", out / f"table{number}.csv"
    header, *_ = tables[0].whole.csv_rows
    lines = (header, *(line for table in tables for line in table.whole.csv_rows[1:]))
    write_atomically(together[0], "\n".join(table.whole.markdown() for table in tables).encode("utf-8"))
    write_atomically(together[1], Table("", (), (), lines).csv().encode("utf-8"))
    files = list(together)
    for (protocol, variant), _, whole in tables:
        files += write_table(whole, out, f"table{number}-{protocol}" + (f"-{variant}" if variant != "official" else ""))
    return files


def _title(number: str, protocol: str, variant: str, results: Sequence[Result]) -> str:
    records = [record for result in results for record in result.records]
    parts = [f"Table {number}: {paper.TITLES[number]}", f"protocol {protocol}", f"variant {variant}"]
    if not records:
        return ", ".join([*parts, "no runs yet"])
    parts.append(f"AUC {SELECTION_WORDS[records[0].selection]}")
    if len(batches := {record.settings["batch_size"] for record in records}) == 1:
        parts.append(f"batch {batches.pop()}")
    steps = {record.dataset: record.settings["steps"] for record in records}
    if len(set(steps.values())) == 1:
        parts.append(f"{records[0].settings['steps']:,} steps")
    else:
        parts += [f"{steps[r.dataset]:,} steps on {r.dataset}" for r in results if r.dataset in steps]
    return ", ".join(parts)


def _counts(values: Iterable[int | None], thousands: str) -> list[str]:
    return ["" if value is None else f"{value:{thousands}}" for value in values]
