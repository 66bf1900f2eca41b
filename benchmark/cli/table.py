"""`dien-bench table` and `probe`: what finished runs and simple rules come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.options import (
    DataDir,
    Json,
    Model,
    Models,
    Out,
    ProtocolName,
    Quiet,
    Variant,
    check_names,
    command,
    completes,
    completes_last,
    dataset_names,
    names_of,
    protocol_names,
    rows_of,
)
from benchmark.cli.output import Output
from benchmark.records import paper
from datamodules.errors import UserError, unknown_name

PAPER_PROTOCOL = "arxiv-v1"  # whose samples Table 1 counts

if TYPE_CHECKING:
    from benchmark.report.render import Table
    from benchmark.report.tables import RunTable

ROCKET = "rocket"
TABLE1 = "electronics books"  # whose counts the paper prints


def table(
    number: Annotated[
        str,
        typer.Argument(
            help="1, 2, 3 or 4, as in the paper; rocket: Rocket Launching.",
            autocompletion=completes(lambda: ["1", *paper.TABLES, ROCKET]),
        ),
    ],
    datasets: Annotated[
        str | None,
        typer.Option(
            "--datasets",
            help="Names, separated by spaces or commas: 'sports beauty'. Not given: all in OUT.",
            autocompletion=completes_last(dataset_names),
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            "--protocol",
            help="Not given: a table of each protocol in OUT.",
            autocompletion=completes(protocol_names),
        ),
    ] = None,
    variant: Annotated[
        Variant | None,
        typer.Option(
            "--variant",
            help="official: the released code; paper: the equations. Not given: a table of each in OUT.",
        ),
    ] = None,
    models: Models = None,
    model: Model = None,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Print a table and write it to OUT as Markdown and CSV: from the runs there, 1 from the data.

    OUT/table4-PROTOCOL.md and .csv hold all data sets and rows that are in OUT, also where fewer are asked for;
    OUT/table4.md and .csv hold the tables of the last call together.

    Example: dien-bench table 4 --datasets "sports beauty"
    """
    output, names = Output(as_json=as_json, quiet=quiet), None if datasets is None else names_of(datasets)
    check_names(names or [], protocol or "arxiv-v1", data_dir)
    if number == "5":
        raise UserError("Table 5 is of an A/B test, which has a command of its own: dien-bench abtest --help")
    if number not in ("1", *paper.TABLES, ROCKET):
        raise unknown_name("table", number, ["1", *paper.TABLES, ROCKET])
    if number == ROCKET:
        output.result(_show_rocket(names, protocol, variant, out, output))
        return
    if number == "1":
        output.result(_show_table1(names or TABLE1.split(), data_dir, out, output))
        return
    from benchmark.report.tables import places_of, table_of_runs

    rows = None if models is None and not model else rows_of(models, number, model)
    places = places_of(out, names, protocol, variant)
    tables = [table_of_runs(number, place, found, rows, out, output.say) for place, found in places.items()]
    shown = show_tables(number, tables, out, output)
    for place, found in places.items():
        options = {"datasets": " ".join(found), "protocol": place.protocol, "variant": place.variant, "out": out}
        output.advise(
            command("dien-bench", "figure", "auc", *(w for name, v in options.items() for w in (f"--{name}", v)))
        )
    output.result(shown)


def probe(
    datasets: Annotated[
        str,
        typer.Option(
            "--dataset",
            "--datasets",
            help="Names, separated by spaces or commas.",
            autocompletion=completes_last(dataset_names),
        ),
    ],
    protocol: ProtocolName = "arxiv-v1",
    draw: Annotated[bool, typer.Option("--figure", help="Draw the rules too, as PNG and SVG.")] = False,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Score rules with few parameters or none on a protocol's test samples: what an AUC there is worth.

    Example: dien-bench probe --dataset tafeng --protocol clean --figure
    """
    output, names = Output(as_json=as_json, quiet=quiet), names_of(datasets)
    check_names(names, protocol, data_dir)
    from benchmark.analysis.probes import measure
    from benchmark.report.probe_tables import probe_table, write_probes
    from datamodules.datasets import prepare_dataset
    from datamodules.samples.file import prepare_samples

    results = []
    for name in names:
        prepare_dataset(name, data_dir, report=output.say)
        measured = measure(name, prepare_samples(name, protocol, data_dir))
        output.show(probe_table(measured))
        written = list(write_probes(measured, out))
        if draw:
            from benchmark.report.learning_curves import figure_probes

            written += figure_probes(measured, written[0].with_suffix(""))
        output.written(written)
        results.append(asdict(measured) | {"files": written})
    output.advise(
        command(
            "dien-bench",
            "run",
            "--datasets",
            datasets,
            "--protocol",
            protocol,
            "--table",
            paper.tables_of(protocol)[-1],
        )
        + "  # its tables show these rules"
    )
    output.result(results)


def show_tables(number: str, tables: Sequence[RunTable], out: Path, output: Output) -> dict[str, Any]:
    """Print tables of runs, write all that `out` has of them, and return what --json shows."""
    from benchmark.report.tables import write_tables

    for table in tables:
        output.show(table.shown)
    files = write_tables(number, tables, out)
    output.written(files)
    return _as_json([table.shown for table in tables], files)


def _show_rocket(
    names: list[str] | None, protocol: str | None, variant: str | None, out: Path, output: Output
) -> dict[str, Any]:
    """Print and write a table of each protocol and variant, and return what --json shows."""
    from benchmark.bench.serving.rocket import rocket_table
    from benchmark.records.record import read_records
    from benchmark.report.render import write_table
    from benchmark.report.tables import places_of

    tables, files = [], list[Path]()
    for place, found in places_of(out, names, protocol, variant).items():
        tables.append(rocket_table(read_records(out), found, *place))
        output.show(tables[-1])
        files += write_table(tables[-1], out, f"rocket-{place.protocol}-{place.variant}")
    output.written(files)
    return _as_json(tables, files)


def _show_table1(datasets: list[str], data_dir: Path, out: Path, output: Output) -> dict[str, Any]:
    """Print and write the counts of data sets, and return what --json shows.

    The paper counts a user's positive and negative as one sample.
    """
    from benchmark.records.paper import Statistics
    from benchmark.report.render import write_table
    from benchmark.report.tables import table1
    from datamodules.datasets import prepare_dataset
    from datamodules.interactions import load_interactions
    from datamodules.samples.file import prepare_samples

    measured = {}
    for name in datasets:
        data = load_interactions(prepare_dataset(name, data_dir, report=output.say))
        samples = prepare_samples(name, PAPER_PROTOCOL, data_dir)
        pairs = sum(len(split) for split in (samples.train, samples.validation, samples.test)) // 2
        measured[name] = Statistics(data.users, data.items, data.categories, pairs)
    made = table1(measured)
    output.show(made)
    files = write_table(made, out, "table1")
    output.written(files)
    return _as_json([made], files)


def _as_json(tables: Sequence[Table], files: Iterable[Path]) -> dict[str, Any]:
    rows = [dict(zip(table.csv_rows[0], values, strict=True)) for table in tables for values in table.values()]
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    return {"title": "; ".join(table.title for table in tables), "rows": rows, "notes": notes, "files": list(files)}
