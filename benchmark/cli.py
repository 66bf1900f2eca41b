"""The command line, `dien-bench` or `python -m benchmark`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark import paper
from datamodules.datasets import get_dataset, prepare_interactions
from datamodules.errors import UserError, unknown_name
from datamodules.protocol import get_protocol

PROBES = Path("leaderboards/probes")  # what `probe` found on the data sets of the leaderboard
Variant = Literal["official", "paper"]

app = typer.Typer(
    help="A reproducible benchmark of DIEN and the models that it is compared with.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
screen = Console()

Datasets = Annotated[str, typer.Option("--datasets", help="Names, separated by spaces: 'sports beauty'.")]
ProtocolName = Annotated[str, typer.Option("--protocol", help="arxiv-v1, aaai-2019, clean or din-2018.")]
VariantName = Annotated[Variant, typer.Option("--variant", help="official: the released code; paper: the equations.")]
Models = Annotated[str | None, typer.Option("--models", help="Rows, or path/to/file.py:Class, separated by spaces.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the runs and tables.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="DIEN_BENCH_DATA", help="Folder of downloads and prepared data.")
]


@app.command()
def prepare(
    datasets: Annotated[list[str], typer.Argument(help="Names of data sets: electronics books sports tafeng ...")],
    protocol: Annotated[str | None, typer.Option(help="Make the samples of this protocol too.")] = None,
    data_dir: DataDir = Path("data"),
) -> None:
    """Download and prepare data sets.

    Example: dien-bench prepare tafeng --protocol clean
    """
    for name in datasets:
        get_dataset(name)
    if protocol:
        get_protocol(protocol)
    for name in datasets:
        folder = prepare_interactions(name, data_dir, report=screen.print)
        if protocol:
            from datamodules.samples import prepare_samples

            samples = prepare_samples(name, protocol, data_dir)
            screen.print(
                f"{name}: {protocol} gives {len(samples.train):,} training, {len(samples.validation):,} validation, "
                f"{len(samples.test):,} test samples"
            )
        screen.print(f"{name}: ready in {folder}")


@app.command()
def run(
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    models: Models = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by spaces.")] = "0 1 2 3 4",
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of a run; the data set's budget if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    workers: Annotated[int | None, typer.Option(help="Runs side by side; by GPUs, or by cores and memory.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="auto: a GPU where torch sees one, else the CPU.")
    ] = "auto",
    number: Annotated[
        str | None, typer.Option("--table", help="Train the rows of this table, and print it: 2 or 4.")
    ] = None,
    wandb: Annotated[bool, typer.Option(help="Log to Weights & Biases; offline where no key is configured.")] = True,
    quiet: Annotated[bool, typer.Option(help="Show no progress.")] = False,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Train rows for every seed; what has a record already is not trained again.

    Example: dien-bench run --datasets tafeng --models "din dien" --seeds "0 1"
    """
    if number is not None and number not in paper.TABLES:
        raise unknown_name("table", number, paper.TABLES)
    names, rows = datasets.split(), _rows(models, number)
    from baselines import model_label
    from benchmark.device import visible_gpus
    from benchmark.run import RunConfig
    from benchmark.sweep import choose_workers, sweep
    from datamodules.samples import prepare_samples

    configs = [
        RunConfig(
            dataset=name,
            protocol=protocol,
            model=model,
            variant=variant,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            data_dir=str(data_dir),
            out=str(out),
            logger="wandb" if wandb else "csv",
            device=device,
        )
        for seed in _seeds(seeds)
        for name in names
        for model in rows
    ]
    if not configs:
        raise UserError("nothing to run: give at least one data set, one model and one seed")
    for config in configs:
        config.check()
    for name in dict.fromkeys(names):
        prepare_interactions(name, data_dir, report=screen.print)
        prepare_samples(name, protocol, data_dir)
    gpus = visible_gpus(device)
    count, threads = choose_workers(workers, len(gpus))
    result = sweep(configs, workers=count, threads=threads, gpus=gpus, quiet=quiet)
    if number is not None:
        _show_table(number, names, protocol, variant, [model_label(row) for row in rows], out, out)
    else:
        screen.print(
            f"{len(result.records)} records in {out}; next: dien-bench table 4 --datasets '{datasets}' "
            f"--protocol {protocol} --variant {variant} --out {out}"
        )
    if result.failed:
        for name, reason in result.failed.items():
            screen.print(f"failed: {name}: {reason}", style="red", markup=False)
        raise typer.Exit(1)


