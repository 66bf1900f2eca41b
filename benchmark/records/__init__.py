"""What a run leaves: its record, predictions and curves; and the paper's printed figures.

`from benchmark import records` gives this package, and `records()` is to give a DataFrame. So the module itself can be
called: Python lets a module have a class of its own (Python's data model, "Customizing module attribute access").
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame


class _Records(ModuleType):
    def __call__(self, root: Path | str | None = None) -> "DataFrame":
        """Return all records below `root` as a DataFrame: see `benchmark.records.frames.records`."""
        from benchmark.records.frames import records

        return records(root)


sys.modules[__name__].__class__ = _Records
