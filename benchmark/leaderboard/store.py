"""The committed records of the leaderboard: adding runs, and verifying what is there.

A change to the board is staged in the hidden folder `.adding`: every file that it changes, whole. Only when all of it
lies there does the file `complete` say so; then files are moved to their places one by one. A command that is killed
leaves the folder: the next one removes it, or completes the moves.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from benchmark.analysis.probes import file_name, read_probes
from benchmark.analysis.verify import check_curves, check_metrics
from benchmark.records.curves import CURVES
from benchmark.records.predictions import PREDICTIONS, Scores
from benchmark.records.record import RUNS, Record, read_records
from benchmark.records.results import (
    RESULTS,
    curves_of,
    read_board,
    reading_once,
    results_folder,
    scores_of,
    write_results,
)
from benchmark.records.tuning import board_place, check_tuning, read_tuning, tuning_of, write_tuning
from benchmark.report.results import check_comparable
from datamodules.errors import UserError
from datamodules.files.atomic import write_atomically
from datamodules.files.lock import locked
from datamodules.protocol import PROTOCOLS

STAGED, COMPLETE = ".adding", "complete"
LOCK = ".lock"
# Tables and figures that `build` makes; further ones of these names are of rows that are gone.
TABLES = ("table[234]-*", "rocket-*", "growth")
GENERATED = (
    *(f"{stem}.{kind}" for stem in TABLES for kind in ("md", "csv")),
    "figure2-*.svg",
    "auc-*.svg",
    "growth.svg",
)
GALLERY = "gallery"  # figures, as SVG alone
NO_SETTINGS = {"model", "steps_by_default"}  # how a run was asked for: the path of a file, and whether steps were given


def add_runs(runs: Path, board: Path, *, replace: bool = False) -> tuple[int, int]:
    """Copy the runs under `runs` to the board, with their probes; return how many were added, and how many were there.

    A run that failed is added as well, as the record that says so. A run that is there already without its ranks gets
    them. With `replace`, all that the board has of a row that is among the runs gives way to them. Raises `UserError`,
    with the board as it was, where a run's predictions are missing or do not give the metrics
    that it claims, its protocol is not the one of that name here, its samples are not those of the board, its row lacks
    a seed or mixes settings, tables would refuse it, or another run stands in its place.
    """
    found = read_records(runs)
    if not any(record.status == "finished" for record in found):
        raise UserError(f"{runs} holds no finished run; train some first: dien-bench run --datasets tafeng")
    for record in found:
        check_run(record)
    with changing(board):
        there = read_board(board)
        if replace:
            rows = {_row(record) for record in found}
            there = [record for record in there if _row(record) not in rows]
        new, kept, without = _sorted_out(found, there)
        check_samples([*new, *without], there)
        check_rows(new, there)
        check_tables(new, there)
        staged = board / STAGED
        _stage(staged, there, [*new, *without])
        for dataset, protocol in sorted({(record.dataset, record.protocol) for record in found}):
            _stage_probes(runs, board, dataset, protocol, [*there, *new])
        if staged.is_dir():
            write_atomically(staged / COMPLETE, b"")
    return len(new), kept


@contextmanager
def changing(board: Path) -> Iterator[None]:
    """Hold the board's lock, with what a killed command left settled first; the folder is made where there is none."""
    board.mkdir(parents=True, exist_ok=True)
    with locked(board / LOCK, lambda holder: print(f"{board}: waiting for {holder}", file=sys.stderr)):
        _settle(board)
        try:
            yield
        finally:
            _settle(board)


def settle(board: Path) -> None:
    """Complete or remove what a killed command left on the board; a board that is in order is not written to."""
    if (board / STAGED).exists():
        with changing(board):
            pass


def _settle(board: Path) -> None:
    staged = board / STAGED
    if (staged / COMPLETE).exists():
        files = [path for path in staged.rglob("*") if path.is_file() and path != staged / COMPLETE]
        for path in sorted(files, key=lambda path: (path.name == RUNS, path)):  # records behind their files
            target = board / path.relative_to(staged)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    shutil.rmtree(staged, ignore_errors=True)
    for part in board.rglob(".*.tmp"):  # of files that were being written
        part.unlink(missing_ok=True)


def _sorted_out(found: Sequence[Record], there: Sequence[Record]) -> tuple[list[Record], int, list[Record]]:
    """Return the runs that the board lacks, how many it has, and those of them that it has without their ranks.

    Raises `UserError` where it has another run.
    """
    on_board = {_run(record): record for record in there}
    new, kept, without = [], 0, []
    for record in found:
        known = on_board.get(_run(record))
        if known is None:
            new.append(record)
        elif known != record:
            raise UserError(
                f"{known.place}: the board holds another run than {record.place}; remove the one that is not to count"
            )
        else:
            kept += 1
            without += [record] if record.status == "finished" and scores_of(known) is None else []
    return new, kept, without


def check_run(record: Record) -> None:
    """Raise `UserError` unless protocol, curves and predictions bear out what a record claims."""
    folder, on_board = record.place, record.path.name == RUNS
    check_protocol(record)
    if record.status == "failed":
        return
    if not on_board and not (record.path.parent / CURVES).is_file():
        raise UserError(f"{folder} lacks {CURVES}, expected it beside the record. Train the run again.")
    curves_of(record).curve("loss")
    check_tuning(record)
    if not check_metrics(record):
        raise UserError(f"{folder} lacks {PREDICTIONS}, expected it beside the record. Train the run again.")
    check_curves(record)


