"""Names that the shell completes; `dien-bench --install-completion` turns it on."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmark.records import paper


def datasets() -> list[str]:
    """Names of data sets, those that were imported among them."""
    from datamodules.datasets import DATASETS, own_datasets  # here: its readers take half a second to import

    return [*own_datasets(Path(os.environ.get("DIEN_BENCH_DATA", "data"))), *DATASETS]


def models() -> list[str]:
    """Names of rows."""
    return list(paper.LABELS)


def protocols() -> list[str]:
    """Names of protocols."""
    from datamodules.protocol import PROTOCOLS

    return list(PROTOCOLS)


def one(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes a single name."""
    return lambda incomplete: [name for name in names() if name.startswith(incomplete)]


def several(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return what completes the last of several names in one argument, as in --models "din di".

    >>> several(lambda: ["din", "dien", "pnn"])("din di")
    ['din dien']
    """

    def complete(incomplete: str) -> list[str]:
        before, space, last = incomplete.rpartition(" ")
        given = before.split()
        return [f"{before}{space}{name}" for name in names() if name.startswith(last) and name not in given]

    return complete
