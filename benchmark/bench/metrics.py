"""Seconds and memory of metrics and tests on millions of impressions: `python -m benchmark.bench.metrics`.

Made-up predictions of two models, each of some seeds, are written to run folders and then measured as a table does it:
read, metrics of every seed, interval of each model, test of the two. Seconds are of the process, on all of its cores;
memory is the most that it had resident.
"""

import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import typer

from benchmark.analysis.comparison import compare, estimate
from benchmark.analysis.metrics import METRICS
from benchmark.records.predictions import PREDICTIONS, Scores, read_scores

CLICKS = 0.05  # share of impressions


def write(folder: Path, user: np.ndarray, label: np.ndarray, shared: np.ndarray, seed: int) -> None:
    """Write the predictions of one run for the N impressions that all have in common."""
    rng = np.random.default_rng([1, seed])
    columns = {}
    for name in ("score", "score_last"):
        logit = shared + label * 0.5 + rng.normal(size=len(user)) - 3.5
        columns[name] = 1 / (1 + np.exp(-logit))
    folder.mkdir()
    pd.DataFrame({"user": user, "label": label, **columns}).to_parquet(folder / PREDICTIONS, index=False)


def reported(folder: Path) -> Scores:
    """Read the scores of the reported checkpoint of a run."""
    scores = read_scores(folder)
    assert scores is not None
    return scores.reported


def main(impressions: int = 3_000_000, users: int = 1_000_000, seeds: int = 5) -> None:
    """Measure with so many seeds a model."""
    rng = np.random.default_rng(0)
    user, label = rng.integers(users, size=impressions), (rng.random(impressions) < CLICKS).astype(np.int8)
    shared = rng.normal(size=impressions)
    with TemporaryDirectory() as out:
        for seed in range(2 * seeds):
            write(Path(out, str(seed)), user, label, shared, seed)
        del user, label, shared
        began = time.process_time()
        runs = [reported(Path(out, str(seed))) for seed in range(2 * seeds)]
        times = {"read": time.process_time() - began}
    began = time.process_time()
    figures = [{name: metric.of(scores) for name, metric in METRICS.items()} for scores in runs]
    times["metrics"] = time.process_time() - began
    began = time.process_time()
    first, second = runs[:seeds], runs[seeds:]
    found = [estimate(first), estimate(second), compare(first, second)]
    times["intervals and test"] = time.process_time() - began
    print(f"{impressions:,} impressions of {runs[0].users:,} users, two models of {seeds} seeds")
    print(", ".join(f"{METRICS[name].name} {value:{METRICS[name].shown}}" for name, value in figures[0].items()))
    print(f"difference {found[2].difference:+.5f}, standard error {found[2].standard_error:.5f}")
    times["together"] = sum(times.values())
    print(", ".join(f"{name} {seconds:.1f} s" for name, seconds in times.items()))
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    typer.run(main)
