"""Tables 2 and 4 of an output folder: of every protocol and variant that it has runs of, or of those asked for."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from baselines import model_label
from benchmark.analysis.probes import read_probes
from benchmark.records import paper
from benchmark.records.record import read_records
from benchmark.report.render import Table, write_table
from benchmark.report.table_sections import Result
from benchmark.report.tables import results_of, table_of
from benchmark.runs.identity import check_files
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

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
