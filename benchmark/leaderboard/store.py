"""The committed records of the leaderboard: adding runs, and verifying what is there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from benchmark.analysis.verify import check_auc
from benchmark.records.predictions import PREDICTIONS, RANKS, read_scores, write_ranks
from benchmark.records.record import Record, read_records, run_folder
from datamodules.errors import UserError
from datamodules.protocol import PROTOCOLS

FILES = ("record.json", "metrics.csv")  # copied as they are; predictions are kept as ranks
NO_SETTINGS = {"model", "steps_by_default"}  # how a run was asked for: the path of a file, and whether steps were given


def add_runs(runs: Path, board: Path) -> tuple[int, int]:
    """Copy the finished runs under `runs` to the board; return how many were added, and how many were there.

    A run that is there already without its ranks gets them. Raises `UserError`, with nothing copied, where a run's
    predictions are missing or do not give the AUC that it claims, its protocol is not the one of that name here, its
    samples are not those of the board, its row lacks a seed or mixes settings, or another run stands in its place.
    """
    found = [record for record in read_records(runs) if record.status == "finished"]
    if not found:
        raise UserError(f"{runs} holds no finished run; train some first: dien-bench run --datasets tafeng")
    new, kept = [], []
    for record in found:
        check_run(record)
        target = _place(board, record)
        if not (target / "record.json").exists():
            new.append((record, target))
        elif (target / "record.json").read_bytes() != record.path.read_bytes():
            raise UserError(
                f"{target} holds another run than {record.path.parent}; remove the one that is not to count"
            )
        else:
            kept.append((record, target))
    there = read_records(board / "records") if (board / "records").is_dir() else []
    check_samples([record for record, _ in new], there)
    check_rows([record for record, _ in new], there)
    board.mkdir(parents=True, exist_ok=True)
    with FileLock(board / ".lock"):
        for record, target in new:
            partial = target.with_name(target.name + ".part")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for name in FILES:
                shutil.copyfile(record.path.parent / name, partial / name)
            _copy_ranks(record.path.parent, partial)
            partial.rename(target)
        for record, target in kept:
            if not (target / RANKS).exists():
                _copy_ranks(record.path.parent, target)
                (target / PREDICTIONS).unlink(missing_ok=True)
    (board / ".lock").unlink(missing_ok=True)
    return len(new), len(found) - len(new)


def check_run(record: Record) -> None:
    """Raise `UserError` unless protocol and predictions bear out what a record claims."""
    folder = record.path.parent
    protocol = PROTOCOLS.get(record.protocol)
    if protocol is None or protocol.hash != record.protocol_hash:
        expected = "an unknown protocol" if protocol is None else f"hash {protocol.hash}"
        raise UserError(f"{folder} was run under {record.protocol} of hash {record.protocol_hash}, here is {expected}")
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise UserError(f"{folder} lacks {missing[0]}, expected {', '.join(FILES)}")
    if not check_auc(record):
        raise UserError(f"{folder} lacks {PREDICTIONS}, expected it beside the record. Train the run again.")


def check_samples(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless all runs of a data set and protocol saw the same samples."""
    expected: dict[tuple[str, str], Record] = {}
    for record in [*there, *new]:
        first = expected.setdefault((record.dataset, record.protocol), record)
        if record.data_sha256 != first.data_sha256:
            raise UserError(
                f"{record.path.parent} was run on samples {record.data_sha256[:8]}..., but {first.path.parent} on "
                f"{first.data_sha256[:8]}...: {record.dataset} is not the same data there. Prepare it anew, or give "
                "other data another name, and train the runs again."
            )


def check_rows(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless every row that gets a run then has the seeds 0 .. n - 1, all with the same settings."""
    touched = {_row(record) for record in new}
    rows: dict[tuple[str, ...], list[Record]] = {}
    for record in [*there, *new]:
        if _row(record) in touched and record.status == "finished":
            rows.setdefault(_row(record), []).append(record)
    for row, records in rows.items():
        name, seeds = "/".join(row), sorted(record.seed for record in records)
        if missing := sorted(set(range(seeds[-1])) - set(seeds)):
            raise UserError(
                f"{name} has the seeds {_listed(seeds)} and lacks {_listed(missing)}, expected all from 0 on: a row "
                f"counts with all of its seeds. Train the missing ones, or move away the runs behind seed {missing[0]}."
            )
        for record in records[1:]:
            own, first = record.settings, records[0].settings
            for key in sorted({*own, *first} - NO_SETTINGS):
                if own.get(key) != first.get(key):
                    raise UserError(
                        f"{record.path.parent} was run with {key} = {own.get(key)}, but {records[0].path.parent} with "
                        f"{first.get(key)}: the seeds of a row share all settings"
                    )


def _row(record: Record) -> tuple[str, ...]:
    return record.dataset, record.protocol, f"{record.model}-{record.variant}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def verify(board: Path) -> tuple[int, list[Path]]:
    """Recompute the AUC of every run on the board; return how many agree, and the folders without predictions.

    Raises `UserError` for the first run whose record claims another AUC.
    """
    finished = [record for record in read_records(board / "records") if record.status == "finished"]
    without = [record.path.parent for record in finished if not check_auc(record)]
    return len(finished) - len(without), without


def _copy_ranks(source: Path, target: Path) -> None:
    """Write the ranks of a run whose scores have been checked."""
    scores = read_scores(source)
    assert scores is not None
    write_ranks(scores, target / RANKS)


def _place(board: Path, record: Record) -> Path:
    return run_folder(board / "records", record.dataset, record.protocol, record.model, record.variant, record.seed)
