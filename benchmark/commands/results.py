"""`dien-bench table`, `figure` and `probe`: what finished runs and simple rules come to."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark import paper
from benchmark.commands.options import DataDir, Datasets, Model, Models, Out, ProtocolName, VariantName, rows_of, screen
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
    model: Model = None,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Print a table and write it to OUT as Markdown and CSV: 2 and 4 from the records there, 1 from the data.

    Example: dien-bench table 4 --datasets "sports beauty"
    """
    names = datasets.split()
    for name in names:
        get_dataset(name, data_dir)
    get_protocol(protocol)
    if number == "1":
        _show_table1(names, data_dir, out)
        return
    if number not in paper.TABLES:
        raise unknown_name("table", number, ["1", *paper.TABLES])
    from baselines import model_label

    show_table(number, names, protocol, variant, [model_label(row) for row in rows_of(models, number, model)], out, out)


def figure(
    number: Annotated[str, typer.Argument(help="2: losses over steps, as in the paper; auc: test AUC of every row.")],
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    model: Annotated[str, typer.Option(help="The row whose losses figure 2 shows.")] = "dien",
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Draw a figure from the learning curves of the runs in OUT, as PNG and SVG.

    Example: dien-bench figure 2 --datasets "sports beauty"
    """
    from benchmark.figures import figure2, figure_auc
    from benchmark.records import read_records

    if number not in ("2", "auc"):
        raise unknown_name("figure", number, ["2", "auc"])
    names = datasets.split()
    for name in names:
        get_dataset(name, data_dir)
    found = read_records(out, protocol=protocol, variant=variant)
    curves: dict[str, dict[str, list[Path]]] = {name: {} for name in names}
    for record in sorted(found, key=lambda record: (paper.order(record.model), record.seed)):
        if record.dataset in curves and record.status == "finished":
            curves[record.dataset].setdefault(record.model, []).append(record.path.parent / "metrics.csv")
    drawn: list[Path] = []
    if number == "2":
        drawn += figure2({name: rows.get(model, []) for name, rows in curves.items()}, out / "figure2", model=model)
    else:
        for name, rows in curves.items():
            drawn += figure_auc(dict(rows), out / f"auc-{name}-{protocol}-{variant}", dataset=name)
    for path in drawn:
        screen.print(str(path), highlight=False)


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
        get_dataset(name, data_dir)
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
