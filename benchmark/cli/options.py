"""Options that several commands share, and the names that the shell completes (`dien-bench --install-completion`)."""

import os
import re
import shlex
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperCommand, TyperOption

from benchmark.records import paper
from datamodules.errors import UserError

Variant = Literal["official", "paper"]
MOST_SEEDS = 1_000


def dataset_names() -> list[str]:
    """Names of data sets, those that were imported among them."""
    from datamodules.datasets import DATASETS, own_datasets  # here: its readers take half a second to import
    from datamodules.sources.impression_logs import IMPRESSIONS
    from datamodules.sources.released.sets import FINISHED

    return [*own_datasets(Path(os.environ.get("DIEN_BENCH_DATA", "data"))), *DATASETS, *FINISHED, *IMPRESSIONS]


def model_names() -> list[str]:
    """Names of rows."""
    return list(paper.LABELS)


def protocol_names() -> list[str]:
    """Names of protocols."""
    from datamodules.protocol import PROTOCOLS

    return list(PROTOCOLS)


def completes(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes a single name."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def completes_last(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes the last of several names in one argument, as in --models "din di".

    >>> completes_last(lambda: ["din", "dien", "pnn"])("din di")
    ['din dien']
    >>> completes_last(lambda: ["din", "dien", "pnn"])("din,p")
    ['din,pnn']
    """

    def complete(incomplete: str) -> list[str]:
        last = re.split("[ ,]", incomplete)[-1]
        before = incomplete.removesuffix(last)
        given = names_of(before)
        return [before + name for name in names() if name.startswith(last) and name not in given]

    return complete


Datasets = Annotated[
    str,
    typer.Option(
        "--datasets",
        help="Names, separated by spaces or commas: 'sports beauty'.",
        autocompletion=completes_last(dataset_names),
    ),
]
ProtocolName = Annotated[
    str,
    typer.Option(
        "--protocol",
        help="How samples are made: clean, next-day, ...; dien-bench list protocols has all.",
        autocompletion=completes(protocol_names),
    ),
]
VariantName = Annotated[Variant, typer.Option("--variant", help="official: the released code; paper: the equations.")]
Models = Annotated[
    str | None,
    typer.Option(
        "--models",
        help="Rows, separated by spaces or commas, or path/to/file.py:Class, by spaces alone.",
        autocompletion=completes_last(model_names),
    ),
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        help="One more row, or path/to/file.py:Class; can be given again.",
        autocompletion=completes(model_names),
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


class Command(TyperCommand):
    """A command that refuses an option given twice where it takes one value: the first would be lost without a word."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read the words of a command; raises `UserError` for an option that is there twice."""
        given = [] if ctx.resilient_parsing else self.make_parser(ctx).parse_args(args=list(args))[2]
        for option in dict.fromkeys(given):
            takes_one = isinstance(option, TyperOption) and not option.multiple and not option.is_flag
            if takes_one and given.count(option) > 1:
                name = max(option.opts, key=len)
                raise UserError(
                    f"{name} is given {given.count(option)} times, and only the last would count: give it once. Where "
                    "it takes several names, they stand in one text: 'din dien'"
                )
        return super().parse_args(ctx, args)


def names_of(text: str) -> list[str]:
    """The names in a text, separated by spaces or commas; a file's path may hold commas and stays whole.

    >>> names_of("din,dien pnn"), names_of("a,b.py:Mine din")
    (['din', 'dien', 'pnn'], ['a,b.py:Mine', 'din'])
    """
    words = ([word] if ":" in word or word.endswith(".py") else word.split(",") for word in text.split())
    return [name for names in words for name in names if name]


def rows_of(models: str | None, number: str | None, more: list[str] | None = None) -> list[str]:
    """The rows asked for: by name, or those of a table, and `more`; where nothing is, those of Tables 2 and 4."""
    if models is not None:
        rows = names_of(models)
    elif number is not None:
        rows = [row.model for row in paper.TABLES[number]]
    else:
        rows = [] if more else sorted(paper.LABELS, key=paper.order)
    return with_classes(list(dict.fromkeys([*rows, *(more or [])])))


def with_classes(rows: list[str]) -> list[str]:
    """The rows as they are; raises `UserError` where a file is named without its class."""
    for row in rows:
        if row.endswith(".py"):
            raise UserError(f"{row} is a file, and the class in it is missing: expected {row}:Class")
    return rows


def seeds_of(text: str) -> list[int]:
    """The seeds that a text names: numbers and ranges, separated by spaces or commas; else `UserError`.

    >>> seeds_of("7 0-2")
    [7, 0, 1, 2]
    """
    seeds: list[int] = []
    for word in text.replace(",", " ").split():
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise UserError(
                f"seeds must be whole numbers or ranges such as 0-4, separated by spaces or commas, got {text!r}"
            )
        numbers = range(int(first), int(last or first) + 1)
        if not 1 <= len(numbers) <= MOST_SEEDS:
            raise UserError(f"a range of seeds must go up and name {MOST_SEEDS:,} at most, got {word!r}")
        seeds += numbers
    return seeds


def command(*words: object) -> str:
    """A command of these words, quoted where a shell needs it.

    >>> command("dien-bench", "run", "--out", "my runs")
    "dien-bench run --out 'my runs'"
    """
    return shlex.join(map(str, words))


def require(extra: str, *packages: str) -> None:
    """Raise `UserError`, naming the extra to install, where a package is missing."""
    missing = [name for name in packages if not find_spec(name)]
    if missing:
        raise UserError(f"this needs {', '.join(missing)}: pip install 'dien-bench[{extra}]'")


def check_names(datasets: list[str], protocol: str, data_dir: Path) -> None:
    """Raise `UserError` for an unknown data set or protocol."""
    from datamodules.datasets import check_fits, get_dataset
    from datamodules.protocol import get_protocol

    for name in datasets:
        check_fits(get_dataset(name, data_dir), get_protocol(protocol))
