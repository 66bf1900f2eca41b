"""`dien-bench new-model` and `check-model`: a model of your own."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from benchmark.cli.options import Json
from benchmark.cli.output import Output


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

    made = {name: load(name) for name in names}
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
