"""The suite from Python: what was measured as DataFrames, trained models, tests of two rows, and runs from a config."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from benchmark.analysis import comparison
from benchmark.analysis.comparison import Comparison
from benchmark.analysis.summary import summarise
from benchmark.records.frames import curves, folder_of, records
from benchmark.records.predictions import Scores
from benchmark.records.record import FILE_NAME, Record, read_record, read_records
from benchmark.runs.config import RunConfig, config_from, read_config
from benchmark.runs.trained import Run, load_run
from datamodules.errors import UserError, unknown_name

__all__ = ["Run", "compare", "curves", "load_run", "records", "train"]

RowName = tuple[str, str, str, str]  # data set, protocol, model, variant


def compare(first: RowName, second: RowName, *, root: Path | str | None = None) -> Comparison:
    """Test two rows on the same test users: how much higher the mean AUC of the second is than that of the first.

    A row is (data set, protocol, model, variant) of an output folder, or by default of the board of this checkout. The
    result has `difference`, its 95 % `interval` over users and seeds, and a two-sided `p`, which is not corrected for
    further tests: `benchmark.analysis.comparison.compare` says how they come about. Raises UserError for rows of
    different test users, and for those with fewer than two finished seeds with predictions.
    """
    (scores, samples), (others, other_samples) = (_row(name, folder_of(root)) for name in (first, second))
    if first[:2] != second[:2] or samples != other_samples:
        raise UserError(
            f"{_shown(first)} and {_shown(second)} have different test users. Compare rows of the same samples"
        )
    return comparison.compare(scores, others)


def train(config: RunConfig | Mapping[str, Any] | PathLike[str] | str) -> Record:
    """Train one run in this process and return its record; a run that is there already is not trained again.

    A config is a `RunConfig`, its fields by name, or a YAML or JSON file of them, such as the config.json of another
    run. This process's random generators are seeded and its torch made deterministic. The command line gives each run
    one thread; start Python with OMP_NUM_THREADS=1 for numbers that are equal to the last bit. Raises UserError for a
    config that is none, and `NotFinite` where the loss is no number.
    """
    from benchmark.runs.train import train_run  # here: Lightning takes seconds to import

    if isinstance(config, (str, PathLike)):
        config = config_from(read_config(Path(config)), config)
    elif not isinstance(config, RunConfig):
        config = config_from(config)
    train_run(config)
    return read_record(config.folder() / FILE_NAME)


def _row(name: RowName, root: Path) -> tuple[tuple[Scores, ...], set[str]]:
    """Return the scores of a row's seeds, and the hashes of their samples."""
    if len(name) != 4:
        raise UserError(f"{name} names no row, expected (data set, protocol, model, variant)")
    dataset, protocol, model, variant = name
    found = read_records(root, dataset=dataset, protocol=protocol, model=model, variant=variant)
    if not found:
        known = {_shown((r.dataset, r.protocol, r.model, r.variant)) for r in read_records(root)}
        raise unknown_name("row", _shown(name), sorted(known))
    row = summarise(found, model, model)
    if len(row.scores) < 2:
        raise UserError(
            f"{_shown(name)} has {len(row.scores)} finished seeds with predictions in {root}. A test needs two"
        )
    return row.scores, {record.data_sha256 for record in found}


def _shown(name: RowName) -> str:
    return "/".join(name)
