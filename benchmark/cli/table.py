"""`dien-bench table` and `probe`: what finished runs and simple rules come to."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli import completion
from benchmark.cli.options import (
    DataDir,
    Datasets,
    Json,
    Model,
    Models,
    Out,
    ProtocolName,
    Quiet,
    VariantName,
    check_names,
    rows_of,
)
from benchmark.cli.output import Output
from benchmark.records import paper
from datamodules.errors import unknown_name

if TYPE_CHECKING:
    from benchmark.report.render import Table

PROBES = Path("leaderboards/probes")  # what `probe` found on the data sets of the leaderboard


def table(
    number: Annotated[
        str,
        typer.Argument(help="1, 2 or 4, as in the paper.", autocompletion=completion.one(lambda: ["1", *paper.TABLES])),
    ],
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    models: Models = None,
    model: Model = None,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Print a table and write it to OUT as Markdown and CSV: 2 and 4 from the records there, 1 from the data.

    Example: dien-bench table 4 --datasets "sports beauty"
    """
    output, names = Output(as_json=as_json, quiet=quiet), datasets.split()
    check_names(names, protocol, data_dir)
    if number not in ("1", *paper.TABLES):
        raise unknown_name("table", number, ["1", *paper.TABLES])
    made = (
        _table1(names, data_dir, output)
        if number == "1"
        else table_of_runs(number, names, protocol, variant, rows_of(models, number, model), out)
    )
    shown = show_table(made, f"table{number}", out, output)
    if number != "1":
        output.advise(
            f'dien-bench figure auc --datasets "{datasets}" --protocol {protocol} --variant {variant} --out {out}'
        )
    output.result(shown)


def probe(
    datasets: Annotated[
        str,
        typer.Option(
            "--dataset",
            "--datasets",
            help="Names, separated by spaces.",
            autocompletion=completion.several(completion.datasets),
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
    output, names = Output(as_json=as_json, quiet=quiet), datasets.split()
    check_names(names, protocol, data_dir)
    from benchmark.analysis.probes import measure
    from benchmark.report.probe_tables import probe_table, write_probes
    from datamodules.datasets import prepare_interactions
    from datamodules.samples_file import prepare_samples

    results = []
    for name in names:
        prepare_interactions(name, data_dir, report=output.say)
        measured = measure(name, prepare_samples(name, protocol, data_dir))
        output.show(probe_table(measured))
        written = list(write_probes(measured, out))
        if draw:
            from benchmark.report.learning_curves import figure_probes

            written += figure_probes(measured, written[0].with_suffix(""))
        output.written(written)
        results.append(asdict(measured) | {"files": written})
    output.advise(
        f'dien-bench run --datasets "{datasets}" --protocol {protocol} --table 4: its tables show these rules'
    )
    output.result(results)


def table_of_runs(number: str, datasets: list[str], protocol: str, variant: str, rows: list[str], out: Path) -> Table:
    """Table 2 or 4 from the records in `out`, with the probes found there or on the leaderboard."""
    from baselines import model_label
    from benchmark.analysis.probes import read_probes
    from benchmark.records.record import read_records
    from benchmark.report.tables import table as make_table

    probes = {name: found for name in datasets if (found := read_probes([out, PROBES], name, protocol))}
    models = [model_label(row) for row in rows]
    return make_table(read_records(out), number, datasets, protocol, variant, models, probes)


def show_table(made: Table, stem: str, out: Path, output: Output) -> dict[str, Any]:
    """Print a table, write it to `out` as stem.md and stem.csv, and return it for --json."""
    from benchmark.report.render import write_table

    output.show(made)
    files = write_table(made, out, stem)
    output.written(files)
    rows = [dict(zip(made.csv_rows[0], values, strict=True)) for values in made.values()]
    return {"title": made.title, "rows": rows, "notes": made.notes, "files": files}


def _table1(datasets: list[str], data_dir: Path, output: Output) -> Table:
    from benchmark.records.paper import Statistics
    from benchmark.report.tables import table1
    from datamodules.datasets import prepare_interactions
    from datamodules.interactions import load_interactions

    measured = {}
    for name in datasets:
        data = load_interactions(prepare_interactions(name, data_dir, report=output.say))
        measured[name] = Statistics(data.users, data.items, data.categories, data.users)
    return table1(measured)
