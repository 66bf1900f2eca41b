"""A reproducible benchmark of DIEN; `docs/python.md` shows the names below at work.

They are looked up when they are asked for, so that `import benchmark` loads nothing else. `records` is not among those
of `__getattr__`: the folder of that name is itself what is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import Run, compare, load_run, train
    from benchmark.records.frames import curves, records

__all__ = ["Run", "compare", "curves", "load_run", "records", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__ and name != "records":
        return getattr(import_module("benchmark.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
