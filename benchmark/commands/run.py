"""`dien-bench run`: rows trained for every seed."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark import paper
from benchmark.commands.options import (
    DataDir,
    Datasets,
    Model,
    Models,
    Out,
    ProtocolName,
    VariantName,
    rows_of,
    screen,
    seeds_of,
)
from benchmark.commands.results import show_table
from datamodules.datasets import prepare_interactions
from datamodules.errors import UserError, unknown_name


def run(
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    models: Models = None,
    model: Model = None,
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
    names, rows = datasets.split(), rows_of(models, number, model)
    from baselines import model_label
    from benchmark.device import visible_gpus
    from benchmark.run import RunConfig
    from benchmark.sweep import choose_workers, sweep
    from datamodules.samples import prepare_samples

    configs = [
        RunConfig(
            dataset=name,
            protocol=protocol,
            model=row,
            variant=variant,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            data_dir=str(data_dir),
            out=str(out),
            logger="wandb" if wandb else "csv",
            device=device,
        )
        for seed in seeds_of(seeds)
        for name in names
        for row in rows
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
        show_table(number, names, protocol, variant, [model_label(row) for row in rows], out, out)
    else:
        screen.print(
            f"{len(result.records)} records in {out}; next: dien-bench table 4 --datasets '{datasets}' --models "
            f"'{' '.join(rows)}' --protocol {protocol} --variant {variant} --out {out}",
            soft_wrap=True,
        )
    if result.failed:
        for name, reason in result.failed.items():
            screen.print(f"failed: {name}: {reason}", style="red", markup=False)
        raise typer.Exit(1)
