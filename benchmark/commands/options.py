"""Options that several commands share, and the screen that they print to."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from benchmark import paper
from datamodules.errors import UserError

Variant = Literal["official", "paper"]

screen = Console()

Datasets = Annotated[str, typer.Option("--datasets", help="Names, separated by spaces: 'sports beauty'.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="arxiv-v1, aaai-2019, clean, din-2018, random-ties or uniform-negatives.")
]
VariantName = Annotated[Variant, typer.Option("--variant", help="official: the released code; paper: the equations.")]
Models = Annotated[str | None, typer.Option("--models", help="Rows, or path/to/file.py:Class, separated by spaces.")]
Model = Annotated[
    list[str] | None, typer.Option("--model", help="One more row, or path/to/file.py:Class; can be given again.")
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the runs and tables.")]
DataDir = Annotated[
    Path, typer.Option("--data-dir", envvar="DIEN_BENCH_DATA", help="Folder of downloads and prepared data.")
]


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
