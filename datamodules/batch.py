"""The types that data and models share: histories, each once, and any number of targets that point to them."""

from dataclasses import dataclass, replace
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datamodules.packing import Int64, Packing, pack, packing_of, spread, unpack

Fields = dict[str, Tensor]  # int64 numbers by the name of their field; 0: padding, or nothing that training saw


def _moved(fields: Fields, device: torch.device | str, non_blocking: bool) -> Fields:
    return {name: tensor.to(device, non_blocking=non_blocking) for name, tensor in fields.items()}


@dataclass(frozen=True, eq=False)
class Histories:
    """U histories with R behaviours in all, packed (`packing.py`), the oldest first."""

    user: Fields  # (U,) fields of the user
    behaviours: Fields  # (R,) behaviour fields
    times: Tensor  # (R,) int64, seconds
    packing: Packing

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Histories":
        """The same on a device."""
        user, behaviours = (_moved(fields, device, non_blocking) for fields in (self.user, self.behaviours))
        times = self.times.to(device, non_blocking=non_blocking)
        return Histories(user, behaviours, times, self.packing.to(device, non_blocking))

    def take(self, which: Int64, positions: int | None = None) -> "Histories":
        """The histories `which` (U',), repetitions allowed; T is `positions`, or the length of the longest."""
        packing, rows = spread(self.packing, which, positions)
        rows, index = rows.to(self.times.device), torch.from_numpy(which).to(self.times.device)
        user = {name: tensor[index] for name, tensor in self.user.items()}
        behaviours = {name: tensor[rows] for name, tensor in self.behaviours.items()}
        return Histories(user, behaviours, self.times[rows], packing.to(self.times.device))


@dataclass(frozen=True, eq=False)
class Targets:
    """B targets, each with one of U histories in front of it: those of one batch, or in evaluation of several.

    `packing` is that of the B histories, a copy for each target, and `rows` (R_B,) says which row of the `Histories`
    each of its rows copies. A row after the first position has an auxiliary negative of its own in training.
    """

    target: Fields  # (B,) behaviour fields, then fields of targets alone
    context: Fields  # (B,) fields of the moment
    label: Tensor  # (B,) float32, 1 for a click
    time: Tensor  # (B,) int64, seconds
    history_of: Tensor  # (B,) 0..U-1
    packing: Packing
    rows: Tensor  # (R_B,)
    padding: Tensor  # (B,) int64, positions from the end of a history to that of the longest of its batch
    negatives: Fields  # (R_B - packing.first,) behaviour fields; empty outside training
    sizes: tuple[int, ...]  # of the batches, one behind the other; they add up to B

    def __len__(self) -> int:
        return len(self.label)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Targets":
        """The same on a device."""
        fields = (_moved(each, device, non_blocking) for each in (self.target, self.context, self.negatives))
        target, context, negatives = fields
        tensors = (self.label, self.time, self.history_of, self.rows, self.padding)
        label, time, history_of, rows, padding = (tensor.to(device, non_blocking=non_blocking) for tensor in tensors)
        packing = self.packing.to(device, non_blocking)
        return Targets(target, context, label, time, history_of, packing, rows, padding, negatives, self.sizes)


