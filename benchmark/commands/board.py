"""`dien-bench leaderboard`: committed records, and the pages made from them."""

from pathlib import Path
from typing import Annotated

import typer

from benchmark.commands.options import Json, Quiet
from benchmark.commands.output import Output


def leaderboard(
    runs: Annotated[
        Path | None, typer.Argument(help="Folder of runs to add; none: make tables, figures and page anew.")
    ] = None,
    board: Annotated[Path, typer.Option(help="The leaderboard's folder.")] = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--verify", help="Only recompute every AUC from the committed ranks; change nothing.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Add runs to the leaderboard, and make its tables, figures and site/index.html from all of its records.

    Example: dien-bench leaderboard runs
    """
    from benchmark.leaderboard import add_runs, build, verify

    output = Output(as_json=as_json, quiet=quiet)
    if check:
        agreeing, without = verify(board)
        for path in without:
            output.say(f"{path}: no predictions, its AUC cannot be recomputed")
        output.say(f"{agreeing} runs give the AUC of their records, {len(without)} have no predictions")
        output.result({"agreeing": agreeing, "without_predictions": without})
        return
    added, kept = (0, 0) if runs is None else add_runs(runs, board)
    if runs is not None:
        output.say(f"{added} runs added, {kept} were there already")
    written = build(board)
    output.written(written)
    output.advise(f"dien-bench leaderboard --verify, then open {board / 'site' / 'index.html'}")
    output.result({"added": added, "kept": kept, "files": written})
