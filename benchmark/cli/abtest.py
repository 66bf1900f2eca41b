"""`dien-bench abtest`: Table 5, an A/B test in the simulated market."""

from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.options import DataDir, Json, Out, Quiet, command, seeds_of
from benchmark.cli.output import Output
from datamodules.errors import UserError

ARMS = "base-model din dien"
SIZE = {"market": "small", "market-large": "large"}


def abtest(
    dataset: Annotated[str, typer.Option(help="A simulated market: market or market-large.")] = "market",
    models: Annotated[str, typer.Option(help="The arms; base-model is the control.")] = ARMS,
    seeds: Annotated[str, typer.Option(help="Training seeds, separated by spaces.")] = "0 1 2 3 4",
    candidates: Annotated[int, typer.Option(min=2, max=100, help="Ads of a request.")] = 20,
    spread: Annotated[float, typer.Option(min=0, help="Of the logarithm of bids.")] = 0.5,
    repeats: Annotated[int, typer.Option(min=1, help="How often each page of the day asks.")] = 5,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of the runs.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Runs side by side, where some have to be trained.")] = 2,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Put trained runs into a simulated A/B test, and write OUT/table5.md, .csv and a figure. Trains what is missing.

    Example: dien-bench abtest --seeds "0 1"
    """
    output, arms = Output(as_json=as_json, quiet=quiet), models.split()
    if dataset not in SIZE:
        raise UserError(f"an A/B test needs a market whose truth is known ({', '.join(SIZE)}), got {dataset!r}")
    if "base-model" not in arms:
        raise UserError(f"the arms {models!r} have no control: name base-model among them")
    from benchmark.abtest.candidates import scorer_of_candidates
    from benchmark.abtest.figure import figure_table5
    from benchmark.abtest.market import before_the_test, from_market, logged_day
    from benchmark.abtest.study import abtest_of_runs
    from benchmark.abtest.table import table5
    from benchmark.api import load_run
    from benchmark.executors.sweep import sweep
    from benchmark.report.render import write_table
    from benchmark.runs.config import RunConfig
    from datamodules.datasets import prepare_dataset
    from datamodules.impressions_file import load_impressions
    from datamodules.sources.market import make_world

    wanted = [
        RunConfig(
            dataset,
            "next-day",
            model,
            "official",
            seed,
            steps=steps,
            data_dir=str(data_dir),
            out=str(out),
        )
        for seed in seeds_of(seeds)
        for model in arms
    ]
    for config in wanted:
        config.check()
    log = load_impressions(prepare_dataset(dataset, data_dir, report=output.say))
    sweep(wanted, workers=workers, quiet=quiet)
    output.say("scoring candidates")
    runs = {model: [load_run(each.folder()) for each in wanted if each.model == model] for model in arms}
    world = make_world(SIZE[dataset])
    workload = from_market(world, log, candidates=candidates, repeats=repeats)
    users = sorted(set(workload.user.tolist()))
    found = abtest_of_runs(
        runs,
        scorer_of_candidates({"campaign": world.goods.campaign}),
        workload,
        logged_day(log, 1),
        logged_day(log, 0),
        spread=spread,
        covariates=before_the_test(log, _array(users)),
    )
    made = table5(found.calibrated, found.as_predicted, found.offline, found.budgets)
    output.show(made)
    files = [*write_table(made, out, "table5"), *figure_table5(found.calibrated, out / "table5")]
    output.written(files)
    output.advise(command("dien-bench", "table", "3", "--datasets", dataset, "--out", out))
    output.result(_as_json(made, files))


def _array(users: list[int]) -> Any:
    import numpy as np

    return np.array(users)


def _as_json(made: Any, files: list[Path]) -> dict[str, Any]:
    header, *lines = made.csv_rows
    return {"title": made.title, "rows": [dict(zip(header, line, strict=True)) for line in lines], "files": files}