def check_protocol(record: Record) -> None:
    """Raise `UserError` unless a run's protocol is the one of that name here, and it reports its selection."""
    folder, protocol = record.place, PROTOCOLS.get(record.protocol)
    if protocol is None or protocol.hash != record.protocol_hash:
        expected = "an unknown protocol" if protocol is None else f"hash {protocol.hash}"
        raise UserError(f"{folder} was run under {record.protocol} of hash {record.protocol_hash}, here is {expected}")
    if record.selection != protocol.selection:
        raise UserError(
            f"{folder} reports the selection {record.selection}, expected {protocol.selection}, that of "
            f"{record.protocol}. Train the run again."
        )


def check_samples(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless all runs of a data set and protocol saw the same samples."""
    expected: dict[tuple[str, str], Record] = {}
    samples: dict[tuple[str, str], Scores] = {}
    for number, record in enumerate([*there, *new]):
        place = (record.dataset, record.protocol)
        first = expected.setdefault(place, record)
        if record.data_sha256 != first.data_sha256:
            raise UserError(
                f"{record.place} was run on samples {record.data_sha256[:8]}..., but {first.place} on "
                f"{first.data_sha256[:8]}...: {record.dataset} is not the same data there. Prepare it anew, or give "
                "other data another name, and train the runs again."
            )
        scores = scores_of(record) if number >= len(there) or place not in samples else None
        if scores and not scores.reported.same_samples(known := samples.setdefault(place, scores.reported)):
            raise UserError(
                f"{record.place} has predictions for {scores.reported.counts}, other runs of {record.dataset} for "
                f"{known.counts}, expected the same samples. Train it again."
            )


def check_rows(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` unless every row that gets a run then has the seeds 0 .. n - 1, all with the same settings."""
    touched = {_row(record) for record in new}
    rows: dict[tuple[str, ...], list[Record]] = {}
    for record in [*there, *new]:
        if _row(record) in touched:
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
                        f"{record.place} was run with {key} = {own.get(key)}, but {records[0].place} with "
                        f"{first.get(key)}: the seeds of a row share all settings"
                    )


def check_tables(new: Sequence[Record], there: Sequence[Record]) -> None:
    """Raise `UserError` where the tables of the board could not show the new runs beside the others."""

    def table(record: Record) -> tuple[str, ...]:
        return record.protocol, record.variant, record.dataset

    touched = {table(record) for record in new}
    mine = [record for record in [*there, *new] if table(record) in touched]
    mine.sort(key=lambda record: (*table(record), record.model, record.seed))
    for _, records in groupby(mine, table):
        check_comparable(list(records))


def verify(board: Path) -> tuple[int, list[str]]:
    """Check everything on the board that `add` checks, and recompute the metrics that follow from its ranks.

    These are every AUC, and GAUC. Returns how many runs agree, and the places of runs without predictions. Raises
    `UserError` for the first run whose record claims another value, there or in its curves, whose options are not those
    that the search behind them found, or that does not go with the others: of other samples, in a row that lacks a
    seed. Raises it too for a folder without records: nothing would be verified there.
    """
    settle(board)
    records = read_board(board)
    if not records:
        raise UserError(f"{board / RESULTS} holds no record, expected a board: name its folder, --board ...")
    finished = [record for record in records if record.status == "finished"]
    with reading_once():
        without = [record.place for record in finished if not check_metrics(record)]
        for record in finished:
            check_curves(record)
            check_tuning(record)
        for record in records:
            check_protocol(record)
        check_samples(records, [])
        check_rows(records, [])
        check_tables(records, [])
    return len(finished) - len(without), without


def remove_gone(board: Path, written: Iterable[Path]) -> list[Path]:
    """Remove the tables and figures of rows that are gone: all but what `build` has `written`; return them."""
    kept = {path.resolve() for path in written}
    found = (path for folder in (board, board / GALLERY) for pattern in GENERATED for path in folder.glob(pattern))
    gone = sorted(path for path in found if path.resolve() not in kept)
    for path in gone:
        path.unlink()
    return gone


def _stage(staged: Path, there: Sequence[Record], changed: Sequence[Record]) -> None:
    """Write the files of the data sets and protocols that get runs, with the runs that are there."""
    own = {_run(record) for record in changed}
    rest = [record for record in there if _run(record) not in own]
    for place in sorted({(record.dataset, record.protocol) for record in changed}):
        mine, others = ([r for r in all_of if (r.dataset, r.protocol) == place] for all_of in (changed, rest))
        folder = results_folder(staged, *place)
        write_results(folder, [*others, *mine], {record.model for record in mine})
        for record in mine:
            if search := tuning_of(record):
                write_tuning(board_place(folder, record), read_tuning(search))


def _stage_probes(runs: Path, board: Path, dataset: str, protocol: str, records: Sequence[Record]) -> None:
    """Take over the probes that were measured on the samples of the runs, where the board has none of these samples."""
    of_runs = read_probes([runs], dataset, protocol)
    samples = next(r.data_sha256 for r in records if (r.dataset, r.protocol) == (dataset, protocol))
    if of_runs is None or of_runs.data_sha256 != samples:
        return
    of_board = read_probes([board / "probes"], dataset, protocol)
    if of_board is None or of_board.data_sha256 != samples:
        source = runs / file_name(dataset, protocol)
        (board / STAGED / "probes").mkdir(parents=True, exist_ok=True)
        for path in (source, source.with_suffix(".md")):
            if path.is_file():
                shutil.copyfile(path, board / STAGED / "probes" / path.name)


def _run(record: Record) -> tuple[str, str, str, str, int]:
    return record.dataset, record.protocol, record.model, record.variant, record.seed


def _row(record: Record) -> tuple[str, ...]:
    return record.dataset, record.protocol, f"{record.model}-{record.variant}"


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
