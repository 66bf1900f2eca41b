"""`dien-bench leaderboard`: committed records, and the pages made from them."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import screen

leaderboard = typer.Typer(
    help="The board of committed records: add runs, verify it, build its pages (also without a word behind it)."
)
Board = Annotated[Path, typer.Option("--board", help="The leaderboard's folder.")]


@leaderboard.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """The board of committed records: add runs, verify it, build its pages (also without a word behind it).

    Example: dien-bench leaderboard
    """
    if context.invoked_subcommand is None:
        build()


@leaderboard.command()
def add(
    runs: Annotated[Path, typer.Argument(help="Folder of runs, OUT of `dien-bench run`.")],
    board: Board = Path("leaderboards"),
) -> None:
    """Check finished runs and copy their records: all seeds, the same samples, and the AUC that they claim.

    Example: dien-bench leaderboard add runs
    """
    from benchmark.leaderboard import add_runs

    added, kept = add_runs(runs, board)
    screen.print(f"{added} runs added, {kept} were there already; next: dien-bench leaderboard build", highlight=False)


@leaderboard.command()
def verify(board: Board = Path("leaderboards")) -> None:
    """Recompute the AUC of every record from its ranks, or say that it has none; nothing is changed.

    Example: dien-bench leaderboard verify
    """
    from benchmark.leaderboard import verify as recompute

    agreeing, without = recompute(board)
    for path in without:
        screen.print(f"{path}: no predictions, its AUC cannot be recomputed", highlight=False)
    screen.print(f"{agreeing} runs give the AUC of their records, {len(without)} have no predictions")


@leaderboard.command()
def build(board: Board = Path("leaderboards")) -> None:
    """Make tables, figures and site/index.html from all records of the board, and the table in the README beside it.

    Example: dien-bench leaderboard build
    """
    from benchmark.leaderboard import build as make

    for path in make(board):
        screen.print(str(path), highlight=False)
