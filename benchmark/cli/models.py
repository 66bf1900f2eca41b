"""`dien-bench list`, `new-model`, `check-model`, `tune`: what there is, a model of your own, and its options."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from benchmark.cli.options import (
    Command,
    DataDir,
    Json,
    Models,
    Out,
    Quiet,
    VariantName,
    command,
    names_of,
    seeds_of,
    with_classes,
)
from benchmark.cli.output import Output
from benchmark.records import paper
from datamodules.errors import UserError, printable
from datamodules.protocol import BATCH_SIZE

MANY = 5  # names in a line

listing = typer.Typer(no_args_is_help=True)


@listing.callback()
def default() -> None:
    """Say what there is: models, data sets, protocols or metrics.

    Example: dien-bench list datasets
    """


@listing.command(cls=Command)
def models(as_json: Json = False) -> None:
    """List the models: where they stand in the paper, and their options, which go behind a name (din+shuffle=true).

    Example: dien-bench list models
    """
    output = Output(as_json=as_json)
    output.say("loading PyTorch", style="dim")  # takes seconds on a busy machine
    from benchmark.report import catalogue

    found = catalogue.models()
    shown = [
        {
            "name": line["name"],
            "in the paper": ", ".join(filter(None, [line["label"], *(f"Table {number}" for number in line["tables"])])),
            "options and their defaults": _shown(line["options"]),
        }
        for line in found
    ]
    output.show(_table("models", shown))
    for name, meaning in found[0]["training options"].items():
        output.say(f"of every model: {name}: {meaning}")
    output.advise('dien-bench run --datasets tafeng --models "din dien+auxiliary_weight=0.5" --seeds "0 1"')
    output.result(found)


@listing.command(cls=Command)
def datasets(data_dir: DataDir = Path("data"), as_json: Json = False) -> None:
    """List the data sets: sizes, steps of a run, what has to be downloaded from where, and whether it is prepared.

    Example: dien-bench list datasets
    """
    from benchmark.report import catalogue, render

    output, found = Output(as_json=as_json), catalogue.datasets(data_dir)
    header = ("name", "prepared", "download", "steps", "interactions", "users", "items", "categories")
    rows = tuple(
        (
            str(line["name"]),
            _shown(line["prepared"]),
            _megabytes(line["download_bytes"]),
            *(_shown(line[name]) for name in header[3:]),
        )
        for line in found
    )
    output.show(render.Table("data sets", (render.Section("", header, rows),), (catalogue.NOTE_EMPTY,), ()))
    for what in ("source", "licence"):
        for value in dict.fromkeys(line[what] for line in found):
            names = [line["name"] for line in found if line[what] == value]
            shown = ", ".join(names) if len(names) < MANY else f"{', '.join(names[:2])} and {len(names) - 2} more"
            output.say(f"{what} of {shown}: {value}")
    output.advise("dien-bench prepare tafeng", "dien-bench import clicks.csv --name my-clicks")
    output.result(found)


@listing.command(cls=Command)
def protocols(as_json: Json = False) -> None:
    """List the protocols, which make samples of interactions, with all of their fields.

    Example: dien-bench list protocols
    """
    from benchmark.report import catalogue

    output, found = Output(as_json=as_json), catalogue.protocols()
    shown = [
        {
            "name": line["name"],
            "fields": "; ".join(f"{name.replace('_', ' ')}: {_shown(line[name])}" for name in line if name != "name"),
        }
        for line in found
    ]
    output.show(_table("protocols", shown))
    output.advise("dien-bench probe --dataset tafeng --protocol clean")
    output.result(found)


@listing.command(cls=Command)
def metrics(as_json: Json = False) -> None:
    """List the metrics: what they mean, and where a run's record has them.

    Example: dien-bench list metrics
    """
    from benchmark.report import catalogue

    output, found = Output(as_json=as_json), catalogue.metrics()
    output.show(_table("metrics", found))
    output.result(found)


def _table(title: str, lines: Sequence[dict[str, Any]]) -> Table:
    """A table of lines with the same keys; long cells are wrapped."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for name in lines[0]:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*(Text(printable(_shown(cell))) for cell in line.values()))
    return table


