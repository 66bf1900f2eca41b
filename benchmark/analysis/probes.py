"""Probes: rules with no parameter, or a handful, scored on exactly the test samples that the models are scored on.

A model's AUC under a protocol says something about interests only as far as it is above what such rules reach.
The rules read what a model is given (candidate, history, training users' behaviours) and, three of them, the
catalogue rank of items, which no model is given but which behaviours in catalogue order give away. They are measured
once a data set and protocol, by every `dien-bench run`, and stand beside every table.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from benchmark.analysis.comparison import estimate_rule
from benchmark.records.predictions import scores_of_samples
from datamodules.errors import UNSHOWN, UserError
from datamodules.protocol import Protocol
from datamodules.samples import Samples, Split

Floats = NDArray[np.float64]
FITTED_ON = 200_000  # training samples at most: the fit has eight parameters
SAMPLES_AT_ONCE = 100_000  # whose histories are held in memory together


class Rule(NamedTuple):
    """A score of samples; higher means more likely clicked."""

    label: str
    score: Callable[[Samples, Split], Floats]  # (N,)


@dataclass(frozen=True)
class Probe:
    """What one rule reaches: test AUC with its 95 % interval over test users (a rule has no seeds), all in [0, 1]."""

    name: str
    label: str
    parameters: int
    auc: float
    low: float
    high: float

    @property
    def title(self) -> str:
        """The name as words."""
        return self.name.replace("-", " ")

    @property
    def line(self) -> str:
        """What names it in a table of models: its title, or where candidates are unknown how many."""
        return f"candidate {self.label}" if self.name == UNKNOWN else self.title


@dataclass(frozen=True)
class Probes:
    """All rules on one data set under one protocol; the two hashes say on which samples."""

    dataset: str
    protocol: str
    protocol_hash: str
    data_sha256: str
    test_users: int
    probes: tuple[Probe, ...]

    @property
    def rules(self) -> list[Probe]:
        """All but the oracle, which knows what no rule and no model can."""
        return [probe for probe in self.probes if probe.name != ORACLE]

    @property
    def best(self) -> Probe:
        """The rule with the highest AUC, the oracle left out."""
        return max(self.rules, key=lambda probe: probe.auc)

    @property
    def fitted(self) -> Probe:
        """The rules together, fitted on training samples."""
        return next(probe for probe in self.probes if probe.name == FITTED)

    def named(self, name: str) -> Probe | None:
        """The rule of a name; None where a file of an earlier version lacks it."""
        return next((probe for probe in self.probes if probe.name == name), None)

    @property
    def without_parameters(self) -> Probe:
        """The rule with the highest AUC among those that fit nothing."""
        return max((probe for probe in self.rules if probe.parameters == 0), key=lambda probe: probe.auc)


def catalogue_order(samples: Samples, split: Split) -> Floats:
    """(N,) candidate not before the last behaviour in the catalogue, and near it; -1 without a history.

    (candidate's rank >= last behaviour's rank) - |difference of ranks| / number of items.
    """
    last, known = _last_items(samples, split)
    difference = samples.catalogue_rank[split.item].astype(np.float64) - samples.catalogue_rank[last]
    return np.where(known, (difference >= 0) - np.abs(difference) / samples.item_count, -1.0)


def catalogue_distance(samples: Samples, split: Split) -> Floats:
    """(N,) nearness of candidate and last behaviour in the catalogue: -log(1 + |difference of ranks|)."""
    last, known = _last_items(samples, split)
    difference = samples.catalogue_rank[split.item].astype(np.float64) - samples.catalogue_rank[last]
    nearness: Floats = -np.log1p(np.where(known, np.abs(difference), samples.item_count))
    return nearness


def catalogue_rank(samples: Samples, split: Split) -> Floats:
    """(N,) the candidate's place in the catalogue, from 0 to 1."""
    place: Floats = samples.catalogue_rank[split.item] / max(samples.item_count - 1, 1)
    return place


