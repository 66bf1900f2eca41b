"""Runs wherever they lie: curves and scores of a record, of an output folder or of a board, and what a board keeps.

A board has results/<data set>/<protocol>/, and there

    runs.jsonl                    a record a line, by model, variant and seed
    curves/<model>.parquet        variant, seed, step, and a column a curve, null where nothing was logged
    predictions/<model>.parquet   variant, seed, checkpoint, user (its place in the test split), label, rank

A row group is a run. The same runs give the same bytes under the same pyarrow, in whatever order they came.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmark.records.curves import CURVES, Curves, read_metrics
from benchmark.records.predictions import CHECKPOINTS, MOST_ROWS, RunScores, Scores, rank_samples, read_scores
from benchmark.records.record import RUNS, Record, line_of, read_records
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically

RESULTS = "results"
RUN = {"variant": pa.string(), "seed": pa.int32()}
CURVE_KEY = RUN | {"step": pa.int64()}
RANKS = RUN | {"checkpoint": pa.string(), "user": pa.int32(), "label": pa.int8(), "rank": pa.int32()}
REPEATED = ("variant", "seed", "checkpoint", "label")  # few values, in runs
DELTA, SPLIT = "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT"
_Run = tuple[Path, str, int]  # file, variant, seed
_KEPT_SCORES: dict[_Run, RunScores] = {}  # that were read inside `reading_once`
_KEPT_CURVES: dict[_Run, Curves] = {}  # likewise
_KEPT_FILES: dict[str, tuple[Path, dict[tuple[str, int], pa.Table]]] = {}  # the last file of a kind, likewise
_keeps = False


def read_board(board: Path) -> list[Record]:
    """Return the records of a board as `read_records`; an empty list where it has none yet."""
    return read_records(board / RESULTS) if (board / RESULTS).is_dir() else []


def results_folder(board: Path, dataset: str, protocol: str) -> Path:
    """Return the folder of a board's runs on a data set under a protocol."""
    return board / RESULTS / dataset / protocol


@contextmanager
def reading_once() -> Iterator[None]:
    """Keep what is read of a board inside, 13 bytes a sample and curves; nothing may write to the board meanwhile."""
    global _keeps
    _keeps = True
    try:
        yield
    finally:
        _keeps = False
        _KEPT_SCORES.clear()
        _KEPT_CURVES.clear()
        _KEPT_FILES.clear()


def curves_of(record: Record) -> Curves:
    """Return what a run logged; raises UserError where it cannot be read."""
    if record.path.name != RUNS:
        return read_metrics(record.path.parent / CURVES)
    path = _curves_path(record.path.parent, record.model)
    key = path, record.variant, record.seed
    if key in _KEPT_CURVES:
        return _KEPT_CURVES[key]
    table = _rows_of(path, record)
    if table is None:
        raise UserError(f"{path} has no curves of {record.place}. Restore it, or train the run again.")
    if other := [f.name for f in table.schema if not pa.types.is_integer(f.type) and not pa.types.is_float64(f.type)]:
        raise UserError(
            f"{path} does not hold the curves of a run: its column {other[0]!r} has no numbers. Restore it."
        )
    columns = {name: table[name].to_pylist() for name in table.column_names if table[name].null_count < len(table)}
    found = Curves(f"{path} ({record.variant}, seed {record.seed})", columns)
    if _keeps:
        _KEPT_CURVES[key] = found
    return found


def scores_of(record: Record) -> RunScores | None:
    """Return the scores of a run, on a board their ranks; None where it has none.

    Raises UserError where the file is damaged or does not hold users, labels and scores of samples.
    """
    if record.path.name != RUNS:
        return read_scores(record.path.parent)
    path = _predictions_path(record.path.parent, record.model)
    key = path, record.variant, record.seed
    if key in _KEPT_SCORES:
        return _KEPT_SCORES[key]
    table = _rows_of(path, record)
    if table is None:
        return None
    try:
        found = _scores(table)
    except (ValueError, KeyError, TypeError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"{path} does not hold the scores of {record.place}: {error}. Restore it.") from error
    if _keeps:
        _KEPT_SCORES[key] = found
    return found


