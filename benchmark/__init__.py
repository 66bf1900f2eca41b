"""A reproducible benchmark of DIEN; `docs/python.md` shows the names below at work.

They are looked up when they are asked for, so that `import benchmark` loads nothing else, and what only reads loads no
torch. The folder `records` is itself what is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.api import Run, compare, load_run, train
    from benchmark.records.frames import curves, records

__all__ = ["Run", "compare", "curves", "load_run", "records", "train"]


def __getattr__(name: str) -> Any:
    if name == "records":
        return import_module("benchmark.records")
    if name in __all__:
        return getattr(import_module("benchmark.records.frames" if name == "curves" else "benchmark.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
