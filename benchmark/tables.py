"""Tables 1, 2 and 4 of the paper, made of run records, beside the figures that the paper prints.

The same records give the same bytes. A table shows one selection of one protocol and variant; runs that were
trained for other numbers of steps, on other data or under a changed protocol are refused instead of averaged.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from rich import box
from rich.console import Group
from rich.table import Table as RichTable
from rich.text import Text

from benchmark import paper
from benchmark.paper import Auc, Statistics
from benchmark.records import Record, write_atomically
from datamodules.errors import UserError, unknown_name

CSV_HEADER = "dataset,protocol,variant,model,seeds,auc_mean,auc_std,auc_last_mean,paper_auc,difference"
SELECTION_WORDS = {
    "last": "at the last step",
    "validation": "best on validation users",
    "test": "best on test",
}
# The data set whose printed figures stand beside data sets that the paper does not have.
REFERENCE = "electronics"

NOTE_MEAN = "Mean test AUC ± unbiased standard deviation (seeds); the highest mean of a data set is in bold."
NOTE_CLOSE = (
    "≈ The mean lies within one pooled standard deviation of the nearest filled row above: which of the two "
    "is better is open. No ≈ is no proof of a difference; rows with one seed are not compared."
)
NOTE_PART = "(n of m): only n of the m seeds of this data set are finished in this row."
NOTE_REFERENCE = "paper, Electronics: printed for another data set, a point of comparison and nothing to be met."


@dataclass(frozen=True)
class Section:
    """A rectangle of cells under an optional heading; `bold` holds the (row, column) of emphasised cells."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True)
class Table:
    """A finished table: sections for people, lines for programs; `console.print` of rich shows it."""

    title: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]
    csv_rows: tuple[tuple[str, ...], ...]  # the first is the header

    def markdown(self) -> str:
        """Return the table as GitHub Markdown; names are escaped, so that they show as they are."""
        blocks = [f"## {escape_markdown(self.title)}"]
        for section in self.sections:
            if section.heading:
                blocks.append(f"### {escape_markdown(section.heading)}")
            rule = ["---"] + ["---:"] * (len(section.header) - 1)
            lines = [[escape_markdown(name) for name in section.header], rule]
            for i, row in enumerate(section.rows):
                stars = ["**" if (i, j) in section.bold else "" for j in range(len(row))]
                lines.append([f"{s}{escape_markdown(cell)}{s}" for s, cell in zip(stars, row, strict=True)])
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        blocks += [escape_markdown(note) for note in self.notes]
        return "\n\n".join(blocks) + "\n"

    def csv(self) -> str:
        """Return the table as CSV: a header, one line a data set and row; what is not known is empty."""
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerows(self.csv_rows)
        return out.getvalue()

    def __rich__(self) -> Group:
        """Return what a rich console shows."""
        parts: list[Text | RichTable] = [Text(one_line(self.title), style="bold")]
        for section in self.sections:
            grid = RichTable(title=Text(one_line(section.heading)), box=box.SIMPLE_HEAD)
            for j, name in enumerate(section.header):
                grid.add_column(Text(name), justify="left" if j == 0 else "right")
            for i, row in enumerate(section.rows):
                styles = ["bold" if (i, j) in section.bold else "" for j in range(len(row))]
                # Text and not str, so that brackets in a name are no markup.
                grid.add_row(*(Text(one_line(cell), style) for cell, style in zip(row, styles, strict=True)))
            parts.append(grid)
        return Group(*parts, *(Text(note, style="dim") for note in self.notes))


@dataclass(frozen=True)
class _Row:
    """What the runs of one model on one data set come to; means are None without a finished run."""

    model: str
    label: str
    seeds: int
    failed: int
    mean: float | None
    std: float | None  # None below two seeds
    last: float | None


