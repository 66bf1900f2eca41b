"""Samples of finished rows: the histories, targets and order that were published, as positions in one flat array."""

import numpy as np
from numpy.typing import NDArray

from datamodules.samples import Int64, Ints, Samples, Split, with_digest
from datamodules.sources.released.finished import FinishedSamples
from datamodules.sources.released.protocol import ReleasedProtocol

AT_ONCE = 1 << 22  # behaviours that are compared at a time


def make_released_samples(rows: FinishedSamples, protocol: ReleasedProtocol) -> Samples:
    """Turn finished rows into samples.

    Training histories are cut to the newest `max_history` behaviours. Test histories are not, as the released iterator
    does, unless the rows say so. No time was published: all times are 0.
    """
    items, offsets, begin, end = _shared(rows)
    training, lengths = rows.training_rows, np.diff(rows.offsets)
    of_files = [_order(part, protocol.sorted_window) for part in (lengths[:training], lengths[training:])]
    order = np.concatenate([of_files[0], of_files[1] + training])
    cuts = np.arange(len(begin)) < (len(begin) if rows.cuts_test else training)
    cut = np.where(cuts, np.maximum(begin, end - protocol.max_history), begin)
    whole = Split(
        user=rows.user[order],
        begin=cut[order],
        end=end[order],
        item=rows.item[order],
        label=rows.label[order],
        time=np.zeros(len(order), np.int64),
    )
    profile = {"user": rows.user_code} if len(rows.user_code) else {}  # takes the place of the user's number
    return with_digest(
        Samples(
            items=items,
            times=np.zeros(len(items), np.int64),
            offsets=offsets,
            catalogue={"item": np.arange(len(rows.category), dtype=np.int32), "category": rows.category},
            profile=profile,
            catalogue_rank=rows.catalogue_rank,
            pool=rows.pool,
            train=whole.take(np.arange(training)),
            validation=whole.take(np.arange(0)),
            test=whole.take(np.arange(training, len(order))),
            protocol=protocol,
            order_within_time=True,
        )
    )


def _order(lengths: Int64, window: int) -> Int64:
    """The order (N,) in which the released iterator gives the rows of a file, at its own batch size.

    It sorts a window in ascending order and takes from the end: of equal lengths the later row comes first. NumPy's
    quicksort leaves their order open, which differs between its versions and processors; here it is a stable sort's.
    """
    places = np.arange(len(lengths))
    order: Int64 = np.lexsort((-places, -lengths, places // window))
    return order


def _shared(rows: FinishedSamples) -> tuple[Ints, Int64, Int64, Int64]:
    """Behaviours (M,) and offsets (U + 1,) of users, and where the history of each row begins and ends in them.

    A history that is the beginning of its user's longest one, or that of the row before, is not stored again.
    """
    start, lengths = rows.offsets[:-1], np.diff(rows.offsets)
    by_length = np.lexsort((-np.arange(len(lengths)), lengths, rows.user))  # the longest last, of several the first
    last = np.append(rows.user[by_length][1:] != rows.user[by_length][:-1], True)
    longest = np.zeros(rows.users, np.int64)
    longest[rows.user[by_length[last]]] = by_length[last]
    owner = longest[rows.user]  # (N,) the row whose behaviours a row uses
    owner = np.where(_same(rows.history, start, start[owner], lengths), owner, np.arange(len(owner)))
    before = np.maximum(np.arange(len(owner)) - 1, 0)
    alike = (rows.user == rows.user[before]) & (lengths == lengths[before]) & (owner == np.arange(len(owner)))
    alike[0] = False
    alike[alike] = _same(rows.history, start[alike], start[before[alike]], lengths[alike])
    leader = np.maximum.accumulate(np.where(alike, 0, np.arange(len(owner))))  # of rows alike, the first
    owner = np.where(alike, owner[leader], owner)

    stored = np.unique(owner)
    stored = stored[np.argsort(rows.user[stored], kind="stable")]
    ends = np.cumsum(lengths[stored])
    place = np.zeros(len(owner), np.int64)
    place[stored] = ends - lengths[stored]
    offsets = np.zeros(rows.users + 1, np.int64)
    np.add.at(offsets, rows.user[stored] + 1, lengths[stored])
    total = int(ends[-1]) if len(ends) else 0
    flat = np.arange(total) + np.repeat(start[stored] - place[stored], lengths[stored])
    begin = place[owner]
    return rows.history[flat], np.cumsum(offsets), begin, begin + lengths


def _same(history: Ints, first: Int64, second: Int64, lengths: Int64) -> NDArray[np.bool_]:
    """(N,) whether the `lengths` behaviours from `first` on are those from `second` on."""
    same = np.ones(len(lengths), bool)
    ends = np.cumsum(lengths)
    begin = 0
    while begin < len(lengths):
        done = ends[begin - 1] if begin else 0
        end = max(int(np.searchsorted(ends, done + AT_ONCE, side="right")), begin + 1)
        part = lengths[begin:end]
        row = np.repeat(np.arange(len(part)), part)
        within = np.arange(len(row)) - np.repeat(np.cumsum(part) - part, part)
        differ = history[first[begin:end][row] + within] != history[second[begin:end][row] + within]
        same[begin + row[differ]] = False
        begin = end
    return same
