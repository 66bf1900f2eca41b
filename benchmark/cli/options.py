"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from benchmark.cli import completion
from benchmark.records import paper
from datamodules.errors import UserError

Variant = Literal["official", "paper"]

Datasets = Annotated[
    str,
    typer.Option(
        "--datasets",
        help="Names, separated by spaces: 'sports beauty'.",
        autocompletion=completion.several(completion.datasets),
    ),
]
ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="arxiv-v1, aaai-2019, clean, din-2018, random-ties or uniform-negatives.",
        autocompletion=completion.one(completion.protocols),
    ),
]
VariantName = Annotated[Variant, typer.Option("--variant", help="official: the released code; paper: the equations.")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        help="Rows, or path/to/file.py:Class, separated by spaces.",
        autocompletion=completion.several(completion.models),
    ),
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="One more row, or path/to/file.py:Class; can be given again.",
        autocompletion=completion.one(completion.models),
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the runs and tables.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="DIEN_BENCH_DATA", help="Folder of downloads and prepared data.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout; words go to stderr.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, no progress and no advice.")]


def rows_of(models: str | None, number: str | None, more: list[str] | None = None) -> list[str]:
    """The rows asked for: by name, or those of a table, and `more`; all of the suite where nothing is asked for."""
    from baselines import MODELS

    if models is not None:
        rows = models.split()
    elif number is not None:
        rows = [row.model for row in paper.TABLES[number]]
    else:
        rows = [] if more else list(MODELS)
    return list(dict.fromkeys([*rows, *(more or [])]))


def seeds_of(text: str) -> list[int]:
    """The seeds that a text names, separated by spaces; UserError for what is no whole number."""
    try:
        return [int(word) for word in text.replace(",", " ").split()]
    except ValueError as error:
        raise UserError(f"seeds must be whole numbers separated by spaces, got {text!r}") from error


def check_names(datasets: list[str], protocol: str, data_dir: Path) -> None:
    """Raise `UserError` for an unknown data set or protocol."""
    from datamodules.datasets import get_dataset
    from datamodules.protocol import get_protocol

    for name in datasets:
        get_dataset(name, data_dir)
    get_protocol(protocol)