@app.command()
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

    _show_table(number, names, protocol, variant, [model_label(row) for row in _rows(models, number)], out, out)


@app.command()
def figure(
    number: Annotated[str, typer.Argument(help="2: losses over steps, as in the paper; auc: test AUC of every row.")],
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    model: Annotated[str, typer.Option(help="The row whose losses figure 2 shows.")] = "dien",
    out: Out = Path("runs"),
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
        get_dataset(name)
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


@app.command()
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


@app.command()
def leaderboard(
    runs: Annotated[
        Path | None, typer.Argument(help="Folder of runs to add; none: make tables, figures and page anew.")
    ] = None,
    board: Annotated[Path, typer.Option(help="The leaderboard's folder.")] = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--verify", help="Only recompute every AUC from the committed ranks; change nothing.")
    ] = False,
) -> None:
    """Add runs to the leaderboard, and make its tables, figures and site/index.html from all of its records.

    Example: dien-bench leaderboard runs
    """
    from benchmark.leaderboard import add_runs, build, verify

    if check:
        agreeing, without = verify(board)
        for path in without:
            screen.print(f"{path}: no predictions, its AUC cannot be recomputed", highlight=False)
        screen.print(f"{agreeing} runs give the AUC of their records, {len(without)} have no predictions")
        return
    if runs is not None:
        added, kept = add_runs(runs, board)
        screen.print(f"{added} runs added, {kept} were there already")
    for path in build(board):
        screen.print(str(path), highlight=False)


@app.command()
def bench(
    parts: Annotated[
        list[str] | None, typer.Argument(help="kernels, train, batches, prepare, peers; none: all but peers.")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; a run has one.")] = 1,
    repeats: Annotated[int, typer.Option(help="Measurements of each figure.")] = 7,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu: processor time, for a busy machine.")] = "wall",
    quick: Annotated[bool, typer.Option(help="Tiny sizes, two repeats: to see that it works.")] = False,
    models: Models = None,
    variant: VariantName = "official",
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    dataset: Annotated[str | None, typer.Option(help="Time on this prepared data set too.")] = None,
    protocol: ProtocolName = "arxiv-v1",
    size: Annotated[int, typer.Option(help="Reviews in the files that `prepare` is timed on.")] = 200_000,
    peers_python: Annotated[
        Path, typer.Option(help="Python of the peers' environment, which make bench-peers makes.")
    ] = Path(".venv-peers/bin/python"),
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Measure speed, and write OUT/bench.json and OUT/bench.md.

    kernels: the recurrences alone. train: a step and an evaluation of every row.
    batches: making them. prepare: raw files to interactions.
    peers: DIEN of other packages on the same batches (make bench-peers).

    Example: dien-bench bench kernels train --models "din dien" --dataset sports
    """
    from baselines import MODELS
    from benchmark.bench.suite import DEFAULT_PARTS, BenchConfig
    from benchmark.bench.suite import bench as measure

    config = BenchConfig(
        parts=tuple(parts or DEFAULT_PARTS),
        models=tuple(models.split() if models else MODELS),
        variant=variant,
        threads=threads,
        repeats=2 if quick else repeats,
        clock=clock,
        quick=quick,
        batch_size=batch_size,
        dataset=dataset,
        protocol=protocol,
        data_dir=str(data_dir),
        reviews=min(size, 2_000) if quick else size,
        peers_python=str(peers_python),
        out=str(out),
    )
    made = measure(config, report=screen.print)
    Console(width=max(screen.width, 150)).print(made)  # figures cut short are of no use
    for name in ("bench.json", "bench.md"):
        screen.print(str(out / name), highlight=False)


def _rows(models: str | None, number: str | None) -> list[str]:
    """The rows asked for: by name, or those of a table, or all."""
    from baselines import MODELS

    if models is not None:
        return models.split()
    return [row.model for row in paper.TABLES[number]] if number is not None else list(MODELS)


def _seeds(text: str) -> list[int]:
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"seeds must be whole numbers separated by spaces, got {text!r}") from error


def _show_table(
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


def main() -> None:
    """Run the command line: exit code 0 done, 1 some run failed, 2 a mistake to mend, 130 interrupted."""
    try:
        app(standalone_mode=True)
    except UserError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