def popularity(samples: Samples, split: Split) -> Floats:
    """(N,) log(1 + behaviours of training users with the candidate); positives that train do not count themselves."""
    offsets = samples.offsets
    trains = np.isin(np.repeat(np.arange(samples.users), np.diff(offsets)), samples.train.user)
    if isinstance(samples.protocol, Protocol) and samples.protocol.every_position_trains:
        trains[offsets[1:] - 1] = False  # the last behaviour tests
    counts = np.bincount(samples.items[trains], minlength=samples.item_count + 1)
    own = split.label if split is samples.train else 0
    logarithm: Floats = np.log1p(counts[split.item] - own)
    return logarithm


def same_category(samples: Samples, split: Split) -> Floats:
    """(N,) 1 where candidate and last behaviour share their category."""
    last, known = _last_items(samples, split)
    shared = known & (samples.item_category[split.item] == samples.item_category[last])
    return np.asarray(shared, np.float64)


def category_share(samples: Samples, split: Split) -> Floats:
    """(N,) share of the history in the candidate's category; 0 without a history."""
    return _share(samples, split, samples.item_category)


def not_in_history(samples: Samples, split: Split) -> Floats:
    """(N,) 1 where the candidate is not in the history: negatives may be, first-time positives are not."""
    return np.asarray(_share(samples, split, np.arange(samples.item_count + 1)) == 0, np.float64)


def unknown_item(samples: Samples, split: Split) -> Floats:
    """(N,) 1 where no training sample mentions the candidate, which models then give row 0."""
    return np.asarray(~samples.known_items()[split.item], np.float64)


CATALOGUE_RULE, UNKNOWN = "catalogue-order", "unknown-item"
RULES = {
    CATALOGUE_RULE: Rule("just behind the last behaviour in the catalogue", catalogue_order),
    "catalogue-distance": Rule("near the last behaviour in the catalogue", catalogue_distance),
    "catalogue-rank": Rule("late in the catalogue", catalogue_rank),
    "popularity": Rule("popular among training users", popularity),
    "same-category": Rule("in the last behaviour's category", same_category),
    "category-share": Rule("in a frequent category of the history", category_share),
    "not-in-history": Rule("new to the user", not_in_history),
    UNKNOWN: Rule("in no training sample", unknown_item),
}
FITTED = "logistic-regression"
FITTED_LABEL = "all of these rules, weighted"
ORACLE, ORACLE_LABEL = "oracle", "the probability by which clicks were drawn"  # of a simulated log


def rules_of(samples: Samples) -> dict[str, Rule]:
    """Return the rules that samples allow: without raw ids in an order there is no catalogue."""
    ordered = bool(samples.catalogue_rank.max() >= 0)
    return {name: rule for name, rule in RULES.items() if ordered or not name.startswith("catalogue")}


def measure(dataset: str, samples: Samples) -> Probes:
    """Score every rule, and a logistic regression on them fitted on training samples, on the test samples."""
    rules = rules_of(samples)
    fitted = [name for name in rules if name != UNKNOWN]  # which is 0 throughout training
    scores = {name: rule.score(samples, samples.test) for name, rule in rules.items()}
    parameters = {name: 0 for name in (*rules, ORACLE)} | {FITTED: len(fitted) + 1}
    labels = {name: rule.label for name, rule in rules.items()} | {FITTED: FITTED_LABEL, ORACLE: ORACLE_LABEL}
    positive, negative = (scores[UNKNOWN][samples.test.label == label].mean() for label in (1, 0))
    labels[UNKNOWN] += f" ({positive:.1%} of test positives, {negative:.1%} of negatives)".replace("%", " %")
    scores[FITTED] = _fitted(samples, fitted, np.stack([scores[name] for name in fitted], axis=1))
    if samples.test.probability is not None:
        scores[ORACLE] = samples.test.probability.astype(np.float64)
    probes = []
    for name, score in scores.items():
        found = estimate_rule(scores_of_samples(samples.test.user, samples.test.label, score))
        figures = (round(value, 6) for value in (found.difference, *found.auc_interval))
        probes.append(Probe(name, labels[name], parameters[name], *figures))
    return Probes(
        dataset,
        samples.protocol.name,
        samples.protocol.hash,
        samples.sha256,
        len(np.unique(samples.test.user)),
        tuple(probes),
    )


