"""A small world of users and ads on vectors, and models that know its truth with some noise."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from benchmark.abtest.offline import isotonic
from benchmark.abtest.workload import Contexts, Draw, Floats, Ints, Workload, draw_workload

NOISE = {"base-model": 1.55, "din": 1.42, "dien": 1.27}  # of a model's logit, in units of the truth's spread


@dataclass(frozen=True)
class Toy:
    """Clicks with probability sigmoid(level + user vector x ad vector)."""

    users: NDArray[np.float64]  # (U, E)
    ads: NDArray[np.float64]  # (A, E)
    level: float = -3.3

    def probability(self, user: Ints, time: Ints, item: Ints, context: Contexts) -> Floats:
        """As of `World`."""
        return np.asarray(expit(self.level + np.einsum("ne,ne->n", self.users[user], self.ads[item])))


def toy(users: int = 600, ads: int = 400, size: int = 8, spread: float = 0.9) -> Toy:
    rng = np.random.default_rng(5)
    scale = np.sqrt(spread) / size**0.25
    return Toy(scale * rng.standard_normal((users, size)), scale * rng.standard_normal((ads, size)))


def uniformly(ads: Ints, seed: int) -> Draw:
    """Candidates from these ads, all equally likely."""
    rng = np.random.default_rng((17, seed))
    return lambda user, time: ads[rng.integers(len(ads), size=len(user))]


def toy_workload(world: Toy, candidates: int = 10, requests: int = 3000, seed: int = 0) -> Workload:
    """Requests of users who differ in how often they come."""
    rng = np.random.default_rng(seed)
    often = rng.gamma(1.0, size=len(world.users))
    user = rng.choice(len(often), size=requests, p=often / often.sum())
    time = rng.integers(86_400, size=requests)
    draw = uniformly(np.arange(len(world.ads)), seed)
    return draw_workload(world, user, time, {}, draw, candidates=candidates, seed=seed)


def toy_predictions(workload: Workload, seeds: int = 1) -> dict[str, list[Floats]]:
    """Noisy logits of the truth, calibrated on the candidates of the first requests."""
    logit = np.log(workload.truth / (1 - workload.truth))
    made = {}
    for number, (model, noise) in enumerate(NOISE.items()):
        made[model] = []
        for seed in range(seeds):
            rng = np.random.default_rng((seed, number))
            scores = logit + noise * logit.std() * rng.standard_normal(logit.shape)
            clicked = (rng.random(logit.shape) < workload.truth).astype(np.int8)
            made[model].append(isotonic(scores.ravel(), clicked.ravel())(scores))
    return made
