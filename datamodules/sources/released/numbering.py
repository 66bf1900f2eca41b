"""Codes of raw ids: those of a vocabulary, then further ones in the order in which they are met."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datamodules.errors import UserError
from datamodules.sources.spec import Int32

TOLERATED = 1000  # one behaviour in so many may have another category than its item; more stop the preparation


class Numbering:
    """The code of a raw id is its place in the vocabulary; ids beyond it get the next codes, or 0."""

    def __init__(self, ids: Sequence[bytes], *, grows: bool = True) -> None:
        self.ids, self.grows = pa.array(ids, pa.binary()), grows

    @property
    def size(self) -> int:
        """Codes are below it."""
        return len(self.ids)

    def known(self, raw: pa.Array) -> Int32:
        """Codes (N,) of raw ids (N,), 0 where there is none yet."""
        codes: Int32 = pc.fill_null(pc.index_in(raw, self.ids), 0).to_numpy()
        return codes

    def codes(self, raw: pa.Array) -> Int32:
        """Codes (N,) of raw ids (N,); new ones are given where the vocabulary grows."""
        found = pc.index_in(raw, self.ids)
        if found.null_count and self.grows:
            self.ids = pa.concat_arrays([self.ids, raw.filter(found.is_null()).unique()])
            found = pc.index_in(raw, self.ids)
        codes: Int32 = pc.fill_null(found, 0).to_numpy()
        return codes


class Catalogue:
    """Items and the category of each: the first that is named counts."""

    def __init__(self, items: Numbering, categories: Numbering) -> None:
        self.items, self.categories = items, categories
        self._category = np.full(items.size, -1, np.int32)
        self.behaviours = self.differing = 0

    def items_have(self, codes: Int32, categories: Int32) -> None:
        """Note the categories (N,) of items (N,); of two about one item the last counts."""
        self._category[codes] = categories

    def codes(self, raw: pa.Array, category: pa.Array) -> Int32:
        """Codes (N,) of raw items that stand beside raw categories (N,)."""
        codes, beside = self.items.codes(raw), self.categories.codes(category)
        self._grow()
        new = np.flatnonzero(self._category[codes] < 0)[::-1]
        self._category[codes[new]] = beside[new]
        self.behaviours += len(codes)
        self.differing += int(np.count_nonzero(self._category[codes] != beside))
        return codes

    def category(self) -> Int32:
        """(I + 1,) category of each item, 0 where none is known, and for item 0."""
        self._grow()
        category = np.maximum(self._category, 0)
        category[0] = 0
        return category

    def ranks(self) -> Int32:
        """(I + 1,) rank of each raw id among those of all items, sorted as bytes; -1 for item 0."""
        order = pc.sort_indices(self.items.ids[1:]).to_numpy()
        ranks = np.full(self.items.size, -1, np.int32)
        ranks[order.astype(np.int64) + 1] = np.arange(len(order), dtype=np.int32)
        return ranks

    def notes(self) -> tuple[str, ...]:
        """What to say of categories; raises `UserError` where they are not one an item."""
        if not self.differing:
            return ()
        what = (
            f"{self.differing:,} of {self.behaviours:,} items in rows stand beside another category than their item's"
        )
        if self.differing * TOLERATED > self.behaviours:
            raise UserError(f"{what}, expected one an item: the files are not of one release. Download them again.")
        return (f"{what}, which is used",)

    def _grow(self) -> None:
        more = self.items.size - len(self._category)
        self._category = np.concatenate([self._category, np.full(more, -1, np.int32)])
