"""Samples of impressions under a protocol that splits by days: earlier days train, the last one tests.

What was shown in held-out days is in no history of training, no vocabulary, no popularity and no negative.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodules.errors import UserError
from datamodules.impressions import DAY, Impressions, Shown
from datamodules.protocol import DayProtocol
from datamodules.samples import Int64, Samples, Split, Unclicked, by_user_and_time, with_digest
from datamodules.samples.released import make_released_samples
from datamodules.sources.released.finished import FinishedSamples
from datamodules.sources.released.protocol import ReleasedProtocol


def make_impression_samples(log: Impressions | FinishedSamples, protocol: DayProtocol) -> Samples:
    """Turn a log of impressions into samples; raises `UserError` where a split would be empty or of one class.

    Samples that were published as such become what they are.

    The history of an impression: the user's behaviours of the protocol's days before it, strictly earlier, the newest
    `max_history` of them.
    """
    if isinstance(log, FinishedSamples):
        assert isinstance(protocol, ReleasedProtocol)  # check_fits
        return make_released_samples(log, protocol)
    shown, behaviours = log.shown, log.behaviours
    day = log.day(shown.time)
    last = int(day.max(initial=0))
    held_out = last - 1 if protocol.validation else last  # the first day that does not train
    by_policy = np.ones(len(shown), bool) if shown.random is None else ~shown.random
    if protocol.test == "random" and shown.random is None:
        raise UserError(f"protocol {protocol.name} tests on random impressions, which this log has not: use next-day")
    trains = by_policy & (day < held_out)
    masks = {
        "train": trains,
        "validation": by_policy & (day == last - 1) & protocol.validation,
        "test": (day == last) & (by_policy if protocol.test == "policy" else ~by_policy),
    }
    keys = by_user_and_time(behaviours.user, behaviours.time)
    offsets = np.searchsorted(behaviours.user, np.arange(log.users + 1)).astype(np.int64)
    begin, end = spans(keys, shown.user, shown.time, protocol)
    splits: dict[str, Any] = {name: _split(shown, mask, begin, end) for name, mask in masks.items()}
    for name, split in splits.items():
        if len(np.unique(split.label)) < 2 and not (name == "validation" and not protocol.validation):
            raise UserError(
                f"{len(split):,} {name} impressions, {int(split.label.sum()):,} of them clicked, under protocol "
                f"{protocol.name} (day {last} of the log tests): expected clicked and unclicked ones in every split"
            )
    unclicked = np.flatnonzero(trains & (shown.label == 0))
    unclicked = unclicked[np.lexsort((shown.time[unclicked], shown.user[unclicked]))]
    before = behaviours.time < log.first_midnight + held_out * DAY
    return with_digest(
        Samples(
            items=np.asarray(behaviours.item),
            times=np.asarray(behaviours.time),
            offsets=offsets,
            catalogue={name: np.asarray(codes) for name, codes in log.catalogue.items()},
            profile={name: np.asarray(codes) for name, codes in log.profile.items()},
            catalogue_rank=np.full(log.items + 1, -1, np.int32),
            pool=behaviours.item[before],
            **splits,
            protocol=protocol,
            order_within_time=True,
            unclicked=Unclicked(shown.user[unclicked], shown.item[unclicked], shown.time[unclicked]),
        )
    )


def spans(keys: Int64, user: NDArray[Any], time: Int64, protocol: DayProtocol) -> tuple[Int64, Int64]:
    """Where histories (N,) of users (N,) at times (N,) begin and end, among behaviours of sorted keys (M,)."""
    end = np.searchsorted(keys, by_user_and_time(user, time))
    earliest = by_user_and_time(user, time - protocol.window_days * DAY)
    return np.maximum(np.searchsorted(keys, earliest), end - protocol.max_history), end


def _split(shown: Shown, mask: NDArray[np.bool_], begin: Int64, end: Int64) -> Split:
    return Split(
        user=shown.user[mask],
        begin=begin[mask],
        end=end[mask],
        item=shown.item[mask],
        label=shown.label[mask],
        time=shown.time[mask],
        target={name: codes[mask] for name, codes in shown.target.items()},
        context={name: codes[mask] for name, codes in shown.context.items()},
        probability=None if shown.probability is None else shown.probability[mask],
    )