def write_results(folder: Path, records: Sequence[Record], models: Collection[str] | None = None) -> None:
    """Write the runs of one data set and protocol to `folder`: all records; curves and ranks of `models`, None: of all.

    Runs may come from anywhere, this folder included. Raises UserError for curves that are no numbers, or a step that
    is no whole number.
    """
    records = sorted(records, key=lambda record: (record.model, record.variant, record.seed))
    for model in sorted({record.model for record in records if models is None or record.model in models}):
        mine = [record for record in records if record.model == model and record.status == "finished"]
        curves = [(record, curves_of(record)) for record in mine]
        scores = [(record, found) for record in mine if (found := scores_of(record)) is not None]
        if curves:
            write_atomically(_curves_path(folder, model), _curves_file(curves))
        if scores:
            write_atomically(_predictions_path(folder, model), _ranks_file(scores))
    write_atomically(folder / RUNS, "".join(map(line_of, records)).encode("utf-8"))


def _curves_path(folder: Path, model: str) -> Path:
    return folder / "curves" / f"{model}.parquet"


def _predictions_path(folder: Path, model: str) -> Path:
    return folder / "predictions" / f"{model}.parquet"


def _curves_file(runs: Sequence[tuple[Record, Curves]]) -> bytes:
    cells = [{name: curves.filled(name) for name in curves.columns} for _, curves in runs]
    names = sorted({name for columns in cells for name, found in columns.items() if found} - set(CURVE_KEY))
    groups = []
    for (record, curves), columns in zip(runs, cells, strict=True):
        steps = columns["step"]
        if odd := [step for step in steps.values() if step != int(step)]:
            raise UserError(f"{curves.place} has the step {odd[0]:g}, expected whole numbers. Train the run again.")
        group: dict[str, Any] = _of_run(record, len(steps)) | {"step": [int(step) for step in steps.values()]}
        groups.append(group | {name: [columns.get(name, {}).get(line) for line in steps] for name in names})
    types = CURVE_KEY | dict.fromkeys(names, pa.float64())
    return _parquet(groups, types, {"step": DELTA} | dict.fromkeys(names, SPLIT))


def _ranks_file(runs: Sequence[tuple[Record, RunScores]]) -> bytes:
    groups = []
    for record, scores in runs:
        parts = {"reported": rank_samples(scores.reported)}
        for name, checkpoint in zip(CHECKPOINTS, scores, strict=True):
            ranks = None if checkpoint is None else rank_samples(checkpoint)
            if ranks is not None and not np.array_equal(ranks, parts["reported"]):
                parts[name] = ranks
        samples = len(scores.reported.user)
        group: dict[str, Any] = _of_run(record, samples * len(parts))
        group["checkpoint"] = np.repeat(list(parts), samples)
        group["user"] = np.tile(scores.reported.user, len(parts))
        group["label"] = np.tile(scores.reported.label, len(parts))
        groups.append(group | {"rank": np.concatenate(list(parts.values()))})
    return _parquet(groups, RANKS, {"user": DELTA, "rank": SPLIT})


def _of_run(record: Record, rows: int) -> dict[str, Any]:
    return {"variant": [record.variant] * rows, "seed": [record.seed] * rows}


def _parquet(
    groups: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType], encodings: Mapping[str, str]
) -> bytes:
    """Return a Parquet file of a row group a run."""
    schema = pa.schema(list(types.items()))
    sink = pa.BufferOutputStream()
    repeated = [name for name in types if name in REPEATED]
    options: dict[str, Any] = {"use_dictionary": repeated, "column_encoding": dict(encodings), "store_schema": False}
    with pq.ParquetWriter(
        sink, schema, compression="zstd", compression_level=19, write_statistics=list(RUN), **options
    ) as writer:
        for group in groups:
            writer.write_table(pa.table(dict(group), schema=schema), row_group_size=MOST_ROWS)
    return bytes(sink.getvalue())


