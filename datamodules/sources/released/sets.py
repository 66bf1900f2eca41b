"""The sets of finished samples by name."""

from datamodules.sources.released.books import BOOKS_RELEASED
from datamodules.sources.released.electronics import ELECTRONICS_X1
from datamodules.sources.spec import FinishedSpec

FINISHED: dict[str, FinishedSpec] = {spec.name: spec for spec in (BOOKS_RELEASED, ELECTRONICS_X1)}
