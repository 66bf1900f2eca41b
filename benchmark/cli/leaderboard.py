"""`dien-bench leaderboard`: committed records, and the pages made from them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

import typer

from benchmark.cli.options import Command, Json, Quiet, Variant, command, completes, protocol_names
from benchmark.cli.output import Output
from datamodules.errors import UserError

leaderboard = typer.Typer()
Board = Annotated[Path, typer.Option("--board", help="The leaderboard's folder.")]


@leaderboard.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """The board of committed records: show it, add runs, verify it, build its pages (also with no word behind it).

    Example: dien-bench leaderboard add runs
    """
    if context.invoked_subcommand is None:
        build()


@leaderboard.command(cls=Command)
def show(
    dataset: Annotated[str | None, typer.Option(help="One data set of the board; all if not given.")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            help="A column; can be given again.",
            show_default="clean, arxiv-v1; next-day for Table 3",
            autocompletion=completes(protocol_names),
        ),
    ] = None,
    variant: Annotated[Variant, typer.Option(help="official: the released code; paper: the equations.")] = "official",
    number: Annotated[
        Literal["2", "3", "4"], typer.Option("--table", help="Whose rows, as in the paper; 3 is of impressions.")
    ] = "2",
    board: Annotated[
        Path | None,
        typer.Option(help="The leaderboard's folder.", show_default="leaderboards, of this folder or checkout"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the committed results of protocols side by side, and which rows are not significantly different.

    Example: dien-bench leaderboard show --dataset sports --protocol clean --protocol arxiv-v1
    """
    from benchmark.report.board_tables import board_of, side_by_side

    output = Output(as_json=as_json)
    protocols = protocol or (["next-day"] if number == "3" else ["clean", "arxiv-v1"])
    made = side_by_side(board_of(board), protocols, variant, dataset, number)
    output.show(made)
    output.result([dict(zip(made.csv_rows[0], values, strict=True)) for values in made.values()])


@leaderboard.command(cls=Command)
def add(
    runs: Annotated[Path, typer.Argument(help="Folder of runs, OUT of `dien-bench run`, or a file of packed ones.")],
    board: Board = Path("leaderboards"),
    replace: Annotated[
        bool, typer.Option("--replace", help="Rows of the board that are among the runs give way to them, all seeds.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check runs and copy their records: all seeds, failed ones too, the same samples, and the AUC that they claim.

    Probes in the same folder come along; a packed file has none. A command that is killed leaves the board as it was,
    or is completed by the next one.

    Example: dien-bench leaderboard add runs
    """
    from benchmark.leaderboard.store import add_runs
    from benchmark.records.packed import unpack

    output = Output(as_json=as_json, quiet=quiet)
    with TemporaryDirectory(prefix="packed-runs-") as scratch:
        folder = runs
        if runs.is_file():
            folder = Path(scratch)
            unpack(runs, folder)
        added, kept = add_runs(folder, board, replace=replace)
    output.say(f"{added} runs added, {kept} were there already")
    output.advise(command("dien-bench", "leaderboard", "build", "--board", board))
    output.result({"added": added, "kept": kept})


@leaderboard.command(cls=Command)
def pack(
    runs: Annotated[Path, typer.Argument(help="Folder of runs, OUT of `dien-bench run`.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")] = Path("runs.zip"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Check runs and write them to one file, to be sent to whoever keeps a board: records, curves, predictions.

    Example: dien-bench leaderboard pack runs --to my-runs.zip
    """
    from benchmark.leaderboard.store import check_run
    from benchmark.records.packed import pack as write
    from benchmark.records.record import read_records

    output = Output(as_json=as_json, quiet=quiet)
    records = read_records(runs)
    if not any(record.status == "finished" for record in records):
        raise UserError(f"{runs} holds no finished run; train some first: dien-bench run --help")
    for record in records:
        check_run(record)
    size = write(records, to)
    output.say(f"{to}: {len(records)} runs, {size:,} bytes")
    output.advise(f"whoever keeps the board runs: {command('dien-bench', 'leaderboard', 'add', to)}")
    output.result({"file": to, "runs": len(records), "bytes": size})


@leaderboard.command(cls=Command)
def verify(board: Board = Path("leaderboards"), quiet: Quiet = False, as_json: Json = False) -> None:
    """Recompute every AUC and GAUC from the ranks, and check curves, samples, seeds and settings; nothing is changed.

    Example: dien-bench leaderboard verify
    """
    from benchmark.leaderboard.store import verify as recompute

    output = Output(as_json=as_json, quiet=quiet)
    agreeing, without = recompute(board)
    for path in without:
        output.say(f"{path}: no predictions, its metrics cannot be recomputed")
    output.say(f"{agreeing} runs give the metrics of their records, {len(without)} have no predictions")
    output.result({"agreeing": agreeing, "without_predictions": without})


@leaderboard.command(cls=Command)
def build(board: Board = Path("leaderboards"), quiet: Quiet = False, as_json: Json = False) -> None:
    """Make tables, figures and site/index.html from all records of the board, and the table in the README beside it.

    Tables and figures of rows that are gone are removed.

    Example: dien-bench leaderboard build
    """
    from benchmark.leaderboard.build import build as make
    from benchmark.leaderboard.store import changing, remove_gone

    output = Output(as_json=as_json, quiet=quiet)
    with changing(board):
        written = make(board)
        gone = remove_gone(board, written)
    output.written(written)
    for path in gone:
        output.say(f"{path}: removed, its rows are gone")
    output.advise(command("open", board / "site" / "index.html"))
    output.result({"files": written, "removed": gone})