@dataclass(frozen=True, eq=False)
class Batch:
    """B targets and the U histories in front of them.

    `per_target` gives each target a history of its own: then U is B, and row b of everything is target b's. In
    evaluation the targets are those of several batches, whose histories are encoded together, each once; `batches` has
    them one by one.
    """

    histories: Histories
    targets: Targets

    @property
    def user(self) -> Fields:
        """(U,) fields of the user of each history."""
        return self.histories.user

    @cached_property
    def history(self) -> Fields:
        """(U, T) behaviour fields, oldest first, padded with 0 at the end to the longest history (T at least 1)."""
        return {name: unpack(tensor, self.histories.packing) for name, tensor in self.histories.behaviours.items()}

    @cached_property
    def history_time(self) -> Tensor:
        """(U, T) seconds, 0 at padding."""
        return unpack(self.histories.times, self.histories.packing)

    @property
    def lengths(self) -> Tensor:
        """(U,) behaviours of each history, 0..T."""
        return self.histories.packing.lengths

    @property
    def mask(self) -> Tensor:
        """(U, T) bool, true at behaviours."""
        return torch.arange(self.histories.packing.shape[1], device=self.lengths.device) < self.lengths[:, None]

    @property
    def target(self) -> Fields:
        """(B,) fields of the targets: those of a behaviour first."""
        return self.targets.target

    @property
    def context(self) -> Fields:
        """(B,) fields of the moment at which a target was shown."""
        return self.targets.context

    @property
    def label(self) -> Tensor:
        """(B,) float32, 1 for a click."""
        return self.targets.label

    @property
    def time(self) -> Tensor:
        """(B,) seconds."""
        return self.targets.time

    @property
    def history_of(self) -> Tensor:
        """(B,) the history of each target."""
        return self.targets.history_of

    @cached_property
    def negatives(self) -> Fields:
        """(B, T) auxiliary negatives of the behaviours of each target's history; none at the first position."""
        packing = self.targets.packing
        filled = {
            name: torch.cat([rows.new_zeros(packing.first), rows]) for name, rows in self.targets.negatives.items()
        }
        return {name: unpack(rows, packing) for name, rows in filled.items()}

    def __len__(self) -> int:
        return len(self.targets)

    def as_dict(self) -> dict[str, Any]:
        """What `make_batch` takes to make the batch again; plain tensors by name."""
        return {name: getattr(self, name) for name in signature(make_batch).parameters}

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The batch on a device."""
        return Batch(self.histories.to(device, non_blocking), self.targets.to(device, non_blocking))

    def per_target(self) -> "Batch":
        """The batch with one history for each target, in the order of the targets: U is B."""
        return self.part(np.arange(len(self)), repeat=True)

    def part(self, which: Int64, *, repeat: bool = False) -> "Batch":
        """The targets `which` (B',), of one batch, with the histories that they have; T stays what it is.

        `repeat` gives each of them a copy of its own.
        """
        of_part = self.history_of.cpu().numpy()[which]
        kept, history_of = (of_part, np.arange(len(which))) if repeat else np.unique(of_part, return_inverse=True)
        padding = self.targets.padding.cpu()[which]
        lengths = self.targets.packing.counts[which]
        positions = int(padding[0]) + int(lengths[0]) if len(which) else self.targets.packing.shape[1]
        histories = self.histories.take(kept, positions)
        device, index = self.label.device, torch.from_numpy(which).to(self.label.device)
        packing, rows = spread(histories.packing, history_of, positions)
        old_packing, (_, old) = self.targets.packing, spread(self.targets.packing, which, positions)
        after_first = old[packing.first :].to(device) - old_packing.first
        targets = Targets(
            target={name: tensor[index] for name, tensor in self.target.items()},
            context={name: tensor[index] for name, tensor in self.context.items()},
            label=self.label[index],
            time=self.time[index],
            history_of=torch.from_numpy(history_of).to(device),
            packing=packing.to(device),
            rows=rows.to(device),
            padding=padding.to(device),
            negatives={name: tensor[after_first] for name, tensor in self.targets.negatives.items()},
            sizes=(len(which),),
        )
        return Batch(histories, targets)

    def batches(self) -> "list[Batch]":
        """Copies of the batches that the targets are of, each with its own histories."""
        ends = np.cumsum(self.targets.sizes)
        return [self.part(which) for which in np.split(np.arange(len(self)), ends[:-1])]

    def with_label(self, label: Tensor) -> "Batch":
        """The batch with other labels (B,)."""
        return Batch(self.histories, replace(self.targets, label=label))


def make_batch(
    *,
    user: Fields,
    history: Fields,
    lengths: Tensor,
    target: Fields,
    label: Tensor,
    context: Fields | None = None,
    history_of: Tensor | None = None,
    negatives: Fields | None = None,
    history_time: Tensor | None = None,
    time: Tensor | None = None,
) -> Batch:
    """Return a batch of padded histories: user fields (U,), history fields (U, T), the rest as in `Batch`.

    Without `history_of`, target b has history b. Without times, all are 0.
    """
    counts = lengths.cpu().numpy()
    positions = next(iter(history.values())).shape[1]
    owner = torch.arange(len(label)) if history_of is None else history_of
    packing = packing_of(counts, positions)
    own, rows = spread(packing, owner.cpu().numpy(), positions)
    times = torch.zeros_like(packing.history) if history_time is None else pack(history_time, packing)
    histories = Histories(user, {name: pack(padded, packing) for name, padded in history.items()}, times, packing)
    after_first = {name: pack(padded, own)[own.first :] for name, padded in (negatives or {}).items()}
    time = torch.zeros(len(label), dtype=torch.int64) if time is None else time
    padding, sizes = positions - own.lengths, (len(label),)
    return Batch(histories, Targets(target, context or {}, label, time, owner, own, rows, padding, after_first, sizes))
