"""`dien-bench table` and `probe`: what finished runs and simple rules come to."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark import paper
from benchmark.commands.options import DataDir, Datasets, Models, Out, ProtocolName, VariantName, rows_of, screen
from datamodules.datasets import get_dataset, prepare_interactions
from datamodules.errors import unknown_name
from datamodules.protocol import get_protocol

PROBES = Path("leaderboards/probes")  # what `probe` found on the data sets of the leaderboard


def table(
    number: Annotated[str, typer.Argument(help="1, 2 or 4, as in the paper.")],
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    models: Models = None,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Print a table and write it to OUT as Markdown and CSV: 2 and 4 from the records there, 1 from the data.

    Example: dien-bench table 4 --datasets "sports beauty"
    """
    names = datasets.split()
    for name in names:
        get_dataset(name)
    get_protocol(protocol)
    if number == "1":
        _show_table1(names, data_dir, out)
        return
    if number not in paper.TABLES:
        raise unknown_name("table", number, ["1", *paper.TABLES])
    from baselines import model_label

    show_table(number, names, protocol, variant, [model_label(row) for row in rows_of(models, number)], out, out)


def probe(
    datasets: Annotated[str, typer.Option("--dataset", "--datasets", help="Names, separated by spaces.")],
    protocol: ProtocolName = "arxiv-v1",
    draw: Annotated[bool, typer.Option("--figure", help="Draw the rules too, as PNG and SVG.")] = False,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Score rules with few parameters or none on a protocol's test samples: what an AUC there is worth.

    Example: dien-bench probe --dataset tafeng --protocol clean --figure
    """
    get_protocol(protocol)
    for name in datasets.split():
        get_dataset(name)
    from benchmark.probes import measure, probe_table, write_probes
    from datamodules.samples import prepare_samples

    for name in datasets.split():
        prepare_interactions(name, data_dir, report=screen.print)
        measured = measure(name, prepare_samples(name, protocol, data_dir))
        screen.print(probe_table(measured))
        written = list(write_probes(measured, out))
        if draw:
            from benchmark.figures import figure_probes

            written += figure_probes(measured, written[0].with_suffix(""))
        for path in written:
            screen.print(str(path), highlight=False)


def show_table(
    number: str, datasets: list[str], protocol: str, variant: str, models: list[str], records: Path, out: Path
) -> None:
    from benchmark.probes import read_probes
    from benchmark.records import read_records
    from benchmark.render import write_table
    from benchmark.tables import table as make_table

    probes = {name: found for name in datasets if (found := read_probes([out, PROBES], name, protocol))}
    made = make_table(read_records(records), number, datasets, protocol, variant, models, probes)
    screen.print(made)
    for path in write_table(made, out, f"table{number}"):
        screen.print(str(path), highlight=False)


def _show_table1(datasets: list[str], data_dir: Path, out: Path) -> None:
    from benchmark.paper import Statistics
    from benchmark.render import write_table
    from benchmark.tables import table1
    from datamodules.interactions import load_interactions

    measured = {}
    for name in datasets:
        data = load_interactions(prepare_interactions(name, data_dir, report=screen.print))
        measured[name] = Statistics(data.users, data.items, data.categories, data.users)
    made = table1(measured)
    screen.print(made)
    for path in write_table(made, out, "table1"):
        screen.print(str(path), highlight=False)
