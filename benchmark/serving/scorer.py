"""A trained model as a scorer: numbers of requests become rows, and requests one batch, each history encoded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from baselines.layers.two_stage import logits_of
from benchmark.serving.request import Request, RequestSchema
from datamodules.batch import Batch, Fields, Histories, Targets
from datamodules.packing import packing_of, spread
from datamodules.samples.vocabulary import Rows, Vocabulary

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """One part of a request, as its history: a key that decides its fields, and fields by codes of their own.

    A behaviour of the key `item` has the fields of that item, so that its category can be left out; a category that is
    given counts, so that an item which training never saw can have one.
    """

    key: str | None  # "item", "user"
    of_key: Rows  # field -> row of each number of the key
    of_code: Rows  # field -> row of each code

    @classmethod
    def keyed(cls, key: str, rows: Rows, sizes: Mapping[str, int]) -> "Part":
        """The part of a key, whose other fields have `sizes` codes; a code has its own row where some number has it."""
        codes = {name: np.zeros(sizes[name], np.int64) for name in rows if name != key}
        for name, of_code in codes.items():
            of_code[rows[name]] = rows[name]
        return cls(key, rows, codes)

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each field of a request has."""
        keyed = {} if self.key is None else {self.key: len(next(iter(self.of_key.values())))}
        return keyed | {name: len(rows) for name, rows in self.of_code.items()}

    def rows(self, given: Mapping[str, Sequence[int]], count: int) -> dict[str, Ints]:
        """The row (count,) of every field; 0 for what is unknown or not given."""
        found = {name: np.zeros(count, np.int64) for name in self.of_key | self.of_code}
        if self.key is not None and self.key in given:
            found |= {name: _look_up(rows, given[self.key]) for name, rows in self.of_key.items()}
        return found | {name: _look_up(self.of_code[name], given[name]) for name in given if name != self.key}


def _look_up(rows: Ints, numbers: Sequence[int]) -> Ints:
    known = np.array([number if 0 <= number < len(rows) else -1 for number in numbers], np.int64)  # any size of int
    return np.where(known >= 0, rows[known], 0)


class RunScorer:
    """Scores requests with a model in evaluation mode, on the CPU.

    Numbers are those of the prepared data: of items and users as in interactions.parquet, of categories as in
    categories.json.
    """

    def __init__(self, model: nn.Module, vocabulary: Vocabulary, about: Mapping[str, str]) -> None:
        self.model, self.vocabulary, self.about = model, vocabulary, about
        sizes = vocabulary.schema.rows
        self.user = Part.keyed("user", vocabulary.users, sizes)
        self.behaviour = Part.keyed("item", vocabulary.items, sizes)
        self.target = Part("item", self.behaviour.of_key, self.behaviour.of_code | vocabulary.target)
        self.context = Part(None, {}, vocabulary.context)
        parts = {
            "history": self.behaviour.sizes,
            "target": self.target.sizes,
            "user": self.user.sizes,
            "context": self.context.sizes,
        }
        optional = frozenset(name for fields in parts.values() for name in fields)
        self.schema = RequestSchema(**parts, optional=optional)

    def score(self, requests: Sequence[Request]) -> list[NDArray[np.float64]]:
        """Return the probabilities (N,) of each request's candidates."""
        batch = self.batch(requests)
        with torch.inference_mode():
            probabilities: NDArray[np.float64] = torch.sigmoid(logits_of(self.model, batch).double()).numpy()
        return np.split(probabilities, np.cumsum([one.candidates for one in requests])[:-1])

    def batch(self, requests: Sequence[Request]) -> Batch:
        """One batch of U requests, each history once."""
        lengths = np.array([one.behaviours for one in requests], np.int64)
        candidates = np.array([one.candidates for one in requests], np.int64)
        packing = packing_of(lengths, max(int(lengths.max()), 1))
        history, position = np.divmod(packing.flat_index.numpy(), packing.shape[1])
        order = (np.cumsum(lengths) - lengths)[history] + position  # of the packed rows among all behaviours
        behaviours = [self.behaviour.rows(one.history, one.behaviours) for one in requests]
        histories = Histories(
            user=_joined([self.user.rows({k: [v] for k, v in one.user.items()}, 1) for one in requests]),
            behaviours={name: rows[order] for name, rows in _joined(behaviours).items()},
            times=torch.zeros(len(order), dtype=torch.int64),
            packing=packing,
        )
        history_of = np.repeat(np.arange(len(requests)), candidates)
        of_targets, rows = spread(packing, history_of)
        context = [
            self.context.rows({k: [v] * n for k, v in one.context.items()}, n)
            for one, n in zip(requests, candidates, strict=True)
        ]
        targets = Targets(
            target=_joined([self.target.rows(one.target, one.candidates) for one in requests]),
            context=_joined(context),
            label=torch.zeros(len(history_of)),
            time=torch.zeros(len(history_of), dtype=torch.int64),
            history_of=torch.from_numpy(history_of),
            packing=of_targets,
            rows=rows,
            padding=packing.shape[1] - of_targets.lengths,
            negatives={},
            sizes=(len(history_of),),
        )
        return Batch(histories, targets)


def _joined(parts: Sequence[Mapping[str, Ints]]) -> Fields:
    return {name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]}