def _rows_of(path: Path, record: Record) -> pa.Table | None:
    """Return the rows of a run in a Parquet file of the board without `RUN`; None where file or rows are not there."""
    if not path.exists():
        return None
    kept_path, runs = _KEPT_FILES.get(path.parent.name, (None, {}))
    if kept_path != path:
        runs = _runs_of(path)
        if _keeps:
            _KEPT_FILES[path.parent.name] = path, runs
    return runs.get((record.variant, record.seed))


def _runs_of(path: Path) -> dict[tuple[str, int], pa.Table]:
    """Return the rows of each run (variant, seed) in a Parquet file of the board, without `RUN`.

    What the file says of itself is checked before its cells are read: a few bytes can stand for gigabytes.
    """
    try:
        with pq.ParquetFile(path) as file:
            if (rows := file.metadata.num_rows) > MOST_ROWS:
                raise ValueError(f"it has {rows:,} rows, expected at most {MOST_ROWS:,}")
            if len(set(file.schema_arrow.names)) < len(file.schema_arrow):
                raise ValueError("it has two columns of one name")
            table = file.read()
        keys = [table[name] for name in RUN]
        other = [pc.fill_null(pc.not_equal(key.slice(1), key.slice(0, len(key) - 1)), True) for key in keys]
        edges = [0, *(np.flatnonzero(pc.or_(*other).to_numpy()) + 1).tolist(), rows] if rows else []
        table, found = table.drop_columns(list(RUN)), dict[tuple[str, int], list[pa.Table]]()
        for begin, end in pairwise(edges):
            variant, seed = (key[begin].as_py() for key in keys)
            found.setdefault((variant, seed), []).append(table.slice(begin, end - begin))
        return {run: pa.concat_tables(parts) for run, parts in found.items()}
    except (OSError, ValueError, KeyError, IndexError, MemoryError, pa.ArrowException) as error:
        raise UserError(f"{path} cannot be read: {error}. Restore it, or train its runs again.") from error


def _scores(table: pa.Table) -> RunScores:
    """Return the scores of the checkpoints of a run; `last` is the reported one where it is left out."""
    if lacking := [name for name in RANKS if name not in [*RUN, *table.column_names]]:
        raise ValueError(f"it lacks the column {lacking[0]!r}")
    if any(table[name].null_count for name in table.column_names):
        raise ValueError("it has empty cells")
    checkpoint = table["checkpoint"].combine_chunks().dictionary_encode()
    names, of_row = checkpoint.dictionary.to_pylist(), checkpoint.indices.to_numpy()
    columns = [table[name].to_numpy() for name in ("user", "label", "rank")]
    found = {
        name: _ranked(*(column[of_row == names.index(name)] for column in columns)) if name in names else None
        for name in CHECKPOINTS
    }
    reported, last = found["reported"], found["last"]
    if reported is None:
        raise ValueError("it has no ranks of the reported checkpoint")
    if any(one is not None and not one.same_samples(reported) for one in found.values()):
        raise ValueError("its checkpoints are of different samples")
    return RunScores(reported, last or reported, found["test"])


def _ranked(user: NDArray[Any], label: NDArray[Any], rank: NDArray[Any]) -> Scores:
    """Return the ranks of one checkpoint; raises ValueError where users or labels are not those of samples."""
    if not {user.dtype.kind, label.dtype.kind, rank.dtype.kind} <= {"i", "u"}:
        raise ValueError("its users, labels or ranks are no whole numbers")
    if user.min() < 0 or user.max() >= len(user) or not np.bincount(user).all():
        raise ValueError("its users are not numbered from 0 on")
    if set(np.unique(label).tolist()) != {0, 1}:
        raise ValueError("its labels are not 0 and 1, both of them")
    order = np.lexsort((user, label))
    return Scores(user[order].astype(np.int32), label[order].astype(np.int8), rank[order].astype(np.float64))
