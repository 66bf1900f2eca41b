"""`dien-bench wandb-workspace`: panels for the runs of a W&B project."""

import os
from typing import Annotated

import typer

from benchmark.cli.output import Output


def wandb_workspace(
    create: Annotated[
        bool, typer.Option("--create", help="Make it on the server; needs a login and the package wandb-workspaces.")
    ] = False,
    project: Annotated[
        str | None, typer.Option(help="The project of the runs.  [default: WANDB_PROJECT, or dien-bench]")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="User or team; your own if not given.")] = None,
    name: Annotated[str, typer.Option(help="The workspace's name.")] = "Rows over seeds",
) -> None:
    """Describe the panels that show runs in Weights & Biases, or make them there.

    Example: dien-bench wandb-workspace --create --project dien-bench
    """
    from benchmark.tracking import wandb_workspace as workspace

    output = Output()
    if create:
        made = workspace.create(entity, project or os.environ.get("WANDB_PROJECT", "dien-bench"), name)
        output.say(made)
        return
    output.say(workspace.describe())
    output.advise("dien-bench wandb-workspace --create  # makes them, after wandb login")