def table(
    records: Iterable[Record],
    number: str,
    datasets: Sequence[str],
    protocol: str,
    variant: str,
    models: Sequence[str] | None = None,
) -> Table:
    """Return Table 2 or 4: a section a data set, a line a model in the paper's order.

    records   runs, of which those of the data sets, protocol, variant and models are used
    number    "2" or "4"
    models    which rows to show; those that the paper's table lacks come after its rows, in the given order.
              None: the paper's rows

    Raises UserError for another number, for two records of one run, and for runs of mixed settings.
    """
    if number not in paper.TABLES:
        raise unknown_name("table", number, paper.TABLES)
    rows = _row_labels(number, models)
    datasets = list(dict.fromkeys(datasets))
    shown = [
        record
        for record in records
        if record.dataset in datasets
        and (record.protocol, record.variant) == (protocol, variant)
        and record.model in rows
    ]
    shown.sort(key=lambda record: (record.model, record.seed, str(record.path)))
    _check_one_selection(shown)
    sections: list[Section] = []
    notes = [NOTE_MEAN]
    lines = [tuple(CSV_HEADER.split(","))]
    for dataset in datasets:
        mine = [record for record in shown if record.dataset == dataset]
        _check_comparable(mine)
        summary = [_summarise(mine, model, label) for model, label in rows.items()]
        section, used_notes = _section(dataset, protocol, summary, len({record.seed for record in mine}))
        sections.append(section)
        notes += [note for note in used_notes if note not in notes]
        lines += [_csv_line(dataset, protocol, variant, row) for row in summary]
    title = _title(number, datasets, protocol, variant, shown)
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


def write_table(made: Table, out: Path, stem: str) -> tuple[Path, Path]:
    """Write out/<stem>.md and out/<stem>.csv, each in one step, and return their paths.

    Raises UserError where a file cannot be written.
    """
    markdown, lines = out / f"{stem}.md", out / f"{stem}.csv"
    write_atomically(markdown, made.markdown().encode("utf-8"))
    write_atomically(lines, made.csv().encode("utf-8"))
    return markdown, lines


def one_line(text: str) -> str:
    """Return `text` with every run of line breaks and control characters as one space."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text)


def escape_markdown(text: str) -> str:
    r"""Return `text` as one line of Markdown that shows exactly it, also in a table cell.

    >>> print(escape_markdown("a|b `c`\nd"))
    a\|b \`c\` d
    """
    escaped = re.sub(r"([\\`*_|~<>\[\]$])", r"\\\1", one_line(text))
    return re.sub(r"&(?=#?\w+;)", r"\\&", escaped)  # "Wide&Deep" is no entity and stays readable


def pooled_std(first: tuple[int, float], second: tuple[int, float]) -> float:
    """Return the pooled standard deviation of two groups, each given as (size, unbiased standard deviation).

    >>> pooled_std((2, 1.0), (2, 7.0))
    5.0
    """
    (n1, s1), (n2, s2) = first, second
    return math.sqrt(((n1 - 1) * s1**2 + (n2 - 1) * s2**2) / (n1 + n2 - 2))


def _row_labels(number: str, models: Sequence[str] | None) -> dict[str, str]:
    """Return the rows to show, model -> label: those of the paper's table in its order, then the others."""
    labels = dict(paper.TABLES[number])
    if models is None:
        return labels
    ordered = [model for model in labels if model in models] + [model for model in models if model not in labels]
    return {model: labels.get(model) or paper.LABELS.get(model, model) for model in ordered}


def _check_one_selection(records: Sequence[Record]) -> None:
    for record in records:
        if record.selection != records[0].selection:
            raise _mixed(records[0], record, "selection", records[0].selection, record.selection)


def _check_comparable(records: Sequence[Record]) -> None:
    """Refuse mixed runs of one data set. Batch size and learning rate may differ between rows, not in one."""
    first_of_model: dict[str, Record] = {}
    previous: Record | None = None
    for record in records:
        if previous and (previous.model, previous.seed) == (record.model, record.seed):
            raise UserError(f"two records of one run: {previous.path} and {record.path}. Keep one, or read one folder.")
        previous = record
        for name in ("protocol_hash", "data_sha256"):
            found, expected = getattr(record, name), getattr(records[0], name)
            if found != expected:
                raise _mixed(records[0], record, name, expected, found)
        first = first_of_model.setdefault(record.model, record)
        for name, other in (("steps", records[0]), ("batch_size", first), ("learning_rate", first)):
            if record.settings[name] != other.settings[name]:
                raise _mixed(other, record, name, other.settings[name], record.settings[name])


def _mixed(first: Record, second: Record, name: str, first_value: object, second_value: object) -> UserError:
    return UserError(
        f"runs cannot stand in one table: {name} is {first_value} in {first.path} and {second_value} in "
        f"{second.path}. Train one again with the other's settings, or keep them in separate folders."
    )


