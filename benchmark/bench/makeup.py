"""How much the make-up of test batches moves an AUC: `python -m benchmark.bench.makeup runs/sports/clean/din-official`.

In the variant official, Dice takes the statistics of its batch at test too (variants.md 8), so a score depends on which
others share its batch. Trained runs are scored again on the same test samples in other batches: with the samples of a
history together and apart, in ten random orders each, and frozen: as a server has it, and with the statistics of
training samples.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from benchmark.records.record import FILE_NAME
from benchmark.runs.trained import Run, load_run
from benchmark.serving.runs import as_served
from datamodules.batches import WINDOW, EvaluationBatches, windowed
from datamodules.errors import UserError

ORDERS = 10
KINDS = ("together", "apart")


def main(
    folders: Annotated[list[Path], typer.Argument(help="Runs, or rows of them.")],
    data_dir: Annotated[Path, typer.Option(help="Folder of prepared data.")] = Path("data"),
) -> None:
    """Print, for each run, its AUC as evaluated and what other batches add to it: mean, lowest and highest."""
    print("| run | AUC | samples of a history together | apart | frozen as served | frozen on training samples |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for folder in _runs(folders):
        run = load_run(folder, data_dir=data_dir)
        as_evaluated = auc_of(run)
        cells = []
        for kind in KINDS:
            moved = np.array([auc_of(run, other_batches(run, kind, seed)) for seed in range(ORDERS)]) - as_evaluated
            cells.append(f"{moved.mean():+.4f} ({moved.min():+.4f} to {moved.max():+.4f})")
        name = "/".join(folder.parts[-4:])
        cells += [f"{auc_of(frozen) - as_evaluated:+.4f}" for frozen in (as_served(run), as_served(run, "train"))]
        print(f"| {name} | {as_evaluated:.4f} | {' | '.join(cells)} |")


def auc_of(run: Run, batches: EvaluationBatches | None = None) -> float:
    """The AUC of a run on its test samples, by default in the batches of a run."""
    label = run.samples.test.label
    if batches is None:
        return float(roc_auc_score(label, run.predict("test")))
    scores = np.concatenate([run.predict(batches[at]) for at in range(len(batches))])
    return float(roc_auc_score(label[batches.order], scores))


def other_batches(run: Run, kind: str, seed: int) -> EvaluationBatches:
    """The test samples in a random order before they are sorted by length inside windows of 20 batches.

    kind    "together": the samples of a history stay side by side; "apart": every sample goes its own way
    """
    split, size = run.samples.test, run.config.batch_size
    rng = np.random.default_rng(seed)
    batches = EvaluationBatches(run.samples, split, size, run.vocabulary)
    group: NDArray[np.int64] = np.arange(len(split)) if kind == "apart" else np.cumsum(split.starts_history) - 1
    order = np.argsort(rng.permutation(int(group.max()) + 1)[group], kind="stable")
    parts = windowed(order, batches.maker.lengths, size, rng if kind == "apart" else None)
    batches.windows = [parts[at : at + WINDOW] for at in range(0, len(parts), WINDOW)]
    batches.order = np.concatenate(parts)
    return batches


def _runs(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        found = [path.parent for path in sorted(folder.rglob(FILE_NAME))]
        if not found:
            raise UserError(f"{folder} holds no run: name the folder of a finished run, or of the runs of a row")
        yield from found


if __name__ == "__main__":
    typer.run(main)
