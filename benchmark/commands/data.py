"""`dien-bench prepare`: raw files to interactions and samples."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.commands import completion
from benchmark.commands.options import DataDir, Json, Quiet
from benchmark.commands.output import Output


def prepare(
    datasets: Annotated[
        list[str],
        typer.Argument(
            help="Names of data sets: electronics books sports tafeng ...",
            autocompletion=completion.one(completion.datasets),
        ),
    ],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Make the samples of this protocol too.", autocompletion=completion.one(completion.protocols)
        ),
    ] = None,
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Download and prepare data sets.

    Example: dien-bench prepare tafeng --protocol clean
    """
    from datamodules.datasets import get_dataset, prepare_interactions
    from datamodules.manifest import MANIFEST
    from datamodules.protocol import get_protocol

    output = Output(as_json=as_json, quiet=quiet)
    for name in datasets:
        get_dataset(name)
    if protocol:
        get_protocol(protocol)
    prepared: list[dict[str, Any]] = []
    for name in datasets:
        folder = prepare_interactions(name, data_dir, report=output.say)
        prepared.append(
            {"dataset": name, "folder": str(folder), "counts": json.loads((folder / MANIFEST).read_text())["counts"]}
        )
        if protocol:
            from datamodules.samples_file import prepare_samples

            samples = prepare_samples(name, protocol, data_dir)
            splits = {split: len(getattr(samples, split)) for split in ("train", "validation", "test")}
            prepared[-1] |= {"protocol": protocol, "samples": splits}
            output.say(
                f"{name}: {protocol} gives {splits['train']:,} training, {splits['validation']:,} validation, "
                f"{splits['test']:,} test samples"
            )
        output.say(f"{name}: ready in {folder}")
    output.advise(
        f'dien-bench run --datasets "{" ".join(datasets)}"{f" --protocol {protocol}" if protocol else ""} --table 4'
    )
    output.result(prepared)