def _summarise(records: Sequence[Record], model: str, label: str) -> _Row:
    mine = [record for record in records if record.model == model]
    finished = [record for record in mine if record.status == "finished"]
    aucs = [record.reported_auc for record in finished]
    return _Row(
        model=model,
        label=label,
        seeds=len(finished),
        failed=len(mine) - len(finished),
        mean=fmean(aucs) if aucs else None,
        std=stdev(aucs) if len(aucs) > 1 else None,
        last=fmean([r.auc.last for r in finished if r.auc.last is not None]) if finished else None,
    )


def _section(dataset: str, protocol: str, rows: Sequence[_Row], seeds: int) -> tuple[Section, list[str]]:
    """Return the section of one data set, whose rows can have `seeds` seeds, and the notes that it needs."""
    printed, header, notes = _comparison(dataset, protocol)
    cells, above = [], None
    for row in rows:
        close = above is not None and _is_close(above, row)
        auc = printed.get(row.model)
        compared = (_printed(auc), _signed(row.mean, auc and auc.mean, 4))[: len(header)]
        cells.append((row.label, _mean_cell(row, seeds, close), _fixed(row.last, 4), *compared))
        above = row if row.mean is not None else above
    if any(" ≈" in cell[1] for cell in cells):
        notes.insert(0, NOTE_CLOSE)
    if any(" of " in cell[1] for cell in cells):
        notes.append(NOTE_PART)
    best = max((_fixed(row.mean, 4) for row in rows), default="")
    bold = frozenset((i, 1) for i, row in enumerate(rows) if best and _fixed(row.mean, 4) == best)
    return Section(dataset, ("model", "AUC", "last step", *header), tuple(cells), bold), notes


def _comparison(dataset: str, protocol: str) -> tuple[dict[str, Auc], tuple[str, ...], list[str]]:
    """Return the printed figures to show for a data set, the names of their columns and the notes to them."""
    of_protocol = paper.AUC_OF_PROTOCOL.get(protocol, {})
    if dataset in of_protocol:
        return of_protocol[dataset], ("paper", "difference"), []
    if of_protocol:
        return of_protocol[REFERENCE], ("paper, Electronics",), [NOTE_REFERENCE]
    return {}, (), []


def _is_close(above: _Row, row: _Row) -> bool:
    """Tell whether two rows are too close to call: means at most one pooled standard deviation apart."""
    if above.mean is None or above.std is None or row.mean is None or row.std is None:
        return False
    return abs(row.mean - above.mean) <= pooled_std((above.seeds, above.std), (row.seeds, row.std))


def _mean_cell(row: _Row, seeds: int, close: bool) -> str:
    if row.seeds + row.failed == 0:
        return ""
    counts = [f"{row.seeds}" if row.seeds == seeds else f"{row.seeds} of {seeds}"]
    counts += [f"{row.failed} failed"] if row.failed else []
    spread = f" ± {row.std:.4f}" if row.std is not None else ""
    return f"{_fixed(row.mean, 4)}{spread} ({', '.join(counts)}){' ≈' if close else ''}".strip()


def _title(number: str, datasets: Sequence[str], protocol: str, variant: str, records: Sequence[Record]) -> str:
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
        parts += [f"{steps[dataset]:,} steps on {dataset}" for dataset in datasets if dataset in steps]
    return ", ".join(parts)


def _csv_line(dataset: str, protocol: str, variant: str, row: _Row) -> tuple[str, ...]:
    printed = paper.paper_auc(dataset, row.model, protocol)
    figures = (_fixed(value, 6) for value in (row.mean, row.std, row.last, printed))
    difference = _signed(row.mean, printed, 6).removeprefix("+")
    return dataset, protocol, variant, row.model, str(row.seeds), *figures, difference


def _fixed(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _printed(auc: Auc | None) -> str:
    if auc is None:
        return ""
    return f"{auc.mean:.4f}" if auc.std is None else f"{auc.mean:.4f} ± {auc.std:.5f}"


def _signed(value: float | None, reference: float | None, digits: int) -> str:
    """Return value - reference with its sign; zero has a plus."""
    if value is None or reference is None:
        return ""
    return f"{round(value - reference, digits) + 0.0:+.{digits}f}"


def _counts(values: Iterable[int | None], thousands: str) -> list[str]:
    return ["" if value is None else f"{value:{thousands}}" for value in values]