def _shown(value: object) -> str:
    """A value as a cell.

    >>> _shown({"size": 18, "head": None}), _shown(1234567), _shown(None), _shown(True)
    ('size=18, head=None', '1,234,567', '', 'yes')
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case dict():
            return ", ".join(f"{name}={each}" for name, each in value.items())
    return str(value)


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.0f} MB"


def new_model(
    name: Annotated[str, typer.Argument(help="What it is called: as my-model.")],
    folder: Annotated[Path, typer.Option(help="Folder of the two files.")] = Path("models"),
    as_json: Json = False,
) -> None:
    """Write a model that works as it is, to be changed, and its test beside it; nothing is overwritten.

    Example: dien-bench new-model my-model
    """
    from benchmark.templates.new_model import class_of
    from benchmark.templates.new_model import new_model as write

    output = Output(as_json=as_json)
    model, test = write(name, folder)
    class_name = class_of(model.stem)
    for line in (
        f"{model}: the model; change what you like",
        f"{test}: its test; run it with: python -m pytest {test}",
        f"next: dien-bench check-model {model}:{class_name}",
        f'then: dien-bench run --datasets tafeng --model {model}:{class_name} --seeds "0 1"',
    ):
        output.say(line)
    output.result({"model": f"{model}:{class_name}", "test": test})


def check_model(
    names: Annotated[list[str], typer.Argument(help="Rows, or path/to/file.py:Class, options behind them.")],
    variant: Annotated[Literal["both", "official", "paper"], typer.Option(help="Which formulas.")] = "both",
    as_json: Json = False,
) -> None:
    """Run the contract of every row over models: shapes, gradients, padding, determinism and more.

    Example: dien-bench check-model models/my_model.py:MyModel
    """
    output = Output(as_json=as_json)
    output.say("loading PyTorch", style="dim")  # takes seconds on a busy machine
    from baselines import contract, load

    made = {name: load(name) for name in with_classes(names)}
    rules: list[dict[str, str]] = []
    for name, make in made.items():
        for each in ("official", "paper") if variant == "both" else (variant,):
            shown = Table("rule", "", "", title=f"{name}, {each}", title_justify="left", box=None)
            for found in contract.check_model(make, each):
                style = {"kept": "green", "broken": "red", "warning": "yellow", "skipped": "dim"}[found.state]
                message = found.message or contract.meaning(found.rule)
                shown.add_row(found.rule, found.state, message.replace("[", r"\["), style=style)
                of = {"model": name, "variant": each, "rule": found.rule, "state": found.state}
                rules.append(of | {"message": message})
            output.show(shown)
    output.result(rules)
    if broken := sum(rule["state"] == "broken" for rule in rules):
        output.say(f"{broken} rules are broken", style="red")
        raise typer.Exit(1)


def tune(
    models: Models = None,
    dataset: Annotated[str, typer.Option(help="One data set.")] = "tafeng",
    protocol: Annotated[str, typer.Option(help="One with validation samples: clean, next-day.")] = "clean",
    variant: VariantName = "official",
    trials: Annotated[int, typer.Option(help="How many options are tried for each row.")] = 20,
    space: Annotated[
        str,
        typer.Option(
            help="What is chosen: 'learning_rate=0.0003..0.003 hidden_size=18..54 auxiliary_head=mlp,inner-product'; "
            "if not given, every number among the options of a row."
        ),
    ] = "",
    search_seed: Annotated[int, typer.Option(help="Of the search, and of every trial's run.")] = 0,
    seeds: Annotated[str, typer.Option(help="Of the runs with the best options; '' searches only.")] = "0-4",
    steps: Annotated[
        int | None, typer.Option(help="Of a trial, as of a run; the data set's budget if not given.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = BATCH_SIZE,
    workers: Annotated[
        int, typer.Option(help="Trials side by side; what is tried depends on it, so give it again.")
    ] = 1,
    device: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="auto: a GPU where torch sees one, else the CPU.")
    ] = "auto",
    quiet: Quiet = False,
    as_json: Json = False,
    out: Out = Path("runs"),
    data_dir: DataDir = Path("data"),
) -> None:
    """Choose options on validation samples, and train the best ones for every seed as the row MODEL+tuned.

    Test samples are never read in a search. What was tried is in OUT/<data>/<protocol>/<model>+tuned-<variant>/. A
    search that was interrupted goes on, and one with more trials begins with those that are there.

    Example: dien-bench tune --models "din dien" --dataset tafeng --trials 20
    """
    output = Output(as_json=as_json, quiet=quiet)
    output.say("loading PyTorch", style="dim")  # takes seconds on a busy machine
    from benchmark.executors.sweep import check_distinct, sweep
    from benchmark.report.probe_tables import store_probes
    from benchmark.runs.config import RunConfig
    from benchmark.runs.device import visible_gpus
    from benchmark.tuning.search import Search
    from benchmark.tuning.search import tune as find
    from benchmark.tuning.space import parse_space
    from datamodules.datasets import prepare_dataset
    from datamodules.samples.file import prepare_samples

    searches = [
        Search(
            RunConfig(
                dataset,
                protocol,
                name,
                variant,
                search_seed,
                steps=steps,
                batch_size=batch_size,
                data_dir=str(data_dir),
                out=str(out),
                device=device,
            ),
            parse_space(name, space),
            trials,
            workers,
        )
        for name in names_of(models or "")
    ]
    if not searches:
        raise UserError('no row to tune: name at least one, as in --models "din dien"')
    for search in searches:
        search.check()
    asked = seeds_of(seeds)
    check_distinct([replace(search.config, seed=seed) for search in searches for seed in asked or [search_seed]])
    prepare_dataset(dataset, data_dir, report=output.say)
    store_probes(dataset, prepare_samples(dataset, protocol, data_dir), out)
    found = [(search, find(search, say=output.say)) for search in searches]
    lines = [
        {
            "model": tuning.model,
            "trials": len(tuning.trials),
            "failed": sum(trial.validation_auc is None for trial in tuning.trials),
            "validation AUC": _auc(tuning.best.validation_auc),
            "of the defaults": _auc(first.validation_auc if (first := search.of_defaults(tuning)) else None),
            "options": tuning.best.options,
            "row": search.tuned(tuning, 0).model,
        }
        for search, tuning in found
    ]
    shown = [{name: value for name, value in line.items() if name != "row"} for line in lines]
    output.show(_table(f"best on validation samples of {dataset}, {protocol}, {variant}", shown))
    for line, (search, _) in zip(lines, found, strict=True):
        output.say(f"all trials: {search.result}; for dien-bench run: --models {line['row']}")
    configs = [search.tuned(tuning, seed) for seed in asked for search, tuning in found]
    gpus = visible_gpus(device)
    failed = sweep(configs, workers=workers, gpus=gpus, quiet=quiet).failed if configs else {}
    rows = " ".join(f"{tuning.model} {tuning.model}+tuned" for _, tuning in found)
    place = ("--datasets", dataset, "--protocol", protocol, "--variant", variant, "--out", out)
    output.advise(command("dien-bench", "table", paper.tables_of(protocol)[0], *place, "--models", rows))
    output.result({"searches": lines, "files": [search.result for search, _ in found], "failed": failed})
    for name, reason in failed.items():
        output.say(f"failed: {name}: {reason}", style="red")
    if failed:
        raise typer.Exit(1)


def _auc(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
