"""`dien-bench prepare`: raw files to interactions and samples."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import DataDir, screen
from datamodules.datasets import get_dataset, prepare_interactions
from datamodules.protocol import get_protocol


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
            from datamodules.samples_file import prepare_samples

            samples = prepare_samples(name, protocol, data_dir)
            screen.print(
                f"{name}: {protocol} gives {len(samples.train):,} training, {len(samples.validation):,} validation, "
                f"{len(samples.test):,} test samples"
            )
        screen.print(f"{name}: ready in {folder}")