def is_of(measured: Probes, samples: Samples) -> bool:
    """Tell whether a measurement has every rule, on just these samples."""
    names = {probe.name for probe in measured.probes}
    place = (measured.protocol, measured.protocol_hash, measured.data_sha256)
    oracle = [ORACLE] if samples.test.probability is not None else []
    return names == {*rules_of(samples), FITTED, *oracle} and place == (
        samples.protocol.name,
        samples.protocol.hash,
        samples.sha256,
    )


def file_name(dataset: str, protocol: str) -> str:
    """Name of the file of a measurement."""
    return f"probes-{dataset}-{protocol}.json"


def read_probes(folders: Sequence[Path], dataset: str, protocol: str) -> Probes | None:
    """Return the measurement found first in the folders, None where none has it.

    Raises UserError for a damaged file.
    """
    for folder in folders:
        path = folder / file_name(dataset, protocol)
        if path.exists():
            try:
                found = _parsed(json.loads(path.read_text("utf-8")))
                if (found.dataset, found.protocol) != (dataset, protocol):
                    raise ValueError(f"it is of {found.dataset} under {found.protocol}")
                return found
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                raise UserError(
                    f"{path} cannot be read ({error}). Measure again: dien-bench probe --dataset {dataset} "
                    f"--protocol {protocol} --out {folder}"
                ) from error
    return None


def _parsed(data: dict[str, Any]) -> Probes:
    """Return what a file holds; raises ValueError, KeyError or TypeError where that is no measurement."""
    measured = Probes(**{**data, "probes": tuple(Probe(**probe) for probe in data["probes"])})
    for one in (measured, *measured.probes):
        for name, kind in get_type_hints(type(one)).items():
            value = getattr(one, name)
            if kind in (str, int) and type(value) is not kind:
                raise TypeError(f"{name} is {value!r:.40}")
            if kind is str and UNSHOWN.search(value):
                raise ValueError(f"{name} has characters that do not show")
            if kind is float and not (isinstance(value, (int, float)) and 0 <= value <= 1):
                raise ValueError(f"{name} is {value!r:.40}, expected 0 to 1")
    names = [probe.name for probe in measured.probes]
    if len(set(names)) < len(names) or FITTED not in names or all(probe.parameters for probe in measured.probes):
        raise ValueError(f"expected different rules, one without parameters and {FITTED} among them")
    return measured


def _last_items(samples: Samples, split: Split) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """(N,) (N,) newest item of each history, and whether there is one."""
    known = split.end > split.begin
    return samples.items[np.where(known, split.end - 1, 0)], known


def _share(samples: Samples, split: Split, kind: NDArray[Any]) -> Floats:
    """(N,) share of the history whose `kind` (items + 1,) is the candidate's; 0 without a history."""
    starts, lengths = split.begin, split.end - split.begin
    shares = np.zeros(len(split))
    wanted = kind[split.item]
    for first in range(0, len(split), SAMPLES_AT_ONCE):
        end = first + SAMPLES_AT_ONCE
        part = lengths[first:end]
        sample = np.repeat(np.arange(len(part)), part)
        within = np.arange(len(sample)) - np.repeat(np.cumsum(part) - part, part)
        behaviours = samples.items[starts[first:end][sample] + within]
        hits = np.bincount(sample, weights=kind[behaviours] == wanted[first:end][sample], minlength=len(part))
        shares[first:end] = hits / np.maximum(part, 1)
    return shares


def _fitted(samples: Samples, names: list[str], test: Floats) -> Floats:
    """(N,) log odds of test samples from a logistic regression on the scores `test` (N, rules) of rules `names`."""
    from sklearn.linear_model import LogisticRegression  # here: most commands read probes that are measured already
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train = samples.train
    chosen = np.random.default_rng(0).permutation(len(train))[:FITTED_ON]
    some = train.take(chosen)
    scores = {name: RULES[name].score(samples, some) for name in names if name != "popularity"}
    scores["popularity"] = popularity(samples, train)[chosen]  # which leaves out what a sample of `train` adds itself
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(np.stack([scores[name] for name in names], axis=1), some.label)
    log_odds: Floats = model.decision_function(test)
    return log_odds
