"""`dien-bench leaderboard`: committed records, and the pages made from them."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import screen


def leaderboard(
    runs: Annotated[
        Path | None, typer.Argument(help="Folder of runs to add; none: make tables, figures and page anew.")
    ] = None,
    board: Annotated[Path, typer.Option(help="The leaderboard's folder.")] = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--verify", help="Only recompute every AUC from the committed ranks; change nothing.")
    ] = False,
) -> None:
    """Add runs to the leaderboard, and make its tables, figures and site/index.html from all of its records.

    Example: dien-bench leaderboard runs
    """
    from benchmark.leaderboard import add_runs, build, verify

    if check:
        agreeing, without = verify(board)
        for path in without:
            screen.print(f"{path}: no predictions, its AUC cannot be recomputed", highlight=False)
        screen.print(f"{agreeing} runs give the AUC of their records, {len(without)} have no predictions")
        return
    if runs is not None:
        added, kept = add_runs(runs, board)
        screen.print(f"{added} runs added, {kept} were there already")
    for path in build(board):
        screen.print(str(path), highlight=False)
